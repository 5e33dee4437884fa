// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// No descriptor of a namespace, nor a socket in one, is kept: either would hold the namespace, and with it the link of
// a pod that is gone.
#include "pod_netns.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netlink/attr.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "map_ref.hpp"
#include "sockets.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::datapath {
namespace {

namespace fs = std::filesystem;

// A runtime may take its time to give a pod an address; one of a single family never gets the other one's.
constexpr std::uint32_t kLooks = 60;
constexpr std::uint32_t kLooksForOther = 5;
constexpr std::uint16_t kDiscard = 9;

using Rows = MapRef<std::uint64_t, svclb_pod>;
using Identity = std::pair<dev_t, ino_t>;

bool known(const __be32 (&address)[SVCLB_ADDR_WORDS]) {
    return std::any_of(std::begin(address), std::end(address), [](__be32 word) { return word != 0; });
}

// Where runtimes mount the namespaces that they make. Some systems have no link between the two names.
constexpr std::array kMounts = {"/run/netns", "/var/run/netns", "/run/docker/netns"};

bool is_number(std::string_view name) {
    return std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
}

// Call `visit` for whatever may lead to a namespace, until it has enough and says false.
template <class Visit>
bool each_mount(const char* directory, const Visit& visit) {
    std::error_code gone;
    for (fs::directory_iterator at(directory, gone), end; !gone && at != end; at.increment(gone))
        if (!visit(at->path())) return false;
    return true;
}

template <class Visit>
void each_process(const Visit& visit) {
    std::error_code gone;
    for (fs::directory_iterator at("/proc", gone), end; !gone && at != end; at.increment(gone))
        if (is_number(at->path().filename().native()) && !visit(at->path() / "ns/net")) return;
}

// What the kernel would send from: nothing is sent.
template <class Address>
std::optional<Address> source_towards(const Address& to, int family) {
    const UniqueFd socket(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    Address from{};
    socklen_t size = sizeof(from);
    if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0 ||
        ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&from), &size) != 0)
        return std::nullopt;
    return from;
}

// Of the namespace that the thread is in. Any address outside will do: those for documentation are nobody's.
svclb_pod own_addresses() {
    svclb_pod row{};
    sockaddr_in to4{};
    to4.sin_family = AF_INET;
    to4.sin_port = htons(kDiscard);
    ::inet_pton(AF_INET, "192.0.2.1", &to4.sin_addr);
    if (const auto from = source_towards(to4, AF_INET)) {
        row.v4[2] = htonl(SVCLB_V4_MAPPED_PREFIX);
        row.v4[3] = from->sin_addr.s_addr;
    }
    sockaddr_in6 to6{};
    to6.sin6_family = AF_INET6;
    to6.sin6_port = htons(kDiscard);
    ::inet_pton(AF_INET6, "2001:db8::1", &to6.sin6_addr);
    if (const auto from = source_towards(to6, AF_INET6)) std::memcpy(row.v6, &from->sin6_addr, sizeof(row.v6));
    return row;
}

struct Inside {
    std::uint64_t cookie = 0;
    svclb_pod row{};
};

// By a thread that ends there, so that none of ours is ever elsewhere.
Result<Inside> look_into(int netns) {
    Inside inside;
    int error = 0;
    try {
        std::thread([&] {
            if (::setns(netns, CLONE_NEWNET) != 0)
                error = errno;
            else
                inside = {.cookie = own_netns_cookie(), .row = own_addresses()};
        }).join();
    } catch (const std::system_error& failed) {
        return fail({failed.code(), "start a thread to look into a pod's network namespace"});
    }
    if (error != 0) return fail_errno(error, "enter a pod's network namespace");
    return inside;
}

}  // namespace

bool PodNamespaces::Pod::served() const {
    return cookie != 0 && (known(row.v4) || known(row.v6));
}

bool PodNamespaces::Pod::settled() const {
    if (!served()) return looks >= kLooks;
    return (known(row.v4) && known(row.v6)) || looks >= kLooksForOther;
}

Result<PodNamespaces> PodNamespaces::open() {
    if (own_netns_cookie() == 0)
        return fail(Error::invalid("this kernel does not tell which network namespace is whose (it came with 5.14)"));
    auto socket = netlink::connect("ask for network namespaces");
    if (!socket) return fail(socket.error());
    return PodNamespaces(std::move(*socket));
}

bool PodNamespaces::settled() const {
    return std::ranges::all_of(pods_, [](const auto& pod) { return pod.second.settled(); });
}

std::size_t PodNamespaces::served() const {
    return static_cast<std::size_t>(std::ranges::count_if(pods_, [](const auto& pod) { return pod.second.served(); }));
}

// By the number that the link names its peer's namespace by.
Result<PodNamespaces::Wanted> PodNamespaces::unsettled() {
    Wanted wanted;
    const auto note = [&](nlmsghdr* message) {
        const auto* link = static_cast<const ifinfomsg*>(nlmsg_data(message));
        const auto pod = pods_.find(link->ifi_index);
        std::array<nlattr*, IFLA_MAX + 1> at{};
        if (message->nlmsg_type != RTM_NEWLINK || pod == pods_.end() || pod->second.settled() ||
            nlmsg_parse(message, sizeof(*link), at.data(), IFLA_MAX, nullptr) < 0)
            return;
        ++pod->second.looks;
        if (at[IFLA_LINK_NETNSID] != nullptr) wanted[nla_get_s32(at[IFLA_LINK_NETNSID])].push_back(&pod->second);
    };
    if (auto listed = netlink::ask(socket_.get(), RTM_GETLINK, NLM_F_DUMP, ifinfomsg{}, note); !listed)
        return fail(listed.error());
    return wanted;
}

Result<int> PodNamespaces::number_of(int netns) {
    struct {
        std::uint8_t family = AF_UNSPEC;
        std::array<std::uint8_t, 3> pad{};
        nlattr attribute{.nla_len = sizeof(nlattr) + sizeof(int), .nla_type = NETNSA_FD};
        int fd = -1;
    } request;
    request.fd = netns;
    int number = NETNSA_NSID_NOT_ASSIGNED;
    const auto note = [&number](nlmsghdr* message) {
        std::array<nlattr*, NETNSA_MAX + 1> at{};
        if (nlmsg_parse(message, NLMSG_ALIGN(sizeof(rtgenmsg)), at.data(), NETNSA_MAX, nullptr) >= 0 &&
            at[NETNSA_NSID] != nullptr)
            number = nla_get_s32(at[NETNSA_NSID]);
    };
    if (auto asked = netlink::ask(socket_.get(), RTM_GETNSID, NLM_F_REQUEST, request, note); !asked)
        return fail(asked.error());
    return number;
}

// What one entrance cannot tell, the next one may.
Status PodNamespaces::look(Wanted wanted) {
    std::set<Identity> seen;
    Status failure;
    const auto enter = [&](const fs::path& path) {
        struct stat at {};
        if (::stat(path.c_str(), &at) != 0 || !seen.emplace(at.st_dev, at.st_ino).second) return true;
        const UniqueFd netns(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!netns) return true;  // it ended meanwhile, or is not for us to see
        const auto number = number_of(netns.get());
        const auto pods = number ? wanted.find(*number) : wanted.end();
        if (pods == wanted.end()) return true;
        const auto inside = look_into(netns.get());
        if (!inside) {
            failure = fail(inside.error());
            return true;
        }
        for (Pod* pod : pods->second) {
            pod->cookie = inside->cookie;
            pod->row = inside->row;
        }
        wanted.erase(pods);
        return !wanted.empty();
    };
    for (const char* directory : kMounts)
        if (!each_mount(directory, enter)) return failure;
    // There may be thousands of processes, and packets wait for nobody's look: it is taken less and less often.
    std::erase_if(wanted, [](const auto& pods) {
        return std::ranges::none_of(pods.second, [](const Pod* pod) { return std::has_single_bit(pod->looks); });
    });
    if (!wanted.empty()) each_process(enter);
    return failure;
}

Status PodNamespaces::follow(const std::set<int>& pod_links, const MapSet& maps) {
    std::erase_if(pods_, [&](const auto& pod) { return !pod_links.contains(pod.first); });
    for (const int ifindex : pod_links) pods_.try_emplace(ifindex);
    auto wanted = unsettled();
    if (!wanted) return fail(wanted.error());
    if (!wanted->empty()) {
        const auto looked = look(std::move(*wanted));
        problem_ = looked ? "" : looked.error().message();
    }
    if (served() == pods_.size()) problem_.clear();

    std::map<std::uint64_t, svclb_pod> rows;
    for (const auto& [ifindex, pod] : pods_)
        if (pod.cookie != 0) rows.emplace(pod.cookie, pod.row);
    const auto map = Rows::open(maps, "pod_netns");
    if (!map) return fail(map.error());
    std::vector<std::uint64_t> stale;
    auto read = map->each([&](std::uint64_t cookie, const svclb_pod& row) {
        const auto right = rows.find(cookie);
        if (right == rows.end())
            stale.push_back(cookie);
        else if (std::memcmp(&right->second, &row, sizeof(row)) == 0)
            rows.erase(right);
    });
    if (!read) return read;
    for (const auto cookie : stale)
        if (auto removed = map->remove(cookie); !removed) return fail(removed.error());
    for (const auto& [cookie, row] : rows)
        if (auto written = map->put(cookie, row); !written) return written;
    return {};
}

Status forget_pods(const MapSet& maps) {
    const auto map = Rows::open(maps, "pod_netns");
    if (!map) return fail(map.error());
    std::vector<std::uint64_t> cookies;
    auto read = map->each([&](std::uint64_t cookie, const svclb_pod&) { cookies.push_back(cookie); });
    if (!read) return read;
    for (const auto cookie : cookies)
        if (auto removed = map->remove(cookie); !removed) return fail(removed.error());
    return {};
}

}  // namespace svclb::datapath
