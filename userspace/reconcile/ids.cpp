// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "ids.hpp"

#include <algorithm>
#include <cassert>

namespace svclb::reconcile {

IdPool::IdPool(std::uint32_t limit, const std::vector<bool>& used) : limit_(limit) {
    const auto end = std::min<std::size_t>(used.size(), limit);
    for (std::uint32_t id = 1; id < end; ++id) {
        if (!used[id]) continue;
        for (; next_ < id; ++next_) freed_.push_back(next_);
        next_ = id + 1;
    }
}

std::optional<std::uint32_t> IdPool::take() {
    if (next_ < limit_) return next_++;
    if (freed_.empty()) return std::nullopt;
    const auto id = freed_.front();
    freed_.pop_front();
    return id;
}

void IdPool::give_back(std::uint32_t id) {
    assert(id != 0 && id < next_);
    freed_.push_back(id);
}

void IdPool::extend(std::uint32_t limit) noexcept {
    if (limit <= limit_) return;
    untouched_from_ = std::min(untouched_from_, limit_);
    limit_ = limit;
}

}  // namespace svclb::reconcile
