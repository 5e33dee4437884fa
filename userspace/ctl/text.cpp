// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "text.hpp"

#include <netinet/in.h>

#include "svclb/abi.h"
#include "svclb/model/address.hpp"

namespace svclb::ctl {

std::string protocol_text(std::uint8_t proto) {
    switch (proto) {
        case IPPROTO_TCP:
        case IPPROTO_UDP:
        case IPPROTO_SCTP:
            return std::string(model::to_string(static_cast<model::Protocol>(proto)));
        default:
            return std::to_string(proto);
    }
}

std::string family_text(std::uint8_t family) {
    if (family != 4 && family != 6) return "family " + std::to_string(family);
    return std::string(model::to_string(static_cast<model::Family>(family)));
}

std::string frontend_kind_text(std::uint8_t kind) {
    switch (kind) {
        case SVCLB_FRONTEND_CLUSTER_IP:
            return "clusterIP";
        case SVCLB_FRONTEND_NODE_PORT:
            return "nodePort";
        case SVCLB_FRONTEND_EXTERNAL_IP:
            return "externalIP";
        case SVCLB_FRONTEND_LOAD_BALANCER:
            return "loadBalancer";
        case SVCLB_FRONTEND_CLUSTER_IP_ADDRESS:
            return "clusterIPAddress";
        default:
            return "kind " + std::to_string(kind);
    }
}

std::string set_text(std::uint8_t set) {
    switch (set) {
        case SVCLB_SET_CLUSTER:
            return "Cluster";
        case SVCLB_SET_LOCAL:
            return "Local";
        default:
            return "set " + std::to_string(set);
    }
}

std::string verdict_text(std::uint8_t verdict) {
    switch (verdict) {
        case SVCLB_VERDICT_FORWARD:
            return "forward";
        case SVCLB_VERDICT_REJECT:
            return "reject";
        case SVCLB_VERDICT_DROP:
            return "drop";
        default:
            return "verdict " + std::to_string(verdict);
    }
}

std::string backend_state_text(std::uint8_t state) {
    switch (state) {
        case SVCLB_BACKEND_READY:
            return "ready";
        case SVCLB_BACKEND_DRAINING:
            return "draining";
        case SVCLB_BACKEND_NOT_READY:
            return "notReady";
        default:
            return "state " + std::to_string(state);
    }
}

std::string flow_kind_text(std::uint8_t kind) {
    switch (kind) {
        case SVCLB_FLOW_FORWARD:
            return "forward";
        case SVCLB_FLOW_HAIRPIN:
            return "hairpin";
        case SVCLB_FLOW_DIRECT:
            return "direct";
        case SVCLB_FLOW_ENCAPSULATED:
            return "encapsulated";
        default:
            return "kind " + std::to_string(kind);
    }
}

}  // namespace svclb::ctl
