// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// rtnetlink: listens to links and routes, and asks. What the answers mean is decided in device_table and device_kind.
// Messages are taken apart with libnl's attribute parser and not by its link and route objects: those know neither
// netkit nor, in this version, every form of next hop.
#include "svclb/datapath/devices.hpp"

#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "device_table.hpp"
#include "rtnetlink.hpp"

namespace svclb::datapath {
namespace {

using netlink::ask;

Framing framing_of(unsigned hardware_type) {
    switch (hardware_type) {
        case ARPHRD_ETHER:
            return Framing::ethernet;
        case ARPHRD_NONE:  // TUN, WireGuard
        case ARPHRD_TUNNEL:
        case ARPHRD_TUNNEL6:
        case ARPHRD_SIT:
        case ARPHRD_IPGRE:
        case ARPHRD_IP6GRE:
        case ARPHRD_RAWIP:
        case ARPHRD_PPP:
            return Framing::bare;
        default:
            return Framing::other;
    }
}

DeviceFacts facts_of(nlmsghdr* message) {
    std::array<nlattr*, IFLA_MAX + 1> attributes{};
    const auto* header = static_cast<const ifinfomsg*>(nlmsg_data(message));
    DeviceFacts device{.ifindex = header->ifi_index, .name = {}, .type = {}, .framing = framing_of(header->ifi_type)};
    if (nlmsg_parse(message, sizeof(*header), attributes.data(), IFLA_MAX, nullptr) < 0) return device;
    device.up = (header->ifi_flags & IFF_UP) != 0;
    if (attributes[IFLA_IFNAME] != nullptr) device.name = nla_get_string(attributes[IFLA_IFNAME]);
    device.peer_elsewhere = attributes[IFLA_LINK_NETNSID] != nullptr;
    if (attributes[IFLA_LINK] != nullptr && !device.peer_elsewhere) device.peer = nla_get_s32(attributes[IFLA_LINK]);
    std::array<nlattr*, IFLA_INFO_MAX + 1> info{};
    if (attributes[IFLA_LINKINFO] != nullptr &&
        nla_parse_nested(info.data(), IFLA_INFO_MAX, attributes[IFLA_LINKINFO], nullptr) >= 0 &&
        info[IFLA_INFO_KIND] != nullptr) {
        device.type = nla_get_string(info[IFLA_INFO_KIND]);
    }
    return device;
}

bool has_gateway(nlattr* const* attributes) {
    return attributes[RTA_GATEWAY] != nullptr || attributes[RTA_VIA] != nullptr;
}

void note_reach(std::map<int, Reach>& reach, int ifindex, Reach how) {
    auto& known = reach[ifindex];
    known = std::max(known, how);
}

// Every path of an ECMP route is a way of its own.
void note_paths(nlattr* multipath, Reach by_gateway, Reach without, std::map<int, Reach>& reach) {
    auto* hop = static_cast<rtnexthop*>(nla_data(multipath));
    int left = nla_len(multipath);
    while (left >= static_cast<int>(sizeof(*hop)) && hop->rtnh_len >= sizeof(*hop) && hop->rtnh_len <= left) {
        std::array<nlattr*, RTA_MAX + 1> attributes{};
        const int length = hop->rtnh_len - static_cast<int>(sizeof(*hop));
        const bool parsed =
            nla_parse(attributes.data(), RTA_MAX, reinterpret_cast<nlattr*>(hop + 1), length, nullptr) >= 0;
        note_reach(reach, hop->rtnh_ifindex, parsed && has_gateway(attributes.data()) ? by_gateway : without);
        const int step = (hop->rtnh_len + 3) & ~3;
        left -= step;
        hop = reinterpret_cast<rtnexthop*>(reinterpret_cast<char*>(hop) + step);
    }
}

bool is_link_local(nlattr* destination) {
    const auto* bytes = static_cast<const unsigned char*>(nla_data(destination));
    return nla_len(destination) == 16 && bytes[0] == 0xfe && (bytes[1] & 0xc0U) == 0x80;
}

// The devices through which a route leads, and how far. Nowhere is a pod's own route, to its address without a gateway,
// and what every IPv6 link has.
std::map<int, Reach> reach_of(nlmsghdr* message) {
    std::map<int, Reach> reach;
    const auto* route = static_cast<const rtmsg*>(nlmsg_data(message));
    std::array<nlattr*, RTA_MAX + 1> attributes{};
    if (nlmsg_parse(message, sizeof(*route), attributes.data(), RTA_MAX, nullptr) < 0) return reach;
    const std::uint32_t table =
        attributes[RTA_TABLE] != nullptr ? nla_get_u32(attributes[RTA_TABLE]) : route->rtm_table;
    if (route->rtm_type != RTN_UNICAST || (route->rtm_flags & RTM_F_CLONED) != 0) return reach;
    const Reach out = table == RT_TABLE_MAIN ? Reach::out : Reach::other_table;
    const bool to_host = route->rtm_dst_len == (route->rtm_family == AF_INET ? 32 : 128);
    const bool to_link = attributes[RTA_DST] != nullptr && is_link_local(attributes[RTA_DST]);
    const Reach near = to_host || to_link ? Reach::nowhere : Reach::network;
    const Reach without = route->rtm_dst_len == 0 ? out : near;
    if (attributes[RTA_OIF] != nullptr)
        note_reach(reach, nla_get_s32(attributes[RTA_OIF]), has_gateway(attributes.data()) ? out : without);
    if (attributes[RTA_MULTIPATH] != nullptr) note_paths(attributes[RTA_MULTIPATH], out, without, reach);
    std::erase_if(reach, [](const auto& device) { return device.second == Reach::nowhere; });
    return reach;
}

}  // namespace

struct Devices::State {
    DeviceTable table;
    netlink::Socket events;
    netlink::Socket questions;
    bool list_devices = false;
    bool list_routes = false;
    std::set<int> ask_about;  // devices whose peer came or went

    void note(int ifindex) {
        if (ifindex != 0) ask_about.insert(ifindex);
    }
    void handle(nlmsghdr* message);
    void handle_link(nlmsghdr* message);
    Status look();
    Status read_events();
    Status list_all_devices();
    Status list_all_routes();
    Status ask_about_peers();
};

void Devices::State::handle_link(nlmsghdr* message) {
    const auto* link = static_cast<const ifinfomsg*>(nlmsg_data(message));
    // Of another family: a port joins or leaves its bridge, the device itself stays.
    if (link->ifi_family != AF_UNSPEC) return;
    // IPv4 routes of a device that goes down or away vanish without a message, and are there again when it is up.
    const bool up = (link->ifi_flags & IFF_UP) != 0;
    list_routes |= message->nlmsg_type == RTM_DELLINK || !up || !table.is_up(link->ifi_index);
    if (message->nlmsg_type == RTM_NEWLINK) {
        note(table.set(facts_of(message)));
    } else {
        note(table.remove(link->ifi_index));
    }
}

void Devices::State::handle(nlmsghdr* message) {
    switch (message->nlmsg_type) {
        case RTM_NEWLINK:
        case RTM_DELLINK:
            handle_link(message);
            break;
        case RTM_NEWROUTE:
        case RTM_DELROUTE:
            // A new route may have replaced one through another device: only the whole list tells. Pods' own routes,
            // which come and go all the time, are not worth it.
            list_routes |= !reach_of(message).empty();
            break;
        default:
            break;
    }
}

Status Devices::State::look() {
    if (auto read = read_events(); !read) return read;
    if (list_devices) {
        if (auto listed = list_all_devices(); !listed) return listed;
    }
    if (auto asked = ask_about_peers(); !asked) return asked;
    return list_routes ? list_all_routes() : Status{};
}

Status Devices::State::read_events() {
    const auto lost = netlink::read_events(events.get(), [this](nlmsghdr* message) { handle(message); });
    if (!lost) return fail(lost.error());
    list_devices |= *lost;
    list_routes |= *lost;
    return {};
}

Status Devices::State::list_all_devices() {
    list_devices = false;
    ask_about.clear();
    table.forget_devices();
    return ask(questions.get(), RTM_GETLINK, NLM_F_DUMP, ifinfomsg{}, [this](nlmsghdr* message) {
        if (message->nlmsg_type == RTM_NEWLINK) table.set(facts_of(message));
    });
}

Status Devices::State::list_all_routes() {
    list_routes = false;
    std::map<int, Reach> reach;
    for (const int family : {AF_INET, AF_INET6}) {
        rtmsg request{};
        request.rtm_family = static_cast<unsigned char>(family);
        auto listed = ask(questions.get(), RTM_GETROUTE, NLM_F_DUMP, request, [&reach](nlmsghdr* message) {
            if (message->nlmsg_type != RTM_NEWROUTE) return;
            for (const auto& [ifindex, how] : reach_of(message)) note_reach(reach, ifindex, how);
        });
        if (!listed) return listed;
    }
    table.set_reach(std::move(reach));
    return {};
}

Status Devices::State::ask_about_peers() {
    for (const int ifindex : std::exchange(ask_about, {})) {
        ifinfomsg request{};
        request.ifi_index = ifindex;
        auto answered = ask(questions.get(), RTM_GETLINK, NLM_F_REQUEST, request, [this](nlmsghdr* message) {
            if (message->nlmsg_type == RTM_NEWLINK) table.set(facts_of(message));
        });
        // It went as well; its own message is on the way.
        if (!answered) spdlog::debug("device {} did not answer error=\"{}\"", ifindex, answered.error().message());
    }
    return {};
}

Devices::Devices(std::unique_ptr<State> state) : state_(std::move(state)) {}
Devices::Devices(Devices&&) noexcept = default;
Devices& Devices::operator=(Devices&&) noexcept = default;
Devices::~Devices() = default;

Result<Devices> Devices::open(DevicePatterns patterns) {
    auto events = netlink::subscribe({RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE});
    if (!events) return fail(events.error());
    auto questions = netlink::connect("ask rtnetlink");
    if (!questions) return fail(questions.error());
    auto state = std::make_unique<State>(State{.table = DeviceTable(std::move(patterns)),
                                               .events = std::move(*events),
                                               .questions = std::move(*questions),
                                               .list_devices = true,
                                               .list_routes = true,
                                               .ask_about = {}});
    return Devices(std::move(state));
}

int Devices::fd() const {
    return nl_socket_get_fd(state_->events.get());
}

Result<std::vector<Device>> Devices::present() {
    if (auto looked = state_->look(); !looked) return fail(looked.error());
    return state_->table.present();
}

Result<std::vector<DeviceChange>> Devices::changes() {
    if (auto looked = state_->look(); !looked) return fail(looked.error());
    return state_->table.take_changes();
}

}  // namespace svclb::datapath
