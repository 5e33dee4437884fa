// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Like Maglev's, the table is filled by members that claim slots in turns, each by an order of its own. Unlike there, a
// member that finds its slot taken has lost its turn. So a slot's owner depends on nobody but who comes to it, and a
// member that goes moves its own slots only; where losers go on to the next free slot, which makes equal shares, it
// moves twice as many at 50 members, and six times at 1,000.
#include "svclb/model/maglev.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <numeric>
#include <tuple>

namespace svclb::model {

namespace {

constexpr std::uint32_t kSmallestTable = 1024;
constexpr std::uint32_t kSlotsEach = 256;
constexpr std::uint32_t kMostWeight = 100;
constexpr std::uint32_t kNobody = UINT32_MAX;

std::uint64_t mixed(std::uint64_t h) {
    h = (h ^ h >> 30U) * 0xbf58476d1ce4e5b9U;
    h = (h ^ h >> 27U) * 0x94d049bb133111ebU;
    return h ^ h >> 31U;
}

// The same on every machine, whatever its byte order.
std::uint64_t seed_of(const MaglevMember& member) {
    std::uint64_t h = member.port;
    for (const auto byte : member.address.bytes) h = mixed(h << 8U ^ h >> 56U ^ byte);
    return h;
}

// Members by address and port: who goes first where two come to a slot at the same time.
struct Claimant {
    std::uint64_t seed = 0;
    std::uint32_t member = 0;
    std::uint32_t weight = 1;
};

class Table {
public:
    explicit Table(std::uint32_t size) : slots_(size, kNobody), free_(size) {}

    void claim(const Claimant& by, std::uint64_t turn) {
        const auto hash = mixed(by.seed + turn * 0x9e3779b97f4a7c15U) >> 32U;
        auto& slot = slots_[hash * slots_.size() >> 32U];
        if (slot != kNobody) return;
        slot = by.member;
        --free_;
    }
    [[nodiscard]] bool full() const { return free_ == 0; }
    [[nodiscard]] std::vector<std::uint32_t> take() { return std::move(slots_); }

private:
    std::vector<std::uint32_t> slots_;
    std::size_t free_;
};

// A member's n-th turn comes in round n * 100 / weight, whoever else there is.
class Turns {
public:
    explicit Turns(std::span<const Claimant> claimants) : claimants_(claimants), taken_(claimants.size()) {
        for (std::uint32_t place = 0; place < claimants.size(); ++place) await_next(place);
    }
    void play(Table& table) {
        for (std::size_t round = 0; !table.full(); ++round) {
            auto& due = due_[round % due_.size()];
            if (!std::ranges::is_sorted(due)) std::ranges::sort(due);
            for (const auto place : due) {
                table.claim(claimants_[place], taken_[place]);
                await_next(place);
            }
            due.clear();
        }
    }

private:
    void await_next(std::uint32_t place) {
        const std::uint64_t weight = claimants_[place].weight;
        const auto round = (++taken_[place] * kMostWeight + weight - 1) / weight;
        due_[round % due_.size()].push_back(place);
    }

    std::span<const Claimant> claimants_;
    std::vector<std::uint64_t> taken_;
    std::array<std::vector<std::uint32_t>, kMostWeight + 1> due_;  // by round: the next turn is 1 to 100 rounds away
};

}  // namespace

std::uint32_t maglev_size(std::size_t members) noexcept {
    std::uint64_t size = kSmallestTable;
    while (size < members * kSlotsEach && size < kLargestMaglevTable) size *= 4;
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(size, kLargestMaglevTable));
}

std::vector<std::uint32_t> maglev_table(std::span<const MaglevMember> members) {
    if (members.empty()) return {};
    assert(members.size() <= kMostMaglevMembers);
    std::vector<std::uint32_t> order(members.size());
    std::iota(order.begin(), order.end(), 0U);
    std::ranges::sort(order, {}, [&](std::uint32_t at) { return std::tie(members[at].address, members[at].port); });
    std::vector<Claimant> claimants;
    claimants.reserve(order.size());
    for (const auto at : order)
        claimants.push_back({seed_of(members[at]), at, std::clamp<std::uint32_t>(members[at].weight, 1, kMostWeight)});

    Table table(maglev_size(members.size()));
    Turns(claimants).play(table);
    return table.take();
}

}  // namespace svclb::model
