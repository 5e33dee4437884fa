// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "view.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "text.hpp"

namespace svclb::ctl {
namespace {

constexpr std::array<std::pair<FlowState, std::string_view>, 6> kStates{{{FlowState::syn_sent, "SYN_SENT"},
                                                                         {FlowState::established, "ESTABLISHED"},
                                                                         {FlowState::closing, "CLOSING"},
                                                                         {FlowState::closed, "CLOSED"},
                                                                         {FlowState::unreplied, "UNREPLIED"},
                                                                         {FlowState::assured, "ASSURED"}}};

// `word` is in capitals.
bool same_word(std::string_view text, std::string_view word) {
    return std::ranges::equal(text, word, [](char a, char b) { return (a >= 'a' && a <= 'z' ? a - 32 : a) == b; });
}

bool matches(const NameSelector& selector, const ServiceName& name) {
    return selector.name == name.name && (!selector.ns || *selector.ns == name.ns) &&
           (!selector.port || *selector.port == name.port_name);
}

bool matches(const Selection& selection, const ServiceName& name) {
    if (selection.ns && *selection.ns != name.ns) return false;
    return selection.names.empty() ||
           std::ranges::any_of(selection.names, [&](const NameSelector& s) { return matches(s, name); });
}

bool matches(const Endpoint& wanted, const Address& address, std::uint16_t port) {
    return wanted.address == address && (!wanted.port || *wanted.port == port);
}

template <class Counts>
std::uint64_t count_of(const Counts& counts, std::uint32_t id) {
    const auto found = counts.find(id);
    return found == counts.end() ? 0 : found->second;
}

svclb_counter counter_of(const std::unordered_map<std::uint32_t, svclb_counter>& counters, std::uint32_t id) {
    const auto found = counters.find(id);
    return found == counters.end() ? svclb_counter{} : found->second;
}

std::string text_of(const Snapshot& snapshot, std::uint32_t id) {
    const auto found = snapshot.strings.find(id);
    return found == snapshot.strings.end() ? std::string{} : found->second;
}

bool is_live_index(const Snapshot& snapshot, std::uint32_t service) {
    return service != SVCLB_NONE && service < snapshot.services.size() && snapshot.services[service].family != 0;
}

std::uint8_t verdict_of(const svclb_service& service, svclb_set set) {
    return svclb_run_count(service.runs[set]) > 0 ? std::uint8_t{SVCLB_VERDICT_FORWARD} : service.verdicts[set];
}

// Forward beats drop, drop beats reject: a family without endpoints of its own rejects, and that says nothing about a
// service port that has endpoints in the other one.
std::uint8_t together(std::uint8_t a, std::uint8_t b) {
    if (a == SVCLB_VERDICT_FORWARD || b == SVCLB_VERDICT_FORWARD) return SVCLB_VERDICT_FORWARD;
    return std::max(a, b);
}

BackendItem backend_item(const Snapshot& snapshot, const BackendRow& row) {
    return {.row = row,
            .service = name_of(snapshot, row.service),
            .proto = is_live_index(snapshot, row.service) ? snapshot.services[row.service].proto : std::uint8_t{0},
            .node = text_of(snapshot, row.node),
            .zone = text_of(snapshot, row.zone),
            .connections = count_of(snapshot.backend_connections, row.id),
            .counter = counter_of(snapshot.backend_counters, row.id)};
}

void add_family(const Snapshot& snapshot, std::uint32_t index, ServiceItem& item) {
    const svclb_service& row = snapshot.services[index];
    const Verdicts verdict{verdict_of(row, SVCLB_SET_CLUSTER), verdict_of(row, SVCLB_SET_LOCAL)};
    if (item.families.empty()) {
        item.verdict = verdict;
        item.internal_set = row.internal_set;
        item.external_set = row.external_set;
        item.affinity_s = row.affinity_s;
        item.algorithm = row.algorithm;
    } else {
        item.verdict.cluster = together(item.verdict.cluster, verdict.cluster);
        item.verdict.local = together(item.verdict.local, verdict.local);
    }
    item.families.push_back({row.family, index, verdict});
    std::ranges::sort(item.families, {}, &FamilyItem::family);
    item.connections += count_of(snapshot.service_connections, index);
    const svclb_counter counter = counter_of(snapshot.service_counters, index);
    item.counter.flows += counter.flows;
    item.counter.packets += counter.packets;
    item.counter.bytes += counter.bytes;
}

auto backend_order(const BackendItem& item) {
    return std::tie(item.service, item.proto, item.row.address, item.row.port, item.row.service);
}

}  // namespace

Result<NameSelector> parse_name(std::string_view text) {
    NameSelector selector;
    std::string_view rest = text;
    if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
        selector.ns = std::string(rest.substr(0, slash));
        rest.remove_prefix(slash + 1);
    }
    if (const auto colon = rest.find(':'); colon != std::string_view::npos) {
        selector.port = std::string(rest.substr(colon + 1));
        rest = rest.substr(0, colon);
    }
    selector.name = std::string(rest);
    if (selector.name.empty() || (selector.ns && selector.ns->empty()) || rest.find('/') != std::string_view::npos)
        return fail(
            Error::invalid("not a service (NAME, NAMESPACE/NAME or NAMESPACE/NAME:PORT): " + std::string(text)));
    return selector;
}

Result<Endpoint> parse_endpoint(std::string_view text) {
    if (const auto address = model::parse_address(text)) return Endpoint{*address, {}};
    if (const auto both = model::parse_address_port(text)) return Endpoint{both->address, both->port};
    return fail(Error::invalid("not an ADDRESS or ADDRESS:PORT: " + std::string(text)));
}

Result<FlowState> parse_state(std::string_view text) {
    std::string known;
    for (const auto& [state, name] : kStates) {
        if (same_word(text, name)) return state;
        known += (known.empty() ? "" : ", ") + std::string(name);
    }
    return fail(Error::invalid("not a flow state (" + known + "): " + std::string(text)));
}

Result<std::uint8_t> parse_protocol(std::string_view text) {
    for (const auto proto : std::array<std::uint8_t, 3>{IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP})
        if (same_word(text, protocol_text(proto))) return proto;
    return fail(Error::invalid("not a protocol (TCP, UDP, SCTP): " + std::string(text)));
}

std::string_view to_string(FlowState state) {
    const auto found = std::ranges::find(kStates, state, [](const auto& entry) { return entry.first; });
    return found->second;
}

std::string to_string(const ServiceName& name) {
    if (name.ns.empty()) return name.name;
    return name.ns + "/" + name.name + (name.port_name.empty() ? "" : ":" + name.port_name);
}

ServiceName name_of(const Snapshot& snapshot, std::uint32_t service) {
    const auto found = snapshot.names.find(service);
    if (found != snapshot.names.end()) return found->second;
    return {.ns = "", .name = "#" + std::to_string(service), .port_name = ""};
}

std::vector<ServiceItem> services(const Snapshot& snapshot, const Selection& selection) {
    std::map<std::pair<ServiceName, std::uint8_t>, ServiceItem> items;
    std::unordered_map<std::uint32_t, ServiceItem*> by_index;
    for (std::uint32_t index = 1; index < snapshot.services.size(); ++index) {
        if (!is_live_index(snapshot, index)) continue;
        const ServiceName name = name_of(snapshot, index);
        if (!matches(selection, name)) continue;
        const std::uint8_t proto = snapshot.services[index].proto;
        ServiceItem& item = items[{name, proto}];
        item.name = name;
        item.proto = proto;
        add_family(snapshot, index, item);
        by_index[index] = &item;
    }
    for (const FrontendRow& row : snapshot.frontends)
        if (const auto owner = by_index.find(row.service); owner != by_index.end())
            owner->second->frontends.push_back(row);
    for (const RangeRow& row : snapshot.ranges)
        if (const auto owner = by_index.find(row.service); owner != by_index.end())
            owner->second->source_ranges.push_back(row.range);
    for (const BackendRow& row : snapshot.backends)
        if (const auto owner = by_index.find(row.service); owner != by_index.end())
            owner->second->backends.push_back(backend_item(snapshot, row));

    std::vector<ServiceItem> sorted;
    sorted.reserve(items.size());
    for (auto& [key, item] : items) {
        // ClusterIPs first, as people write them.
        std::ranges::sort(item.frontends, {},
                          [](const FrontendRow& row) { return std::tuple(row.kind, row.address, row.port); });
        std::ranges::sort(item.backends,
                          [](const auto& a, const auto& b) { return backend_order(a) < backend_order(b); });
        const auto object = "Service " + item.name.ns + "/" + item.name.name;
        for (const Problem& problem : snapshot.problems)
            if (problem.object == object) item.problems.push_back(problem.reason + ": " + problem.text);
        sorted.push_back(std::move(item));
    }
    return sorted;
}

std::vector<BackendItem> backends(const Snapshot& snapshot, const Selection& selection) {
    std::vector<BackendItem> items;
    for (const BackendRow& row : snapshot.backends)
        if (matches(selection, name_of(snapshot, row.service))) items.push_back(backend_item(snapshot, row));
    std::ranges::sort(items, [](const auto& a, const auto& b) { return backend_order(a) < backend_order(b); });
    return items;
}

const FlowMatcher::Owner& FlowMatcher::owner_of(const FlowRow& row) {
    constexpr std::uint32_t kDirect = ~0U;  // no index
    const bool direct = row.kind == SVCLB_FLOW_DIRECT;
    auto [found, fresh] = owners_.try_emplace(direct ? kDirect : row.service);
    if (!fresh) return found->second;
    if (direct || row.service == SVCLB_NONE) {  // the latter: one whose source port had to be translated
        const bool by_service = selection_.ns || !selection_.names.empty() || filter_.service;
        found->second = {{}, !by_service && (filter_.direct || !direct)};
        return found->second;
    }
    const ServiceName name = name_of(snapshot_, row.service);
    found->second = {to_string(name),
                     ctl::matches(selection_, name) && (!filter_.service || ctl::matches(*filter_.service, name))};
    return found->second;
}

bool FlowMatcher::matches(const FlowRow& row) {
    return owner_of(row).wanted && (!filter_.proto || *filter_.proto == row.proto) &&
           (!filter_.backend || ctl::matches(*filter_.backend, row.backend, row.backend_port)) &&
           (!filter_.client || ctl::matches(*filter_.client, row.client, row.client_port)) &&
           (!filter_.state || *filter_.state == row.state);
}

std::vector<FlowItem> flows(const Snapshot& snapshot, const Selection& selection, const FlowFilter& filter) {
    FlowMatcher matcher(snapshot, selection, filter);
    std::vector<FlowItem> items;
    for (const FlowRow& row : snapshot.flows)
        if (matcher.matches(row)) items.push_back({row, matcher.service_of(row)});
    std::ranges::sort(items, [](const FlowItem& a, const FlowItem& b) {
        return std::tie(a.service, a.row) < std::tie(b.service, b.row);
    });
    return items;
}

std::vector<AffinityItem> affinity(const Snapshot& snapshot, const Selection& selection) {
    std::vector<AffinityItem> items;
    for (const AffinityRow& row : snapshot.affinity) {
        const ServiceName name = name_of(snapshot, row.service);
        if (!matches(selection, name)) continue;
        const std::uint32_t timeout_s =
            is_live_index(snapshot, row.service) ? snapshot.services[row.service].affinity_s : 0;
        items.push_back({row, to_string(name), timeout_s > row.age_s ? timeout_s - row.age_s : 0});
    }
    std::ranges::sort(items, [](const AffinityItem& a, const AffinityItem& b) {
        return std::tie(a.service, a.row) < std::tie(b.service, b.row);
    });
    return items;
}

Totals totals(const Snapshot& snapshot) {
    std::set<std::pair<ServiceName, std::uint8_t>> ports;
    for (std::uint32_t index = 1; index < snapshot.services.size(); ++index)
        if (is_live_index(snapshot, index)) ports.emplace(name_of(snapshot, index), snapshot.services[index].proto);
    const auto frontends = std::ranges::count_if(
        snapshot.frontends, [](const FrontendRow& row) { return row.kind != SVCLB_FRONTEND_CLUSTER_IP_ADDRESS; });
    return {ports.size(), static_cast<std::size_t>(frontends), snapshot.backends.size()};
}

std::vector<datapath::MapInfo> maps(const Snapshot& snapshot) {
    std::uint32_t live = 0;
    std::set<std::pair<std::uint64_t, std::uint64_t>> runs;  // base and end; the two sets may share slots
    for (std::uint32_t index = 1; index < snapshot.services.size(); ++index) {
        if (!is_live_index(snapshot, index)) continue;
        ++live;
        for (const std::uint64_t run : snapshot.services[index].runs)
            runs.emplace(svclb_run_base(run), std::uint64_t{svclb_run_base(run)} + svclb_run_count(run));
    }
    std::uint64_t slots = 0;
    std::uint64_t counted_to = 0;
    for (const auto& [base, end] : runs) {
        if (end <= counted_to) continue;
        slots += end - std::max(base, counted_to);
        counted_to = end;
    }
    std::vector<datapath::MapInfo> all = snapshot.maps;
    for (datapath::MapInfo& map : all) {
        if (map.name == "services" || map.name == "service_counters") map.entries = live;
        if (map.name == "source_ranges") map.entries = static_cast<std::uint32_t>(snapshot.ranges.size());
        if (map.name == "slots") map.entries = static_cast<std::uint32_t>(slots);
        if (map.name == "backend_counters") map.entries = static_cast<std::uint32_t>(snapshot.backends.size());
    }
    return all;
}

std::optional<std::string> unknown_service(const Snapshot& snapshot, const Selection& selection) {
    for (const NameSelector& selector : selection.names) {
        const auto is_it = [&](const auto& entry) {
            return is_live_index(snapshot, entry.first) && matches(selector, entry.second) &&
                   (!selection.ns || *selection.ns == entry.second.ns);
        };
        if (std::ranges::any_of(snapshot.names, is_it)) continue;
        return (selector.ns ? *selector.ns + "/" : "") + selector.name + (selector.port ? ":" + *selector.port : "");
    }
    return std::nullopt;
}

}  // namespace svclb::ctl
