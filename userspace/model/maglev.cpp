// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The hashes of flows are points of a line, on which each member has marks of its own, wherever the others' are. A
// point belongs to the member of the nearest mark, by distance over weight: shares follow the weights, and a member
// that comes or goes moves what is nearest to its own marks. A table shows the line at the middle of each slot, one of
// twice the size shows more of it. Lest this move half of everything at once, that begins as the smaller one with each
// slot twice, and as members come these pairs are split.
#include "svclb/model/maglev.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <numeric>
#include <tuple>

namespace svclb::model {

namespace {

constexpr std::uint32_t kSmallestTable = 1024;
constexpr std::uint32_t kMembersOfSmallest = 1;
constexpr std::uint32_t kMostWeight = 100;
// Of each member. With more of them shares are more alike (they deviate by the root of 1/576), but more flows move
// where pairs are split.
constexpr std::uint32_t kMarks = 288;
constexpr std::uint64_t kNone = UINT64_MAX;

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

struct Claimant {
    std::uint32_t weight = 1;
    std::uint32_t place = 0;  // by address and port: who goes first where two are as near
    std::uint64_t seed = 0;
};

// Who is nearest to the middle of each slot.
class View {
public:
    explicit View(std::uint32_t size)
        : size_(size), shift_(32U - static_cast<unsigned>(std::countr_zero(size))), nearest_(size) {}

    // Of one weight, all that have it, by place: among them nearest is nearest.
    void add(std::span<const Claimant> claimants) {
        // Between two middles only the first and the last mark can be nearest to one. A mark is its position, then
        // its place: of two at one position the lesser place counts, which in `last` is the one that comes first.
        std::vector<std::uint64_t> first(size_ + 1, kNone);
        std::vector<std::uint64_t> last(size_ + 1, kNone);
        for (const auto& claimant : claimants) {
            for (std::uint64_t i = 1; i <= kMarks; ++i) {
                const auto position = mixed(claimant.seed + i * 0x9e3779b97f4a7c15U) >> 32U;
                const auto slot = position >> shift_;
                const auto gap = slot + (position > middle(slot) ? 1 : 0);
                first[gap] = std::min(first[gap], position << 32U | claimant.place);
                if (last[gap] == kNone || last[gap] >> 32U < position) last[gap] = position << 32U | claimant.place;
            }
        }
        std::uint64_t mark = kNone;
        for (std::uint32_t slot = 0; slot < size_; ++slot) {
            if (last[slot] != kNone) mark = last[slot];
            if (mark != kNone) offer(slot, middle(slot) - (mark >> 32U), mark, claimants.front().weight);
        }
        mark = kNone;
        for (auto slot = size_; slot-- > 0;) {
            if (first[slot + 1] != kNone) mark = first[slot + 1];
            if (mark != kNone) offer(slot, (mark >> 32U) - middle(slot), mark, claimants.front().weight);
        }
    }
    [[nodiscard]] std::uint32_t place_at(std::uint32_t slot) const { return nearest_[slot].place; }

private:
    struct Nearest {
        std::uint32_t distance = 0;
        std::uint32_t weight = 0;  // 0: nobody yet
        std::uint32_t place = 0;
    };

    [[nodiscard]] std::uint64_t middle(std::uint64_t slot) const { return (slot * 2 + 1) << shift_ >> 1U; }
    void offer(std::uint32_t slot, std::uint64_t distance, std::uint64_t mark, std::uint32_t weight) {
        auto& best = nearest_[slot];
        const auto place = static_cast<std::uint32_t>(mark);
        const auto here = distance * best.weight;
        const auto there = std::uint64_t{best.distance} * weight;
        if (best.weight == 0 || std::tie(here, place) < std::tie(there, best.place))
            best = {static_cast<std::uint32_t>(distance), weight, place};
    }

    std::uint32_t size_;  // a power of two
    unsigned shift_;
    std::vector<Nearest> nearest_;
};

View view_of(std::span<const Claimant> by_weight, std::uint32_t size) {
    View view(size);
    for (auto from = by_weight.begin(); from != by_weight.end();) {
        const auto to =
            std::find_if(from, by_weight.end(), [&](const Claimant& c) { return c.weight != from->weight; });
        view.add({from, to});
        from = to;
    }
    return view;
}

// A size, and the number of members above which it takes the place of half the size.
struct Step {
    std::uint32_t size = kSmallestTable;
    std::uint64_t above = 0;
};

Step step_of(std::uint64_t members) noexcept {
    Step step;
    for (std::uint64_t most = kMembersOfSmallest; members > most && step.size < kLargestMaglevTable; most *= 2)
        step = {step.size * 2, most};
    return step;
}

// Splitting moves the more flows, the denser the marks are: by this schedule about as many with each member.
std::uint64_t split_pairs(const Step& step, std::uint64_t members) {
    return std::min<std::uint64_t>(step.size / 2, step.size * (members - step.above) / members);
}

// For each pair, of a power of two, its turn to be split: they lie evenly among the others.
std::uint32_t turn_of(std::uint32_t pair, std::uint32_t pairs) {
    std::uint32_t turn = 0;
    for (; pairs > 1; pairs /= 2, pair /= 2) turn = turn * 2 + pair % 2;
    return turn;
}

// The place of each slot's owner.
std::vector<std::uint32_t> places_of(std::span<const Claimant> by_weight) {
    const auto step = step_of(by_weight.size());
    const auto view = view_of(by_weight, step.size);
    std::vector<std::uint32_t> places(step.size);
    for (std::uint32_t slot = 0; slot < step.size; ++slot) places[slot] = view.place_at(slot);

    const auto pairs = step.size / 2;
    const auto split = split_pairs(step, by_weight.size());
    if (split == pairs) return places;
    const auto coarse = view_of(by_weight, pairs);
    for (std::uint32_t pair = 0; pair < pairs; ++pair)
        if (turn_of(pair, pairs) >= split) places[pair * 2] = places[pair * 2 + 1] = coarse.place_at(pair);
    return places;
}

}  // namespace

std::uint32_t maglev_size(std::size_t members) noexcept {
    return step_of(members).size;
}

std::vector<std::uint32_t> maglev_table(std::span<const MaglevMember> members) {
    if (members.empty()) return {};
    assert(members.size() <= kMostMaglevMembers);
    std::vector<std::uint32_t> order(members.size());
    std::iota(order.begin(), order.end(), 0U);
    std::ranges::sort(order, {}, [&](std::uint32_t at) { return std::tie(members[at].address, members[at].port); });
    std::vector<Claimant> claimants;
    claimants.reserve(order.size());
    for (std::uint32_t place = 0; place < order.size(); ++place) {
        const auto& member = members[order[place]];
        claimants.push_back({std::clamp<std::uint32_t>(member.weight, 1, kMostWeight), place, seed_of(member)});
    }
    std::ranges::stable_sort(claimants, {}, &Claimant::weight);

    auto table = places_of(claimants);
    for (auto& slot : table) slot = order[slot];
    return table;
}

}  // namespace svclb::model
