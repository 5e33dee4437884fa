// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "render.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "text.hpp"

namespace svclb::ctl {
namespace {

constexpr std::size_t kFrontendsShown = 3;  // in a narrow table

std::string frontends_cell(const std::vector<FrontendRow>& frontends, bool all) {
    const std::size_t shown = all ? frontends.size() : std::min(frontends.size(), kFrontendsShown);
    std::string cell;
    for (std::size_t i = 0; i < shown; ++i)
        cell += (i == 0 ? "" : ",") + model::endpoint_text(frontends[i].address, frontends[i].port);
    if (shown < frontends.size()) cell += fmt::format(" + {} more...", frontends.size() - shown);
    return cell;
}

std::string ready_cell(const std::vector<BackendItem>& backends) {
    const auto ready =
        std::ranges::count_if(backends, [](const BackendItem& item) { return item.row.state == SVCLB_BACKEND_READY; });
    return fmt::format("{}/{}", ready, backends.size());
}

std::string verdict_cell(const Verdicts& verdict) {
    return verdict_text(verdict.cluster) + "/" + verdict_text(verdict.local);
}

// The families are told apart only where they differ.
std::string verdicts_cell(const ServiceItem& item) {
    if (std::ranges::all_of(item.families, [&](const FamilyItem& f) { return f.verdict == item.verdict; }))
        return verdict_cell(item.verdict);
    std::string cell;
    for (const FamilyItem& family : item.families)
        cell += (cell.empty() ? "" : ",") + family_text(family.family) + ":" + verdict_cell(family.verdict);
    return cell;
}

std::string indexes_cell(const ServiceItem& item) {
    std::string cell;
    for (const FamilyItem& family : item.families) cell += (cell.empty() ? "" : ",") + std::to_string(family.index);
    return cell;
}

std::string seconds_cell(std::uint32_t seconds) {
    return seconds == 0 ? "" : std::to_string(seconds) + "s";
}

bool in_set(const BackendRow& row, svclb_backend_flag flag) {
    return (row.flags & flag) != 0;
}

std::string sets_cell(const BackendRow& row) {
    const bool cluster = in_set(row, SVCLB_BACKEND_IN_CLUSTER);
    const bool local = in_set(row, SVCLB_BACKEND_IN_LOCAL);
    return std::string(cluster ? "Cluster" : "") + (cluster && local ? "," : "") + (local ? "Local" : "");
}

// Who stays with a backend: an address, or the processes of a network namespace.
std::string affinity_client_text(const model::Address& client) {
    std::uint32_t first = 0;
    std::memcpy(&first, client.bytes.data(), sizeof(first));
    return first == SVCLB_CLIENT_NETNS ? "host" : model::to_string(client);
}
std::string client_text(const FlowRow& row) {
    return model::endpoint_text(row.client, row.client_port);
}
std::string backend_text(const FlowRow& row) {
    return model::endpoint_text(row.backend, row.backend_port);
}
std::string frontend_text(const FlowRow& row) {
    return row.kind == SVCLB_FLOW_DIRECT ? "" : model::endpoint_text(row.frontend, row.frontend_port);
}

std::string link_kind_text(datapath::LinkKind kind) {
    if (kind == datapath::LinkKind::cgroup) return "cgroup";
    if (kind == datapath::LinkKind::host) return "host";
    if (kind == datapath::LinkKind::tunnel) return "tunnel";
    return kind == datapath::LinkKind::pod ? "pod" : "uplink";
}

Json verdict_json(const Verdicts& verdict) {
    return {{"cluster", verdict_text(verdict.cluster)}, {"local", verdict_text(verdict.local)}};
}

// The part that is the same below a service and in a list of backends.
void add_backend_fields(const BackendItem& item, Json& out) {
    out["address"] = model::to_string(item.row.address);
    out["port"] = item.row.port;
    out["nodeName"] = item.node;
    out["zone"] = item.zone;
    out["state"] = backend_state_text(item.row.state);
    out["inCluster"] = in_set(item.row, SVCLB_BACKEND_IN_CLUSTER);
    out["inLocal"] = in_set(item.row, SVCLB_BACKEND_IN_LOCAL);
    out["serving"] = in_set(item.row, SVCLB_BACKEND_SERVING);
    out["weight"] = item.row.weight;
    out["connections"] = item.connections;
    out["flows"] = item.counter.flows;
    out["packets"] = item.counter.packets;
    out["bytes"] = item.counter.bytes;
    out["id"] = item.row.id;
}

Json service_json(const ServiceItem& item) {
    Json frontends = Json::array();
    for (const FrontendRow& row : item.frontends)
        frontends.push_back({{"address", model::to_string(row.address)},
                             {"port", row.port},
                             {"kind", frontend_kind_text(row.kind)},
                             {"policy", set_text(row.set)},
                             {"outsidePolicy", set_text(row.outside_set)},
                             {"restricted", (row.flags & SVCLB_FRONTEND_SOURCE_RANGES) != 0},
                             {"dsr", (row.flags & SVCLB_FRONTEND_DSR) != 0}});
    Json ranges = Json::array();
    for (const model::Cidr& range : item.source_ranges) ranges.push_back(model::to_string(range));
    Json backends = Json::array();
    for (const BackendItem& backend : item.backends) add_backend_fields(backend, backends.emplace_back(Json::object()));
    Json families = Json::array();
    for (const FamilyItem& family : item.families)
        families.push_back({{"family", family_text(family.family)},
                            {"index", family.index},
                            {"verdict", verdict_json(family.verdict)}});
    return {{"namespace", item.name.ns},
            {"name", item.name.name},
            {"portName", item.name.port_name},
            {"protocol", protocol_text(item.proto)},
            {"frontends", std::move(frontends)},
            {"sourceRanges", std::move(ranges)},
            {"backends", std::move(backends)},
            {"verdict", verdict_json(item.verdict)},
            {"internalTrafficPolicy", set_text(item.internal_set)},
            {"externalTrafficPolicy", set_text(item.external_set)},
            {"affinitySeconds", item.affinity_s},
            {"algorithm", item.algorithm == SVCLB_ALGORITHM_MAGLEV ? "maglev" : "random"},
            {"connections", item.connections},
            {"flows", item.counter.flows},
            {"packets", item.counter.packets},
            {"bytes", item.counter.bytes},
            {"families", std::move(families)},
            {"problems", item.problems}};
}

Json flow_json(const FlowItem& item) {
    const FlowRow& row = item.row;
    Json out = {{"protocol", protocol_text(row.proto)},
                {"client", client_text(row)},
                {"frontend", frontend_text(row)},
                {"backend", backend_text(row)},
                {"service", item.service},
                {"state", to_string(row.state)},
                {"idleSeconds", row.idle_s},
                {"family", model::to_string(row.client.family())},
                {"kind", flow_kind_text(row.kind)}};
    if (row.translated_port != row.client_port) out["clientPort"] = row.translated_port;
    return out;
}

// Every list looks like this, so that a reader of the JSON needs one way in.
template <class Items, class ToJson>
Json list_json(const Items& items, const ToJson& to_json) {
    Json list = Json::array();
    for (const auto& item : items) list.push_back(to_json(item));
    Json out = Json::object();
    out["items"] = std::move(list);
    return out;
}

void append(std::vector<std::string>& to, std::vector<std::string> more) {
    to.insert(to.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

}  // namespace

Table services_table(const std::vector<ServiceItem>& items, bool wide) {
    Table table{{"NAMESPACE", "NAME", "PORT", "PROTOCOL", "FRONTENDS", "BACKENDS", "CONNECTIONS", "PACKETS", "BYTES"},
                {}};
    if (wide) append(table.headers, {"VERDICT", "POLICIES", "AFFINITY", "INDEX", "PROBLEMS"});
    for (const ServiceItem& item : items) {
        auto& row = table.rows.emplace_back();
        row = {item.name.ns,
               item.name.name,
               item.name.port_name,
               protocol_text(item.proto),
               frontends_cell(item.frontends, wide),
               ready_cell(item.backends),
               std::to_string(item.connections),
               std::to_string(item.counter.packets),
               std::to_string(item.counter.bytes)};
        if (wide)
            append(row, {verdicts_cell(item), set_text(item.internal_set) + "/" + set_text(item.external_set),
                         seconds_cell(item.affinity_s), indexes_cell(item),
                         fmt::format("{}", fmt::join(item.problems, "; "))});
    }
    return table;
}

Table backends_table(const std::vector<BackendItem>& items, bool wide) {
    Table table{{"SERVICE", "PROTOCOL", "BACKEND", "STATE", "NODE", "CONNECTIONS", "PACKETS", "BYTES"}, {}};
    if (wide) append(table.headers, {"ZONE", "SETS", "WEIGHT", "FLOWS", "INDEX", "ID"});
    for (const BackendItem& item : items) {
        auto& row = table.rows.emplace_back();
        row = {to_string(item.service),
               protocol_text(item.proto),
               model::endpoint_text(item.row.address, item.row.port),
               backend_state_text(item.row.state),
               item.node,
               std::to_string(item.connections),
               std::to_string(item.counter.packets),
               std::to_string(item.counter.bytes)};
        if (wide)
            append(row,
                   {item.zone, sets_cell(item.row), std::to_string(item.row.weight), std::to_string(item.counter.flows),
                    std::to_string(item.row.service), std::to_string(item.row.id)});
    }
    return table;
}

Table flows_table(const std::vector<FlowItem>& items, bool wide) {
    Table table{{"PROTOCOL", "CLIENT", "FRONTEND", "BACKEND", "SERVICE", "STATE", "IDLE"}, {}};
    if (wide) append(table.headers, {"KIND", "CLIENTPORT", "INDEX", "BACKENDID"});
    table.rows.reserve(items.size());
    for (const FlowItem& item : items) {
        auto& row = table.rows.emplace_back();
        row = {protocol_text(item.row.proto),
               client_text(item.row),
               frontend_text(item.row),
               backend_text(item.row),
               item.service,
               std::string(to_string(item.row.state)),
               std::to_string(item.row.idle_s) + "s"};
        if (wide)
            append(row, {flow_kind_text(item.row.kind), std::to_string(item.row.translated_port),
                         std::to_string(item.row.service), std::to_string(item.row.backend_id)});
    }
    return table;
}

Table affinity_table(const std::vector<AffinityItem>& items, bool wide) {
    Table table{{"CLIENT", "SERVICE", "BACKEND", "AGE", "EXPIRES"}, {}};
    if (wide) append(table.headers, {"INDEX"});
    for (const AffinityItem& item : items) {
        auto& row = table.rows.emplace_back();
        row = {affinity_client_text(item.row.client), item.service,
               model::endpoint_text(item.row.backend, item.row.port), std::to_string(item.row.age_s) + "s",
               item.expires_s == 0 ? "expired" : std::to_string(item.expires_s) + "s"};
        if (wide) append(row, {std::to_string(item.row.service)});
    }
    return table;
}

Table links_table(const std::vector<datapath::AttachedLink>& items) {
    Table table{{"IFINDEX", "NAME", "KIND", "HOOKS"}, {}};
    for (const datapath::AttachedLink& link : items) {
        std::string hooks;
        for (const datapath::Hook& hook : link.hooks) hooks += (hooks.empty() ? "" : ",") + hook.hook + ":" + hook.mode;
        table.rows.push_back({std::to_string(link.ifindex), link.name, link_kind_text(link.kind), std::move(hooks)});
    }
    return table;
}

Table maps_table(const std::vector<datapath::MapInfo>& items) {
    Table table{{"NAME", "TYPE", "ENTRIES", "MAX", "BYTES"}, {}};
    for (const datapath::MapInfo& map : items)
        table.rows.push_back({map.name, map.type, std::to_string(map.entries), std::to_string(map.max_entries),
                              std::to_string(map.bytes)});
    return table;
}

Json services_json(const std::vector<ServiceItem>& items) {
    return list_json(items, service_json);
}

Json backends_json(const std::vector<BackendItem>& items) {
    return list_json(items, [](const BackendItem& item) {
        Json out = {{"namespace", item.service.ns},
                    {"name", item.service.name},
                    {"portName", item.service.port_name},
                    {"protocol", protocol_text(item.proto)}};
        add_backend_fields(item, out);
        return out;
    });
}

Json flows_json(const std::vector<FlowItem>& items) {
    return list_json(items, flow_json);
}

Json affinity_json(const std::vector<AffinityItem>& items) {
    return list_json(items, [](const AffinityItem& item) -> Json {
        return {{"client", affinity_client_text(item.row.client)},
                {"service", item.service},
                {"backend", model::endpoint_text(item.row.backend, item.row.port)},
                {"ageSeconds", item.row.age_s},
                {"expiresInSeconds", item.expires_s}};
    });
}

Json links_json(const std::vector<datapath::AttachedLink>& items) {
    return list_json(items, [](const datapath::AttachedLink& link) -> Json {
        Json hooks = Json::array();
        for (const datapath::Hook& hook : link.hooks) hooks.push_back({{"hook", hook.hook}, {"mode", hook.mode}});
        return {{"ifindex", link.ifindex},
                {"name", link.name},
                {"kind", link_kind_text(link.kind)},
                {"hooks", std::move(hooks)}};
    });
}

Json maps_json(const std::vector<datapath::MapInfo>& items) {
    return list_json(items, [](const datapath::MapInfo& map) -> Json {
        return {{"name", map.name},
                {"type", map.type},
                {"entries", map.entries},
                {"maxEntries", map.max_entries},
                {"bytes", map.bytes}};
    });
}

Json differences_json(const std::vector<Difference>& differences) {
    Json list = Json::array();
    for (const Difference& difference : differences)
        list.push_back({{"object", difference.object},
                        {"map", difference.map},
                        {"wanted", difference.wanted},
                        {"found", difference.found}});
    Json out = Json::object();
    out["differences"] = std::move(list);
    return out;
}

std::string differences_text(const Snapshot& snapshot, const std::vector<Difference>& differences) {
    if (differences.empty()) {
        const Totals all = totals(snapshot);
        return fmt::format("{} service ports, {} frontends, {} backends verified: no differences\n", all.service_ports,
                           all.frontends, all.backends);
    }
    std::string out;
    for (const Difference& d : differences)
        out += escaped(fmt::format("{}: {}: wanted {}, found {}", d.object, d.map, d.wanted, d.found)) + "\n";
    return out;
}

}  // namespace svclb::ctl
