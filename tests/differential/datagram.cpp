// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Datagrams in fragments: the first one is judged as the whole datagram would be, and the others have to go its way,
// whatever their order.
#include <netinet/in.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "fragments.hpp"
#include "life.hpp"

namespace svclb::test {
namespace {

constexpr std::size_t kPiece = 40;
constexpr std::size_t kEthernet = 14;

// The ends of a datagram, read from its first fragment.
Endpoint end_of(const Bytes& frame, bool v4, bool source) {
    const std::size_t ports = kEthernet + (v4 ? 20 : 48) + (source ? 0 : 2);
    const std::size_t address = kEthernet + (v4 ? (source ? 12 : 16) : (source ? 8 : 24));
    if (frame.size() < ports + 2) throw std::runtime_error("a first fragment without ports");
    Ip addr = ip(v4 ? "0.0.0.0" : "::");
    const std::size_t size = v4 ? 4 : 16;
    std::copy_n(frame.begin() + static_cast<std::ptrdiff_t>(address), size,
                addr.bytes.end() - static_cast<std::ptrdiff_t>(size));
    return {addr, static_cast<std::uint16_t>(frame[ports] << 8 | frame[ports + 1])};
}

// A refusal is about the packet, so what comes back is no fragment of it.
bool is_fragment(const Bytes& frame, bool v4) {
    return v4 ? frame.size() > kEthernet + 9 && frame[kEthernet + 9] == IPPROTO_UDP
              : frame.size() > kEthernet + 6 && frame[kEthernet + 6] == IPPROTO_FRAGMENT;
}

// In which order `count` fragments come, none before the first twice; the first may be missing.
std::vector<std::size_t> order_of(std::size_t count, std::uint32_t number) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < count; i++) order.push_back(i);
    switch (number % 6) {
        case 0:
            break;
        case 1:
            std::reverse(order.begin(), order.end());
            break;
        case 2:  // the first in the midst of the others
            std::rotate(order.begin(), order.begin() + 1, order.begin() + 2);
            break;
        case 3:  // all of them twice
            order.insert(order.end(), order.begin(), order.end());
            break;
        case 4:  // the last one first, and once more afterwards
            std::rotate(order.begin(), order.end() - 1, order.end());
            order.push_back(order.front());
            break;
        default:
            order.erase(order.begin());
            break;
    }
    return order;
}

}  // namespace

// One hook. The datagram as it went on, if it did.
std::optional<Packet> Life::meet_fragments(const Packet& whole, bool to_pod, std::uint32_t number) {
    const bool v4 = whole.source.v4();
    const auto run = [&](const Packet& packet, bool complete) {
        packets_++;
        datapath_.with_complete_checksums(complete);
        return to_pod ? datapath_.to_pod(packet) : datapath_.from_pod(packet);
    };
    const std::vector<Packet> pieces = fragments_of(whole, kPiece, ++datagrams_);
    const std::uint64_t released = datapath_.reason(SVCLB_REASON_FRAGMENT_RELEASED).packets;
    std::optional<Packet> goes_on;
    std::int32_t verdict = dropped;
    std::vector<std::size_t> held;
    bool opened = false;

    const auto judge_later = [&](std::size_t index) {
        Packet expected = goes_on ? fragments_of(*goes_on, kPiece, datagrams_)[index] : pieces[index];
        if (verdict == redirected && goes_on) std::swap(expected.to_mac, expected.from_mac);
        const Run got = run(pieces[index], true);
        const std::int32_t due = goes_on ? verdict : dropped;
        if (got.verdict != due)
            wrong_ = "fragment: verdict " + std::to_string(got.verdict) + " instead of " + std::to_string(due);
        else if (goes_on)
            wrong_ = difference(expected.frame(), got.frame);
    };
    for (const std::size_t index : order_of(pieces.size(), number)) {
        if (!wrong_.empty()) return {};
        say((to_pod ? "  to_pod   " : "from_pod   ") + to_string(whole.source_endpoint()) + " -> " +
            to_string(whole.destination_endpoint()) + " fragment " + std::to_string(index));
        if (index > 0 && opened) {
            judge_later(index);
        } else if (index > 0) {
            const Run got = run(pieces[index], true);
            // Passed untouched where no datagram with these addresses can be ours.
            if (got.verdict == dropped) {
                held.push_back(index);
            } else if (got.verdict != next || model_.concerns_us(whole, to_pod)) {
                wrong_ = "a fragment before its first: verdict " + std::to_string(got.verdict);
            } else {
                wrong_ = difference(pieces[index].frame(), got.frame);
            }
        } else {
            // A packet that takes another one's place has no sum of its own.
            Run got = run(pieces[0], held.empty());
            opened = true;
            verdict = got.verdict;
            goes_on.reset();
            if (got.verdict != dropped && is_fragment(got.frame, v4)) {
                goes_on =
                    with_source(with_destination(whole, end_of(got.frame, v4, false)), end_of(got.frame, v4, true));
                Packet first = fragments_of(*goes_on, kPiece, datagrams_)[0];
                Packet as_whole = *goes_on;
                if (got.verdict == redirected) {
                    std::swap(first.to_mac, first.from_mac);
                    std::swap(as_whole.to_mac, as_whole.from_mac);
                }
                wrong_ = difference(first.frame(), got.frame);
                got.frame = as_whole.frame();
            }
            if (wrong_.empty()) wrong_ = model_.judge(whole, to_pod, got);
            if (!goes_on || !wrong_.empty()) continue;
            // What was held comes back to the hook.
            if (datapath_.reason(SVCLB_REASON_FRAGMENT_RELEASED).packets - released != held.size())
                wrong_ = "held fragments were not released";
            for (const std::size_t late : std::exchange(held, {})) {
                if (wrong_.empty()) judge_later(late);
            }
        }
    }
    if (!wrong_.empty() || verdict != next) return {};
    return goes_on;
}

// A client's or a backend's, the first of a conversation or a further one.
void Life::send_fragments(const Step& step) {
    const Flow flow = some_flow(step[1]);
    if (proto_ != IPPROTO_UDP || !flow) return;
    const bool from_backend = step[2] % 2 == 0;
    const Endpoint from = from_backend ? flow->backend : flow->client;
    const Endpoint to = from_backend ? flow->presented : flow->dialled;
    const auto sent = meet_fragments(udp(from, to, payload_of(kPiece + 1 + step[3] % (3 * kPiece))), false, step[4]);
    if (sent && wrong_.empty()) meet_fragments(*sent, true, step[4] / 6);
}

}  // namespace svclb::test
