// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Reading and printing of addresses. Hot when a large cluster is read: no streams, no exceptions.
#include "svclb/model/address.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>

namespace svclb::model {

namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr std::size_t kGroups = 8;

// Digits of one number from the front of `text`, however many leading zeros there are.
std::optional<unsigned> take_number(std::string_view& text, unsigned base, unsigned most) {
    std::size_t used = 0;
    unsigned value = 0;
    for (; used < text.size(); ++used) {
        const char c = text[used];
        unsigned digit = 0;
        if (c >= '0' && c <= '9') {
            digit = static_cast<unsigned>(c - '0');
        } else if (base == 16 && c >= 'a' && c <= 'f') {
            digit = static_cast<unsigned>(c - 'a') + 10;
        } else if (base == 16 && c >= 'A' && c <= 'F') {
            digit = static_cast<unsigned>(c - 'A') + 10;
        } else {
            break;
        }
        value = value * base + digit;
        if (value > most) return std::nullopt;
    }
    if (used == 0) return std::nullopt;
    text.remove_prefix(used);
    return value;
}

bool take(std::string_view& text, char c) {
    if (text.empty() || text.front() != c) return false;
    text.remove_prefix(1);
    return true;
}

bool parse_v4(std::string_view text, std::uint8_t* out) {
    for (int part = 0; part < 4; ++part) {
        if (part != 0 && !take(text, '.')) return false;
        const auto value = take_number(text, 10, 255);
        if (!value) return false;
        out[part] = static_cast<std::uint8_t>(*value);
    }
    return text.empty();
}

// The last 32 bits may be written as an IPv4 address.
bool starts_dotted(std::string_view text) {
    const auto end = text.find_first_not_of("0123456789");
    return end != std::string_view::npos && end != 0 && text[end] == '.';
}

bool parse_v6(std::string_view text, std::array<std::uint8_t, 16>& out) {
    std::array<std::uint8_t, 16> bytes{};
    std::size_t used = 0;
    std::optional<std::size_t> gap;
    if (text.starts_with("::")) {
        gap = 0;
        text.remove_prefix(2);
    }
    while (!text.empty() && used < bytes.size()) {
        if (starts_dotted(text)) {
            if (used > 12 || !parse_v4(text, bytes.data() + used)) return false;
            used += 4;
            text = {};
            break;
        }
        const auto group = take_number(text, 16, 0xffff);
        if (!group) return false;
        bytes[used++] = static_cast<std::uint8_t>(*group >> 8U);
        bytes[used++] = static_cast<std::uint8_t>(*group & 0xffU);
        if (text.empty()) break;
        if (!take(text, ':') || text.empty()) return false;
        if (take(text, ':')) {
            if (gap) return false;
            gap = used;
        }
    }
    if (!text.empty()) return false;
    // "::" stands for at least one group.
    if (gap ? used == bytes.size() : used != bytes.size()) return false;
    if (gap) {
        const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(*gap);
        std::rotate(begin, bytes.begin() + static_cast<std::ptrdiff_t>(used), bytes.end());
    }
    out = bytes;
    return true;
}

char* print_number(char* at, unsigned value, int base) {
    return std::to_chars(at, at + 8, value, base).ptr;
}

unsigned group_of(const Address& address, std::size_t group) {
    return static_cast<unsigned>(address.bytes[2 * group]) << 8U | address.bytes[2 * group + 1];
}

// The longest run of two or more zero groups, the first of equals; {kGroups, 0} where there is none.
std::pair<std::size_t, std::size_t> longest_zeros(const Address& address) {
    std::size_t best = kGroups;
    std::size_t best_length = 0;
    for (std::size_t i = 0; i < kGroups;) {
        std::size_t end = i;
        while (end < kGroups && group_of(address, end) == 0) ++end;
        if (end - i >= 2 && end - i > best_length) {
            best = i;
            best_length = end - i;
        }
        i = end + 1;
    }
    return {best, best_length};
}

// At most 39 characters.
char* print(char* at, const Address& address) {
    if (address.family() == Family::ipv4) {
        for (std::size_t i = 12; i < 16; ++i) {
            if (i != 12) *at++ = '.';
            at = print_number(at, address.bytes[i], 10);
        }
        return at;
    }
    const auto [zeros, length] = longest_zeros(address);
    for (std::size_t i = 0; i < kGroups;) {
        if (i == zeros) {
            *at++ = ':';
            *at++ = ':';
            i += length;
            continue;
        }
        if (i != 0 && i != zeros + length) *at++ = ':';
        at = print_number(at, group_of(address, i), 16);
        ++i;
    }
    return at;
}

}  // namespace

Family Address::family() const noexcept {
    return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), bytes.begin()) ? Family::ipv4 : Family::ipv6;
}

std::optional<Address> parse_address(std::string_view text) {
    Address address;
    if (text.find(':') == std::string_view::npos) {
        std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), address.bytes.begin());
        if (!parse_v4(text, address.bytes.data() + kMappedPrefix.size())) return std::nullopt;
        return address;
    }
    if (!parse_v6(text, address.bytes)) return std::nullopt;
    return address;
}

std::optional<Cidr> parse_cidr(std::string_view text) {
    const auto slash = text.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    const auto address = parse_address(text.substr(0, slash));
    if (!address) return std::nullopt;
    // Counted in the family that is written: "::ffff:10.0.0.0/104" is 10.0.0.0/8.
    const bool dotted = text.substr(0, slash).find(':') == std::string_view::npos;
    auto rest = text.substr(slash + 1);
    const auto bits = take_number(rest, 10, dotted ? 32 : 128);
    if (!bits || !rest.empty()) return std::nullopt;

    Cidr cidr{.address = *address, .prefix = static_cast<std::uint8_t>(*bits + (dotted ? 96 : 0))};
    for (unsigned i = 0; i < 16; ++i) {
        const unsigned kept = cidr.prefix > i * 8 ? std::min(cidr.prefix - i * 8, 8U) : 0;
        cidr.address.bytes[i] &= static_cast<std::uint8_t>(0xff00U >> kept);
    }
    return cidr;
}

bool contains(const Cidr& cidr, const Address& address) noexcept {
    if (cidr.address.family() != address.family()) return false;
    for (unsigned i = 0; i < 16; ++i) {
        const unsigned kept = cidr.prefix > i * 8 ? std::min(cidr.prefix - i * 8, 8U) : 0;
        if (((cidr.address.bytes[i] ^ address.bytes[i]) & static_cast<std::uint8_t>(0xff00U >> kept)) != 0)
            return false;
    }
    return true;
}

std::string to_string(const Address& address) {
    std::array<char, 48> text{};
    return {text.data(), print(text.data(), address)};
}

std::string to_string(const Cidr& cidr) {
    const bool v4 = cidr.address.family() == Family::ipv4 && cidr.prefix >= 96;
    return to_string(cidr.address) + "/" + std::to_string(v4 ? cidr.prefix - 96 : cidr.prefix);
}

std::string endpoint_text(const Address& address, std::uint16_t port) {
    std::array<char, 56> text{};
    char* at = text.data();
    const bool brackets = address.family() == Family::ipv6;
    if (brackets) *at++ = '[';
    at = print(at, address);
    if (brackets) *at++ = ']';
    *at++ = ':';
    at = print_number(at, port, 10);
    return {text.data(), at};
}

std::optional<AddressPort> parse_address_port(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    auto host = text.substr(0, colon);
    const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (brackets) host = host.substr(1, host.size() - 2);
    const auto address = parse_address(host);
    if (!address || brackets != (host.find(':') != std::string_view::npos)) return std::nullopt;
    auto rest = text.substr(colon + 1);
    const auto port = take_number(rest, 10, 0xffff);
    if (!port || *port == 0 || !rest.empty()) return std::nullopt;
    return AddressPort{*address, static_cast<std::uint16_t>(*port)};
}

std::string_view to_string(Protocol protocol) {
    switch (protocol) {
        case Protocol::tcp:
            return "TCP";
        case Protocol::udp:
            return "UDP";
        case Protocol::sctp:
            return "SCTP";
    }
    return "?";
}

std::optional<Protocol> parse_protocol(std::string_view text) {
    for (const auto protocol : {Protocol::tcp, Protocol::udp, Protocol::sctp}) {
        if (text == to_string(protocol)) return protocol;
    }
    return std::nullopt;
}

std::string_view to_string(Family family) {
    return family == Family::ipv4 ? "IPv4" : "IPv6";
}

}  // namespace svclb::model
