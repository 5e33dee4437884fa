// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "runs.hpp"

#include <cassert>
#include <iterator>

namespace svclb::reconcile {

RunAllocator::RunAllocator(std::uint32_t limit) : limit_(limit) {
    if (limit > 1) insert({1, limit - 1});
}

void RunAllocator::insert(Span run) {
    by_base_.emplace(run.base, run.count);
    by_count_.emplace(run.count, run.base);
    free_entries_ += run.count;
}

void RunAllocator::erase(ByBase::iterator entry) {
    by_count_.erase({entry->second, entry->first});
    free_entries_ -= entry->second;
    by_base_.erase(entry);
}

std::optional<Span> RunAllocator::take(std::uint32_t count) {
    assert(count > 0);
    const auto best = by_count_.lower_bound({count, 0});
    if (best == by_count_.end()) return std::nullopt;
    const Span whole{best->second, best->first};
    erase(by_base_.find(whole.base));
    if (whole.count > count) insert({whole.base + count, whole.count - count});
    return Span{whole.base, count};
}

bool RunAllocator::reserve(Span run) {
    assert(run.count > 0);
    auto entry = by_base_.upper_bound(run.base);
    if (entry == by_base_.begin()) return false;
    --entry;
    const Span whole{entry->first, entry->second};
    const std::uint64_t end = std::uint64_t{run.base} + run.count;
    const std::uint64_t whole_end = std::uint64_t{whole.base} + whole.count;
    if (end > whole_end) return false;
    erase(entry);
    if (run.base > whole.base) insert({whole.base, run.base - whole.base});
    if (end < whole_end) insert({static_cast<std::uint32_t>(end), static_cast<std::uint32_t>(whole_end - end)});
    return true;
}

void RunAllocator::give_back(Span run) {
    assert(run.count > 0);
    auto after = by_base_.lower_bound(run.base);
    assert(after == by_base_.end() || run.base + run.count <= after->first);
    if (after != by_base_.end() && run.base + run.count == after->first) {
        run.count += after->second;
        const auto joined = after++;
        erase(joined);
    }
    if (after != by_base_.begin()) {
        const auto before = std::prev(after);
        assert(before->first + before->second <= run.base);
        if (before->first + before->second == run.base) {
            run = {before->first, before->second + run.count};
            erase(before);
        }
    }
    insert(run);
}

void RunAllocator::extend(std::uint32_t limit) {
    if (limit <= limit_) return;
    const Span added{limit_, limit - limit_};
    limit_ = limit;
    give_back(added);
}

void RunAllocator::retire(Span run) {
    resting_.push_back({current_, run});
}

void RunAllocator::release(std::uint64_t ticket) {
    while (!resting_.empty() && resting_.front().ticket <= ticket) {
        give_back(resting_.front().run);
        resting_.pop_front();
    }
}

}  // namespace svclb::reconcile
