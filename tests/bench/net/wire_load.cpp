// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// wire_load: small datagrams from a client outside, through whatever forwards them, to a backend: how many a second
// arrive. It begins a real conversation with the pod_server behind TO, then has the kernel send copies of one frame of
// it (live frames of XDP's test-run) and counts those that reach the server's device, where they end. Prints packets a
// second, and of how many sent.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "endpoint.hpp"
#include "packet.hpp"
#include "svclb/base/unique_fd.hpp"

namespace {

using svclb::UniqueFd;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kLiveFrames = 1U << 1U;  // BPF_F_TEST_XDP_LIVE_FRAMES, since 5.18
constexpr int kBurst = 16384;
constexpr std::size_t kFrameSize = 66;  // as in wire_load.bpf.c; padded in IPv4
constexpr int kQuestions = 20;          // until the flow is established, and every neighbour known

struct Options {
    std::string to, from, device, mac, server_netns, server_device;
    double seconds = 1;
    std::uint32_t clients = 1;
    bool unanswered = false;
};

[[noreturn]] void die(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

struct ObjectDeleter {
    void operator()(bpf_object* object) const noexcept { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, ObjectDeleter>;

struct Constants {  // as in wire_load.bpf.c
    std::uint32_t device, clients;
};

Object load(const Constants& values) {
    Object object(bpf_object__open_file(SVCLB_WIRE_LOAD_OBJECT, nullptr));
    if (!object) die("open " SVCLB_WIRE_LOAD_OBJECT);
    bpf_map* constants = bpf_object__find_map_by_name(object.get(), ".rodata");
    if (constants == nullptr || bpf_map__set_initial_value(constants, &values, sizeof(values)) != 0)
        die("name the device");
    if (bpf_object__load(object.get()) != 0) die("load");
    return object;
}

int program(const Object& object, const char* name) {
    return bpf_program__fd(bpf_object__find_program_by_name(object.get(), name));
}

// The link ends with the process.
UniqueFd attach_sink(const Object& object, const Options& options) {
    const UniqueFd home(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    const UniqueFd there(::open(options.server_netns.c_str(), O_RDONLY | O_CLOEXEC));
    if (!there || ::setns(there.get(), CLONE_NEWNET) != 0) die(options.server_netns);
    const auto device = ::if_nametoindex(options.server_device.c_str());
    UniqueFd link(bpf_link_create(program(object, "sink"), static_cast<int>(device), BPF_XDP, nullptr));
    if (!link) die("attach to " + options.server_device);
    if (::setns(home.get(), CLONE_NEWNET) != 0) die("return");
    return link;
}

void converse(const tools::Endpoint& to, const tools::Endpoint& from) {
    const UniqueFd socket(::socket(to.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const timeval patience{.tv_sec = 2, .tv_usec = 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&from.address), from.size) != 0) die("bind");
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to.address), to.size) != 0) die("connect");
    char answer[256];
    for (int i = 0; i < kQuestions; ++i) {
        if (::send(socket.get(), "hello", 5, 0) != 5 || ::recv(socket.get(), answer, sizeof(answer), 0) <= 0)
            die("no answer");
    }
}

svclb::test::Endpoint test_endpoint(const std::string& text) {
    const auto colon = text.rfind(':');
    auto host = text.substr(0, colon);
    if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
    return {svclb::test::ip(host), static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1)))};
}

svclb::test::Bytes frame_of(const Options& options) {
    auto packet = svclb::test::udp(test_endpoint(options.from), test_endpoint(options.to), {0x53, 0x56, 0x4c, 0x42});
    unsigned mac[6];
    if (std::sscanf(options.mac.c_str(), "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) !=
        6)
        throw std::runtime_error("not a hardware address: " + options.mac);
    for (std::size_t i = 0; i < 6; ++i) packet.to_mac[i] = static_cast<std::uint8_t>(mac[i]);
    auto frame = packet.frame();
    if (frame.size() < kFrameSize) frame.resize(kFrameSize);
    return frame;
}

std::uint64_t received(const Object& object) {
    std::vector<std::uint64_t> each(static_cast<std::size_t>(libbpf_num_possible_cpus()));
    const std::uint32_t zero = 0;
    if (bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object.get(), "received"), &zero, each.data()) != 0)
        die("read the counter");
    return std::accumulate(each.begin(), each.end(), std::uint64_t{0});
}

void emit(const Object& object, const svclb::test::Bytes& frame) {
    bpf_test_run_opts run{};
    run.sz = sizeof(run);
    run.data_in = frame.data();
    run.data_size_in = static_cast<__u32>(frame.size());
    run.repeat = kBurst;
    run.flags = kLiveFrames;
    run.batch_size = 64;
    if (bpf_prog_test_run_opts(program(object, "emit"), &run) != 0) die("send");
}

void measure(const Options& options) {
    const auto object = load({::if_nametoindex(options.device.c_str()), options.clients});
    const auto sink = attach_sink(object, options);
    if (!options.unanswered) converse(tools::parse_endpoint(options.to), tools::parse_endpoint(options.from));
    const auto frame = frame_of(options);
    const std::uint32_t zero = 0;
    if (bpf_map_update_elem(bpf_object__find_map_fd_by_name(object.get(), "frame"), &zero, frame.data(), BPF_ANY) != 0)
        die("lay the frame down");
    emit(object, frame);
    const auto before = received(object);
    const auto begun = Clock::now();
    const auto until = begun + std::chrono::duration<double>(options.seconds);
    std::uint64_t sent = 0;
    for (; Clock::now() < until; sent += kBurst) emit(object, frame);
    const double took = std::chrono::duration<double>(Clock::now() - begun).count();
    const auto got = received(object) - before;
    std::printf("%.0f %.0f\n", static_cast<double>(got) / took, static_cast<double>(sent) / took);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("packets a second of small datagrams through a node port");
    Options options;
    app.add_option("--to", options.to, "ADDRESS:PORT that is dialled")->required();
    app.add_option("--from", options.from, "ADDRESS:PORT of the client")->required();
    app.add_option("--device", options.device, "the client's")->required();
    app.add_option("--mac", options.mac, "of the next hop")->required();
    app.add_option("--server-netns", options.server_netns, "the backend's")->required();
    app.add_option("--server-device", options.server_device, "where they arrive")->required();
    app.add_flag("--unanswered", options.unanswered, "TO drops it all: begin no conversation");
    app.add_option("--clients", options.clients, "ports of the client that take turns")->check(CLI::Range(1, 60000));
    app.add_option("--seconds", options.seconds)->check(CLI::Range(0.01, 60.0));
    CLI11_PARSE(app, argc, argv);
    try {
        measure(options);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "wire_load: %s\n", error.what());
        return 1;
    }
}
