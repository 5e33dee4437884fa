// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "rtnetlink.hpp"

#include <netlink/errno.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>

namespace svclb::datapath::netlink {
namespace {

// Room for some thousand messages; what does not fit is made good by listing.
constexpr int kReceiveBuffer = 4 << 20;
constexpr int kDumpAttempts = 8;

Error netlink_error(int code, const std::string& doing) {
    return {std::make_error_code(std::errc::io_error), doing + ": netlink: " + nl_geterror(code)};
}

int call_handler(nl_msg* message, void* handler) {
    (*static_cast<Handler*>(handler))(nlmsg_hdr(message));
    return NL_OK;
}

void set_handler(nl_sock* socket, Handler& handler) {
    nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, call_handler, &handler);
}

}  // namespace

Result<Socket> connect(const char* what) {
    Socket socket(nl_socket_alloc());
    if (!socket) return fail_errno(ENOMEM, "allocate a netlink socket");
    // Neither events nor dumps are acknowledged.
    nl_socket_disable_auto_ack(socket.get());
    if (const int error = nl_connect(socket.get(), NETLINK_ROUTE); error < 0) return fail(netlink_error(error, what));
    return socket;
}

Result<Socket> subscribe(std::initializer_list<int> groups) {
    auto socket = connect("listen to rtnetlink");
    if (!socket) return socket;
    nl_socket_disable_seq_check(socket->get());
    if (const int error = nl_socket_set_nonblocking(socket->get()); error < 0) {
        return fail(netlink_error(error, "listen to rtnetlink"));
    }
    const int fd = nl_socket_get_fd(socket->get());
    // Beyond the system's default limit, which we may with CAP_NET_ADMIN; without, the default has to do.
    if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof(kReceiveBuffer)) != 0) {
        spdlog::debug("netlink receive buffer stays at its default errno={}", errno);
    }
    for (const int group : groups)
        if (const int error = nl_socket_add_membership(socket->get(), group); error < 0)
            return fail(netlink_error(error, "subscribe to rtnetlink events"));
    return socket;
}

Result<bool> read_events(nl_sock* socket, Handler handler) {
    bool lost = false;
    set_handler(socket, handler);
    for (;;) {
        const int error = nl_recvmsgs_default(socket);
        if (error >= 0) continue;
        if (error == -NLE_AGAIN) return lost;
        if (error != -NLE_NOMEM && error != -NLE_DUMP_INTR) return fail(netlink_error(error, "read rtnetlink events"));
        spdlog::warn("rtnetlink events were lost: listing again");
        lost = true;
    }
}

Status ask(nl_sock* socket, int type, int flags, const void* header, std::size_t size, Handler handler) {
    set_handler(socket, handler);
    int error = 0;
    for (int attempt = 0; attempt < kDumpAttempts; ++attempt) {
        error = nl_send_simple(socket, type, flags, const_cast<void*>(header), size);
        if (error >= 0) error = nl_recvmsgs_default(socket);
        // The table changed while it was listed: some entries may be missing.
        if (error != -NLE_DUMP_INTR) break;
    }
    if (error == -NLE_DUMP_INTR) return {};  // it keeps changing: the events tell the rest
    if (error < 0) return fail(netlink_error(error, "ask rtnetlink"));
    return {};
}

}  // namespace svclb::datapath::netlink
