// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "verify.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "svclb/model/maglev.hpp"
#include "text.hpp"
#include "view.hpp"

namespace svclb::ctl {
namespace {

constexpr std::array<svclb_set, SVCLB_SETS> kSets{SVCLB_SET_CLUSTER, SVCLB_SET_LOCAL};

std::uint8_t flag_of(svclb_set set) {
    return set == SVCLB_SET_CLUSTER ? std::uint8_t{SVCLB_BACKEND_IN_CLUSTER} : std::uint8_t{SVCLB_BACKEND_IN_LOCAL};
}

std::uint32_t filter_index(const Address& address, std::uint16_t port) {
    std::array<__be32, SVCLB_ADDR_WORDS> words{};
    std::memcpy(words.data(), address.bytes.data(), sizeof words);
    return svclb_filter_index(words.data(), htons(port));
}

svclb_frontend_key key_of(const FrontendRow& row) {
    svclb_frontend_key key{};
    std::memcpy(key.addr, row.address.bytes.data(), sizeof key.addr);
    key.port = htons(row.port);
    key.proto = row.proto;
    return key;
}

std::uint64_t weight_of(const BackendRow& backend) {
    return std::max<std::uint64_t>(1, backend.weight);
}

using FrontendId = std::tuple<Address, std::uint16_t, std::uint8_t>;  // address, port, protocol
FrontendId id_of(const FrontendRow& row) {
    return {row.address, row.port, row.proto};
}

using BackendId = std::tuple<std::uint32_t, Address, std::uint16_t>;  // service, address, port

class Verifier {
public:
    explicit Verifier(const Snapshot& snapshot) : s_(snapshot) {
        for (const FrontendRow& row : s_.frontends) frontends_.emplace(id_of(row), &row);
        for (const FrontendRow& row : s_.desired) desired_.emplace(id_of(row), &row);
        for (const BackendRow& row : s_.backends) {
            backends_.emplace(BackendId{row.service, row.address, row.port}, &row);
            backends_of_[row.service].push_back(&row);
        }
    }

    std::vector<Difference> run() {
        check_desired();
        check_frontends();
        check_whole_addresses();
        for (std::uint32_t index = 1; index < s_.services.size(); ++index)
            if (is_live(index)) check_service(index);
        check_ranges();
        check_names();
        check_backends();
        check_links();
        check_socket_hooks();
        std::ranges::sort(differences_);
        return std::move(differences_);
    }

private:
    void differs(std::string object, std::string map, std::string wanted, std::string found) {
        differences_.push_back({std::move(object), std::move(map), std::move(wanted), std::move(found)});
    }

    [[nodiscard]] bool is_live(std::uint32_t index) const {
        return index != SVCLB_NONE && index < s_.services.size() && s_.services[index].family != 0;
    }
    [[nodiscard]] std::string owner_text(std::uint32_t index) const { return to_string(name_of(s_, index)); }
    [[nodiscard]] std::string service_text(std::uint32_t index) const {
        return fmt::format("service port {} {}", owner_text(index), family_text(s_.services[index].family));
    }
    [[nodiscard]] std::string frontend_text(const FrontendRow& row) const {
        if (row.kind == SVCLB_FRONTEND_CLUSTER_IP_ADDRESS) return "frontend " + model::to_string(row.address);
        return fmt::format("frontend {}/{} of {}", model::endpoint_text(row.address, row.port),
                           protocol_text(row.proto), owner_text(row.service));
    }
    [[nodiscard]] std::string backend_text(const BackendRow& row) const {
        return fmt::format("backend {} of {}", model::endpoint_text(row.address, row.port), owner_text(row.service));
    }
    [[nodiscard]] std::string target_text(const FrontendRow& row) const {
        return fmt::format(
            "{} by the {} set{}{}{}, service index {} ({})", frontend_kind_text(row.kind), set_text(row.set),
            row.outside_set == row.set ? "" : fmt::format(", from outside {}", set_text(row.outside_set)),
            (row.flags & SVCLB_FRONTEND_SOURCE_RANGES) != 0 ? ", by source ranges" : "",
            (row.flags & SVCLB_FRONTEND_DSR) != 0 ? ", direct server return" : "", row.service,
            owner_text(row.service));
    }

    // The rows for whole addresses follow from the ClusterIPs; check_whole_addresses looks at them.
    void check_desired() {
        for (const auto& [id, wanted] : desired_) {
            if (wanted->kind == SVCLB_FRONTEND_CLUSTER_IP_ADDRESS) continue;
            const auto found = frontends_.find(id);
            if (found == frontends_.end())
                differs(frontend_text(*wanted), "frontends", target_text(*wanted), "no row");
            else if (*found->second != *wanted)
                differs(frontend_text(*wanted), "frontends", target_text(*wanted), target_text(*found->second));
        }
        for (const auto& [id, found] : frontends_)
            if (found->kind != SVCLB_FRONTEND_CLUSTER_IP_ADDRESS && !desired_.contains(id))
                differs(frontend_text(*found), "frontends", "no row", target_text(*found));
    }

    void check_frontends() {
        for (const auto& [id, row] : frontends_) {
            const auto key = key_of(*row);
            if (svclb_is_marked(s_.filters.data(), &key, row->kind) == 0)
                differs(frontend_text(*row), "filters", "frontend bytes set", "0");
            if (row->kind == SVCLB_FRONTEND_CLUSTER_IP_ADDRESS) continue;
            if (!is_live(row->service)) {
                differs(frontend_text(*row), "services", "a live row", fmt::format("index {} is free", row->service));
                continue;
            }
            const svclb_service& service = s_.services[row->service];
            const auto family = static_cast<std::uint8_t>(row->address.family());
            if (service.family != family || service.proto != row->proto)
                differs(frontend_text(*row), "services",
                        fmt::format("{} {}", family_text(family), protocol_text(row->proto)),
                        fmt::format("{} {}", family_text(service.family), protocol_text(service.proto)));
        }
    }

    void check_whole_addresses() {
        std::set<Address> wanted;
        for (const FrontendRow& row : s_.desired)
            if (row.kind == SVCLB_FRONTEND_CLUSTER_IP) wanted.insert(row.address);
        for (const Address& address : wanted) {
            const auto found = frontends_.find({address, std::uint16_t{0}, std::uint8_t{0}});
            if (found == frontends_.end() || found->second->kind != SVCLB_FRONTEND_CLUSTER_IP_ADDRESS)
                differs("frontend " + model::to_string(address), "frontends", "a row for the ClusterIP's other ports",
                        found == frontends_.end() ? "no row" : target_text(*found->second));
        }
        for (const auto& [id, row] : frontends_) {
            if (row->kind != SVCLB_FRONTEND_CLUSTER_IP_ADDRESS) continue;
            if (row->port != 0 || row->proto != 0 || row->service != SVCLB_NONE)
                differs(frontend_text(*row), "frontends", "port 0, protocol 0, no service",
                        fmt::format("port {}, protocol {}, service index {}", row->port, row->proto, row->service));
            else if (!wanted.contains(row->address))
                differs(frontend_text(*row), "frontends", "no row: no ClusterIP has the address",
                        "a row for the ClusterIP's other ports");
        }
    }

    void check_ranges() {
        for (const RangeRow& row : s_.ranges) {
            const auto asks = [&](const FrontendRow& frontend) {
                return frontend.service == row.service && (frontend.flags & SVCLB_FRONTEND_SOURCE_RANGES) != 0;
            };
            if (is_live(row.service) && std::ranges::any_of(s_.frontends, asks)) continue;
            const auto text = model::to_string(row.range);
            differs(fmt::format("source range {} of {}", text, owner_text(row.service)), "source_ranges",
                    "no row: no frontend asks for it", "a row");
        }
    }

    void check_service(std::uint32_t index) {
        for (const svclb_set set : kSets) check_set(index, set);
        if (s_.services[index].epoch_due != 0)
            differs(service_text(index), "services", "an epoch that has risen since a backend left",
                    "one that is still due");
    }

    void check_set(std::uint32_t index, svclb_set set) {
        const svclb_service& service = s_.services[index];
        const std::uint64_t run = service.runs[set];
        const std::uint64_t base = svclb_run_base(run);
        const std::uint64_t count = svclb_run_count(run);
        const std::string object = fmt::format("{} {} set", service_text(index), set_text(set));

        if ((count > 0) != (service.verdicts[set] == SVCLB_VERDICT_FORWARD))
            differs(object, "services", count > 0 ? "verdict forward" : "verdict reject or drop",
                    fmt::format("verdict {} with {} slots", verdict_text(service.verdicts[set]), count));
        if (base + count > s_.slots.size()) {
            differs(object, "services", fmt::format("a run within {} slots", s_.slots.size()),
                    fmt::format("slots {} to {}", base, base + count - 1));
            return;
        }
        std::vector<const BackendRow*> owners;
        for (std::uint64_t at = base; at < base + count; ++at) owners.push_back(check_slot(index, set, at, object));
        if (service.algorithm == SVCLB_ALGORITHM_MAGLEV) return check_table(index, set, owners, object);
        std::map<const BackendRow*, std::uint64_t> slots_of;
        for (const BackendRow* backend : owners)
            if (backend != nullptr) ++slots_of[backend];
        check_shares(index, set, slots_of);
    }

    // The backend that the slot names; nullptr, reported, when that is none of the set's.
    const BackendRow* check_slot(std::uint32_t index, svclb_set set, std::uint64_t at, const std::string& object) {
        const svclb_slot& slot = s_.slots[at];
        const std::string where = fmt::format("{} slot {}", object, at);
        const std::uint16_t generation = svclb_run_generation(s_.services[index].runs[set]);
        if (slot.service != index || slot.generation != generation) {
            differs(where, "slots", fmt::format("owner {}, generation {}", index, generation),
                    fmt::format("owner {}, generation {}", slot.service, slot.generation));
            return nullptr;
        }
        const Address address = address_of(slot.addr);
        const std::uint16_t port = ntohs(slot.port);
        const auto found = backends_.find({index, address, port});
        if (found == backends_.end()) {
            differs(where, "slots", "a backend of this service port",
                    fmt::format("{}, which has no row in backends", model::endpoint_text(address, port)));
            return nullptr;
        }
        const BackendRow& backend = *found->second;
        if ((backend.flags & flag_of(set)) == 0) {
            differs(where, "slots", fmt::format("a backend of the {} set", set_text(set)),
                    fmt::format("{}, which is not in that set", model::endpoint_text(address, port)));
            return nullptr;
        }
        if (slot.backend != backend.id)
            differs(where, "slots", fmt::format("backend id {}", backend.id),
                    fmt::format("backend id {}", slot.backend));
        return &backend;
    }

    [[nodiscard]] std::vector<const BackendRow*> members_of(std::uint32_t index, svclb_set set) const {
        std::vector<const BackendRow*> members;
        const auto found = backends_of_.find(index);
        if (found == backends_of_.end()) return members;
        std::ranges::copy_if(found->second, std::back_inserter(members),
                             [set](const BackendRow* backend) { return (backend->flags & flag_of(set)) != 0; });
        return members;
    }

    // The table is what the set's backends make it, to the last slot: or other nodes have another one.
    void check_table(std::uint32_t index, svclb_set set, std::span<const BackendRow* const> owners,
                     const std::string& object) {
        const auto backends = members_of(index, set);
        if (backends.size() > model::kMostMaglevMembers) return;
        std::vector<model::MaglevMember> members;
        members.reserve(backends.size());
        for (const BackendRow* backend : backends)
            members.push_back({backend->address, backend->port, backend->weight});
        const auto wanted = model::maglev_table(members);
        std::size_t wrong = 0;
        for (std::size_t at = 0; at < std::min(owners.size(), wanted.size()); ++at)
            if (owners[at] != backends[wanted[at]]) ++wrong;
        if (owners.size() == wanted.size() && wrong == 0) return;
        differs(object, "slots", fmt::format("the Maglev table of {} slots", wanted.size()),
                fmt::format("{} slots, {} of them others", owners.size(), wrong));
    }

    // Each backend of the set has slots in proportion to its weight. The share of one unit of weight is the one that
    // most backends agree on, so that a single wrong one is reported as itself and not as all the others.
    void check_shares(std::uint32_t index, svclb_set set, const std::map<const BackendRow*, std::uint64_t>& slots_of) {
        std::vector<std::pair<const BackendRow*, std::uint64_t>> members;
        std::uint64_t unit = 0;  // of weight
        for (const BackendRow* backend : members_of(index, set)) {
            const auto count = slots_of.find(backend);
            members.emplace_back(backend, count == slots_of.end() ? 0 : count->second);
            unit = std::gcd(unit, weight_of(*backend));
        }
        std::map<std::uint64_t, std::size_t> votes;  // slots for one unit of weight -> backends that have so many
        for (const auto& [backend, count] : members) {
            if (count != 0) ++votes[std::max<std::uint64_t>(1, count / (weight_of(*backend) / unit))];
        }
        std::uint64_t per_unit = 1;
        std::size_t most = 0;
        for (const auto& [share, voters] : votes)
            if (voters > most) std::tie(per_unit, most) = std::pair(share, voters);
        for (const auto& [backend, count] : members) {
            const std::uint64_t wanted = weight_of(*backend) / unit * per_unit;
            if (count != wanted)
                differs(backend_text(*backend), "slots",
                        fmt::format("{} of the {} set's slots for weight {}", wanted, set_text(set), backend->weight),
                        fmt::format("{}", count));
        }
    }

    void check_names() {
        for (std::uint32_t index = 1; index < s_.services.size(); ++index)
            if (is_live(index) && !s_.names.contains(index))
                differs(service_text(index), "service_names", "a name", "no row");
        for (const auto& [index, name] : s_.names)
            if (!is_live(index))
                differs("service port " + to_string(name), "services", fmt::format("a live row at index {}", index),
                        "the index is free");
    }

    void check_backends() {
        const auto counters = std::ranges::find(s_.maps, "backend_counters", &datapath::MapInfo::name);
        std::map<std::uint32_t, const BackendRow*> owners;
        for (const BackendRow& row : s_.backends) {
            if (!is_live(row.service))
                differs(backend_text(row), "services", "a live row", fmt::format("index {} is free", row.service));
            // A backend that was never in a run needs no byte: no packet can have been sent to it.
            const bool in_run = (row.flags & (SVCLB_BACKEND_IN_CLUSTER | SVCLB_BACKEND_IN_LOCAL)) != 0;
            if (in_run && s_.filters.front().backend[filter_index(row.address, row.port)] == 0)
                differs(backend_text(row), "filters", "backend byte set", "0");
            const bool in_range = row.id != SVCLB_NONE && (counters == s_.maps.end() || row.id < counters->max_entries);
            if (!in_range) {
                differs(backend_text(row), "backends",
                        counters == s_.maps.end() ? "an id" : fmt::format("an id below {}", counters->max_entries),
                        fmt::format("id {}", row.id));
                continue;
            }
            const auto [first, fresh] = owners.emplace(row.id, &row);
            if (!fresh)
                differs(backend_text(row), "backends", "an id of its own",
                        fmt::format("id {}, which is that of {}", row.id, backend_text(*first->second)));
        }
    }

    void check_links() {
        for (const datapath::AttachedLink& link : s_.links) {
            if (link.kind == datapath::LinkKind::cgroup) continue;
            for (const std::string_view wanted : {"tc ingress", "tc egress"}) {
                const bool there =
                    std::ranges::any_of(link.hooks, [&](const auto& hook) { return hook.hook == wanted; });
                if (there) continue;
                std::string found;
                for (const datapath::Hook& hook : link.hooks) found += (found.empty() ? "" : ", ") + hook.hook;
                differs(fmt::format("link {} (ifindex {})", link.name, link.ifindex), "links", std::string(wanted),
                        found.empty() ? "no hook" : "only " + found);
            }
        }
        check_xdp();
    }

    // What the programs believe of an uplink and what is on it.
    void check_xdp() {
        std::set<int> attached;
        for (const datapath::AttachedLink& link : s_.links)
            if (std::ranges::any_of(link.hooks, [](const auto& hook) { return hook.hook == "xdp"; }))
                attached.insert(link.ifindex);
        for (const int ifindex : attached)
            if (!s_.xdp_links.contains(ifindex))
                differs(fmt::format("link ifindex {}", ifindex), "xdp_links", "a row", "none, but XDP is attached");
        for (const int ifindex : s_.xdp_links)
            if (!attached.contains(ifindex))
                differs(fmt::format("link ifindex {}", ifindex), "links", "xdp", "not attached");
    }

    // All of them where the agent says that they are in force, else none.
    void check_socket_hooks() {
        const bool wanted = s_.agent.sockets_attached != 0;
        std::set<std::string_view> attached;
        for (const datapath::AttachedLink& link : s_.links)
            if (link.kind == datapath::LinkKind::cgroup)
                for (const datapath::Hook& hook : link.hooks) attached.insert(hook.hook);
        for (const std::string_view hook : datapath::socket_hooks())
            if (attached.contains(hook) != wanted)
                differs(fmt::format("socket hook {}", hook), "links", wanted ? "attached" : "not attached",
                        wanted ? "not attached" : "attached");
    }

    const Snapshot& s_;
    std::map<FrontendId, const FrontendRow*> frontends_;
    std::map<FrontendId, const FrontendRow*> desired_;
    std::map<BackendId, const BackendRow*> backends_;
    std::unordered_map<std::uint32_t, std::vector<const BackendRow*>> backends_of_;
    std::vector<Difference> differences_;
};

}  // namespace

std::vector<Difference> verify(const Snapshot& snapshot) {
    return Verifier(snapshot).run();
}

std::vector<Difference> persisting(const std::vector<Difference>& first, const std::vector<Difference>& second) {
    // By object and map: a number in the rest may have moved on while the object stayed wrong.
    std::set<std::pair<std::string, std::string>> seen;
    for (const Difference& difference : first) seen.emplace(difference.object, difference.map);
    std::vector<Difference> both;
    for (const Difference& difference : second)
        if (seen.contains({difference.object, difference.map})) both.push_back(difference);
    return both;
}

}  // namespace svclb::ctl
