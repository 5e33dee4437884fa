// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Walks the established flows, some at a time, and removes the dead ones: they live in plain hashes, which never let go
// of an entry by themselves.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>

#include "flow_age.hpp"
#include "map_ref.hpp"
#include "map_set.hpp"
#include "svclb/abi.h"
#include "svclb/base/result.hpp"
#include "svclb/datapath/datapath.hpp"

namespace svclb::datapath {

template <class Key>
struct FlowMaps {
    MapRef<Key, svclb_flow> established;
    MapRef<Key, svclb_flow> transient;  // where the other direction may be when the big table was full

    static Result<FlowMaps> open(const MapSet& maps, const char* established, const char* transient) {
        FlowMaps flows;
        Opener opener;
        opener.into(flows.established, MapRef<Key, svclb_flow>::open(maps, established));
        opener.into(flows.transient, MapRef<Key, svclb_flow>::open(maps, transient));
        return opener.finish(flows);
    }

    [[nodiscard]] Result<std::optional<svclb_flow>> find(const Key& key) const {
        auto flow = established.get(key);
        if (!flow || *flow) return flow;
        return transient.get(key);
    }

    // From both, for it may be on its way from one to the other; false: it was in neither.
    [[nodiscard]] Result<bool> remove(const Key& key) const {
        auto was_established = established.remove(key);
        if (!was_established) return was_established;
        auto was_transient = transient.remove(key);
        if (!was_transient) return was_transient;
        return *was_established || *was_transient;
    }

    // The entry of the other direction, if that is what lies under its key: another flow may own that tuple by now.
    [[nodiscard]] Result<std::optional<svclb_flow>> find_partner(const Key& key, const svclb_flow& flow) const {
        const auto at = partner_key(key, flow);
        if (!at) return std::optional<svclb_flow>();
        auto partner = find(*at);
        if (!partner || !*partner) return partner;
        const auto back = partner_key(*at, **partner);
        if (!back || std::memcmp(&*back, &key, sizeof(Key)) != 0) return std::optional<svclb_flow>();
        return partner;
    }
};

class Collector {
public:
    // `maps` must outlive the result.
    static Result<Collector> open(const MapSet& maps);

    Result<CollectStep> step(const FlowTimeouts& timeouts, std::uint64_t now_s, std::uint32_t budget);

private:
    // Small: a step may exceed its budget by one batch.
    static constexpr std::uint32_t kBatch = 128;
    template <class Key>
    struct Family {
        FlowMaps<Key> flows;
        BatchCursor<Key, svclb_flow> cursor{kBatch};
        std::uint32_t capacity = 0;
        std::uint32_t kept = 0;  // by this walk, so far
        bool crowded = false;    // as the last walk left the table

        Status open(const MapSet& maps, const char* established, const char* transient);
        Status walk(const FlowTimeouts& timeouts, std::uint64_t now_s, std::uint32_t budget, CollectStep& step);
    };

    Collector() = default;

    Family<svclb_flow_key4> v4_;
    Family<svclb_flow_key6> v6_;
    bool at_v6_ = false;
};

}  // namespace svclb::datapath
