// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Any frame through the real programs, by the kernel's test-run. What must hold for each: right checksums stay right,
// what names none of our addresses goes on bit for bit, and what was translated is the original again on its way back.
// At an uplink: what XDP forwards or drops is what tc makes of it, and what it passes has not changed by a bit.
// The first byte of an input says which program, and whether the checksums are to be made right first; the rest is the
// frame.
#include <bpf/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "frame_layout.hpp"
#include "prog_run.hpp"
#include "service_fixture.hpp"
#include "way_out.hpp"

namespace {

using namespace svclb::test;

constexpr int kSkipped = 4;
constexpr std::size_t kEthernet = 14;
constexpr std::size_t kLongest = 1500;

enum Mode : unsigned { into_pod = 1, make_right = 2, at_uplink = 4 };

constexpr std::uint32_t kEntry = 1;  // test-run's packets come in by the loopback device

const Ip kClient4 = ip("10.244.1.10");
const Ip kClient6 = ip("fd00:244:1::10");
const Ip kFrontend4 = ip("10.96.0.10");
const Ip kFrontend6 = ip("fd00:96::10");
const Ip kBackend4 = ip("10.244.2.20");
const Ip kBackend6 = ip("fd00:244:2::20");
const Ip kNode4 = ip("10.0.0.1");
const Ip kNode6 = ip("fd00:77::1");
const Ip kOutside4 = ip("192.0.2.50");
const Ip kOutside6 = ip("2001:db8::50");

// Prints the frames and ends the run.
[[noreturn]] void broken(const char* promise, const Bytes& sent, const Bytes& expected, const Bytes& got) {
    std::fprintf(stderr, "%s\nsent:", promise);
    for (const std::uint8_t byte : sent) std::fprintf(stderr, " %02x", byte);
    std::fprintf(stderr, "\n%s%s\n", difference(expected, got).c_str(), wrong_checksums(got).c_str());
    std::abort();
}

// Pods and Services of both families; a conversation of each kind is open, in both tables.
class Node {
public:
    Node() : datapath_(options()) {}

    Datapath& fresh() {
        clear();
        std::uint32_t index = 1;
        for (const bool v4 : {true, false}) {
            const Endpoint frontend{v4 ? kFrontend4 : kFrontend6, 80};
            const Endpoint backend{v4 ? kBackend4 : kBackend6, 8080};
            for (const auto proto : std::array<std::uint8_t, 2>{IPPROTO_TCP, IPPROTO_UDP})
                fixtures_.emplace_back(datapath_, index++, frontend, proto, std::vector<Endpoint>{backend});
            mark_cluster_ip(datapath_, frontend.addr);
            open({v4 ? kClient4 : kClient6, 40000}, frontend, backend);
        }
        return datapath_;
    }

    // Node ports 30080, with a conversation of each kind, and 30081, which nobody may dial; XDP at both uplinks.
    Datapath& fresh_uplink() {
        clear();
        std::memcpy(datapath_.node_addresses().v4, kNode4.bytes.data(), kNode4.bytes.size());
        std::memcpy(datapath_.node_addresses().v6, kNode6.bytes.data(), kNode6.bytes.size());
        std::uint32_t index = 1;
        for (const auto proto : std::array<std::uint8_t, 2>{IPPROTO_TCP, IPPROTO_UDP}) {
            const Endpoint guarded{kNode4, 30081};
            fixtures_.emplace_back(datapath_, index++, guarded, proto, std::vector<Endpoint>{},
                                   ServiceOptions{.kind = SVCLB_FRONTEND_NODE_PORT, .source_ranges = true});
            fixtures_.back().add_frontend({kNode6, guarded.port});
            for (const bool v4 : {true, false}) {
                fixtures_.emplace_back(datapath_, index++, Endpoint{v4 ? kNode4 : kNode6, 30080}, proto,
                                       std::vector<Endpoint>{{v4 ? kBackend4 : kBackend6, 8080}},
                                       ServiceOptions{.kind = SVCLB_FRONTEND_NODE_PORT});
            }
        }
        for (const bool v4 : {true, false}) {
            mark_cluster_ip(datapath_, v4 ? kFrontend4 : kFrontend6);
            open_outside({v4 ? kOutside4 : kOutside6, 40000}, {v4 ? kNode4 : kNode6, 30080});
        }
        put_xdp_link(kEntry, Packet{}.to_mac);
        put_xdp_link(::if_nametoindex("uplink"), kUplink);
        return datapath_;
    }

private:
    static DatapathOptions options() {
        DatapathOptions options;
        options.settings.reject_per_s = 1U << 30;
        return options;
    }

    void open(const Endpoint& client, const Endpoint& frontend, const Endpoint& backend) {
        datapath_.from_pod(tcp(client, frontend, syn));
        datapath_.to_pod(tcp(backend, client, syn | ack));
        datapath_.from_pod(tcp(client, frontend, ack));
        datapath_.from_pod(udp(client, frontend, payload_of(9)));
        datapath_.to_pod(udp(backend, client, payload_of(9)));
    }

    void clear() {
        datapath_.clear();
        datapath_.with_complete_checksums(false);  // the kernel makes its own sum of a frame whose lengths lie
        fixtures_.clear();
    }

    // Its first packet, the answer and another one: by tc, through both steps.
    void open_outside(const Endpoint& client, const Endpoint& dialled) {
        for (const bool stream : {true, false}) {
            const auto packet = [&](const Endpoint& from, const Endpoint& to, unsigned flags) {
                return stream ? tcp(from, to, flags) : udp(from, to, payload_of(9));
            };
            const auto through = [&](const Packet& sent) {
                return datapath_.to_uplink(datapath_.from_uplink(sent).frame).frame;
            };
            const Bytes there = through(packet(client, dialled, syn));
            through(packet(destination_of(there), source_of(there), syn | ack));
            through(packet(client, dialled, ack));
        }
    }

    void put_xdp_link(std::uint32_t ifindex, const Mac& mac) const {
        svclb_xdp_link row{};
        std::copy(mac.begin(), mac.end(), row.mac);
        row.mode = SVCLB_XDP_NATIVE;
        bpf_map_update_elem(datapath_.map("xdp_links"), &ifindex, &row, BPF_ANY);
    }

    WayOut way_out_;
    Datapath datapath_;
    std::vector<ServiceFixture> fixtures_;
};

Node& node() {
    static std::optional<Node> made;
    try {
        if (!made) made.emplace();
    } catch (const NotPermitted& reason) {
        std::printf("skipped: %s\n", reason.what());
        std::fflush(stdout);
        _exit(kSkipped);  // libFuzzer takes an exit() for a crash
    }
    return *made;
}

// The kernel's test-run refuses a frame that ends within the IP header that its type announces.
bool test_run_takes(const Bytes& frame) {
    const int type = frame[kEthernet - 2] << 8 | frame[kEthernet - 1];
    const std::size_t header = type == 0x0800 ? 20 : type == 0x86dd ? 40 : 0;
    return frame.size() >= kEthernet + header;
}

bool holds(const Bytes& frame, const Ip& address) {
    const auto begin = address.bytes.begin() + (address.v4() ? 12 : 0);
    return std::search(frame.begin(), frame.end(), begin, address.bytes.end()) != frame.end();
}

bool names_ours(const Bytes& frame) {
    return holds(frame, kFrontend4) || holds(frame, kFrontend6) || holds(frame, kBackend4) || holds(frame, kBackend6);
}

// The same frame from the other end: no checksum changes. Nothing where it has no ports.
std::optional<Bytes> turned(const Bytes& frame) {
    const auto fields = fields_of(frame);
    const auto at = [&](const std::string& name) -> const Field* {
        const auto found = std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.name == name; });
        return found == fields.end() ? nullptr : &*found;
    };
    Bytes result = frame;
    const auto swap = [&](const Field* a, const Field* b) {
        if (a == nullptr || b == nullptr || a->size != b->size) return false;
        const auto first = result.begin() + static_cast<std::ptrdiff_t>(a->at);
        std::swap_ranges(first, first + static_cast<std::ptrdiff_t>(a->size),
                         result.begin() + static_cast<std::ptrdiff_t>(b->at));
        return true;
    };
    if (!swap(at("ip source"), at("ip destination"))) return std::nullopt;
    for (const std::string proto : {"tcp", "udp"})
        if (swap(at(proto + " source port"), at(proto + " destination port"))) return result;
    return std::nullopt;
}

void check_way_back(Datapath& datapath, const Bytes& sent, const Bytes& translated) {
    const auto answer = turned(translated);
    const auto expected = turned(sent);
    if (!answer || !expected) return;
    const Run back = datapath.to_pod(*answer);
    // 0 and 0xffff are one sum, and translation may come back with the other one.
    Bytes got = back.frame;
    right_checksums(got);
    Bytes wanted = *expected;
    right_checksums(wanted);
    if (back.verdict != next || got != wanted || !wrong_checksums(back.frame).empty())
        broken("the translation back is not the original", *answer, *expected, back.frame);
}

std::array<std::uint64_t, SVCLB_REASON_COUNT> reasons_of(const Datapath& datapath) {
    std::array<std::uint64_t, SVCLB_REASON_COUNT> packets{};
    for (std::uint32_t i = 0; i < SVCLB_REASON_COUNT; i++)
        packets.at(i) = datapath.reason(static_cast<svclb_reason>(i)).packets;
    return packets;
}

// XDP only reads, but for the counters: tc meets the frame as if there were none before it.
void check_uplink(const Bytes& frame) {
    Datapath& datapath = node().fresh_uplink();
    const auto before = reasons_of(datapath);
    const Run early = datapath.from_wire(frame);
    const auto at_xdp = reasons_of(datapath);
    const Run in = datapath.from_uplink(frame);
    if (early.verdict == xdp_redirect) {
        Bytes expected = datapath.to_uplink(in.frame).frame;
        // The stack takes a hop, unless it was passed by, and sends to the gateway.
        std::copy(kGateway.begin(), kGateway.end(), expected.begin());
        std::copy(kUplink.begin(), kUplink.end(), expected.begin() + 6);
        const bool v4 = frame[kEthernet - 2] == 0x08;
        if (in.verdict == next) expected.at(kEthernet + (v4 ? 8 : 7))--;
        Bytes got = early.frame;
        // 0 and 0xffff are one sum. A wrong one stays wrong, and is compared as it is.
        if (wrong_checksums(frame).empty()) {
            if (!wrong_checksums(got).empty()) broken("XDP: wrong checksums", frame, expected, got);
            right_checksums(got);
            right_checksums(expected);
        } else if (in.verdict == next && v4) {
            got[kEthernet + 10] = expected[kEthernet + 10];  // the header's own, with the hop in it
            got[kEthernet + 11] = expected[kEthernet + 11];
        }
        if (got != expected) broken("XDP forwards what tc makes something else of", frame, expected, got);
        return;
    }
    if (early.frame != frame) broken("XDP changes what it does not forward", frame, frame, early.frame);
    if (early.verdict == xdp_pass) {
        if (at_xdp != before) broken("XDP counts what it passes", frame, frame, early.frame);
        return;
    }
    auto twice = at_xdp;
    for (std::size_t i = 0; i < twice.size(); i++) twice.at(i) += at_xdp.at(i) - before.at(i);
    if (early.verdict != xdp_drop || in.verdict != dropped || at_xdp == before || reasons_of(datapath) != twice)
        broken("XDP drops what tc does not, or by another rule", frame, frame, in.frame);
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer calls it by this name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1 + kEthernet || size > 1 + kLongest) return 0;
    const unsigned mode = data[0];
    Bytes frame(data + 1, data + size);
    if (!test_run_takes(frame)) return 0;
    if ((mode & make_right) != 0) right_checksums(frame);

    if ((mode & at_uplink) != 0) {
        check_uplink(frame);
        return 0;
    }

    Datapath& datapath = node().fresh();
    const bool in = (mode & into_pod) != 0;
    const Run run = in ? datapath.to_pod(frame) : datapath.from_pod(frame);
    if (run.verdict != next && run.verdict != dropped && run.verdict != redirected)
        broken("no verdict of ours", frame, frame, run.frame);
    // Addresses share filter bytes: a stranger's fragment may be kept until its first comes, like one of ours.
    const bool held = run.verdict == dropped && datapath.reason(SVCLB_REASON_FRAGMENT_HELD).packets == 1;
    if (!names_ours(frame) && ((run.verdict != next && !held) || run.frame != frame))
        broken("changed, and names none of our addresses", frame, frame, run.frame);
    if (run.verdict == dropped || !wrong_checksums(frame).empty()) return 0;
    if (!wrong_checksums(run.frame).empty()) broken("wrong checksums", frame, frame, run.frame);
    if (!in && run.verdict == next && run.frame != frame) check_way_back(datapath, frame, run.frame);
    return 0;
}
