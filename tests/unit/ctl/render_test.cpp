// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The keys of the JSON and their order are a contract, hence literal texts.
#include "render.hpp"

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstring>

#include "tables_fixture.hpp"

namespace svclb::ctl {
namespace {

using test::busy_node;
using test::tables;

// Leaves what a wide table has beyond the narrow one.
void drop_columns(Table& table, std::ptrdiff_t count) {
    table.headers.erase(table.headers.begin(), table.headers.begin() + count);
    for (auto& row : table.rows) row.erase(row.begin(), row.begin() + count);
}

TEST_CASE("services as a table") {
    CHECK(to_text(services_table(services(busy_node(), {}), false)) ==
          "NAMESPACE     NAME   PORT     PROTOCOL   FRONTENDS                                     BACKENDS   "
          "CONNECTIONS   PACKETS   BYTES\n"
          "default       web    http     TCP        10.96.0.10:80,[fd00:96::10]:80,192.0.2.7:80   3/4        "
          "1             15        1500\n"
          "kube-system   dns    <none>   UDP        10.96.0.53:53                                 0/1        "
          "0             0         0\n");
}

TEST_CASE("services as a wide table tell the families apart where they differ") {
    Table table = services_table(services(busy_node(), {}), true);
    drop_columns(table, 9);
    CHECK(to_text(table) ==
          "VERDICT                                  POLICIES          AFFINITY   INDEX   PROBLEMS\n"
          "IPv4:forward/forward,IPv6:forward/drop   Cluster/Cluster   10800s     1,2     <none>\n"
          "reject/reject                            Local/Cluster     <none>     5       "
          "FrontendConflict: default/web has it\n");
}

TEST_CASE("a narrow table shows three frontends, a wide one all") {
    auto s = tables();
    s.frontends.push_back(s.frontends.front());
    s.frontends.back() = test::frontend_of(s, "192.0.2.7", 80);
    s.frontends.back().address = test::address("192.0.2.8");
    const auto items = services(s, {{}, {*parse_name("web")}});
    CHECK(services_table(items, false).rows[0][4] == "10.96.0.10:80,[fd00:96::10]:80,192.0.2.7:80 + 1 more...");
    CHECK(services_table(items, true).rows[0][4] == "10.96.0.10:80,[fd00:96::10]:80,192.0.2.7:80,192.0.2.8:80");
}

TEST_CASE("services as JSON") {
    CHECK(
        services_json(services(busy_node(), {"kube-system", {}})).dump() ==
        R"({"items":[{"namespace":"kube-system","name":"dns","portName":"","protocol":"UDP",)"
        R"("frontends":[{"address":"10.96.0.53","port":53,"kind":"clusterIP","policy":"Local",)"
        R"("outsidePolicy":"Local","restricted":false,"dsr":false}],"sourceRanges":[],)"
        R"("backends":[{"address":"10.1.0.9","port":53,"nodeName":"node-a","zone":"","state":"notReady",)"
        R"("inCluster":false,"inLocal":false,"serving":false,"weight":1,"connections":0,"flows":0,"packets":0,)"
        R"("bytes":0,"id":31}],"verdict":{"cluster":"reject","local":"reject"},"internalTrafficPolicy":"Local",)"
        R"("externalTrafficPolicy":"Cluster","affinitySeconds":0,"algorithm":"random","connections":0,"flows":0,"packets":0,)"
        R"("bytes":0,)"
        R"("families":[{"family":"IPv4","index":5,"verdict":{"cluster":"reject","local":"reject"}}],)"
        R"("problems":["FrontendConflict: default/web has it"]}]})");
}

TEST_CASE(
    "a load-balancer address in JSON tells how it is used from outside, who may dial it, and how it is answered") {
    auto s = tables();
    auto& vip = test::frontend_of(s, "192.0.2.7", 80);
    vip.kind = SVCLB_FRONTEND_LOAD_BALANCER;
    vip.set = SVCLB_SET_CLUSTER;
    vip.flags = SVCLB_FRONTEND_SOURCE_RANGES | SVCLB_FRONTEND_DSR;
    s.ranges = {{test::kWeb4, *model::parse_cidr("10.0.0.0/8")}};
    const Json web = services_json(services(s, {"default", {}}))["items"][0];
    CHECK(web["frontends"][2].dump() == R"({"address":"192.0.2.7","port":80,"kind":"loadBalancer","policy":"Cluster",)"
                                        R"("outsidePolicy":"Local","restricted":true,"dsr":true})");
    CHECK(web["sourceRanges"].dump() == R"(["10.0.0.0/8"])");
}

TEST_CASE("a dual-stack service in JSON has the frontends of both families, ClusterIPs first") {
    const Json web = services_json(services(busy_node(), {"default", {}}))["items"][0];
    CHECK(web["frontends"].dump() == R"([{"address":"10.96.0.10","port":80,"kind":"clusterIP","policy":"Cluster",)"
                                     R"("outsidePolicy":"Cluster","restricted":false,"dsr":false},)"
                                     R"({"address":"fd00:96::10","port":80,"kind":"clusterIP","policy":"Cluster",)"
                                     R"("outsidePolicy":"Cluster","restricted":false,"dsr":false},)"
                                     R"({"address":"192.0.2.7","port":80,"kind":"externalIP","policy":"Local",)"
                                     R"("outsidePolicy":"Local","restricted":false,"dsr":false}])");
    CHECK(web["verdict"].dump() == R"({"cluster":"forward","local":"forward"})");
    CHECK(web["families"][1].dump() == R"({"family":"IPv6","index":2,"verdict":{"cluster":"forward","local":"drop"}})");
    CHECK(web["backends"].size() == 4);
    CHECK(web["backends"][2]["state"] == "draining");
    CHECK(web["affinitySeconds"] == 10800);
}

TEST_CASE("backends as tables") {
    auto items = backends(busy_node(), {});
    items.erase(items.begin() + 1, items.begin() + 3);
    CHECK(to_text(backends_table(items, false)) ==
          "SERVICE            PROTOCOL   BACKEND            STATE      NODE     CONNECTIONS   PACKETS   BYTES\n"
          "default/web:http   TCP        10.1.0.1:8080      ready      node-a   1             8         900\n"
          "default/web:http   TCP        [fd00:1::1]:8080   ready      node-a   0             0         0\n"
          "kube-system/dns    UDP        10.1.0.9:53        notReady   node-a   0             0         0\n");
    Table wide = backends_table(items, true);
    drop_columns(wide, 8);
    CHECK(to_text(wide) ==
          "ZONE     SETS            WEIGHT   FLOWS   INDEX   ID\n"
          "<none>   Cluster,Local   1        1       1       11\n"
          "zone-1   Cluster         1        0       2       21\n"
          "<none>   <none>          1        0       5       31\n");
}

TEST_CASE("backends as JSON say whose they are") {
    CHECK(backends_json(backends(busy_node(), {"kube-system", {}})).dump() ==
          R"({"items":[{"namespace":"kube-system","name":"dns","portName":"","protocol":"UDP",)"
          R"("address":"10.1.0.9","port":53,"nodeName":"node-a","zone":"","state":"notReady","inCluster":false,)"
          R"("inLocal":false,"serving":false,"weight":1,"connections":0,"flows":0,"packets":0,"bytes":0,"id":31}]})");
}

TEST_CASE("flows as tables") {
    CHECK(to_text(flows_table(flows(busy_node(), {}, {}), false)) ==
          "PROTOCOL   CLIENT              FRONTEND           BACKEND            SERVICE            STATE         IDLE\n"
          "UDP        [fd00:1::8]:40000   [fd00:96::53]:80   [fd00:1::9]:8080   #7                 UNREPLIED     3s\n"
          "TCP        10.1.0.7:40000      10.96.0.10:80      10.1.0.1:8080      default/web:http   ESTABLISHED   3s\n"
          "TCP        10.1.0.8:40000      10.96.0.10:80      10.1.0.2:8080      default/web:http   CLOSED        3s\n");
    const FlowFilter second{.client = *parse_endpoint("10.1.0.8"), .direct = true};
    CHECK(to_text(flows_table(flows(busy_node(), {}, second), true)) ==
          "PROTOCOL   CLIENT           FRONTEND        BACKEND         SERVICE            STATE         IDLE   "
          "KIND      CLIENTPORT   INDEX   BACKENDID\n"
          "TCP        10.1.0.8:40000   <none>          10.1.0.2:8080   <none>             ESTABLISHED   3s     "
          "direct    40000        0       11\n"
          "TCP        10.1.0.8:40000   10.96.0.10:80   10.1.0.2:8080   default/web:http   CLOSED        3s     "
          "forward   1024         1       12\n");
}

TEST_CASE("flows as JSON tell the client's port only where the backend sees another one") {
    const FlowFilter web{.service = *parse_name("default/web")};
    CHECK(flows_json(flows(busy_node(), {}, web)).dump() ==
          R"({"items":[{"protocol":"TCP","client":"10.1.0.7:40000","frontend":"10.96.0.10:80",)"
          R"("backend":"10.1.0.1:8080","service":"default/web:http","state":"ESTABLISHED","idleSeconds":3,)"
          R"("family":"IPv4","kind":"forward"},{"protocol":"TCP","client":"10.1.0.8:40000",)"
          R"("frontend":"10.96.0.10:80","backend":"10.1.0.2:8080","service":"default/web:http","state":"CLOSED",)"
          R"("idleSeconds":3,"family":"IPv4","kind":"forward","clientPort":1024}]})");
}

TEST_CASE("affinity of the processes on the host network, which have no address") {
    AffinityItem item;
    const std::uint32_t marker = SVCLB_CLIENT_NETNS;
    std::memcpy(item.row.client.bytes.data(), &marker, sizeof(marker));
    item.row.client.bytes[15] = 1;
    CHECK(affinity_table({item}, false).rows[0][0] == "host");
    CHECK(affinity_json({item})["items"][0]["client"] == "host");
}

TEST_CASE("affinity") {
    CHECK(to_text(affinity_table(affinity(busy_node(), {}), true)) ==
          "CLIENT     SERVICE            BACKEND         AGE      EXPIRES   INDEX\n"
          "10.1.0.7   default/web:http   10.1.0.1:8080   100s     10700s    1\n"
          "10.1.0.8   default/web:http   10.1.0.2:8080   20000s   expired   1\n");
    CHECK(affinity_json(affinity(busy_node(), {}))["items"][0].dump() ==
          R"({"client":"10.1.0.7","service":"default/web:http","backend":"10.1.0.1:8080","ageSeconds":100,)"
          R"("expiresInSeconds":10700})");
}

TEST_CASE("links") {
    CHECK(to_text(links_table(busy_node().links)) ==
          "IFINDEX   NAME    KIND   HOOKS\n"
          "3         veth1   pod    tc ingress:tcx,tc egress:tcx\n");
    CHECK(links_json(busy_node().links).dump() ==
          R"({"items":[{"ifindex":3,"name":"veth1","kind":"pod","hooks":[{"hook":"tc ingress","mode":"tcx"},)"
          R"({"hook":"tc egress","mode":"tcx"}]}]})");
}

TEST_CASE("maps") {
    CHECK(to_text(maps_table(maps(busy_node()))) ==
          "NAME               TYPE           ENTRIES   MAX   BYTES\n"
          "backend_counters   percpu_array   5         64    8192\n"
          "frontends          hash           7         64    4096\n"
          "services           array          3         8     4096\n"
          "slots              array          4         16    4096\n");
    CHECK(maps_json(maps(busy_node()))["items"][1].dump() ==
          R"({"name":"frontends","type":"hash","entries":7,"maxEntries":64,"bytes":4096})");
}

TEST_CASE("an empty list is still a list in JSON") {
    CHECK(flows_json({}).dump() == R"({"items":[]})");
}

TEST_CASE("differences are one line each, or one line that there are none") {
    CHECK(differences_text(tables(), {}) == "2 service ports, 4 frontends, 5 backends verified: no differences\n");
    const Difference difference{"service port default/w\n:http IPv4", "service_names", "a name", "no row"};
    CHECK(differences_text(tables(), {difference}) ==
          "service port default/w\\x0a:http IPv4: service_names: wanted a name, found no row\n");
    CHECK(differences_json({difference}).dump() ==
          R"({"differences":[{"object":"service port default/w\n:http IPv4","map":"service_names",)"
          R"("wanted":"a name","found":"no row"}]})");
    CHECK(differences_json({}).dump() == R"({"differences":[]})");
}

}  // namespace
}  // namespace svclb::ctl
