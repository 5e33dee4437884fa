// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "view.hpp"

#include <netinet/in.h>

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "tables_fixture.hpp"

namespace svclb::ctl {
namespace {

using test::address;
using test::busy_node;
using test::kWeb4;
using test::kWeb6;
using test::tables;

Selection only(const std::string& text) {
    return {{}, {*parse_name(text)}};
}

std::vector<std::string> clients(const std::vector<FlowItem>& items) {
    std::vector<std::string> texts;
    for (const FlowItem& item : items) texts.push_back(model::endpoint_text(item.row.client, item.row.client_port));
    return texts;
}

TEST_CASE("both families of a service port are one item") {
    const auto items = services(busy_node(), {});
    REQUIRE(items.size() == 2);
    const ServiceItem& web = items[0];
    CHECK(to_string(web.name) == "default/web:http");
    REQUIRE(web.families.size() == 2);
    CHECK(web.families[0].index == kWeb4);
    CHECK(web.families[1].index == kWeb6);
    CHECK(web.frontends.size() == 3);
    CHECK(web.backends.size() == 4);
    CHECK(web.connections == 1);
    CHECK(web.counter.packets == 15);
    CHECK(web.counter.bytes == 1500);
    CHECK(to_string(items[1].name) == "kube-system/dns");
}

TEST_CASE("a service port forwards when either family does, and drops rather than rejects") {
    auto s = tables();
    const auto verdict = [&] { return services(s, only("web"))[0].verdict; };
    CHECK(verdict() == Verdicts{SVCLB_VERDICT_FORWARD, SVCLB_VERDICT_FORWARD});
    s.services[kWeb4].runs[SVCLB_SET_LOCAL] = svclb_run(0, 0, 0);
    s.services[kWeb4].verdicts[SVCLB_SET_LOCAL] = SVCLB_VERDICT_REJECT;
    CHECK(verdict() == Verdicts{SVCLB_VERDICT_FORWARD, SVCLB_VERDICT_DROP});
    s.services[kWeb4].runs[SVCLB_SET_CLUSTER] = svclb_run(0, 0, 0);
    CHECK(verdict() == Verdicts{SVCLB_VERDICT_FORWARD, SVCLB_VERDICT_DROP});
}

TEST_CASE("the protocol tells service ports of one name apart") {
    auto s = tables();
    s.services[6] = s.services[test::kDns4];
    s.services[6].proto = 6;
    s.names[6] = s.names[test::kDns4];
    CHECK(services(s, only("dns")).size() == 2);
}

TEST_CASE("services are selected by namespace, by name and by port") {
    const auto s = tables();
    CHECK(services(s, {"default", {}}).size() == 1);
    CHECK(services(s, {"default", only("dns").names}).empty());
    CHECK(services(s, only("default/web:http")).size() == 1);
    CHECK(services(s, only("default/web:other")).empty());
    CHECK(services(s, {{}, {*parse_name("web"), *parse_name("dns")}}).size() == 2);
}

TEST_CASE("a name that no service port has is told") {
    const auto s = tables();
    CHECK_FALSE(unknown_service(s, only("web")));
    CHECK(unknown_service(s, only("default/nobody:http")) == "default/nobody:http");
    CHECK(unknown_service(s, {"kube-system", only("web").names}) == "web");
}

TEST_CASE("names on the command line") {
    CHECK(to_string(name_of(tables(), 77)) == "#77");
    const auto name = parse_name("default/web:http");
    REQUIRE(name);
    CHECK(name->ns == "default");
    CHECK(name->name == "web");
    CHECK(name->port == "http");
    for (const char* bad : {"", "/web", "default/", "a/b/c", ":http"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_name(bad));
    }
    CHECK(parse_name("a/b/c").error().message() ==
          "not a service (NAME, NAMESPACE/NAME or NAMESPACE/NAME:PORT): a/b/c");
}

TEST_CASE("endpoints on the command line") {
    const auto is = [](const char* text, const char* where, std::optional<std::uint16_t> port) {
        CAPTURE(text);
        const auto endpoint = parse_endpoint(text);
        REQUIRE(endpoint);
        CHECK(endpoint->address == address(where));
        CHECK(endpoint->port == port);
    };
    is("10.0.0.1", "10.0.0.1", {});
    is("10.0.0.1:80", "10.0.0.1", 80);
    is("fd00::1", "fd00::1", {});
    is("[fd00::1]:80", "fd00::1", 80);
    for (const char* bad :
         {"", "web", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:80x", "[10.0.0.1]:80", "[]:80"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_endpoint(bad));
    }
    CHECK(parse_endpoint("web:80").error().message() == "not an ADDRESS or ADDRESS:PORT: web:80");
}

TEST_CASE("flow states on the command line in either case") {
    CHECK(*parse_state("established") == FlowState::established);
    CHECK(*parse_state("SYN_SENT") == FlowState::syn_sent);
    CHECK(parse_state("open").error().message() ==
          "not a flow state (SYN_SENT, ESTABLISHED, CLOSING, CLOSED, UNREPLIED, ASSURED): open");
}

TEST_CASE("protocols on the command line in either case") {
    CHECK(*parse_protocol("tcp") == IPPROTO_TCP);
    CHECK(*parse_protocol("SCTP") == IPPROTO_SCTP);
    CHECK(parse_protocol("icmp").error().message() == "not a protocol (TCP, UDP, SCTP): icmp");
}

TEST_CASE("a direct conversation whose port is translated is a flow, of no service") {
    auto s = busy_node();
    s.flows = {s.flows[0]};
    s.flows[0].service = SVCLB_NONE;
    REQUIRE(flows(s, {}, {}).size() == 1);
    CHECK(flows(s, {}, {}).front().service.empty());
    CHECK(flows(s, {}, {.service = *parse_name("default/web")}).empty());
}

TEST_CASE("flows are sorted by service and client; direct ones only when asked for") {
    const auto s = busy_node();
    CHECK(clients(flows(s, {}, {})) ==
          std::vector<std::string>{"[fd00:1::8]:40000", "10.1.0.7:40000", "10.1.0.8:40000"});
    CHECK(flows(s, {}, {}).front().service == "#7");
    CHECK(flows(s, {}, {.direct = true}).size() == 4);
    CHECK(flows(s, {}, {.direct = true}).front().service.empty());
}

TEST_CASE("each filter of flows takes its share") {
    const auto s = busy_node();
    const auto with = [&](const FlowFilter& filter) { return clients(flows(s, {}, filter)); };
    const std::vector<std::string> first{"10.1.0.7:40000"};
    const std::vector<std::string> second{"10.1.0.8:40000"};
    CHECK(with({.service = *parse_name("default/web:http")}).size() == 2);
    CHECK(with({.service = *parse_name("default/dns")}).empty());
    CHECK(with({.backend = *parse_endpoint("10.1.0.1")}) == first);
    CHECK(with({.backend = *parse_endpoint("10.1.0.1:8081")}).empty());
    CHECK(with({.client = *parse_endpoint("10.1.0.8:40000")}) == second);
    CHECK(with({.state = FlowState::closed}) == second);
    CHECK(with({.proto = std::uint8_t{IPPROTO_TCP}}).size() == 2);
    CHECK(with({.proto = std::uint8_t{IPPROTO_SCTP}}).empty());
    CHECK(with({.service = *parse_name("web"), .direct = true}).size() == 2);
    CHECK(clients(flows(s, only("web"), {})).size() == 2);
}

TEST_CASE("affinity runs out after the timeout of the service, and at once when it has none") {
    auto s = busy_node();
    auto items = affinity(s, {});
    REQUIRE(items.size() == 2);
    CHECK(items[0].expires_s == 10700);
    CHECK(items[1].expires_s == 0);
    s.services[kWeb4].affinity_s = 0;
    CHECK(affinity(s, {})[0].expires_s == 0);
}

TEST_CASE("arrays that we fill count the rows in use, shared slots once") {
    const auto all = maps(tables());
    const auto entries = [&](const char* name) {
        for (const auto& map : all)
            if (map.name == name) return map.entries;
        return ~0U;
    };
    CHECK(entries("services") == 3);
    CHECK(entries("slots") == 4);
    CHECK(entries("backend_counters") == 5);
    CHECK(entries("frontends") == 7);
}

TEST_CASE("a trie counts its rows, not the most that it can hold") {
    auto s = tables();
    s.maps = {{.name = "source_ranges", .type = "lpm_trie", .entries = 100, .max_entries = 100}};
    s.ranges = {{kWeb4, *model::parse_cidr("10.0.0.0/8")}};
    CHECK(maps(s).front().entries == 1);
}

TEST_CASE("totals count a dual-stack service port once and no rows for whole addresses") {
    const Totals all = totals(tables());
    CHECK(all.service_ports == 2);
    CHECK(all.frontends == 4);
    CHECK(all.backends == 5);
}

}  // namespace
}  // namespace svclb::ctl
