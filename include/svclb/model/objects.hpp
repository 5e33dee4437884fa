// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The fields that we honour of the API's Service v1, EndpointSlice discovery.k8s.io/v1 and Node v1, as plain structs.
// Ports are in host order. Optional means that the field was absent or null; defaults are applied by build.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "svclb/model/address.hpp"

namespace svclb::model {

struct ObjectKey {
    std::string ns;
    std::string name;
    auto operator<=>(const ObjectKey&) const = default;
};

enum class ServiceType : std::uint8_t { cluster_ip, node_port, load_balancer, external_name };
enum class TrafficPolicy : std::uint8_t { cluster, local };
enum class Algorithm : std::uint8_t { random = 0, maglev = 1 };

struct ServicePort {
    std::string name;  // "" where the Service has one unnamed port
    Protocol protocol = Protocol::tcp;
    std::uint16_t port = 0;
    std::uint16_t node_port = 0;  // 0 = none
    auto operator<=>(const ServicePort&) const = default;
};

struct LoadBalancerIngress {
    std::string ip;       // "" where the entry has only a host name
    std::string ip_mode;  // "" = VIP
    auto operator<=>(const LoadBalancerIngress&) const = default;
};

struct Service {
    ObjectKey key;
    std::string uid;
    std::string created;  // creationTimestamp, RFC 3339: text order is time order
    std::map<std::string, std::string> labels;
    std::map<std::string, std::string> annotations;
    ServiceType type = ServiceType::cluster_ip;
    // As written, unparsed: kube-proxy drops an address that it cannot read and keeps the Service (behaviour row 1.7).
    std::string cluster_ip;                // "None" = headless
    std::vector<std::string> cluster_ips;  // parallel to ip_families
    std::vector<Family> ip_families;
    std::vector<std::string> external_ips;
    std::vector<LoadBalancerIngress> ingress;
    std::vector<std::string> source_ranges;
    std::vector<ServicePort> ports;
    bool client_ip_affinity = false;
    std::uint32_t affinity_s = 10800;  // used only with client_ip_affinity
    TrafficPolicy internal_policy = TrafficPolicy::cluster;
    TrafficPolicy external_policy = TrafficPolicy::cluster;
    std::uint16_t health_check_node_port = 0;  // 0 = none
    bool operator==(const Service&) const = default;
};

struct Endpoint {
    std::vector<std::string> addresses;
    std::optional<bool> ready;
    std::optional<bool> serving;
    std::optional<bool> terminating;
    std::optional<std::string> node_name;
    std::optional<std::string> zone;
    std::vector<std::string> zone_hints;
    std::vector<std::string> node_hints;
    bool operator==(const Endpoint&) const = default;
};

struct EndpointPort {
    std::optional<std::string> name;
    Protocol protocol = Protocol::tcp;
    std::optional<std::uint16_t> port;
    bool operator==(const EndpointPort&) const = default;
};

struct EndpointSlice {
    ObjectKey key;
    std::string uid;
    std::string service;  // label kubernetes.io/service-name; "" = none, the slice is ignored
    std::map<std::string, std::string> labels;
    std::map<std::string, std::string> annotations;
    std::optional<Family> family;  // addressType; nothing for FQDN
    std::vector<EndpointPort> ports;
    std::vector<Endpoint> endpoints;
    bool operator==(const EndpointSlice&) const = default;
};

struct Node {
    std::string name;
    std::map<std::string, std::string> labels;
    std::vector<std::string> ips;  // its InternalIPs, then its ExternalIPs
    std::vector<std::string> pod_cidrs;
    bool leaving = false;  // it is being deleted, or about to be
    bool operator==(const Node&) const = default;
};

// networking.k8s.io/v1: the ranges that ClusterIPs are taken from.
struct ServiceCidr {
    std::string name;
    std::vector<std::string> cidrs;  // as written, unparsed
    bool operator==(const ServiceCidr&) const = default;
};

using Object = std::variant<Service, EndpointSlice, Node, ServiceCidr>;

}  // namespace svclb::model
