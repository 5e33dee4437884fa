// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// sock_diag: goes through the connected UDP sockets of this network namespace and ends some. An ended socket's next
// call fails with ECONNABORTED; afterwards it may be connected anew.
#pragma once

#include <linux/inet_diag.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "svclb/abi.h"
#include "svclb/base/result.hpp"

struct nl_sock;

namespace svclb::datapath {

class UdpSockets {
public:
    static Result<UdpSockets> open();

    // Is the socket with this peer to be ended?
    using Judge = std::function<bool(const svclb_socket_peer_key& socket)>;
    struct Step {
        std::uint32_t ended = 0;
        bool finished = false;  // all have been seen; the next step starts anew
    };
    // At most `messages` of some 100 sockets each.
    Result<Step> step(std::uint32_t messages, const Judge& judge);

private:
    struct SocketDeleter {
        void operator()(nl_sock* socket) const noexcept;
    };
    using Socket = std::unique_ptr<nl_sock, SocketDeleter>;

    UdpSockets(Socket dump, Socket end) : dump_(std::move(dump)), end_(std::move(end)) {}
    Status ask();
    Result<bool> read(const Judge& judge, std::uint32_t& ended);  // true: the family's last message
    Result<bool> end(const inet_diag_msg& socket);                // false: it was gone already

    Socket dump_;
    Socket end_;
    std::uint8_t family_ = 0;  // whose sockets are being read; 0: none
};

}  // namespace svclb::datapath
