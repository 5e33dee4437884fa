// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which entries of the flat `slots` array are free. Best fit, neighbours joined. A run that was published goes through
// retire(): a program may still read it until a grace period after the row stopped pointing at it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace svclb::reconcile {

struct Span {
    std::uint32_t base = 0;
    std::uint32_t count = 0;  // 0 = no run
    bool operator==(const Span&) const = default;
};

class RunAllocator {
public:
    // Entries 1 to limit - 1 are free.
    explicit RunAllocator(std::uint32_t limit);

    // Nothing when no free run is long enough.
    [[nodiscard]] std::optional<Span> take(std::uint32_t count);
    // Takes this very run; false, and nothing taken, if a part of it is not free.
    [[nodiscard]] bool reserve(Span run);
    // A run that no program has ever seen.
    void give_back(Span run);
    void extend(std::uint32_t limit);
    [[nodiscard]] std::uint32_t limit() const noexcept { return limit_; }
    [[nodiscard]] std::uint32_t free_entries() const noexcept { return free_entries_; }
    [[nodiscard]] std::uint32_t in_use() const noexcept { return limit_ - 1 - free_entries_; }

    void retire(Span run);
    [[nodiscard]] bool resting() const noexcept { return !resting_.empty(); }
    // Covers what was retired before the call, and nothing retired after it.
    [[nodiscard]] std::uint64_t ticket() noexcept { return current_++; }
    void release(std::uint64_t ticket);

private:
    using ByBase = std::map<std::uint32_t, std::uint32_t>;
    struct Resting {
        std::uint64_t ticket;
        Span run;
    };

    void insert(Span run);
    void erase(ByBase::iterator entry);

    ByBase by_base_;
    std::set<std::pair<std::uint32_t, std::uint32_t>> by_count_;  // {count, base}
    std::deque<Resting> resting_;
    std::uint64_t current_ = 1;
    std::uint32_t limit_;
    std::uint32_t free_entries_ = 0;
};

}  // namespace svclb::reconcile
