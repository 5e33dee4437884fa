// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The addresses of this namespace's devices, by rtnetlink, and followed.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "svclb/base/result.hpp"

namespace svclb::datapath {

using AddressBytes = std::array<std::uint8_t, 16>;  // IPv4 in its mapped form, as abi.h has it

struct LinkAddresses {
    AddressBytes v4{};  // the first that may be a source; all zero: none
    AddressBytes v6{};
    std::vector<AddressBytes> all;
    bool operator==(const LinkAddresses&) const = default;
};

class Addresses {
public:
    // Subscribes first and lists afterwards, so that nothing is missed between the two.
    static Result<Addresses> open();
    Addresses(Addresses&&) noexcept;
    Addresses& operator=(Addresses&&) noexcept;
    ~Addresses();

    // Readable when the kernel has told something.
    [[nodiscard]] int fd() const;
    // All of them, sorted and unique, without link-local IPv6 ones and those of kube-ipvs0; nothing where they are what
    // the last call returned.
    Result<std::optional<std::vector<AddressBytes>>> changes();
    // The same by device, as of the last call.
    [[nodiscard]] const std::map<int, LinkAddresses>& by_device() const;

private:
    struct State;
    explicit Addresses(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace svclb::datapath
