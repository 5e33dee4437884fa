// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Rows joined into what people ask for: service ports with both their address families, their backends, flows by name.
// Pure; everything returned is sorted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "snapshot.hpp"
#include "svclb/base/result.hpp"

namespace svclb::ctl {

struct Verdicts {
    std::uint8_t cluster = SVCLB_VERDICT_REJECT;
    std::uint8_t local = SVCLB_VERDICT_REJECT;
    bool operator==(const Verdicts&) const = default;
};

// One row of `services`: a service port in one address family.
struct FamilyItem {
    std::uint8_t family = 4;
    std::uint32_t index = SVCLB_NONE;
    Verdicts verdict;
};

struct BackendItem {
    BackendRow row;
    ServiceName service;
    std::uint8_t proto = 0;
    std::string node;
    std::string zone;
    std::uint64_t connections = 0;
    svclb_counter counter{};
};

struct ServiceItem {
    ServiceName name;
    std::uint8_t proto = 0;
    std::vector<FamilyItem> families;        // IPv4 first
    std::vector<FrontendRow> frontends;      // without the rows that stand for a whole address
    std::vector<model::Cidr> source_ranges;  // of its load-balancer addresses, where they are restricted
    std::vector<BackendItem> backends;
    Verdicts verdict;  // of both families together: "forward" when either has a backend in the set
    std::uint8_t internal_set = SVCLB_SET_CLUSTER;
    std::uint8_t external_set = SVCLB_SET_CLUSTER;
    std::uint32_t affinity_s = 0;
    std::uint8_t algorithm = SVCLB_ALGORITHM_RANDOM;
    std::uint64_t connections = 0;
    svclb_counter counter{};
    std::vector<std::string> problems;  // of the whole Service
};

struct FlowItem {
    FlowRow row;
    std::string service;  // "" for a direct conversation
};

struct AffinityItem {
    AffinityRow row;
    std::string service;
    std::uint32_t expires_s = 0;  // 0 = it has expired, or the service has no affinity any more
};

// One name given on the command line: "web", "default/web" or "default/web:http".
struct NameSelector {
    std::optional<std::string> ns{};
    std::string name;
    std::optional<std::string> port{};
};

struct Endpoint {
    Address address;
    std::optional<std::uint16_t> port{};  // nothing = any
};

struct Selection {
    std::optional<std::string> ns{};
    std::vector<NameSelector> names;  // any of them; empty = everything
};

struct FlowFilter {
    std::optional<NameSelector> service{};
    std::optional<Endpoint> backend{};
    std::optional<Endpoint> client{};
    std::optional<FlowState> state{};
    std::optional<std::uint8_t> proto{};
    bool direct = false;  // conversations that dial a backend themselves, too
};

// Which flows are meant. Names are joined once for each service port, not for each flow; what is given must live
// longer.
class FlowMatcher {
public:
    FlowMatcher(const Snapshot& snapshot, const Selection& selection, const FlowFilter& filter)
        : snapshot_(snapshot), selection_(selection), filter_(filter) {}

    [[nodiscard]] bool matches(const FlowRow& row);
    // "" for a direct conversation.
    [[nodiscard]] const std::string& service_of(const FlowRow& row) { return owner_of(row).text; }

private:
    struct Owner {
        std::string text;
        bool wanted = false;
    };
    const Owner& owner_of(const FlowRow& row);

    const Snapshot& snapshot_;
    const Selection& selection_;
    const FlowFilter& filter_;
    std::unordered_map<std::uint32_t, Owner> owners_;
};

Result<NameSelector> parse_name(std::string_view text);
// "10.0.0.1", "10.0.0.1:80", "fd00::1", "[fd00::1]:80".
Result<Endpoint> parse_endpoint(std::string_view text);
Result<FlowState> parse_state(std::string_view text);
Result<std::uint8_t> parse_protocol(std::string_view text);
[[nodiscard]] std::string_view to_string(FlowState state);

// "default/web:http", "default/web"; "#7" for an index that nobody has named.
[[nodiscard]] std::string to_string(const ServiceName& name);
[[nodiscard]] ServiceName name_of(const Snapshot& snapshot, std::uint32_t service);

[[nodiscard]] std::vector<ServiceItem> services(const Snapshot& snapshot, const Selection& selection);
[[nodiscard]] std::vector<BackendItem> backends(const Snapshot& snapshot, const Selection& selection);
[[nodiscard]] std::vector<FlowItem> flows(const Snapshot& snapshot, const Selection& selection,
                                          const FlowFilter& filter);
[[nodiscard]] std::vector<AffinityItem> affinity(const Snapshot& snapshot, const Selection& selection);

struct Totals {
    std::size_t service_ports = 0;  // the two address families of one count once
    std::size_t frontends = 0;      // addresses and ports that clients dial
    std::size_t backends = 0;
};
[[nodiscard]] Totals totals(const Snapshot& snapshot);

// With the rows in use of the arrays that we know to be partly filled, where the kernel can only say how large they
// are.
[[nodiscard]] std::vector<datapath::MapInfo> maps(const Snapshot& snapshot);

// The first of the selected names that no service port has.
[[nodiscard]] std::optional<std::string> unknown_service(const Snapshot& snapshot, const Selection& selection);

}  // namespace svclb::ctl
