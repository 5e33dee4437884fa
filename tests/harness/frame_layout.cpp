// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "frame_layout.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <stdexcept>

namespace svclb::test {
namespace {

// Names the bytes of a frame from front to back, and remembers where the layers begin.
class Walk {
public:
    explicit Walk(const Bytes& frame) : frame_(frame) { ethernet(); }

    std::vector<Field> fields;
    std::size_t ip_at = 0;
    std::size_t transport_at = 0;
    std::size_t end = 0;  // of the IP packet: the frame may be padded
    std::uint8_t proto = 0;
    bool v6 = false;
    bool has_transport = false;

private:
    void field(const char* name, std::size_t size) {
        const std::size_t at = fields.empty() ? 0 : fields.back().at + fields.back().size;
        if (at >= frame_.size() || size == 0) return;
        fields.push_back({name, at, std::min(size, frame_.size() - at)});
    }
    [[nodiscard]] std::size_t position() const { return fields.empty() ? 0 : fields.back().at + fields.back().size; }
    [[nodiscard]] unsigned u8(std::size_t at) const { return at < frame_.size() ? frame_[at] : 0; }
    [[nodiscard]] unsigned u16(std::size_t at) const { return u8(at) << 8 | u8(at + 1); }
    void rest() { field("payload", frame_.size()); }

    void ethernet() {
        field("ethernet destination", 6);
        field("ethernet source", 6);
        unsigned type = u16(position());
        while (type == 0x8100 || type == 0x88a8) {
            field("vlan type", 2);
            field("vlan tag", 2);
            type = u16(position());
        }
        field("ethernet type", 2);
        ip_at = position();
        if (type == 0x0800) {
            ipv4();
        } else if (type == 0x86dd) {
            ipv6();
        }
        if (end > position()) field("payload", end - position());
        if (position() < frame_.size()) field(end != 0 ? "ethernet padding" : "payload", frame_.size());
    }

    void ipv4() {
        const std::size_t header = (u8(ip_at) & 0xf) * std::size_t{4};
        end = ip_at + u16(ip_at + 2);
        proto = static_cast<std::uint8_t>(u8(ip_at + 9));
        field("ip version and length", 1);
        field("ip tos", 1);
        field("ip total length", 2);
        field("ip id", 2);
        field("ip fragment", 2);
        field("ip ttl", 1);
        field("ip protocol", 1);
        field("ip checksum", 2);
        field("ip source", 4);
        field("ip destination", 4);
        if (header > 20) field("ip options", header - 20);
        if ((u16(ip_at + 6) & 0x1fff) == 0) transport();
    }

    void ipv6() {
        v6 = true;
        end = ip_at + 40 + u16(ip_at + 4);
        proto = static_cast<std::uint8_t>(u8(ip_at + 6));
        field("ip version, class and flow", 4);
        field("ip payload length", 2);
        field("ip next header", 1);
        field("ip hop limit", 1);
        field("ip source", 16);
        field("ip destination", 16);
        while (proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
               proto == IPPROTO_FRAGMENT) {
            const std::size_t before = position();
            const bool fragment = proto == IPPROTO_FRAGMENT;
            const bool later = fragment && (u16(before + 2) & 0xfff8) != 0;
            proto = static_cast<std::uint8_t>(u8(before));
            // The second byte of a fragment header means nothing.
            field("ip extension header", fragment ? 8 : (u8(before + 1) + std::size_t{1}) * 8);
            if (position() == before || later) return;
        }
        transport();
    }

    void transport() {
        transport_at = position();
        has_transport = true;
        if (proto == IPPROTO_TCP) {
            const std::size_t header = (u8(transport_at + 12) >> 4) * std::size_t{4};
            field("tcp source port", 2);
            field("tcp destination port", 2);
            field("tcp sequence number", 4);
            field("tcp acknowledgment number", 4);
            field("tcp data offset", 1);
            field("tcp flags", 1);
            field("tcp window", 2);
            field("tcp checksum", 2);
            field("tcp urgent pointer", 2);
            if (header > 20) field("tcp options", header - 20);
        } else if (proto == IPPROTO_UDP) {
            field("udp source port", 2);
            field("udp destination port", 2);
            field("udp length", 2);
            field("udp checksum", 2);
        } else if (proto == IPPROTO_SCTP) {
            field("sctp source port", 2);
            field("sctp destination port", 2);
            field("sctp verification tag", 4);
            field("sctp checksum", 4);
            field("sctp chunk", 4);
        } else if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
            field("icmp type", 1);
            field("icmp code", 1);
            field("icmp checksum", 2);
            field("icmp rest", 4);
        }
    }

    const Bytes& frame_;
};

std::string hex(const Bytes& bytes, std::size_t at, std::size_t size) {
    constexpr std::size_t kShown = 32;
    if (at >= bytes.size()) return "(nothing)";
    const std::size_t present = std::min(size, bytes.size() - at);
    std::string text;
    for (std::size_t i = 0; i < std::min(present, kShown); i++) {
        std::array<char, 4> digits{};
        (void)std::snprintf(digits.data(), digits.size(), "%02x ", bytes[at + i]);
        text += digits.data();
    }
    text.pop_back();
    return present > kShown ? text + " ... (" + std::to_string(present) + " bytes)" : text;
}

bool same_bytes(const Bytes& a, const Bytes& b, const Field& field) {
    const auto part = [&field](const Bytes& bytes) {
        const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(std::min(field.at, bytes.size()));
        return Bytes(begin, bytes.begin() + static_cast<std::ptrdiff_t>(std::min(field.at + field.size, bytes.size())));
    };
    return part(a) == part(b);
}

Ip address_at(const Bytes& frame, std::size_t at, bool v6) {
    if (at + (v6 ? 16 : 4) > frame.size()) throw std::invalid_argument("frame without an IP header");
    Ip address = ip("0.0.0.0");
    const auto from = frame.begin() + static_cast<std::ptrdiff_t>(at);
    std::copy_n(from, v6 ? 16 : 4, address.bytes.begin() + (v6 ? 0 : 12));
    return address;
}

// The checksums of a frame: over what they are taken, and where the transport's is.
struct Sums {
    Sums(const Bytes& of, const Walk& walked) : frame(of), walk(walked) {
        ip_header = walk.v6 ? 40 : (frame.size() > walk.ip_at ? frame[walk.ip_at] & 0xf : 0) * std::size_t{4};
        whole = ip_header >= 20 && walk.ip_at + ip_header <= walk.end && walk.end <= frame.size();
        if (!whole || !walk.has_transport) return;
        const std::size_t offset = walk.proto == IPPROTO_TCP                                    ? 16
                                   : walk.proto == IPPROTO_UDP                                  ? 6
                                   : walk.proto == IPPROTO_ICMP || walk.proto == IPPROTO_ICMPV6 ? 2
                                                                                                : 0;
        if (offset != 0 && walk.transport_at + offset + 2 <= walk.end) field = walk.transport_at + offset;
        if (walk.proto == IPPROTO_SCTP && walk.transport_at + 12 <= walk.end) sctp_field = walk.transport_at + 8;
    }

    [[nodiscard]] unsigned header() const { return internet_checksum(frame, walk.ip_at, walk.ip_at + ip_header, 0); }
    [[nodiscard]] unsigned transport() const {
        const std::size_t begin = walk.transport_at;
        const std::uint32_t pseudo =
            walk.proto == IPPROTO_ICMP ? 0
                                       : pseudo_header_sum(address_at(frame, walk.ip_at + (walk.v6 ? 8 : 12), walk.v6),
                                                           address_at(frame, walk.ip_at + (walk.v6 ? 24 : 16), walk.v6),
                                                           walk.proto, walk.end - begin);
        return internet_checksum(frame, begin, walk.end, pseudo);
    }

    const Bytes& frame;
    const Walk& walk;
    std::size_t ip_header = 0;
    bool whole = false;
    std::size_t field = 0;       // of the transport's Internet checksum; 0 = it has none that is known
    std::size_t sctp_field = 0;  // of its CRC32c; 0 = it has none
};

Endpoint endpoint_of(const Bytes& frame, bool source) {
    const Walk walk(frame);
    const std::size_t port_at = walk.transport_at + (source ? 0 : 2);
    if (!walk.has_transport || port_at + 2 > frame.size()) throw std::invalid_argument("frame without ports");
    const std::size_t address_offset = walk.v6 ? (source ? 8 : 24) : (source ? 12 : 16);
    return {address_at(frame, walk.ip_at + address_offset, walk.v6),
            static_cast<std::uint16_t>(frame[port_at] << 8 | frame[port_at + 1])};
}

}  // namespace

std::vector<Field> fields_of(const Bytes& frame) {
    return Walk(frame).fields;
}

std::uint16_t internet_checksum(const Bytes& bytes, std::size_t begin, std::size_t end, std::uint32_t sum) {
    std::uint64_t total = sum;
    for (std::size_t i = begin; i < end; i += 2) {
        total += std::uint64_t{bytes[i]} << 8 | (i + 1 < end ? bytes[i + 1] : 0u);
    }
    while (total > 0xffff) total = (total & 0xffff) + (total >> 16);
    return static_cast<std::uint16_t>(~total & 0xffff);
}

std::uint32_t crc32c(const Bytes& bytes, std::size_t begin, std::size_t end) {
    std::uint32_t crc = 0xffffffff;
    for (std::size_t i = begin; i < end; i++) {
        crc ^= i - begin >= 8 && i - begin < 12 ? 0u : bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

std::uint32_t pseudo_header_sum(const Ip& source, const Ip& destination, std::uint8_t proto, std::size_t length) {
    std::uint32_t sum = proto + static_cast<std::uint32_t>(length);
    for (const Ip* address : {&source, &destination}) {
        for (std::size_t i = address->v4() ? 12 : 0; i < address->bytes.size(); i += 2) {
            sum += static_cast<std::uint32_t>(address->bytes[i] << 8 | address->bytes[i + 1]);
        }
    }
    return sum;
}

Endpoint source_of(const Bytes& frame) {
    return endpoint_of(frame, true);
}

Endpoint destination_of(const Bytes& frame) {
    return endpoint_of(frame, false);
}

std::string difference(const Bytes& expected, const Bytes& got) {
    if (expected == got) return {};
    std::string text;
    if (expected.size() != got.size()) {
        text +=
            "frame: expected " + std::to_string(expected.size()) + " bytes, got " + std::to_string(got.size()) + "\n";
    }
    const auto fields = fields_of(expected);
    for (const Field& field : fields) {
        if (same_bytes(expected, got, field)) continue;
        text += field.name + " (byte " + std::to_string(field.at) + "): expected " +
                hex(expected, field.at, field.size) + ", got " + hex(got, field.at, field.size) + "\n";
    }
    if (got.size() > expected.size()) {
        text += "more than expected: " + hex(got, expected.size(), got.size() - expected.size()) + "\n";
    }
    return text;
}

std::string wrong_checksums(const Bytes& frame) {
    const Walk walk(frame);
    const Sums sums(frame, walk);
    if (!sums.whole) return "frame is shorter than its IP packet\n";
    std::string text;
    if (!walk.v6 && sums.header() != 0) text += "ip checksum\n";
    if (sums.sctp_field != 0) {
        const std::uint32_t crc = crc32c(frame, walk.transport_at, walk.end);
        for (std::size_t i = 0; i < 4; i++) {
            if (frame[sums.sctp_field + i] != static_cast<std::uint8_t>(crc >> 8 * i))
                return text + "transport checksum\n";
        }
    }
    if (sums.field == 0) return text;
    const bool absent = walk.proto == IPPROTO_UDP && !walk.v6 && frame[sums.field] == 0 && frame[sums.field + 1] == 0;
    if (!absent && sums.transport() != 0) text += "transport checksum\n";
    return text;
}

void right_checksums(Bytes& frame) {
    const Walk walk(frame);
    const Sums sums(frame, walk);
    if (!sums.whole) return;
    const auto put = [&frame](std::size_t at, unsigned value) {
        frame[at] = static_cast<std::uint8_t>(value >> 8);
        frame[at + 1] = static_cast<std::uint8_t>(value);
    };
    if (!walk.v6) {
        put(walk.ip_at + 10, 0);
        put(walk.ip_at + 10, sums.header());
    }
    if (sums.field == 0) return;
    put(sums.field, 0);
    const unsigned value = sums.transport();
    put(sums.field, value == 0 && walk.proto == IPPROTO_UDP ? 0xffff : value);
}

}  // namespace svclb::test
