// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// IP addresses as values: 16 bytes in network order, IPv4 stored IPv4-mapped, the form that abi.h uses.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace svclb::model {

enum class Family : std::uint8_t { ipv4 = 4, ipv6 = 6 };
enum class Protocol : std::uint8_t { tcp = 6, udp = 17, sctp = 132 };

struct Address {
    std::array<std::uint8_t, 16> bytes{};

    [[nodiscard]] Family family() const noexcept;
    auto operator<=>(const Address&) const = default;
};

// Reads an address as kube-proxy does (behaviour row 1.7): leading zeros in an IPv4 part are decimal, not octal. An
// IPv4-mapped IPv6 text reads as the IPv4 address. Nothing for any other text.
[[nodiscard]] std::optional<Address> parse_address(std::string_view text);

struct Cidr {
    Address address;          // host bits are zero
    std::uint8_t prefix = 0;  // 0 to 128; an IPv4 prefix is counted in the mapped form, 96 to 128
    auto operator<=>(const Cidr&) const = default;
};

// "10.0.0.0/8", "fd00::/64"; host bits are cleared. Nothing for any other text.
[[nodiscard]] std::optional<Cidr> parse_cidr(std::string_view text);
// Never an address of the other family, not even in "::/0".
[[nodiscard]] bool contains(const Cidr& cidr, const Address& address) noexcept;

// "10.0.0.1", "fd00::1" (RFC 5952).
[[nodiscard]] std::string to_string(const Address& address);
// "10.0.0.0/8", "fd00::/64".
[[nodiscard]] std::string to_string(const Cidr& cidr);
// "10.0.0.1:80", "[fd00::1]:80". The port is in host order.
[[nodiscard]] std::string endpoint_text(const Address& address, std::uint16_t port);

struct AddressPort {
    Address address;
    std::uint16_t port = 0;  // host order
    auto operator<=>(const AddressPort&) const = default;
};

// What endpoint_text prints, for any port but 0. Nothing for any other text.
[[nodiscard]] std::optional<AddressPort> parse_address_port(std::string_view text);

// "TCP", "UDP", "SCTP", as the API spells them.
[[nodiscard]] std::string_view to_string(Protocol protocol);
[[nodiscard]] std::optional<Protocol> parse_protocol(std::string_view text);
// "IPv4", "IPv6".
[[nodiscard]] std::string_view to_string(Family family);

}  // namespace svclb::model
