// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "kernel_sandbox.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>

namespace svclb::datapath {
namespace {

UniqueFd this_namespace() {
    return UniqueFd(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
}

void enter(const UniqueFd& network_namespace) {
    REQUIRE(::setns(network_namespace.get(), CLONE_NEWNET) == 0);
}

std::string replace_other(std::string text, int other) {
    if (const auto at = text.find("OTHER"); at != std::string::npos) {
        text.replace(at, 5, fmt::format("/proc/{}/fd/{}", ::getpid(), other));
    }
    return text;
}

struct Command {
    int status = -1;
    std::string output;
};

Command run(const std::string& command) {
    Command result;
    FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");  // NOLINT(cert-env33-c): fixed commands of these tests
    REQUIRE(pipe != nullptr);
    std::array<char, 4096> chunk{};
    while (std::fgets(chunk.data(), chunk.size(), pipe) != nullptr) result.output += chunk.data();
    result.status = ::pclose(pipe);
    return result;
}

void run_or_fail(const std::string& command) {
    const auto [status, output] = run(command);
    INFO(command << ": " << output);
    REQUIRE(status == 0);
}

}  // namespace

KernelSandbox::KernelSandbox() : home_(this_namespace()) {
    if (::geteuid() != 0) SKIP("needs root: makes network namespaces and loads BPF programs");
    if (::unshare(CLONE_NEWNET) != 0) SKIP("needs CAP_SYS_ADMIN: cannot make a network namespace");
    other_ = this_namespace();
    REQUIRE(::unshare(CLONE_NEWNET) == 0);
    for (const auto& missing : missing_features({})) {
        if (missing.needed) {
            enter(home_);
            SKIP(missing.what);
        }
    }
    static int count = 0;
    bpf_dir_ = fmt::format("/sys/fs/bpf/svclb-test-{}-{}", ::getpid(), ++count);
    ip("link set lo up");
}

KernelSandbox::~KernelSandbox() {
    if (auto cleaned = cleanup(bpf_dir_); !cleaned) std::fputs(cleaned.error().message().c_str(), stderr);
    if (::setns(home_.get(), CLONE_NEWNET) != 0) std::abort();
}

Options KernelSandbox::options(AttachMode mode) const {
    Options options{.bpf_dir = bpf_dir_, .sizes = {}, .settings = {}, .mode = mode};
    options.sizes = {.services = 64,
                     .slots = 128,
                     .backends = 64,
                     .frontends = 1024,
                     .established = 1024,
                     .transient = 256,
                     .affinity = 256};
    return options;
}

int KernelSandbox::add_pod_link(const std::string& name) const {
    // iproute2 takes a namespace by name or by process; an open descriptor's path serves as the former's.
    ip(fmt::format("link add {} type veth peer name p-{}", name, name));
    ip(fmt::format("link set p-{} netns OTHER", name));
    ip(fmt::format("link set {} up", name));
    return ifindex_of(name);
}

void KernelSandbox::ip(const std::string& arguments) const {
    run_or_fail("ip " + replace_other(arguments, other_.get()));
}

void KernelSandbox::tc(const std::string& arguments) const {
    run_or_fail("tc " + arguments);
}

int ifindex_of(const std::string& name) {
    return static_cast<int>(::if_nametoindex(name.c_str()));
}

std::string hooks_of(const Datapath& datapath, int ifindex) {
    std::string hooks;
    for (const auto& link : datapath.attached()) {
        if (link.ifindex != ifindex) continue;
        for (const auto& [hook, mode] : link.hooks) hooks += hook + " " + mode + ";";
    }
    return hooks;
}

std::string output_of(const std::string& command) {
    return run(command).output;
}

Datapath open_or_fail(const Options& options) {
    auto datapath = Datapath::open(options);
    INFO(error_of(datapath));
    REQUIRE(datapath);
    return std::move(*datapath);
}

}  // namespace svclb::datapath
