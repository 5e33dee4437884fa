// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Whatever Services, slices, the Node and its devices have gone through, each Service is what the objects that are left
// make of it: nothing that a change concerns is left as it was. Seeds are fixed: a failure names its step.
#include <fmt/format.h>
#include <catch2/catch_test_macros.hpp>

#include <map>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cluster.hpp"
#include "svclb/model/keys.hpp"

namespace svclb::agent {
namespace {

using model::Family;
using model::ObjectKey;
using model::Protocol;
using model::TrafficPolicy;

struct Random {
    std::mt19937 engine;

    std::uint32_t below(std::uint32_t end) { return static_cast<std::uint32_t>(engine() % end); }
    bool one_in(std::uint32_t n) { return below(n) == 0; }
    template <class T>
    T of(std::vector<T> all) {
        return all[below(static_cast<std::uint32_t>(all.size()))];
    }
    std::optional<bool> condition() { return of<std::optional<bool>>({true, false, std::nullopt}); }
    TrafficPolicy policy() { return of<TrafficPolicy>({TrafficPolicy::cluster, TrafficPolicy::local}); }
    ObjectKey service_key() { return {of<std::string>({"default", "other"}), fmt::format("s{}", below(3))}; }
    ObjectKey slice_key() { return {of<std::string>({"default", "other"}), fmt::format("e{}", below(6))}; }
};

model::Service service(Random& random) {
    using Texts = std::vector<std::string>;
    model::Service made;
    made.key = random.service_key();
    made.created = fmt::format("2024-01-0{}T00:00:00Z", 1 + random.below(2));
    if (random.one_in(8)) made.labels.emplace(model::kProxyNameLabel, "");
    if (random.one_in(4)) made.annotations.emplace(model::kAlgorithmAnnotation, "maglev");
    if (random.one_in(4)) made.annotations.emplace(model::kForwardingModeAnnotation, "dsr");
    made.type = random.of<model::ServiceType>({model::ServiceType::cluster_ip, model::ServiceType::node_port,
                                               model::ServiceType::load_balancer, model::ServiceType::external_name});
    const auto v4 = fmt::format("10.96.0.{}", 1 + random.below(3));
    const auto v6 = fmt::format("fd00:96::{}", 1 + random.below(3));
    made.ip_families = random.of<std::vector<Family>>(
        {{Family::ipv4}, {Family::ipv6}, {Family::ipv4, Family::ipv6}, {Family::ipv6, Family::ipv4}});
    for (const auto family : made.ip_families) made.cluster_ips.push_back(family == Family::ipv4 ? v4 : v6);
    made.cluster_ip = made.cluster_ips.front();
    made.external_ips = random.of<Texts>({{}, {}, {"192.0.2.1"}, {"2001:db8::1", "not an address"}});
    made.ingress = random.of<std::vector<model::LoadBalancerIngress>>(
        {{}, {{"198.51.100.1", ""}}, {{"2001:db8:1::1", "VIP"}, {"198.51.100.2", "Proxy"}}});
    made.source_ranges = random.of<Texts>({{}, {}, {"10.0.0.0/8"}, {"192.168.0.0/16", "fd00::/8"}, {"bad"}});
    for (const auto& [name, protocol] : {std::pair{"a", Protocol::tcp}, {"b", Protocol::udp}, {"", Protocol::tcp}})
        if (!random.one_in(3))
            made.ports.push_back({.name = name,
                                  .protocol = protocol,
                                  .port = static_cast<std::uint16_t>(80 + random.below(2)),
                                  .node_port = random.of<std::uint16_t>({0, 30001, 30002})});
    made.client_ip_affinity = random.one_in(3);
    made.internal_policy = random.policy();
    made.external_policy = random.policy();
    made.health_check_node_port = random.of<std::uint16_t>({0, 32000});
    return made;
}

model::EndpointSlice slice(Random& random) {
    using Places = std::vector<std::optional<std::string>>;
    using Hints = std::vector<std::string>;
    model::EndpointSlice made;
    made.key = random.slice_key();
    if (!random.one_in(8)) made.service = fmt::format("s{}", random.below(3));
    if (random.one_in(8)) made.labels.emplace(model::kHeadlessLabel, "");
    if (random.one_in(6)) made.annotations.emplace(model::kWeightAnnotation, random.of<std::string>({"2", "many"}));
    made.family = random.of<std::optional<Family>>({Family::ipv4, Family::ipv4, Family::ipv6, std::nullopt});
    for (const auto& [name, protocol] : {std::pair{"a", Protocol::tcp}, {"b", Protocol::udp}, {"", Protocol::tcp}})
        if (!random.one_in(3))
            made.ports.push_back({.name = name,
                                  .protocol = protocol,
                                  .port = random.of<std::optional<std::uint16_t>>({8080, 8081, std::nullopt})});
    for (auto left = random.below(4); left > 0; --left) {
        model::Endpoint endpoint;
        const auto host = 1 + random.below(5);
        endpoint.addresses = {made.family == Family::ipv6 ? fmt::format("fd00::{}", host)
                                                          : fmt::format("10.0.0.{}", host)};
        endpoint.ready = random.condition();
        endpoint.serving = random.condition();
        endpoint.terminating = random.condition();
        endpoint.node_name = random.of(Places{"node-a", "node-b", std::nullopt});
        endpoint.zone = random.of(Places{"a", "b", std::nullopt});
        endpoint.zone_hints = random.of<Hints>({{"a"}, {"b"}, {"a", "b"}, {}});
        endpoint.node_hints = random.of<Hints>({{}, {"node-a"}, {"node-b"}});
        made.endpoints.push_back(std::move(endpoint));
    }
    return made;
}

// Always with an address: one that has none any more says nothing new.
model::Node node(Random& random) {
    model::Node made;
    made.name = random.of<std::string>({"node-a", "node-a", "node-b"});
    made.labels = random.of<std::map<std::string, std::string>>(
        {{}, {{std::string{model::kZoneLabel}, "a"}}, {{std::string{model::kZoneLabel}, "b"}}});
    made.ips = random.of<std::vector<std::string>>({{"192.168.0.1"}, {"192.168.0.1", "fd00:168::1"}, {"10.1.1.1"}});
    return made;
}

// What there is to know, and what each Service has been handed on as.
struct Known {
    std::map<ObjectKey, model::Service> services;
    std::map<ObjectKey, model::EndpointSlice> slices;
    std::map<std::string, model::Node> nodes;
    std::vector<model::Address> addresses;

    kube::Change step(Random& random) {
        kube::Change change;
        for (auto left = random.below(4); left > 0; --left) {
            auto made = service(random);
            change.changed.emplace_back(services[made.key] = std::move(made));
        }
        for (auto left = random.below(4); left > 0; --left) {
            auto made = slice(random);
            change.changed.emplace_back(slices[made.key] = std::move(made));
        }
        if (random.one_in(4)) {
            auto made = node(random);
            change.changed.emplace_back(nodes[made.name] = std::move(made));
        }
        // After what has changed, as a source tells it: not one that has just come.
        const auto told = [&](const auto& key, auto key_of) {
            return std::ranges::any_of(change.changed, [&](const auto& object) { return key_of(object) == key; });
        };
        if (const auto key = random.service_key(); random.one_in(3) && !told(key, [](const auto& object) {
                                                       const auto* one = std::get_if<model::Service>(&object);
                                                       return one ? one->key : ObjectKey{};
                                                   })) {
            services.erase(key);
            change.gone_services.push_back(key);
        }
        if (const auto key = random.slice_key(); random.one_in(3) && !told(key, [](const auto& object) {
                                                     const auto* one = std::get_if<model::EndpointSlice>(&object);
                                                     return one ? one->key : ObjectKey{};
                                                 })) {
            slices.erase(key);
            change.gone_slices.push_back(key);
        }
        return change;
    }
    [[nodiscard]] kube::Change all() const {
        kube::Change change;
        for (const auto& [key, each] : services) change.changed.emplace_back(each);
        for (const auto& [key, each] : slices) change.changed.emplace_back(each);
        for (const auto& [name, each] : nodes) change.changed.emplace_back(each);
        return change;
    }
};

using Handed =
    std::map<ObjectKey,
             std::tuple<model::ServiceState, std::vector<model::Problem>, std::optional<model::HealthCheck>>>;

void hand_on(Cluster& cluster, Handed& handed) {
    for (auto& [change, problems, health] : cluster.take_changes([](const auto&) { return false; })) {
        if (change.state.empty() && problems.empty() && !health)
            handed.erase(change.service);
        else
            handed.insert_or_assign(change.service, std::tuple{change.state, problems, health});
    }
}

Cluster cluster_with(const model::NodePortAddresses& node_ports) {
    return Cluster{"node-a", {}, node_ports};
}

}  // namespace

TEST_CASE("law: whatever has happened, each Service is what the objects that are left make of it") {
    Random random{std::mt19937{36}};
    const auto some = model::NodePortAddresses{{*model::parse_cidr("10.1.0.0/16"), *model::parse_cidr("fd00::/8")}};
    for (const auto& node_ports : {model::NodePortAddresses{}, model::all_addresses(), some}) {
        Known known;
        Handed handed;
        auto cluster = cluster_with(node_ports);
        for (int step = 0; step < 400; ++step) {
            INFO("step " << step);
            cluster.apply(known.step(random));
            if (random.one_in(5)) {
                known.addresses.clear();
                for (const auto* text : {"192.168.0.1", "10.1.1.1", "10.2.1.1", "fd00:168::1"})
                    if (random.one_in(2)) known.addresses.push_back(*model::parse_address(text));
                cluster.set_local_addresses(known.addresses);
            }
            // Several changes may be built at once.
            if (random.one_in(3)) continue;
            hand_on(cluster, handed);

            Handed fresh;
            auto anew = cluster_with(node_ports);
            anew.apply(known.all());
            anew.set_local_addresses(known.addresses);
            hand_on(anew, fresh);
            REQUIRE(handed == fresh);
        }
    }
}

}  // namespace svclb::agent
