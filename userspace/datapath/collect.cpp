// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "collect.hpp"

#include <utility>

#include "flow_age.hpp"

namespace svclb::datapath {
namespace {

// How many entries were removed: none, one, or a pair.
template <class Key>
Result<std::uint32_t> collect_one(const FlowMaps<Key>& maps, const Key& key, const svclb_flow& walked,
                                  const FlowTimeouts& timeouts, std::uint64_t now_s) {
    if (is_fresh(key.proto, walked, now_s, timeouts)) return 0U;
    // The rows of a batch are some time old: what is judged is read now, right before it goes.
    const auto flow = maps.established.get(key);
    if (!flow) return fail(flow.error());
    if (!*flow) return 0U;  // removed as the other half of an earlier one
    const auto found = maps.find_partner(key, **flow);
    if (!found) return fail(found.error());
    const svclb_flow* partner = *found ? &**found : nullptr;
    if (!is_dead(key.proto, **flow, partner, now_s, timeouts)) return 0U;

    // A packet may come while we judge. It tells both entries, so either of them knows when it goes.
    const auto last = maps.established.take(key);
    if (!last) return fail(last.error());
    if (!*last) return 0U;
    if (!is_dead(key.proto, **last, partner, now_s, timeouts)) {
        if (auto back = maps.established.put_back(key, **last); !back) return fail(back.error());
        return 0U;
    }
    if (partner == nullptr) return 1U;
    const auto other = maps.remove(*partner_key(key, **last));
    if (!other) return fail(other.error());
    return *other ? 2U : 1U;
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
