// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Where things stand in a frame: names for its fields, and the checksums over them. Reads any bytes; never trusts a
// length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "packet.hpp"

namespace svclb::test {

struct Field {
    std::string name;
    std::size_t at = 0;
    std::size_t size = 0;
};

// The fields of a frame in order, without gaps: what is not understood is "payload".
std::vector<Field> fields_of(const Bytes& frame);

// Puts right checksums into a frame whose lengths are right; an absent one of UDP is made.
void right_checksums(Bytes& frame);

// RFC 1071, bytes [begin, end) of `bytes`, on top of the sum of 16-bit words `sum`.
std::uint16_t internet_checksum(const Bytes& bytes, std::size_t begin, std::size_t end, std::uint32_t sum);
// RFC 9260 appendix A, bit by bit, with the checksum's own four bytes zero.
std::uint32_t crc32c(const Bytes& bytes, std::size_t begin, std::size_t end);
std::uint32_t pseudo_header_sum(const Ip& source, const Ip& destination, std::uint8_t proto, std::size_t length);

}  // namespace svclb::test
