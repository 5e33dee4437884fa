// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "svclb/datapath/addresses.hpp"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "rtnetlink.hpp"

namespace svclb::datapath {
namespace {

// On this one kube-proxy's IPVS mode puts the address of every Service, so that the kernel takes them in: thousands,
// and none of them the node's own.
constexpr const char* kServicesDevice = "kube-ipvs0";

// Nothing for a link-local IPv6 address: it says nothing without its link, and each new Pod's link brings one.
std::optional<AddressBytes> address_in(nlmsghdr* message) {
    std::array<nlattr*, IFA_MAX + 1> attributes{};
    const auto* header = static_cast<const ifaddrmsg*>(nlmsg_data(message));
    if (nlmsg_parse(message, sizeof(*header), attributes.data(), IFA_MAX, nullptr) < 0) return std::nullopt;
    // Of a point-to-point link, IFA_ADDRESS is the other end.
    auto* own = attributes[IFA_LOCAL] != nullptr ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
    if (own == nullptr) return std::nullopt;
    AddressBytes bytes{};
    if (header->ifa_family == AF_INET && nla_len(own) == 4) {
        bytes[10] = bytes[11] = 0xff;
        std::memcpy(bytes.data() + 12, nla_data(own), 4);
        return bytes;
    }
    if (header->ifa_family != AF_INET6 || nla_len(own) != 16) return std::nullopt;
    std::memcpy(bytes.data(), nla_data(own), 16);
    const bool link_local = bytes[0] == 0xfe && (bytes[1] & 0xc0U) == 0x80;
    return link_local ? std::nullopt : std::optional(bytes);
}

// Not one that is still probed for a duplicate, or has one, or is to go soon.
bool may_be_source(nlmsghdr* message) {
    std::array<nlattr*, IFA_MAX + 1> attributes{};
    const auto* header = static_cast<const ifaddrmsg*>(nlmsg_data(message));
    if (nlmsg_parse(message, sizeof(*header), attributes.data(), IFA_MAX, nullptr) < 0) return false;
    const auto flags = attributes[IFA_FLAGS] != nullptr ? nla_get_u32(attributes[IFA_FLAGS]) : header->ifa_flags;
    constexpr unsigned kNotUsable = IFA_F_DEPRECATED | IFA_F_TENTATIVE | IFA_F_DADFAILED;
    // Of IPv6 one bit says "temporary", which in IPv4 is "secondary".
    return (flags & (kNotUsable | (header->ifa_family == AF_INET6 ? IFA_F_TEMPORARY : 0U))) == 0;
}

bool is_mapped(const AddressBytes& address) {
    constexpr AddressBytes kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return std::equal(kMapped.begin(), kMapped.begin() + 12, address.begin());
}

}  // namespace

struct Addresses::State {
    netlink::Socket events;
    netlink::Socket questions;
    bool list = true;
    std::optional<std::vector<AddressBytes>> told;
    std::map<int, LinkAddresses> by_device;
};

Addresses::Addresses(std::unique_ptr<State> state) : state_(std::move(state)) {}
Addresses::Addresses(Addresses&&) noexcept = default;
Addresses& Addresses::operator=(Addresses&&) noexcept = default;
Addresses::~Addresses() = default;

Result<Addresses> Addresses::open() {
    auto events = netlink::subscribe({RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR});
    if (!events) return fail(events.error());
    auto questions = netlink::connect("ask rtnetlink");
    if (!questions) return fail(questions.error());
    auto state = std::make_unique<State>();
    state->events = std::move(*events);
    state->questions = std::move(*questions);
    return Addresses(std::move(state));
}

int Addresses::fd() const {
    return nl_socket_get_fd(state_->events.get());
}

const std::map<int, LinkAddresses>& Addresses::by_device() const {
    return state_->by_device;
}

Result<std::optional<std::vector<AddressBytes>>> Addresses::changes() {
    auto& state = *state_;
    const auto lost = netlink::read_events(state.events.get(), [&](nlmsghdr* message) {
        const bool concerns = message->nlmsg_type == RTM_NEWADDR || message->nlmsg_type == RTM_DELADDR;
        state.list |= concerns && address_in(message).has_value();
    });
    if (!lost) return fail(lost.error());
    if (!state.list && !*lost) return std::nullopt;

    std::vector<AddressBytes> found;
    state.by_device.clear();
    const auto of_services = ::if_nametoindex(kServicesDevice);
    const auto listed =
        netlink::ask(state.questions.get(), RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{}, [&](nlmsghdr* message) {
            const auto address = message->nlmsg_type == RTM_NEWADDR ? address_in(message) : std::nullopt;
            const auto index = static_cast<const ifaddrmsg*>(nlmsg_data(message))->ifa_index;
            if (!address || index == of_services) return;
            auto& link = state.by_device[static_cast<int>(index)];
            auto& first = is_mapped(*address) ? link.v4 : link.v6;  // the kernel lists the primary one first
            if (first == AddressBytes{} && may_be_source(message)) first = *address;
            link.all.push_back(*address);
            found.push_back(*address);
        });
    if (!listed) return fail(listed.error());
    state.list = false;
    std::ranges::sort(found);
    found.erase(std::unique(found.begin(), found.end()), found.end());
    if (state.told == found) return std::nullopt;
    state.told = found;
    return found;
}

}  // namespace svclb::datapath
