// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "collect.hpp"

#include <cstring>
#include <optional>
#include <utility>

#include "flow_age.hpp"

namespace svclb::datapath {
namespace {

template <class Key>
bool same(const Key& a, const Key& b) {
    return std::memcmp(&a, &b, sizeof(Key)) == 0;
}

// The other direction, if that is what lies under its key: another flow may own that tuple by now.
template <class Key>
Result<std::optional<svclb_flow>> find_partner(const FlowMaps<Key>& maps, const Key& key,
                                               const std::optional<Key>& at) {
    if (!at) return std::optional<svclb_flow>();
    auto partner = maps.find(*at);
    if (!partner || !*partner) return partner;
    const auto back = partner_key(*at, **partner);
    if (!back || !same(*back, key)) return std::optional<svclb_flow>();
    return partner;
}

// How many entries were removed: none, one, or a pair.
template <class Key>
Result<std::uint32_t> collect_one(const FlowMaps<Key>& maps, const Key& key, const svclb_flow& walked,
                                  const FlowTimeouts& timeouts, std::uint64_t now_s) {
    if (is_fresh(key.proto, walked, now_s, timeouts)) return 0U;
    // The rows of a batch are some time old: what is judged is read now, right before it goes.
    const auto flow = maps.established.get(key);
    if (!flow) return fail(flow.error());
    if (!*flow) return 0U;  // removed as the other half of an earlier one
    const auto partner_at = partner_key(key, **flow);
    const auto partner = find_partner(maps, key, partner_at);
    if (!partner) return fail(partner.error());
    if (!is_dead(key.proto, **flow, *partner ? &**partner : nullptr, now_s, timeouts)) return 0U;

    const auto removed = maps.remove(key);
    if (!removed) return fail(removed.error());
    std::uint32_t count = *removed ? 1 : 0;
    if (*partner) {
        const auto other = maps.remove(*partner_at);
        if (!other) return fail(other.error());
        if (*other) ++count;
    }
    return count;
}

template <class Key>
Status walk(const FlowMaps<Key>& maps, BatchCursor<Key, svclb_flow>& cursor, const FlowTimeouts& timeouts,
            std::uint64_t now_s, std::uint32_t budget, CollectStep& step) {
    do {
        if (auto read = maps.established.next(cursor); !read) return read;
        for (std::uint32_t row = 0; row < cursor.count(); ++row) {
            const auto removed = collect_one(maps, cursor.key(row), cursor.value(row), timeouts, now_s);
            if (!removed) return fail(removed.error());
            step.removed += *removed;
        }
        step.visited += cursor.count();
    } while (!cursor.finished() && step.visited < budget);
    return {};
}

}  // namespace

Result<Collector> Collector::open(const MapSet& maps) {
    Collector collector;
    Opener opener;
    opener.into(collector.flows4_, FlowMaps<svclb_flow_key4>::open(maps, "established4", "transient4"));
    opener.into(collector.flows6_, FlowMaps<svclb_flow_key6>::open(maps, "established6", "transient6"));
    return opener.finish(std::move(collector));
}

Result<CollectStep> Collector::step(const FlowTimeouts& timeouts, std::uint64_t now_s, std::uint32_t budget) {
    CollectStep step;
    if (!at_v6_) {
        if (auto done = walk(flows4_, cursor4_, timeouts, now_s, budget, step); !done) return fail(done.error());
        at_v6_ = cursor4_.finished();
    }
    if (at_v6_ && step.visited < budget) {
        if (auto done = walk(flows6_, cursor6_, timeouts, now_s, budget, step); !done) return fail(done.error());
        step.finished = cursor6_.finished();
        at_v6_ = !step.finished;
    }
    return step;
}

}  // namespace svclb::datapath
