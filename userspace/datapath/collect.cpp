// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "collect.hpp"

#include <algorithm>
#include <utility>

#include "flow_age.hpp"

namespace svclb::datapath {
namespace {

bool is_crowded(std::uint32_t entries, std::uint32_t capacity) {
    return entries > capacity / 4 * 3;
}

// How many entries were removed: none, one, or a pair.
template <class Key>
Result<std::uint32_t> collect_one(const FlowMaps<Key>& maps, const Key& key, const svclb_flow& walked,
                                  const FlowTimeouts& timeouts, std::uint64_t now_s, bool crowded) {
    if (is_fresh(key.proto, walked, now_s, timeouts, crowded)) return 0U;
    // The rows of a batch are some time old: what is judged is read now, right before it goes.
    const auto flow = maps.established.get(key);
    if (!flow) return fail(flow.error());
    if (!*flow) return 0U;  // removed as the other half of an earlier one
    const auto found = maps.find_partner(key, **flow);
    if (!found) return fail(found.error());
    const svclb_flow* partner = *found ? &**found : nullptr;
    if (!is_dead(key.proto, **flow, partner, now_s, timeouts, crowded)) return 0U;

    // A packet may come while we judge. It tells both entries, so either of them knows when it goes.
    const auto last = maps.established.take(key);
    if (!last) return fail(last.error());
    if (!*last) return 0U;
    if (!is_dead(key.proto, **last, partner, now_s, timeouts, crowded)) {
        if (auto back = maps.established.put_back(key, **last); !back) return fail(back.error());
        return 0U;
    }
    if (partner == nullptr) return 1U;
    const auto other = maps.remove(*partner_key(key, **last));
    if (!other) return fail(other.error());
    return *other ? 2U : 1U;
}

}  // namespace

template <class Key>
Status Collector::Family<Key>::open(const MapSet& maps, const char* established, const char* transient) {
    auto opened = FlowMaps<Key>::open(maps, established, transient);
    if (!opened) return fail(opened.error());
    flows = *opened;
    capacity = maps.entries(established);
    return {};
}

template <class Key>
Status Collector::Family<Key>::walk(const FlowTimeouts& timeouts, std::uint64_t now_s, std::uint32_t budget,
                                    CollectStep& step) {
    do {
        if (auto read = flows.established.next(cursor); !read) return read;
        kept += cursor.count();
        for (std::uint32_t row = 0; row < cursor.count(); ++row) {
            const auto removed = collect_one(flows, cursor.key(row), cursor.value(row), timeouts, now_s, crowded);
            if (!removed) return fail(removed.error());
            step.removed += *removed;
            kept -= std::min(kept, *removed);
        }
        step.visited += cursor.count();
    } while (!cursor.finished() && step.visited < budget);
    if (cursor.finished()) crowded = is_crowded(std::exchange(kept, 0), capacity);
    return {};
}

Result<Collector> Collector::open(const MapSet& maps) {
    Collector collector;
    if (auto opened = collector.v4_.open(maps, "established4", "transient4"); !opened) return fail(opened.error());
    if (auto opened = collector.v6_.open(maps, "established6", "transient6"); !opened) return fail(opened.error());
    return collector;
}

Result<CollectStep> Collector::step(const FlowTimeouts& timeouts, std::uint64_t now_s, std::uint32_t budget) {
    CollectStep step;
    if (!at_v6_) {
        if (auto done = v4_.walk(timeouts, now_s, budget, step); !done) return fail(done.error());
        at_v6_ = v4_.cursor.finished();
    }
    if (at_v6_ && step.visited < budget) {
        if (auto done = v6_.walk(timeouts, now_s, budget, step); !done) return fail(done.error());
        step.finished = v6_.cursor.finished();
        at_v6_ = !step.finished;
    }
    step.crowded = v4_.crowded || v6_.crowded;
    return step;
}

}  // namespace svclb::datapath
