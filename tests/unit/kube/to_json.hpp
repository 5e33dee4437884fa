// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Objects of the model in the API's own format.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "svclb/model/objects.hpp"

namespace svclb::kube::test {

using Json = nlohmann::ordered_json;

// A member for what is there.
template <class T>
void put(Json& to, const char* key, const T& value) {
    if (value != T{}) to[key] = value;
}
template <class T>
void put(Json& to, const char* key, const std::optional<T>& value) {
    if (value) to[key] = *value;
}

inline Json metadata(const model::ObjectKey& key, const std::map<std::string, std::string>& labels) {
    Json out{{"name", key.name}, {"namespace", key.ns}, {"resourceVersion", "7"}};
    if (!labels.empty()) out["labels"] = labels;
    return out;
}
inline const char* text(model::TrafficPolicy policy) {
    return policy == model::TrafficPolicy::local ? "Local" : "Cluster";
}
inline const char* text(model::ServiceType type) {
    switch (type) {
        case model::ServiceType::cluster_ip:
            return "ClusterIP";
        case model::ServiceType::node_port:
            return "NodePort";
        case model::ServiceType::load_balancer:
            return "LoadBalancer";
        case model::ServiceType::external_name:
            return "ExternalName";
    }
    return "";
}

inline Json to_json(const model::Service& service) {
    Json out{{"kind", "Service"}, {"apiVersion", "v1"}, {"metadata", metadata(service.key, service.labels)}};
    if (!service.annotations.empty()) out["metadata"]["annotations"] = service.annotations;
    put(out["metadata"], "uid", service.uid);
    put(out["metadata"], "creationTimestamp", service.created);
    auto& spec = out["spec"] = {{"type", text(service.type)},
                                {"internalTrafficPolicy", text(service.internal_policy)},
                                {"externalTrafficPolicy", text(service.external_policy)}};
    put(spec, "clusterIP", service.cluster_ip);
    put(spec, "clusterIPs", service.cluster_ips);
    for (const auto family : service.ip_families) spec["ipFamilies"].push_back(model::to_string(family));
    put(spec, "externalIPs", service.external_ips);
    put(spec, "loadBalancerSourceRanges", service.source_ranges);
    put(spec, "healthCheckNodePort", service.health_check_node_port);
    if (service.client_ip_affinity) {
        spec["sessionAffinity"] = "ClientIP";
        spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"] = service.affinity_s;
    }
    for (const auto& port : service.ports) {
        Json one{{"port", port.port}, {"protocol", model::to_string(port.protocol)}};
        put(one, "name", port.name);
        put(one, "nodePort", port.node_port);
        spec["ports"].push_back(one);
    }
    for (const auto& ingress : service.ingress) {
        Json one = Json::object();
        put(one, "ip", ingress.ip);
        put(one, "ipMode", ingress.ip_mode);
        out["status"]["loadBalancer"]["ingress"].push_back(one);
    }
    return out;
}

inline Json hints(const std::vector<std::string>& names) {
    Json out = Json::array();
    for (const auto& name : names) out.push_back({{"name", name}});
    return out;
}

inline Json to_json(const model::EndpointSlice& slice) {
    auto labels = slice.labels;
    if (!slice.service.empty()) labels["kubernetes.io/service-name"] = slice.service;
    Json out{{"kind", "EndpointSlice"},
             {"apiVersion", "discovery.k8s.io/v1"},
             {"metadata", metadata(slice.key, labels)},
             {"addressType", slice.family ? model::to_string(*slice.family) : "FQDN"}};
    if (!slice.annotations.empty()) out["metadata"]["annotations"] = slice.annotations;
    for (const auto& port : slice.ports) {
        Json one{{"protocol", model::to_string(port.protocol)}};
        put(one, "name", port.name);
        put(one, "port", port.port);
        out["ports"].push_back(one);
    }
    for (const auto& endpoint : slice.endpoints) {
        Json one{{"addresses", endpoint.addresses}, {"conditions", Json::object()}};
        put(one["conditions"], "ready", endpoint.ready);
        put(one["conditions"], "serving", endpoint.serving);
        put(one["conditions"], "terminating", endpoint.terminating);
        put(one, "nodeName", endpoint.node_name);
        put(one, "zone", endpoint.zone);
        if (!endpoint.zone_hints.empty()) one["hints"]["forZones"] = hints(endpoint.zone_hints);
        if (!endpoint.node_hints.empty()) one["hints"]["forNodes"] = hints(endpoint.node_hints);
        out["endpoints"].push_back(one);
    }
    return out;
}

}  // namespace svclb::kube::test
