// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// One test for each way in which the tables can be wrong; each expects that difference and no other.
#include "verify.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "svclb/model/maglev.hpp"
#include "tables_fixture.hpp"

namespace Catch {
template <>
struct StringMaker<svclb::ctl::Difference> {
    static std::string convert(const svclb::ctl::Difference& d) {
        return d.object + " | " + d.map + " | " + d.wanted + " | " + d.found;
    }
};
}  // namespace Catch

namespace svclb::ctl {
namespace {

using test::backend_of;
using test::frontend_of;
using test::kDns4;
using test::kWeb4;
using test::kWeb6;
using test::tables;
using Differences = std::vector<Difference>;

TEST_CASE("tables that agree have no difference") {
    CHECK(verify(tables()) == Differences{});
}

TEST_CASE("a desired frontend without a row is missing") {
    auto s = tables();
    std::erase(s.frontends, frontend_of(s, "192.0.2.7", 80));
    CHECK(verify(s) == Differences{{"frontend 192.0.2.7:80/TCP of default/web:http", "frontends",
                                    "externalIP by the Local set, service index 1 (default/web:http)", "no row"}});
}

TEST_CASE("a frontend that nobody wants is too much") {
    auto s = tables();
    std::erase_if(s.desired, [](const FrontendRow& row) { return row.kind == SVCLB_FRONTEND_EXTERNAL_IP; });
    CHECK(verify(s) == Differences{{"frontend 192.0.2.7:80/TCP of default/web:http", "frontends", "no row",
                                    "externalIP by the Local set, service index 1 (default/web:http)"}});
}

TEST_CASE("a frontend that leads to another service differs") {
    auto s = tables();
    frontend_of(s, "192.0.2.7", 80).set = SVCLB_SET_CLUSTER;
    CHECK(verify(s) ==
          Differences{{"frontend 192.0.2.7:80/TCP of default/web:http", "frontends",
                       "externalIP by the Local set, service index 1 (default/web:http)",
                       "externalIP by the Cluster set, from outside Local, service index 1 (default/web:http)"}});
}

TEST_CASE("a frontend of a free index differs") {
    auto s = tables();
    for (auto* rows : {&s.frontends, &s.desired})
        for (FrontendRow& row : *rows)
            if (row.kind == SVCLB_FRONTEND_EXTERNAL_IP) row.service = 6;
    CHECK(verify(s) == Differences{{"frontend 192.0.2.7:80/TCP of #6", "services", "a live row", "index 6 is free"}});
}

TEST_CASE("a frontend of a service port of the other family differs") {
    auto s = tables();
    for (auto* rows : {&s.frontends, &s.desired})
        for (FrontendRow& row : *rows)
            if (row.kind == SVCLB_FRONTEND_EXTERNAL_IP) row.service = kWeb6;
    CHECK(verify(s) ==
          Differences{{"frontend 192.0.2.7:80/TCP of default/web:http", "services", "IPv4 TCP", "IPv6 TCP"}});
}

TEST_CASE("a ClusterIP needs the row for its other ports") {
    auto s = tables();
    std::erase(s.frontends, frontend_of(s, "fd00:96::10", 0));
    CHECK(verify(s) ==
          Differences{{"frontend fd00:96::10", "frontends", "a row for the ClusterIP's other ports", "no row"}});
}

TEST_CASE("a row for the other ports of an address that is no ClusterIP is too much") {
    auto s = tables();
    frontend_of(s, "10.96.0.53", 0).address = test::address("10.96.0.54");
    test::mark_filters(s);
    CHECK(verify(s) ==
          Differences{{"frontend 10.96.0.53", "frontends", "a row for the ClusterIP's other ports", "no row"},
                      {"frontend 10.96.0.54", "frontends", "no row: no ClusterIP has the address",
                       "a row for the ClusterIP's other ports"}});
}

TEST_CASE("a row for other ports that names a service differs") {
    auto s = tables();
    frontend_of(s, "10.96.0.53", 0).service = kWeb4;
    CHECK(verify(s) == Differences{{"frontend 10.96.0.53", "frontends", "port 0, protocol 0, no service",
                                    "port 0, protocol 0, service index 1"}});
}

TEST_CASE("a run beyond the slots differs") {
    auto s = tables();
    s.services[kWeb6].runs[SVCLB_SET_CLUSTER] = svclb_run(16, 1, 1);
    CHECK(verify(s) == Differences{{"service port default/web:http IPv6 Cluster set", "services",
                                    "a run within 16 slots", "slots 16 to 16"}});
}

TEST_CASE("a slot of another owner differs, and its backend is without it") {
    auto s = tables();
    s.slots[8].service = kWeb4;
    CHECK(verify(s) == Differences{{"backend [fd00:1::1]:8080 of default/web:http", "slots",
                                    "1 of the Cluster set's slots for weight 1", "0"},
                                   {"service port default/web:http IPv6 Cluster set slot 8", "slots",
                                    "owner 2, generation 1", "owner 1, generation 1"}});
}

TEST_CASE("a slot of another generation differs") {
    auto s = tables();
    s.slots[8].generation = 2;
    CHECK(verify(s) == Differences{{"backend [fd00:1::1]:8080 of default/web:http", "slots",
                                    "1 of the Cluster set's slots for weight 1", "0"},
                                   {"service port default/web:http IPv6 Cluster set slot 8", "slots",
                                    "owner 2, generation 1", "owner 2, generation 2"}});
}

TEST_CASE("a slot whose backend has no row differs") {
    auto s = tables();
    std::erase(s.backends, backend_of(s, "fd00:1::1"));
    CHECK(verify(s) ==
          Differences{{"service port default/web:http IPv6 Cluster set slot 8", "slots",
                       "a backend of this service port", "[fd00:1::1]:8080, which has no row in backends"}});
}

TEST_CASE("a slot whose backend is not in the set differs") {
    auto s = tables();
    backend_of(s, "fd00:1::1").flags = SVCLB_BACKEND_SERVING;
    CHECK(verify(s) == Differences{{"service port default/web:http IPv6 Cluster set slot 8", "slots",
                                    "a backend of the Cluster set", "[fd00:1::1]:8080, which is not in that set"}});
}

TEST_CASE("a slot that counts for another backend differs") {
    auto s = tables();
    s.slots[8].backend = 22;
    CHECK(verify(s) == Differences{{"service port default/web:http IPv6 Cluster set slot 8", "slots", "backend id 21",
                                    "backend id 22"}});
}

TEST_CASE("a backend of a set that is in no slot differs") {
    auto s = tables();
    backend_of(s, "10.1.0.3").flags |= SVCLB_BACKEND_IN_CLUSTER;
    CHECK(verify(s) == Differences{{"backend 10.1.0.3:8080 of default/web:http", "slots",
                                    "1 of the Cluster set's slots for weight 1", "0"}});
}

TEST_CASE("a backend with more slots than its weight allows differs") {
    auto s = tables();
    backend_of(s, "10.1.0.2").weight = 1;
    CHECK(verify(s) == Differences{{"backend 10.1.0.2:8080 of default/web:http", "slots",
                                    "1 of the Cluster set's slots for weight 1", "2"}});
}

TEST_CASE("slots need only be in proportion to the weights") {
    auto s = tables();
    backend_of(s, "10.1.0.1").weight = 50;
    backend_of(s, "10.1.0.2").weight = 100;
    CHECK(verify(s) == Differences{});
    // The same slots twice: each member has its share still.
    for (std::size_t i = 0; i < 3; ++i) s.slots[9 + i] = s.slots[12 + i] = s.slots[4 + i];
    s.services[kWeb4].runs[SVCLB_SET_CLUSTER] = svclb_run(9, 6, 7);
    CHECK(verify(s) == Differences{});
}

TEST_CASE("a Maglev table is what its members make it, to the last slot") {
    auto s = tables();
    s.services[kWeb4].algorithm = SVCLB_ALGORITHM_MAGLEV;
    const std::vector<model::MaglevMember> members{{test::address("10.1.0.1"), 8080, 1},
                                                   {test::address("10.1.0.2"), 8080, 2}};
    const auto table = model::maglev_table(members);
    s.slots.resize(20 + table.size() + 1024);
    for (std::size_t at = 0; at < table.size(); ++at)
        s.slots[20 + at] =
            table[at] == 0 ? test::slot(kWeb4, "10.1.0.1", 8080, 11, 7) : test::slot(kWeb4, "10.1.0.2", 8080, 12, 7);
    const auto local = 20 + static_cast<std::uint32_t>(table.size());
    for (std::size_t at = 0; at < 1024; ++at) s.slots[local + at] = test::slot(kWeb4, "10.1.0.1", 8080, 11, 7);
    s.services[kWeb4].runs[SVCLB_SET_CLUSTER] = svclb_run(20, static_cast<std::uint32_t>(table.size()), 7);
    s.services[kWeb4].runs[SVCLB_SET_LOCAL] = svclb_run(local, 1024, 7);
    CHECK(verify(s) == Differences{});

    auto swapped = s;
    const auto other = std::ranges::find_if(table, [&](std::uint32_t member) { return member != table[0]; });
    std::swap(swapped.slots[20], swapped.slots[20 + static_cast<std::size_t>(other - table.begin())]);
    CHECK(verify(swapped) == Differences{{"service port default/web:http IPv4 Cluster set", "slots",
                                          "the Maglev table of 2048 slots", "2048 slots, 2 of them others"}});
    s.services[kWeb4].runs[SVCLB_SET_LOCAL] = svclb_run(local, 1023, 7);
    CHECK(verify(s) == Differences{{"service port default/web:http IPv4 Local set", "slots",
                                    "the Maglev table of 1024 slots", "1023 slots, 0 of them others"}});
}

TEST_CASE("a verdict that is not that of the run differs, with and without slots") {
    auto s = tables();
    s.services[kWeb6].verdicts[SVCLB_SET_CLUSTER] = SVCLB_VERDICT_REJECT;
    s.services[kDns4].verdicts[SVCLB_SET_LOCAL] = SVCLB_VERDICT_FORWARD;
    CHECK(verify(s) == Differences{{"service port default/web:http IPv6 Cluster set", "services", "verdict forward",
                                    "verdict reject with 1 slots"},
                                   {"service port kube-system/dns IPv4 Local set", "services", "verdict reject or drop",
                                    "verdict forward with 0 slots"}});
}

TEST_CASE("an epoch that is due differs: UDP conversations may be with a backend that is gone") {
    auto s = tables();
    s.services[kDns4].epoch_due = 1;
    CHECK(verify(s) == Differences{{"service port kube-system/dns IPv4", "services",
                                    "an epoch that has risen since a backend left", "one that is still due"}});
}

TEST_CASE("a live service port without a name differs") {
    auto s = tables();
    s.names.erase(kDns4);
    CHECK(verify(s) == Differences{{"service port #5 IPv4", "service_names", "a name", "no row"}});
}

TEST_CASE("a name without a live service port differs") {
    auto s = tables();
    s.names[6] = {"default", "old", "http"};
    s.names[4000] = {"default", "older", ""};
    CHECK(verify(s) ==
          Differences{{"service port default/old:http", "services", "a live row at index 6", "the index is free"},
                      {"service port default/older", "services", "a live row at index 4000", "the index is free"}});
}

TEST_CASE("frontends and backends need their filter bytes") {
    auto s = tables();
    auto only = tables();  // whose bytes lack those of one frontend and one backend
    std::erase(only.frontends, frontend_of(only, "192.0.2.7", 80));
    std::erase(only.backends, backend_of(only, "10.1.0.2"));
    test::mark_filters(only);
    s.filters = only.filters;
    CHECK(verify(s) ==
          Differences{{"backend 10.1.0.2:8080 of default/web:http", "filters", "backend byte set", "0"},
                      {"frontend 192.0.2.7:80/TCP of default/web:http", "filters", "frontend bytes set", "0"}});
}

TEST_CASE("a backend that is in no set needs no filter byte") {
    auto s = tables();
    auto only = tables();
    std::erase(only.backends, backend_of(only, "10.1.0.9"));
    test::mark_filters(only);
    s.filters = only.filters;
    CHECK(verify(s) == Differences{});
}

TEST_CASE("a backend of a free index differs") {
    auto s = tables();
    backend_of(s, "10.1.0.9").service = 6;
    CHECK(verify(s) == Differences{{"backend 10.1.0.9:53 of #6", "services", "a live row", "index 6 is free"}});
}

TEST_CASE("backends need ids of their own within the counters") {
    auto s = tables();
    backend_of(s, "10.1.0.3").id = 64;
    backend_of(s, "10.1.0.9").id = 12;
    CHECK(verify(s) == Differences{{"backend 10.1.0.3:8080 of default/web:http", "backends", "an id below 64", "id 64"},
                                   {"backend 10.1.0.9:53 of kube-system/dns", "backends", "an id of its own",
                                    "id 12, which is that of backend 10.1.0.2:8080 of default/web:http"}});
}

TEST_CASE("a source range differs where no frontend asks for it") {
    auto s = tables();
    s.ranges = {{kWeb4, *model::parse_cidr("10.0.0.0/8")}, {7, *model::parse_cidr("fd00::/64")}};
    for (auto* rows : {&s.frontends, &s.desired})
        for (auto& row : *rows)
            if (row.kind == SVCLB_FRONTEND_EXTERNAL_IP) row.flags = SVCLB_FRONTEND_SOURCE_RANGES;
    CHECK(verify(s).size() == 1);
    CHECK(verify(s).front().object.starts_with("source range fd00::/64 of "));
    CHECK(verify(s).front().map == "source_ranges");
    for (auto* rows : {&s.frontends, &s.desired})
        for (auto& row : *rows) row.flags = 0;
    CHECK(verify(s).size() == 2);
}

TEST_CASE("a link needs both hooks") {
    auto s = tables();
    s.links.push_back({4, "veth2", datapath::LinkKind::pod, {{"tc egress", "clsact"}}});
    CHECK(verify(s) == Differences{{"link veth2 (ifindex 4)", "links", "tc ingress", "only tc egress"}});
}

TEST_CASE("all socket hooks are attached where the agent says so, else none") {
    auto s = tables();
    std::vector<datapath::Hook> hooks;
    for (const auto hook : datapath::socket_hooks()) hooks.push_back({std::string(hook), "link"});
    s.links.push_back({0, "", datapath::LinkKind::cgroup, hooks});
    s.agent.sockets_attached = 1;
    CHECK(verify(s).empty());
    s.links.back().hooks.pop_back();
    CHECK(verify(s) == Differences{{"socket hook " + hooks.back().hook, "links", "attached", "not attached"}});
    s.agent.sockets_attached = 0;
    CHECK(verify(s).size() == hooks.size() - 1);
    CHECK(verify(s).front() == Difference{"socket hook connect4", "links", "not attached", "attached"});
    s.links.pop_back();
    CHECK(verify(s).empty());
}

TEST_CASE("what a second reading has no more is no difference, what changed its numbers still is") {
    const Difference moved{"a", "slots", "generation 1", "generation 2"};
    const Difference moved_on{"a", "slots", "generation 2", "generation 3"};
    const Difference other{"b", "slots", "1", "0"};
    CHECK(persisting({moved, other}, {moved_on}) == Differences{moved_on});
    CHECK(persisting({other}, {moved}) == Differences{});
}

}  // namespace
}  // namespace svclb::ctl
