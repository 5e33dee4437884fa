// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Sockets of rtnetlink: one that listens to events, one that asks.
#pragma once

#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include <functional>
#include <initializer_list>
#include <memory>

#include "svclb/base/result.hpp"

namespace svclb::datapath::netlink {

struct SocketDeleter {
    void operator()(nl_sock* socket) const noexcept { nl_socket_free(socket); }
};
using Socket = std::unique_ptr<nl_sock, SocketDeleter>;
using Handler = std::function<void(nlmsghdr*)>;

Result<Socket> connect(const char* what);
// Not blocking; `groups` are RTNLGRP_*.
Result<Socket> subscribe(std::initializer_list<int> groups);
// All that has come. True: events were lost, and only listing again tells what they said.
Result<bool> read_events(nl_sock* socket, Handler handler);
// One question and all of its answer.
Status ask(nl_sock* socket, int type, int flags, const void* header, std::size_t size, Handler handler);
template <class Header>
Status ask(nl_sock* socket, int type, int flags, const Header& header, Handler handler) {
    return ask(socket, type, flags, &header, sizeof(header), std::move(handler));
}

}  // namespace svclb::datapath::netlink
