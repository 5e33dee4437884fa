// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Ids of array entries and strings. One that was given back is given out as late as possible: flows and people may
// still hold it. Entry 0 means "none" in every table and is never given out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace svclb::reconcile {

class IdPool {
public:
    // Ids from 1 to limit - 1.
    explicit IdPool(std::uint32_t limit) noexcept : limit_(limit) {}
    // The same, with the ids in use taken; `used` is indexed by id and may be shorter than `limit`.
    IdPool(std::uint32_t limit, const std::vector<bool>& used);

    // An id that was never given out, else the one given back longest ago; nothing when all are in use.
    [[nodiscard]] std::optional<std::uint32_t> take();
    // Whether take() would give an entry that was zero when it was added by extend() and that nobody had since.
    [[nodiscard]] bool next_is_untouched() const noexcept { return next_ < limit_ && next_ >= untouched_from_; }
    void give_back(std::uint32_t id);
    [[nodiscard]] std::uint64_t available() const noexcept {
        return freed_.size() + (limit_ - std::min(next_, limit_));
    }
    // The table has grown by zeroed entries.
    void extend(std::uint32_t limit) noexcept;
    [[nodiscard]] std::uint32_t limit() const noexcept { return limit_; }
    [[nodiscard]] std::size_t in_use() const noexcept { return next_ - 1 - freed_.size(); }

private:
    std::uint32_t next_ = 1;
    std::uint32_t limit_;
    std::uint32_t untouched_from_ = UINT32_MAX;  // the first entry that this pool was extended by
    std::deque<std::uint32_t> freed_;
};

}  // namespace svclb::reconcile
