// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The two sets and their verdicts against a second telling of rows 1.13, 1.14 and 1.16, over every combination of two
// endpoints and a sample of larger Services.
#include <algorithm>
#include <random>

#include "fixtures.hpp"

using namespace svclb::model;
using namespace svclb::model::test;

namespace {

// One way an endpoint can be, by number: 7 conditions x 2 places x 3 zone hints x 3 node hints.
constexpr unsigned kConditions = 7;
constexpr unsigned kKinds = kConditions * 2 * 3 * 3;

Endpoint endpoint_of_kind(unsigned kind, unsigned index) {
    struct Conditions {
        std::optional<bool> ready, serving, terminating;
    };
    static constexpr std::array<Conditions, kConditions> conditions{{{{}, {}, {}},
                                                                     {true, false, true},
                                                                     {false, {}, true},
                                                                     {false, true, true},
                                                                     {false, true, false},
                                                                     {false, false, true},
                                                                     {false, {}, {}}}};
    auto made = endpoint("10.0.0." + std::to_string(index + 1));
    const auto take = [&kind](unsigned choices) {
        const auto chosen = kind % choices;
        kind /= choices;
        return chosen;
    };
    const auto& [ready, serving, terminating] = conditions.at(take(kConditions));
    made.ready = ready;
    made.serving = serving;
    made.terminating = terminating;
    if (take(2) == 1) made.node_name = "node-a";
    if (const auto hint = take(3); hint != 0) made.zone_hints = {hint == 1 ? "zone-a" : "zone-b"};
    if (const auto hint = take(3); hint != 0) made.node_hints = {hint == 1 ? "node-a" : "node-b"};
    return made;
}

bool ready(const Endpoint& of) {
    return of.ready != std::optional(false);
}
bool last_resort(const Endpoint& of) {
    return of.serving != std::optional(false) && of.terminating == std::optional(true);
}
bool here(const Endpoint& of) {
    return of.node_name == "node-a";
}

using Endpoints = std::vector<Endpoint>;
template <class Predicate>
Endpoints those(const Endpoints& of, Predicate wanted) {
    Endpoints out;
    std::ranges::copy_if(of, std::back_inserter(out), wanted);
    return out;
}
Endpoints first_not_empty(Endpoints first, Endpoints second) {
    return first.empty() ? std::move(second) : std::move(first);
}

// The endpoints that hints of one kind leave; none where these hints do not count.
Endpoints hinted(const Endpoints& of, std::vector<std::string> Endpoint::*hints, const std::string& own) {
    const bool all = std::ranges::none_of(of, [&](const Endpoint& one) { return (one.*hints).empty(); });
    if (own.empty() || !all) return {};
    return those(of, [&](const Endpoint& one) { return std::ranges::count(one.*hints, own) != 0; });
}

struct Expected {
    Texts cluster, local;
    Verdict cluster_verdict = Verdict::reject;
    Verdict local_verdict = Verdict::reject;
    bool operator==(const Expected&) const = default;
};

Texts texts_of(const Endpoints& endpoints) {
    Texts texts;
    for (const auto& each : endpoints) texts.push_back(each.addresses[0] + ":8080");
    std::ranges::sort(texts);
    return texts;
}

Expected expected(const Endpoints& all, const NodeView& node, bool internal_local, bool accessible,
                  bool external_local) {
    const auto all_ready = those(all, ready);
    const auto near = first_not_empty(hinted(all_ready, &Endpoint::node_hints, node.name),
                                      first_not_empty(hinted(all_ready, &Endpoint::zone_hints, node.zone), all_ready));
    Expected out;
    if (!internal_local || accessible) out.cluster = texts_of(first_not_empty(near, those(all, last_resort)));
    const bool local_wanted = internal_local || (accessible && external_local);
    if (local_wanted) {
        const auto local = those(all, here);
        out.local = texts_of(first_not_empty(those(local, ready), those(local, last_resort)));
    }
    const bool usable = !all_ready.empty() || !those(all, last_resort).empty();
    if (!out.cluster.empty()) out.cluster_verdict = Verdict::forward;
    if (!out.local.empty())
        out.local_verdict = Verdict::forward;
    else if (local_wanted && usable)
        out.local_verdict = Verdict::drop;
    return out;
}

void check_every_policy(const Endpoints& endpoints, bool through = true) {
    std::vector slices{slice("web-1", endpoints)};
    if (through) slices = through_source(web(), slices).slices;
    for (unsigned setting = 0; setting < 16; ++setting) {
        const bool internal_local = (setting & 1U) != 0;
        const bool external_local = (setting & 2U) != 0;
        const bool accessible = (setting & 4U) != 0;
        const NodeView node{.name = "node-a", .zone = (setting & 8U) != 0 ? "zone-a" : ""};
        const auto service = with_policies(accessible ? node_port_service() : web(),
                                           internal_local ? TrafficPolicy::local : TrafficPolicy::cluster,
                                           external_local ? TrafficPolicy::local : TrafficPolicy::cluster);
        std::vector<const EndpointSlice*> pointers{slices.data()};
        std::vector<Problem> problems;
        const auto state = build_service(service, pointers, node, problems);
        Expected found{cluster_set(state.at(0)), local_set(state.at(0)), state[0].cluster, state[0].local};
        std::ranges::sort(found.cluster);
        std::ranges::sort(found.local);
        const bool as_expected = found == expected(endpoints, node, internal_local, accessible, external_local);
        if (!as_expected) UNSCOPED_INFO(fmt::format("setting {}", setting));
        REQUIRE(as_expected);
    }
}

}  // namespace

TEST_CASE("law: sets and verdicts of every two endpoints under every policy") {
    check_every_policy({});
    for (unsigned one = 0; one < kKinds; ++one) {
        check_every_policy({endpoint_of_kind(one, 0)});
        for (unsigned two = one; two < kKinds; ++two) {
            CAPTURE(one, two);
            // Reading takes longer than building.
            check_every_policy({endpoint_of_kind(one, 0), endpoint_of_kind(two, 1)}, (one + two) % 16 == 0);
        }
    }
}

TEST_CASE("law: sets and verdicts of larger Services under every policy") {
    std::mt19937 generator(20240102);
    const auto random = [&](unsigned below) { return static_cast<unsigned>(generator() % below); };
    for (unsigned round = 0; round < 5000; ++round) {
        // Few kinds at a time, or no hint would ever be on all of them.
        const std::array kinds{random(kKinds), random(kKinds), random(kKinds)};
        Endpoints endpoints;
        for (unsigned i = 0, count = 3 + random(6); i < count; ++i)
            endpoints.push_back(endpoint_of_kind(kinds.at(random(3)), i));
        CAPTURE(round);
        check_every_policy(endpoints, round % 16 == 0);
    }
}
