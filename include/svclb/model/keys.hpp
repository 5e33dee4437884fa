// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The labels and annotations that some rule reads. A decoder keeps these and drops all others, so that an object whose
// other labels change is unchanged to us.
#pragma once

#include <array>
#include <string_view>

namespace svclb::model {

inline constexpr std::string_view kProxyNameLabel = "service.kubernetes.io/service-proxy-name";
inline constexpr std::string_view kHeadlessLabel = "service.kubernetes.io/headless";
inline constexpr std::string_view kServiceNameLabel = "kubernetes.io/service-name";
inline constexpr std::string_view kZoneLabel = "topology.kubernetes.io/zone";
// On an EndpointSlice: the weight of its endpoints, 1 (default) to 100.
inline constexpr std::string_view kWeightAnnotation = "svclb.io/weight";
// On a Service: how a backend is chosen, "random" or "maglev".
inline constexpr std::string_view kAlgorithmAnnotation = "svclb.io/algorithm";
// On a Service: how clients outside reach a backend on another node, "snat" or "dsr".
inline constexpr std::string_view kForwardingModeAnnotation = "svclb.io/forwarding-mode";
inline constexpr std::string_view kTriggerTimeAnnotation = "endpoints.kubernetes.io/last-change-trigger-time";

// A taint: the cluster's autoscaler is about to delete the Node.
inline constexpr std::string_view kToBeDeletedTaint = "ToBeDeletedByClusterAutoscaler";

inline constexpr std::array kLabels{kProxyNameLabel, kHeadlessLabel, kServiceNameLabel, kZoneLabel};
inline constexpr std::array kAnnotations{kWeightAnnotation, kAlgorithmAnnotation, kForwardingModeAnnotation,
                                         kTriggerTimeAnnotation};

}  // namespace svclb::model
