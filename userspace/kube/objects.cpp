// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The fields that we honour, validated as the API server does: names and ports flow into fixed-size map fields.
// Addresses stay text (behaviour row 1.7: a bad one costs its Service nothing but that address). What an API server,
// or a newer one, does not check costs its object no more than the field, port or endpoint that it is in.
#include "objects.hpp"

#include <array>
#include <map>
#include <utility>

#include "fields.hpp"
#include "svclb/model/keys.hpp"
#include "svclb/model/text.hpp"

namespace svclb::kube {

namespace {

using model::Family;
using model::Protocol;
using model::ServiceType;
using model::TrafficPolicy;

constexpr std::uint32_t kLongestAffinity = 86400;
// RFC 3339 with nanoseconds has 30 characters, a uid 36.
constexpr std::size_t kLongestStamp = 64;
constexpr std::size_t kLongestPlace = 253;

constexpr std::array kProtocols{Choice<Protocol>{"TCP", Protocol::tcp}, Choice<Protocol>{"UDP", Protocol::udp},
                                Choice<Protocol>{"SCTP", Protocol::sctp}};
constexpr std::array kPolicies{Choice<TrafficPolicy>{"Cluster", TrafficPolicy::cluster},
                               Choice<TrafficPolicy>{"Local", TrafficPolicy::local}};
constexpr std::array kFamilies{Choice<Family>{"IPv4", Family::ipv4}, Choice<Family>{"IPv6", Family::ipv6}};
constexpr std::array kAffinities{Choice<bool>{"None", false}, Choice<bool>{"ClientIP", true}};
constexpr std::array kTypes{Choice<ServiceType>{"ClusterIP", ServiceType::cluster_ip},
                            Choice<ServiceType>{"NodePort", ServiceType::node_port},
                            Choice<ServiceType>{"LoadBalancer", ServiceType::load_balancer},
                            Choice<ServiceType>{"ExternalName", ServiceType::external_name}};
constexpr std::array kAddressTypes{Choice<std::optional<Family>>{"IPv4", Family::ipv4},
                                   Choice<std::optional<Family>>{"IPv6", Family::ipv6},
                                   Choice<std::optional<Family>>{"FQDN", std::nullopt}};

std::optional<std::string> not_stamp(std::string_view text) {
    if (text.size() <= kLongestStamp) return std::nullopt;
    return "longer than " + std::to_string(kLongestStamp) + " characters: " + model::printable(text);
}

// Of a node or zone: any text that the tables can hold.
std::optional<std::string> not_place(std::string_view text) {
    if (text.size() <= kLongestPlace && text.find('\0') == std::string_view::npos) return std::nullopt;
    return "not a name of at most " + std::to_string(kLongestPlace) + " characters: " + model::printable(text);
}

std::optional<std::string> not_port_name(std::string_view text) {
    return text.empty() ? std::nullopt : not_dns_label(text);
}

// The known ones of metadata.labels or metadata.annotations.
template <class Keys>
std::map<std::string, std::string> known_texts(Fields& in, const Spot& spot, const Keys& keys) {
    std::map<std::string, std::string> out;
    if (!in.is_map(spot)) return out;
    for (const auto key : keys) {
        if (!find(*spot.value(), key)) continue;
        const auto one = in.field(spot, key);
        // A null value is an empty string to the API.
        if (auto text = in.text(one); text || !one) out.emplace(key, std::move(text).value_or(""));
    }
    return out;
}

void read_ports(Fields& in, const Spot& list, model::Service& service) {
    const bool several = list && list.value()->children.size() > 1;
    in.each_map(list, [&](const Spot& spot) {
        model::ServicePort port;
        const auto name = in.field(spot, "name");
        const auto number = in.field(spot, "port");
        port.name = in.text(name, not_port_name).value_or("");
        const auto protocol = in.field(spot, "protocol");
        const auto known_protocol = in.choice(protocol, kProtocols);
        port.protocol = known_protocol.value_or(Protocol::tcp);
        in.require(number);
        port.port = in.port(number, 1).value_or(0);
        port.node_port = in.port(in.field(spot, "nodePort"), 0).value_or(0);
        if (several && (!name || port.name.empty())) in.refuse(name, "missing: there are several ports");
        const bool usable = known_protocol || !protocol;
        for (std::size_t i = 0; i < service.ports.size() && usable && in.valid(); ++i) {
            const auto& other = service.ports[i];
            const auto same = " as spec.ports[" + std::to_string(i) + "]";
            if (other.name == port.name) in.refuse(name, "the same name" + same + ": " + port.name);
            if (other.port == port.port && other.protocol == port.protocol)
                in.refuse(number, "the same port and protocol" + same + ": " + std::to_string(port.port) + "/" +
                                      std::string(model::to_string(port.protocol)));
        }
        if (usable) service.ports.push_back(std::move(port));
    });
}

// What the API server fills in, so that a manifest written by hand means what it would mean in a cluster.
void apply_defaults(model::Service& service) {
    if (service.cluster_ips.empty() && !service.cluster_ip.empty()) service.cluster_ips = {service.cluster_ip};
    if (service.cluster_ip.empty() && !service.cluster_ips.empty()) service.cluster_ip = service.cluster_ips.front();
    if (!service.ip_families.empty()) return;
    for (const auto& text : service.cluster_ips) {
        const auto address = model::parse_address(text);
        if (!address) {
            service.ip_families.clear();
            return;
        }
        service.ip_families.push_back(address->family());
    }
}

void read_load_balancer(Fields& in, const Spot& root, model::Service& service) {
    const auto status = in.field(root, "status");
    if (!in.is_map(status)) return;
    const auto balancer = in.field(status, "loadBalancer");
    if (!in.is_map(balancer)) return;
    in.each_map(in.field(balancer, "ingress"), [&](const Spot& spot) {
        service.ingress.push_back({.ip = in.text(in.field(spot, "ip")).value_or(""),
                                   .ip_mode = in.text(in.field(spot, "ipMode")).value_or("")});
    });
}

void read_affinity(Fields& in, const Spot& spec, model::Service& service) {
    service.client_ip_affinity = in.choice(in.field(spec, "sessionAffinity"), kAffinities).value_or(false);
    const auto config = in.field(spec, "sessionAffinityConfig");
    if (!in.is_map(config)) return;
    const auto client_ip = in.field(config, "clientIP");
    if (!in.is_map(client_ip)) return;
    service.affinity_s = in.number(in.field(client_ip, "timeoutSeconds"), 1, kLongestAffinity,
                                   "a number of seconds from 1 to 86400", &Fields::doubt)
                             .value_or(service.affinity_s);
}

model::Object read_service(Fields& in, const Spot& root, const Spot& metadata, model::ObjectKey key) {
    model::Service service;
    service.key = std::move(key);
    service.created = in.text(in.field(metadata, "creationTimestamp"), not_stamp, &Fields::doubt).value_or("");
    service.labels = known_texts(in, in.field(metadata, "labels"), model::kLabels);
    service.annotations = known_texts(in, in.field(metadata, "annotations"), model::kAnnotations);

    const auto spec = in.field(root, "spec");
    in.require(spec);
    if (!in.is_map(spec)) return service;
    service.type = in.choice(in.field(spec, "type"), kTypes).value_or(ServiceType::cluster_ip);
    service.cluster_ip = in.text(in.field(spec, "clusterIP")).value_or("");
    service.cluster_ips = in.texts(in.field(spec, "clusterIPs"));
    in.each(in.field(spec, "ipFamilies"), [&](const Spot& spot) {
        in.require(spot);
        const auto place = service.ip_families.size();
        if (const auto family = in.choice(spot, kFamilies))
            service.ip_families.push_back(*family);
        else if (place < service.cluster_ips.size())  // of the same family
            service.cluster_ips.erase(service.cluster_ips.begin() + static_cast<std::ptrdiff_t>(place));
    });
    service.external_ips = in.texts(in.field(spec, "externalIPs"));
    service.source_ranges = in.texts(in.field(spec, "loadBalancerSourceRanges"));
    service.internal_policy = in.choice(in.field(spec, "internalTrafficPolicy"), kPolicies).value_or(TrafficPolicy{});
    service.external_policy = in.choice(in.field(spec, "externalTrafficPolicy"), kPolicies).value_or(TrafficPolicy{});
    service.health_check_node_port = in.port(in.field(spec, "healthCheckNodePort"), 0).value_or(0);
    read_affinity(in, spec, service);
    read_load_balancer(in, root, service);
    apply_defaults(service);

    const auto ports = in.field(spec, "ports");
    read_ports(in, ports, service);
    const bool may_lack_ports = service.type == ServiceType::external_name || service.cluster_ip == "None";
    if (Fields::count(ports) == 0 && !may_lack_ports && in.valid()) in.doubt(ports, "missing");
    return service;
}

template <class Fault>
std::vector<std::string> read_hints(Fields& in, const Spot& list, Fault fault) {
    std::vector<std::string> names;
    in.each_map(list, [&](const Spot& spot) {
        const auto name = in.field(spot, "name");
        in.require(name);
        // All of them count, or none: a name that no node has must not vanish.
        auto text = in.writer() == Writer::hand ? in.text(name, fault) : in.text(name);
        if (text) names.push_back(*std::move(text));
    });
    return names;
}

model::Endpoint read_endpoint(Fields& in, const Spot& spot) {
    model::Endpoint endpoint;
    endpoint.addresses = in.texts(in.field(spot, "addresses"));
    const bool by_hand = in.writer() == Writer::hand;
    endpoint.node_name = in.text(in.field(spot, "nodeName"), by_hand ? not_dns_subdomain : not_place, &Fields::doubt);
    endpoint.zone = in.text(in.field(spot, "zone"), by_hand ? not_label_value : not_place, &Fields::doubt);
    const auto conditions = in.field(spot, "conditions");
    if (in.is_map(conditions)) {
        endpoint.ready = in.boolean(in.field(conditions, "ready"));
        endpoint.serving = in.boolean(in.field(conditions, "serving"));
        endpoint.terminating = in.boolean(in.field(conditions, "terminating"));
    }
    const auto hints = in.field(spot, "hints");
    if (in.is_map(hints)) {
        endpoint.zone_hints = read_hints(in, in.field(hints, "forZones"), not_label_value);
        endpoint.node_hints = read_hints(in, in.field(hints, "forNodes"), not_dns_subdomain);
    }
    return endpoint;
}

model::Object read_endpoint_slice(Fields& in, const Spot& root, const Spot& metadata, model::ObjectKey key) {
    model::EndpointSlice slice;
    slice.key = std::move(key);
    const auto labels = in.field(metadata, "labels");
    slice.labels = known_texts(in, labels, model::kLabels);
    slice.annotations = known_texts(in, in.field(metadata, "annotations"), model::kAnnotations);
    if (const auto found = slice.labels.find(std::string(model::kServiceNameLabel)); found != slice.labels.end()) {
        slice.service = found->second;
        if (auto what = not_label_value(slice.service)) in.refuse(in.field(labels, model::kServiceNameLabel), *what);
    }
    const auto type = in.field(root, "addressType");
    in.require(type);
    slice.family = in.choice(type, kAddressTypes).value_or(std::nullopt);
    in.each_map(in.field(root, "ports"), [&](const Spot& spot) {
        const auto protocol = in.field(spot, "protocol");
        const auto known_protocol = in.choice(protocol, kProtocols);
        const auto name = in.field(spot, "name");
        model::EndpointPort port{.name = in.text(name, not_port_name, &Fields::doubt),
                                 .protocol = known_protocol.value_or(Protocol::tcp),
                                 .port = in.port(in.field(spot, "port"), 0, &Fields::doubt)};
        const bool usable = (known_protocol || !protocol) && (port.name || !name);
        if (usable) slice.ports.push_back(std::move(port));
    });
    const auto endpoints = in.field(root, "endpoints");
    slice.endpoints.reserve(Fields::count(endpoints));
    in.each_map(endpoints, [&](const Spot& spot) { slice.endpoints.push_back(read_endpoint(in, spot)); });
    return slice;
}

model::Object read_node(Fields& in, const Spot& root, const Spot& metadata, const model::ObjectKey& key) {
    model::Node node;
    node.name = key.name;
    node.labels = known_texts(in, in.field(metadata, "labels"), model::kLabels);
    node.leaving = in.text(in.field(metadata, "deletionTimestamp")).has_value();
    const auto spec = in.field(root, "spec");
    if (in.is_map(spec)) {
        in.each_map(in.field(spec, "taints"), [&](const Spot& taint) {
            if (in.text(in.field(taint, "key")) == model::kToBeDeletedTaint) node.leaving = true;
        });
        node.pod_cidrs = in.texts(in.field(spec, "podCIDRs"));
        const auto only = in.text(in.field(spec, "podCIDR"));
        if (node.pod_cidrs.empty() && only) node.pod_cidrs.push_back(*only);
    }
    const auto status = in.field(root, "status");
    if (!in.is_map(status)) return node;
    std::vector<std::string> external;
    in.each_map(in.field(status, "addresses"), [&](const Spot& spot) {
        const auto type = in.text(in.field(spot, "type"));
        auto address = in.text(in.field(spot, "address"));
        if (!address) return;
        if (type == "InternalIP")
            node.ips.push_back(*std::move(address));
        else if (type == "ExternalIP")
            external.push_back(*std::move(address));
    });
    node.ips.insert(node.ips.end(), external.begin(), external.end());
    return node;
}

model::Object read_service_cidr(Fields& in, const Spot& root, const model::ObjectKey& key) {
    model::ServiceCidr range{.name = key.name, .cidrs = {}};
    const auto spec = in.field(root, "spec");
    in.require(spec);
    if (in.is_map(spec)) range.cidrs = in.texts(in.field(spec, "cidrs"));
    return range;
}

bool has_namespace(ObjectKind kind) {
    return kind == ObjectKind::service || kind == ObjectKind::endpoint_slice;
}

// For messages, before anything is known to be valid.
std::string name_in_messages(ObjectKind kind, const Value& root) {
    std::string text(to_string(kind));
    const auto* metadata = find(root, "metadata");
    const auto* name = metadata ? find(*metadata, "name") : nullptr;
    const auto* ns = metadata ? find(*metadata, "namespace") : nullptr;
    if (!name || name->text.empty()) return text;
    text += ' ';
    if (has_namespace(kind)) text += (ns && !ns->text.empty() ? model::printable(ns->text) : "default") + "/";
    return text + model::printable(name->text);
}

std::optional<model::ObjectKey> read_key(Fields& in, ObjectKind kind, const Spot& metadata) {
    const auto name_spot = in.field(metadata, "name");
    in.require(name_spot);
    // A Service's name is a label, because it becomes one in DNS.
    auto name = in.text(name_spot, kind == ObjectKind::service ? not_dns_label : not_dns_subdomain);
    if (!has_namespace(kind)) {
        if (!name) return std::nullopt;
        return model::ObjectKey{"", *std::move(name)};
    }
    const auto ns_spot = in.field(metadata, "namespace");
    auto ns = in.text(ns_spot, not_dns_label);
    if (!ns && !ns_spot) ns = "default";
    if (!name || !ns) return std::nullopt;
    return model::ObjectKey{*std::move(ns), *std::move(name)};
}

}  // namespace

std::string_view to_string(ObjectKind kind) {
    switch (kind) {
        case ObjectKind::service:
            return "Service";
        case ObjectKind::endpoint_slice:
            return "EndpointSlice";
        case ObjectKind::node:
            return "Node";
        case ObjectKind::service_cidr:
            return "ServiceCIDR";
    }
    return "?";
}

ReadObject read_object(ObjectKind kind, const Value& root, Problems& problems, Writer writer) {
    ReadObject out;
    out.text = name_in_messages(kind, root);
    Fields in(out.text, problems, writer);
    const Spot top(root);
    const auto metadata = in.field(top, "metadata");
    in.require(metadata);
    if (!in.is_map(metadata)) return out;
    out.key = read_key(in, kind, metadata);
    const auto key = out.key.value_or(model::ObjectKey{});
    out.uid = in.text(in.field(metadata, "uid"), not_stamp, &Fields::doubt).value_or("");

    std::optional<model::Object> object;
    switch (kind) {
        case ObjectKind::service:
            object = read_service(in, top, metadata, key);
            break;
        case ObjectKind::endpoint_slice:
            object = read_endpoint_slice(in, top, metadata, key);
            break;
        case ObjectKind::node:
            object = read_node(in, top, metadata, key);
            break;
        case ObjectKind::service_cidr:
            object = read_service_cidr(in, top, key);
            break;
    }
    if (auto* service = std::get_if<model::Service>(&*object)) service->uid = out.uid;
    if (auto* slice = std::get_if<model::EndpointSlice>(&*object)) {
        slice->uid = out.uid;
        out.owner = {key.ns, slice->service};
    }
    if (in.valid()) out.object = std::move(object);
    return out;
}

}  // namespace svclb::kube
