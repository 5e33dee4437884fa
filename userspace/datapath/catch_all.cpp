// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "catch_all.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace svclb::datapath {
namespace {

struct SocketDeleter {
    void operator()(nl_sock* socket) const noexcept { nl_socket_free(socket); }
};
struct MessageDeleter {
    void operator()(nl_msg* message) const noexcept { nlmsg_free(message); }
};
using Message = std::unique_ptr<nl_msg, MessageDeleter>;
using Handler = std::function<void(nlmsghdr*)>;

constexpr std::array<std::uint8_t, 6> kMac = SVCLB_HOST_LINK_MAC;
// Replies come in whatever size the way to the node allows.
constexpr std::uint32_t kDeviceMtu = 65535;
// What fits everywhere: which device a packet will leave by is not known before its backend is chosen.
constexpr std::uint32_t kRouteMtu = 1280;
constexpr std::uint32_t kMetric = 115;
constexpr unsigned char kProtocol = 115;  // whose routes these are; in no list of known ones
constexpr std::uint32_t kLooseReversePath = 2;
constexpr std::uint8_t kNoLinkLocal = 1;  // IN6_ADDR_GEN_MODE_NONE

Error netlink_error(int code, const std::string& doing) {
    return {std::make_error_code(std::errc::io_error), doing + ": netlink: " + nl_geterror(code)};
}

Message message_of(int type, int flags) {
    return Message(nlmsg_alloc_simple(type, flags));
}

template <class Value>
void put(nl_msg* message, int attribute, const Value& value) {
    nla_put(message, attribute, sizeof(value), &value);
}

struct Found {
    int ifindex = 0;
    int peer = 0;
    bool veth = false;
    bool our_mac = false;
    bool up = false;
};

using Address = std::array<std::uint8_t, 16>;

// One route of ours. IPv4 in the last four bytes.
struct Route {
    int family = AF_INET;
    Address to{};
    int prefix = 0;
    Address source{};
    auto operator<=>(const Route&) const = default;
};

int size_of(int family) {
    return family == AF_INET ? 4 : 16;
}
const std::uint8_t* bytes_of(int family, const Address& address) {
    return address.data() + (16 - size_of(family));
}
void read_address(int family, const nlattr* attribute, Address& out) {
    if (attribute == nullptr || nla_len(attribute) != size_of(family)) return;
    std::memcpy(out.data() + (16 - size_of(family)), nla_data(attribute), static_cast<std::size_t>(size_of(family)));
}

std::string text_of(int family, const Address& address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(family, bytes_of(family, address), text.data(), text.size());
    return text.data();
}

Route route_to(const svclb_cidr& range) {
    Route route;
    std::memcpy(route.to.data(), range.addr, sizeof(route.to));
    for (const auto word : range.mask) route.prefix += std::popcount(word);
    const bool mapped = range.addr[0] == 0 && range.addr[1] == 0 && range.addr[2] == htonl(0xffff);
    route.family = mapped && route.prefix >= 96 ? AF_INET : AF_INET6;
    if (route.family == AF_INET) {
        route.prefix -= 96;
        std::memset(route.to.data(), 0, 12);
    }
    return route;
}

std::map<std::uint32_t, std::uint32_t> ipv4_settings() {
    // A pod's packet, before its own link is known, comes back into the stack here with the pod's address as source.
    return {{IPV4_DEVCONF_FORWARDING, 1}, {IPV4_DEVCONF_RP_FILTER, kLooseReversePath}};
}

std::string v6_forwarding() {
    return fmt::format("/proc/sys/net/ipv6/conf/{}/forwarding", kProgramSide);
}
// Without such a file there is no IPv6.
bool forwards_v6() {
    std::ifstream file(v6_forwarding());
    char value = 0;
    return !file || (file >> value && value != '0');
}

}  // namespace

struct CatchAll::State {
    std::unique_ptr<nl_sock, SocketDeleter> socket;

    Status send(const Message& message, const std::string& doing) {
        const int error = nl_send_auto(socket.get(), message.get());
        const int answer = error < 0 ? error : nl_wait_for_ack(socket.get());
        if (answer < 0) return fail(netlink_error(answer, doing));
        return {};
    }
    Status dump(const Message& message, Handler handler, const std::string& doing);
    Result<std::map<std::string, Found>> find();
    Status create();
    Status switch_on(const Found& device, const char* name, bool program_side);
    std::map<int, Address> sources(const std::set<int>& uplinks, const std::set<int>& pod_links);
    Result<std::set<Route>> routes(int ifindex);
    Status change(const Route& route, int ifindex, bool add);
};

Status CatchAll::State::dump(const Message& message, Handler handler, const std::string& doing) {
    auto call = [](nl_msg* answer, void* to) -> int {
        (*static_cast<Handler*>(to))(nlmsg_hdr(answer));
        return NL_OK;
    };
    nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, call, &handler);
    int error = nl_send_auto(socket.get(), message.get());
    if (error >= 0) error = nl_recvmsgs_default(socket.get());
    nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_DEFAULT, nullptr, nullptr);
    // The table changed while it was listed: the next look makes up for it.
    if (error < 0 && error != -NLE_DUMP_INTR) return fail(netlink_error(error, doing));
    return {};
}

Result<std::map<std::string, Found>> CatchAll::State::find() {
    std::map<std::string, Found> found;
    const auto request = message_of(RTM_GETLINK, NLM_F_DUMP);
    ifinfomsg header{};
    nlmsg_append(request.get(), &header, sizeof(header), NLMSG_ALIGNTO);
    auto note = [&found](nlmsghdr* answer) {
        const auto* link = static_cast<const ifinfomsg*>(nlmsg_data(answer));
        std::array<nlattr*, IFLA_MAX + 1> at{};
        if (answer->nlmsg_type != RTM_NEWLINK || nlmsg_parse(answer, sizeof(*link), at.data(), IFLA_MAX, nullptr) < 0 ||
            at[IFLA_IFNAME] == nullptr)
            return;
        const std::string name = nla_get_string(at[IFLA_IFNAME]);
        if (name != kRouteSide && name != kProgramSide) return;
        Found device{.ifindex = link->ifi_index, .up = (link->ifi_flags & IFF_UP) != 0};
        if (at[IFLA_LINK] != nullptr && at[IFLA_LINK_NETNSID] == nullptr) device.peer = nla_get_s32(at[IFLA_LINK]);
        device.our_mac = at[IFLA_ADDRESS] != nullptr && nla_len(at[IFLA_ADDRESS]) == static_cast<int>(kMac.size()) &&
                         std::memcmp(nla_data(at[IFLA_ADDRESS]), kMac.data(), kMac.size()) == 0;
        std::array<nlattr*, IFLA_INFO_MAX + 1> info{};
        device.veth = at[IFLA_LINKINFO] != nullptr &&
                      nla_parse_nested(info.data(), IFLA_INFO_MAX, at[IFLA_LINKINFO], nullptr) >= 0 &&
                      info[IFLA_INFO_KIND] != nullptr &&
                      std::string_view(nla_get_string(info[IFLA_INFO_KIND])) == "veth";
        found[name] = device;
    };
    if (auto listed = dump(request, note, "list devices"); !listed) return fail(listed.error());
    return found;
}

Status CatchAll::State::create() {
    const auto request = message_of(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    nl_msg* message = request.get();
    ifinfomsg header{};
    const auto describe = [message](const char* name) {
        nla_put_string(message, IFLA_IFNAME, name);
        put(message, IFLA_ADDRESS, kMac);
        put(message, IFLA_MTU, kDeviceMtu);
    };
    nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    describe(kRouteSide);
    nlattr* info = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "veth");
    nlattr* data = nla_nest_start(message, IFLA_INFO_DATA);
    nlattr* peer = nla_nest_start(message, VETH_INFO_PEER);
    nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    describe(kProgramSide);
    nla_nest_end(message, peer);
    nla_nest_end(message, data);
    nla_nest_end(message, info);
    return send(request, fmt::format("make the devices {} and {}", kRouteSide, kProgramSide));
}

Status CatchAll::State::switch_on(const Found& device, const char* name, bool program_side) {
    if (device.up) return {};
    // Before it is up: it would get a link-local address.
    const auto settings = message_of(RTM_NEWLINK, 0);
    ifinfomsg header{};
    header.ifi_index = device.ifindex;
    nlmsg_append(settings.get(), &header, sizeof(header), NLMSG_ALIGNTO);
    nlattr* spec = nla_nest_start(settings.get(), IFLA_AF_SPEC);
    nlattr* inet6 = nla_nest_start(settings.get(), AF_INET6);
    put(settings.get(), IFLA_INET6_ADDR_GEN_MODE, kNoLinkLocal);
    nla_nest_end(settings.get(), inet6);
    if (program_side) {
        nlattr* inet = nla_nest_start(settings.get(), AF_INET);
        nlattr* values = nla_nest_start(settings.get(), IFLA_INET_CONF);
        for (const auto& [setting, value] : ipv4_settings()) put(settings.get(), static_cast<int>(setting), value);
        nla_nest_end(settings.get(), values);
        nla_nest_end(settings.get(), inet);
    }
    nla_nest_end(settings.get(), spec);
    // A kernel without IPv6 refuses its part: then there are no IPv6 packets either.
    if (auto set = send(settings, fmt::format("set up the device {}", name)); !set && program_side) return set;
    const auto up = message_of(RTM_NEWLINK, 0);
    header.ifi_change = IFF_UP | IFF_NOARP;
    header.ifi_flags = IFF_UP | IFF_NOARP;
    nlmsg_append(up.get(), &header, sizeof(header), NLMSG_ALIGNTO);
    return send(up, fmt::format("switch the device {} on", name));
}

// By family: the address that packets through the pair get. Nothing where the node has none.
std::map<int, Address> CatchAll::State::sources(const std::set<int>& uplinks, const std::set<int>& pod_links) {
    std::map<int, std::map<std::pair<bool, int>, Address>> found;
    const auto request = message_of(RTM_GETADDR, NLM_F_DUMP);
    ifaddrmsg header{};
    nlmsg_append(request.get(), &header, sizeof(header), NLMSG_ALIGNTO);
    auto note = [&](nlmsghdr* answer) {
        const auto* address = static_cast<const ifaddrmsg*>(nlmsg_data(answer));
        const int family = address->ifa_family;
        const int device = static_cast<int>(address->ifa_index);
        std::array<nlattr*, IFA_MAX + 1> at{};
        constexpr unsigned kNotUsable = IFA_F_DEPRECATED | IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_TEMPORARY;
        if (answer->nlmsg_type != RTM_NEWADDR || (family != AF_INET && family != AF_INET6) ||
            address->ifa_scope != RT_SCOPE_UNIVERSE || pod_links.contains(device) ||
            nlmsg_parse(answer, sizeof(*address), at.data(), IFA_MAX, nullptr) < 0)
            return;
        unsigned flags = at[IFA_FLAGS] != nullptr ? nla_get_u32(at[IFA_FLAGS]) : address->ifa_flags;
        // In IPv4 this bit says "secondary".
        if ((flags & kNotUsable) != 0) return;
        Address bytes{};
        read_address(family, at[IFA_LOCAL] != nullptr ? at[IFA_LOCAL] : at[IFA_ADDRESS], bytes);
        found[family].try_emplace({!uplinks.contains(device), device}, bytes);
    };
    std::map<int, Address> best;
    if (!dump(request, note, "list addresses")) return best;
    for (const auto& [family, addresses] : found) best[family] = addresses.begin()->second;
    return best;
}

Result<std::set<Route>> CatchAll::State::routes(int ifindex) {
    std::set<Route> found;
    for (const int family : {AF_INET, AF_INET6}) {
        const auto request = message_of(RTM_GETROUTE, NLM_F_DUMP);
        rtmsg header{};
        header.rtm_family = static_cast<unsigned char>(family);
        nlmsg_append(request.get(), &header, sizeof(header), NLMSG_ALIGNTO);
        auto note = [&](nlmsghdr* answer) {
            const auto* entry = static_cast<const rtmsg*>(nlmsg_data(answer));
            std::array<nlattr*, RTA_MAX + 1> at{};
            if (answer->nlmsg_type != RTM_NEWROUTE || entry->rtm_protocol != kProtocol ||
                entry->rtm_table != RT_TABLE_MAIN ||
                nlmsg_parse(answer, sizeof(*entry), at.data(), RTA_MAX, nullptr) < 0 || at[RTA_OIF] == nullptr ||
                nla_get_s32(at[RTA_OIF]) != ifindex)
                return;
            Route route{.family = family, .prefix = entry->rtm_dst_len};
            read_address(family, at[RTA_DST], route.to);
            read_address(family, at[RTA_PREFSRC], route.source);
            found.insert(route);
        };
        if (auto listed = dump(request, note, "list routes"); !listed) return fail(listed.error());
    }
    return found;
}

Status CatchAll::State::change(const Route& route, int ifindex, bool add) {
    // Exclusive: a route that somebody else has to this range stays.
    const auto request = message_of(add ? RTM_NEWROUTE : RTM_DELROUTE, add ? NLM_F_CREATE | NLM_F_EXCL : 0);
    rtmsg header{};
    header.rtm_family = static_cast<unsigned char>(route.family);
    header.rtm_dst_len = static_cast<unsigned char>(route.prefix);
    header.rtm_table = RT_TABLE_MAIN;
    header.rtm_protocol = kProtocol;
    header.rtm_scope = route.family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    header.rtm_type = RTN_UNICAST;
    nlmsg_append(request.get(), &header, sizeof(header), NLMSG_ALIGNTO);
    nla_put(request.get(), RTA_DST, size_of(route.family), bytes_of(route.family, route.to));
    put(request.get(), RTA_OIF, ifindex);
    put(request.get(), RTA_PRIORITY, kMetric);
    if (add) {
        nla_put(request.get(), RTA_PREFSRC, size_of(route.family), bytes_of(route.family, route.source));
        nlattr* metrics = nla_nest_start(request.get(), RTA_METRICS);
        put(request.get(), RTAX_MTU, kRouteMtu);
        nla_nest_end(request.get(), metrics);
    }
    return send(request, fmt::format("{} the route to {}/{} by {}", add ? "add" : "remove",
                                     text_of(route.family, route.to), route.prefix, kRouteSide));
}

CatchAll::CatchAll(std::unique_ptr<State> state) : state_(std::move(state)) {}
CatchAll::CatchAll(CatchAll&&) noexcept = default;
CatchAll& CatchAll::operator=(CatchAll&&) noexcept = default;
CatchAll::~CatchAll() = default;

Result<CatchAll> CatchAll::open() {
    auto state = std::make_unique<State>();
    state->socket.reset(nl_socket_alloc());
    if (!state->socket) return fail_errno(ENOMEM, "allocate a netlink socket");
    if (const int error = nl_connect(state->socket.get(), NETLINK_ROUTE); error < 0)
        return fail(netlink_error(error, "connect to rtnetlink"));
    return CatchAll(std::move(state));
}

Result<int> CatchAll::prepare() {
    auto found = state_->find();
    if (!found) return fail(found.error());
    if (found->empty()) {
        if (auto created = state_->create(); !created) return fail(created.error());
        if (found = state_->find(); !found) return fail(found.error());
    }
    const Found route_side = (*found)[kRouteSide];
    const Found program_side = (*found)[kProgramSide];
    for (const auto& [name, device] : *found) {
        const int peer = name == kRouteSide ? program_side.ifindex : route_side.ifindex;
        if (!device.veth || !device.our_mac || device.peer == 0 || device.peer != peer)
            return fail(Error::invalid(fmt::format("a device {} is there that is not svclb's", name)));
    }
    if (auto on = state_->switch_on(program_side, kProgramSide, true); !on) return fail(on.error());
    if (auto on = state_->switch_on(route_side, kRouteSide, false); !on) return fail(on.error());
    // rtnetlink cannot say this one. A node that forwards IPv6 has it in its defaults already; where it has not, and
    // /proc/sys is for reading only, route() tells.
    if (!forwards_v6()) std::ofstream(v6_forwarding()) << 1 << std::flush;
    return program_side.ifindex;
}

Result<std::string> CatchAll::route(std::span<const svclb_cidr> ranges, const std::set<int>& uplinks,
                                    const std::set<int>& pod_links) {
    const int device = static_cast<int>(::if_nametoindex(kRouteSide));
    if (device == 0) return fail(Error::invalid(fmt::format("device {} is gone", kRouteSide)));
    const auto sources = state_->sources(uplinks, pod_links);
    std::set<Route> wanted;
    std::string words;
    for (const auto& range : ranges) {
        Route to = route_to(range);
        const auto source = sources.find(to.family);
        if (source == sources.end()) continue;  // the node has no address to send from
        to.source = source->second;
        words += fmt::format("{}{}/{} from {}", words.empty() ? "" : ", ", text_of(to.family, to.to), to.prefix,
                             text_of(to.family, to.source));
        wanted.insert(to);
    }
    const bool v6 = std::ranges::any_of(wanted, [](const Route& to) { return to.family == AF_INET6; });
    if (v6 && !forwards_v6()) words += fmt::format("; IPv6 is dropped: {} cannot be set to 1", v6_forwarding());
    auto present = state_->routes(device);
    if (!present) return fail(present.error());
    for (const auto& route : *present) {
        if (wanted.contains(route)) continue;
        if (auto removed = state_->change(route, device, false); !removed) return fail(removed.error());
    }
    for (const auto& route : wanted) {
        if (present->contains(route)) continue;
        if (auto added = state_->change(route, device, true); !added) return fail(added.error());
    }
    return words;
}

Status CatchAll::remove() {
    const auto found = state_->find();
    if (!found) return fail(found.error());
    const auto at = found->find(kRouteSide);
    if (at == found->end() || !at->second.veth || !at->second.our_mac) return {};
    const auto request = message_of(RTM_DELLINK, 0);
    ifinfomsg header{};
    header.ifi_index = at->second.ifindex;
    nlmsg_append(request.get(), &header, sizeof(header), NLMSG_ALIGNTO);
    return state_->send(request, fmt::format("remove the device {}", kRouteSide));
}

}  // namespace svclb::datapath
