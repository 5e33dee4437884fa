// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "udp_sockets.hpp"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>

namespace svclb::datapath {
namespace {

constexpr std::size_t kMessageSize = 32768;  // what the kernel fills at most

struct MessageDeleter {
    void operator()(nl_msg* message) const noexcept { nlmsg_free(message); }
};
using Message = std::unique_ptr<nl_msg, MessageDeleter>;

// In the request that names sockets by what they are, and in the one that names a single one.
inet_diag_req_v2 request_for(std::uint8_t family) {
    inet_diag_req_v2 request{};
    request.sdiag_family = family;
    request.sdiag_protocol = IPPROTO_UDP;
    request.idiag_states = 1U << TCP_ESTABLISHED;  // of a UDP socket: connected
    return request;
}

Message message_with(int type, int flags, inet_diag_req_v2 request) {
    Message message(nlmsg_alloc_simple(type, flags));
    if (message && nlmsg_append(message.get(), &request, sizeof(request), NLMSG_ALIGNTO) < 0) message.reset();
    return message;
}

Status send(nl_sock* socket, nl_msg* message) {
    nl_complete_msg(socket, message);
    const nlmsghdr* header = nlmsg_hdr(message);
    if (::send(nl_socket_get_fd(socket), header, header->nlmsg_len, 0) < 0) return fail_errno(errno, "ask sock_diag");
    return {};
}

// An IPv4 peer is one word in a socket of its family, and mapped in one of the other.
svclb_socket_peer_key key_of(const inet_diag_sockid& id, std::uint8_t family) {
    svclb_socket_peer_key key{};
    key.cookie = std::uint64_t{id.idiag_cookie[1]} << 32 | id.idiag_cookie[0];
    key.port = id.idiag_dport;
    if (family == AF_INET6) {
        std::copy(std::begin(id.idiag_dst), std::end(id.idiag_dst), std::begin(key.addr));
    } else {
        key.addr[2] = htonl(SVCLB_V4_MAPPED_PREFIX);
        key.addr[3] = id.idiag_dst[0];
    }
    return key;
}

}  // namespace

void UdpSockets::SocketDeleter::operator()(nl_sock* socket) const noexcept {
    nl_socket_free(socket);
}

Result<UdpSockets> UdpSockets::open() {
    std::array<Socket, 2> sockets;
    for (auto& socket : sockets) {
        socket.reset(nl_socket_alloc());
        if (!socket) return fail_errno(ENOMEM, "allocate a netlink socket");
        if (nl_connect(socket.get(), NETLINK_SOCK_DIAG) < 0) return fail_errno(errno, "open sock_diag");
    }
    UdpSockets opened(std::move(sockets[0]), std::move(sockets[1]));
    // Of a socket that is none: whether the kernel can do it is known before anybody waits for it.
    inet_diag_msg nobody{};
    nobody.idiag_family = AF_INET;
    if (const auto asked = opened.end(nobody); !asked) return fail(asked.error());
    return opened;
}

Result<UdpSockets::Step> UdpSockets::step(std::uint32_t messages, const Judge& judge) {
    Step step;
    for (; messages != 0; --messages) {
        if (family_ == 0) {
            family_ = AF_INET;
            if (auto asked = ask(); !asked) return fail(asked.error());
        }
        const auto last = read(judge, step.ended);
        if (!last) {
            family_ = 0;
            return fail(last.error());
        }
        if (!*last) continue;
        step.finished = family_ == AF_INET6;
        family_ = step.finished ? 0 : AF_INET6;
        if (step.finished) break;
        if (auto asked = ask(); !asked) return fail(asked.error());
    }
    return step;
}

Status UdpSockets::ask() {
    const auto message = message_with(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, request_for(family_));
    if (!message) return fail_errno(ENOMEM, "build a request for UDP sockets");
    auto sent = send(dump_.get(), message.get());
    if (!sent) family_ = 0;
    return sent;
}

Result<bool> UdpSockets::read(const Judge& judge, std::uint32_t& ended) {
    alignas(nlmsghdr) std::array<char, kMessageSize> buffer;
    const auto got = ::recv(nl_socket_get_fd(dump_.get()), buffer.data(), buffer.size(), 0);
    if (got < 0) return fail_errno(errno, "read UDP sockets");
    auto left = static_cast<int>(got);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer.data()); nlmsg_ok(header, left);
         header = nlmsg_next(header, &left)) {
        if (header->nlmsg_type == NLMSG_DONE) return true;
        if (header->nlmsg_type == NLMSG_ERROR)
            return fail_errno(-static_cast<nlmsgerr*>(nlmsg_data(header))->error, "read UDP sockets");
        if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || !nlmsg_valid_hdr(header, sizeof(inet_diag_msg))) continue;
        const auto& socket = *static_cast<const inet_diag_msg*>(nlmsg_data(header));
        if (!judge(key_of(socket.id, socket.idiag_family))) continue;
        const auto done = end(socket);
        if (!done) return fail(done.error());
        ended += *done ? 1U : 0U;
    }
    return false;
}

Result<bool> UdpSockets::end(const inet_diag_msg& socket) {
    auto request = request_for(socket.idiag_family);
    request.id = socket.id;  // its cookie too: no other socket with these addresses is meant
    const auto message = message_with(SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, request);
    if (!message) return fail_errno(ENOMEM, "build a request to end a UDP socket");
    if (auto sent = send(end_.get(), message.get()); !sent) return fail(sent.error());
    struct {
        nlmsghdr header;
        nlmsgerr error;
        std::array<char, 512> quoted;
    } answer{};
    // It is there already: the kernel answers within send().
    const auto got = ::recv(nl_socket_get_fd(end_.get()), &answer, sizeof(answer), MSG_DONTWAIT);
    if (got < static_cast<ssize_t>(sizeof(nlmsghdr) + sizeof(nlmsgerr)) || answer.header.nlmsg_type != NLMSG_ERROR)
        return fail_errno(got < 0 ? errno : EPROTO, "end a UDP socket");
    const int error = -answer.error.error;
    if (error == ENOENT || error == ESTALE) return false;
    if (error == EOPNOTSUPP)
        return fail_errno(error,
                          "this kernel ends no UDP socket (CONFIG_INET_DIAG_DESTROY), connected ones are not told that "
                          "their backend is gone");
    if (error != 0) return fail_errno(error, "end a UDP socket");
    return true;
}

}  // namespace svclb::datapath
