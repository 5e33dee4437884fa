// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "socket_hooks.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <stdexcept>
#include <utility>

extern "C" {
// Laid down by embedded_object.S.
extern const std::byte
    svclb_sockets_begin[];                   // NOLINT(modernize-avoid-c-arrays): a symbol, its size is in the next one
extern const std::byte svclb_sockets_end[];  // NOLINT(modernize-avoid-c-arrays)
}

namespace svclb::test {
namespace {

constexpr int kNetnsCookie = 71;  // SO_NETNS_COOKIE
constexpr int kPatienceMs = 20000;
constexpr std::array kShared = {"frontends",        "services",      "slots",         "backends",
                                "affinity",         "filters",       "service_cidrs", "service_counters",
                                "backend_counters", "drop_counters", "source_ranges", "node_addresses"};

[[noreturn]] void throw_errno(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

Object load_hooks(const Datapath& datapath, bool learn_netns, bool set_errno) {
    svclb_settings settings = DatapathOptions{}.settings;
    settings.netns_cookie = learn_netns ? 0 : netns_cookie();
    settings.hooks_set_errno = set_errno ? 1 : 0;
    ObjectOptions options;
    for (const char* name : kShared) options.maps[name] = datapath.map(name);
    options.constants["settings"] = std::as_bytes(std::span(&settings, 1));
    return load({svclb_sockets_begin, svclb_sockets_end}, options);
}

// What sockets keep goes with them; the rest is cleared here.
bpf_object* empty_hooks(const Datapath& datapath, bool learn_netns, bool set_errno) {
    static std::map<std::pair<const Datapath*, bool>, Object> loaded;
    auto& object = loaded[{&datapath, learn_netns}];
    if (!object) object = load_hooks(datapath, learn_netns, set_errno);
    empty<svclb_socket_peer_key>(map_fd(object.get(), "socket_peers"));
    empty<std::uint64_t>(map_fd(object.get(), "connected_peers"));
    MappedMap(map_fd(object.get(), "netns_probe"), sizeof(svclb_netns_probe)).clear();
    return object.get();
}

std::string own_cgroup() {
    std::ifstream file("/proc/self/cgroup");
    std::string line;
    while (std::getline(file, line)) {
        if (line.starts_with("0::")) return line.substr(3);
    }
    throw NotPermitted("this kernel has no cgroup v2");
}

void move_into(const std::string& cgroup) {
    std::ofstream file(cgroup + "/cgroup.procs");
    if (!(file << "0" << std::flush)) throw_errno("move into " + cgroup);
}

}  // namespace

std::uint64_t netns_cookie() {
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM, 0));
    std::uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    return ::getsockopt(socket.get(), SOL_SOCKET, kNetnsCookie, &cookie, &size) == 0 ? cookie : 0;
}

SocketHooks::SocketHooks(Datapath& datapath, const HookOptions& options)
    : set_errno_(libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_set_retval, nullptr) == 1),
      object_(empty_hooks(datapath, options.learn_netns, set_errno_)) {
    std::string pattern = "/tmp/svclb-cgroup-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw_errno("make a directory");
    mount_ = pattern;
    if (::mount("cgroup2", mount_.c_str(), "cgroup2", 0, nullptr) != 0) {
        const int error = errno;
        ::rmdir(mount_.c_str());
        throw NotPermitted(std::string("cgroup v2 cannot be mounted: ") + std::strerror(error));
    }
    before_ = own_cgroup();  // which is told once the hierarchy is mounted somewhere
    cgroup_ = mount_ + "/svclb-test-" + std::to_string(::getpid());
    if (::mkdir(cgroup_.c_str(), 0700) != 0) throw_errno("make " + cgroup_);
    attach(cgroup_);
    move_into(cgroup_);
    if (options.learn_netns || netns_cookie() == 0) learn_netns();
}

void SocketHooks::attach(const std::string& cgroup) {
    const UniqueFd directory(::open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) throw_errno("open " + cgroup);
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object_) {
        UniqueFd link(bpf_link_create(bpf_program__fd(program), directory.get(),
                                      bpf_program__expected_attach_type(program), nullptr));
        if (!link) throw_errno(std::string("attach ") + bpf_program__name(program));
        links_.push_back(std::move(link));
    }
}

void SocketHooks::learn_netns() {
    const MappedMap probe(map("netns_probe"), sizeof(svclb_netns_probe));
    const Socket socket(AF_INET, SOCK_DGRAM);
    std::uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    if (::getsockopt(socket.fd(), SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0) throw_errno("SO_COOKIE");
    probe.rows<svclb_netns_probe>()->socket = cookie;
    (void)socket.connect(Address({ip("127.0.0.1"), 9}));
}

SocketHooks::~SocketHooks() {
    links_.clear();
    try {
        move_into(mount_ + before_);
    } catch (const std::exception&) {
        // It stays where it is, and the directory with it.
    }
    ::rmdir(cgroup_.c_str());
    ::umount2(mount_.c_str(), MNT_DETACH);
    ::rmdir(mount_.c_str());
}

Address::Address(const Endpoint& endpoint, bool as_mapped) {
    if (endpoint.addr.v4() && !as_mapped) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(endpoint.port);
        std::memcpy(&to.sin_addr, endpoint.addr.bytes.data() + 12, 4);
        std::memcpy(&bytes, &to, size = sizeof(to));
    } else {
        sockaddr_in6 to{};
        to.sin6_family = AF_INET6;
        to.sin6_port = htons(endpoint.port);
        std::memcpy(&to.sin6_addr, endpoint.addr.bytes.data(), 16);
        std::memcpy(&bytes, &to, size = sizeof(to));
    }
}

Endpoint Address::endpoint() const {
    Endpoint endpoint;
    if (bytes.ss_family == AF_INET) {
        sockaddr_in from{};
        std::memcpy(&from, &bytes, sizeof(from));
        endpoint.addr = ip("0.0.0.0");
        std::memcpy(endpoint.addr.bytes.data() + 12, &from.sin_addr, 4);
        endpoint.port = ntohs(from.sin_port);
    } else if (bytes.ss_family == AF_INET6) {
        sockaddr_in6 from{};
        std::memcpy(&from, &bytes, sizeof(from));
        std::memcpy(endpoint.addr.bytes.data(), &from.sin6_addr, 16);
        endpoint.port = ntohs(from.sin6_port);
    }
    return endpoint;
}

Socket::Socket(int family, int type) : fd_(::socket(family, type | SOCK_CLOEXEC, 0)) {
    if (!fd_) throw_errno("make a socket");
}

int Socket::connect(const Address& to) const {
    return ::connect(fd(), to.get(), to.size) == 0 ? 0 : errno;
}

int Socket::disconnect() const {
    sockaddr nobody{};
    nobody.sa_family = AF_UNSPEC;
    return ::connect(fd(), &nobody, sizeof(nobody)) == 0 ? 0 : errno;
}

int Socket::send_to(const std::string& text, const Address& to, int flags) const {
    return ::sendto(fd(), text.data(), text.size(), flags, to.get(), to.size) >= 0 ? 0 : errno;
}

int Socket::send(const std::string& text) const {
    return ::send(fd(), text.data(), text.size(), 0) >= 0 ? 0 : errno;
}

Socket::Received Socket::receive() const {
    pollfd readable{.fd = fd(), .events = POLLIN, .revents = 0};
    if (::poll(&readable, 1, kPatienceMs) != 1) return {};
    std::array<char, 512> text{};
    Address from;
    const auto size = ::recvfrom(fd(), text.data(), text.size(), 0, from.get(), &from.size);
    if (size < 0) return {};
    return {.text = {text.data(), static_cast<std::size_t>(size)}, .from = from.endpoint()};
}

Endpoint Socket::peer() const {
    Address address;
    return ::getpeername(fd(), address.get(), &address.size) == 0 ? address.endpoint() : Endpoint{};
}

Endpoint Socket::name() const {
    Address address;
    return ::getsockname(fd(), address.get(), &address.size) == 0 ? address.endpoint() : Endpoint{};
}

Socket serve(const Ip& address, int type) {
    Socket socket(address.v4() ? AF_INET : AF_INET6, type);
    const Address at({address, 0});
    if (::bind(socket.fd(), at.get(), at.size) != 0) throw_errno("bind to " + to_string(address));
    if (type == SOCK_STREAM && ::listen(socket.fd(), 64) != 0) throw_errno("listen");
    return socket;
}

}  // namespace svclb::test
