// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "masquerade.hpp"

#include <arpa/inet.h>

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <string>

#include "cluster.hpp"

using namespace svclb;
using namespace svclb::agent;

namespace {

std::vector<model::Cidr> cidrs(std::initializer_list<const char*> texts) {
    std::vector<model::Cidr> made;
    for (const auto* text : texts) made.push_back(*model::parse_cidr(text));
    return made;
}

bool same(const svclb_masquerade& a, const svclb_masquerade& b) {
    return std::memcmp(&a, &b, sizeof(a)) == 0;
}

}  // namespace

TEST_CASE("row 1.23: pods are known by the cluster's range, the node's, or their links") {
    const auto node = cidrs({"10.244.1.0/24", "fd00:244:1::/64"});
    Masquerade chosen;
    CHECK(same(masquerade_row(chosen, node), {}));

    chosen.cluster_cidrs = cidrs({"fd00:244::/48"});
    const auto row = masquerade_row(chosen, node);
    CHECK(row.has_v4 == 0);
    CHECK(row.has_v6 == 1);
    CHECK(row.v6.addr[0] == htonl(0xfd000244));
    CHECK(row.v6.mask[0] == htonl(0xffffffff));
    CHECK(row.v6.mask[1] == htonl(0xffff0000));
    CHECK(row.v6.mask[2] == 0);

    chosen.local = LocalMode::node_cidr;
    const auto by_node = masquerade_row(chosen, node);
    CHECK(by_node.has_v4 == 1);
    CHECK(by_node.v4.addr[3] == htonl(0x0af40100));
    CHECK(by_node.v4.mask[3] == htonl(0xffffff00));
    CHECK(by_node.has_v6 == 1);
    CHECK(same(masquerade_row(chosen, {}), {}));

    chosen.local = LocalMode::links;
    chosen.all = true;
    svclb_masquerade all{};
    all.all = 1;
    CHECK(same(masquerade_row(chosen, node), all));
}

TEST_CASE("row 1.23: the first range of each family counts") {
    Masquerade chosen;
    chosen.cluster_cidrs = cidrs({"10.0.0.0/8", "11.0.0.0/8", "fd00::/8"});
    const auto row = masquerade_row(chosen, {});
    CHECK(row.v4.addr[3] == htonl(0x0a000000));
    CHECK(row.has_v6 == 1);
}

TEST_CASE("a cluster's range is one, or one of each family") {
    CHECK(cluster_cidrs("")->empty());
    CHECK(cluster_cidrs("10.0.0.0/8") == cidrs({"10.0.0.0/8"}));
    CHECK(cluster_cidrs("fd00::/8,10.0.0.0/8") == cidrs({"fd00::/8", "10.0.0.0/8"}));
    CHECK(!cluster_cidrs("10.0.0.0/8,"));
    CHECK(!cluster_cidrs("10.0.0.0/8,11.0.0.0/8"));
    CHECK(!cluster_cidrs("10.0.0.0/8,fd00::/8,fd01::/8"));
    CHECK(!cluster_cidrs("pods"));
}

TEST_CASE("the Node's ranges of pods are followed, and stay while it tells none") {
    Cluster cluster{"a"};
    CHECK(cluster.pod_cidrs().empty());
    const auto tell = [&cluster](const char* name, std::vector<std::string> ranges) {
        model::Node node;
        node.name = name;
        node.pod_cidrs = std::move(ranges);
        kube::Change change;
        change.changed.emplace_back(std::move(node));
        cluster.apply(std::move(change));
    };
    tell("b", {"10.244.2.0/24"});
    CHECK(cluster.pod_cidrs().empty());
    tell("a", {"10.244.1.0/24", "nonsense", "fd00:244:1::/64"});
    CHECK(cluster.pod_cidrs() == cidrs({"10.244.1.0/24", "fd00:244:1::/64"}));
    tell("a", {});
    CHECK(cluster.pod_cidrs() == cidrs({"10.244.1.0/24", "fd00:244:1::/64"}));
    tell("a", {"10.244.3.0/24"});
    CHECK(cluster.pod_cidrs() == cidrs({"10.244.3.0/24"}));
}
