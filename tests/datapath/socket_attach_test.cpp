// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The socket hooks as a whole: all of them are attached or none, whatever was there and whatever fails, and the state
// says which.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "kernel_sandbox.hpp"
#include "svclb/base/unique_fd.hpp"
#include "svclb/datapath/pinned.hpp"

namespace svclb::datapath {
namespace {

namespace fs = std::filesystem;

// The most programs that the kernel attaches to one hook of a cgroup.
constexpr std::size_t kMostPrograms = 64;

// A cgroup of the test's own; no process is in it.
class Cgroup {
public:
    Cgroup() : mount_(fs::temp_directory_path() / ("svclb-cgroup2-" + std::to_string(::getpid()))) {
        fs::create_directory(mount_);
        if (::mount("cgroup2", mount_.c_str(), "cgroup2", 0, nullptr) != 0) {
            fs::remove(mount_);
            SKIP("cgroup v2 cannot be mounted: " << std::strerror(errno));
        }
        fs::create_directory(path());
    }
    ~Cgroup() {
        std::error_code ignored;
        fs::remove(path(), ignored);
        ::umount2(mount_.c_str(), MNT_DETACH);
        fs::remove(mount_, ignored);
    }
    Cgroup(const Cgroup&) = delete;
    Cgroup& operator=(const Cgroup&) = delete;

    [[nodiscard]] fs::path path() const { return mount_ / ("svclb-attach-" + std::to_string(::getpid())); }
    [[nodiscard]] UniqueFd open() const { return UniqueFd(::open(path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }
    // Programs on a hook, whosever.
    [[nodiscard]] std::uint32_t programs(bpf_attach_type type) const {
        std::uint32_t count = 0;
        (void)bpf_prog_query(open().get(), type, 0, nullptr, nullptr, &count);
        return count;
    }

private:
    fs::path mount_;
};

constexpr std::array kTypes = {
    BPF_CGROUP_INET4_CONNECT,     BPF_CGROUP_INET6_CONNECT,     BPF_CGROUP_UDP4_SENDMSG,
    BPF_CGROUP_UDP6_SENDMSG,      BPF_CGROUP_UDP4_RECVMSG,      BPF_CGROUP_UDP6_RECVMSG,
    BPF_CGROUP_INET4_GETPEERNAME, BPF_CGROUP_INET6_GETPEERNAME, BPF_CGROUP_INET_SOCK_RELEASE};

std::vector<std::uint32_t> programs_of(const Cgroup& cgroup) {
    std::vector<std::uint32_t> counts;
    for (const auto type : kTypes) counts.push_back(cgroup.programs(type));
    return counts;
}
std::vector<std::uint32_t> each(std::uint32_t count) {
    return std::vector<std::uint32_t>(kTypes.size(), count);
}

Options options_of(const KernelSandbox& sandbox, const Cgroup& cgroup) {
    auto options = sandbox.options();
    options.sockets = {.host = true, .pods = false, .cgroup_root = cgroup.path()};
    return options;
}

// Somebody else's programs on connect6, which is attached last, as many as there is room for.
std::vector<UniqueFd> take_connect6(const Cgroup& cgroup) {
    const std::array<bpf_insn, 2> allow = {
        bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 1},
        bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    bpf_prog_load_opts load{};
    load.sz = sizeof(load);
    load.expected_attach_type = BPF_CGROUP_INET6_CONNECT;
    const UniqueFd program(
        bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "other", "GPL", allow.data(), allow.size(), &load));
    REQUIRE(program);
    const auto directory = cgroup.open();
    std::vector<UniqueFd> links;
    while (cgroup.programs(BPF_CGROUP_INET6_CONNECT) < kMostPrograms) {
        links.emplace_back(bpf_link_create(program.get(), directory.get(), BPF_CGROUP_INET6_CONNECT, nullptr));
        REQUIRE(links.back());
    }
    return links;
}

std::size_t hooks_shown(const KernelSandbox& sandbox) {
    const auto pinned = Pinned::open(sandbox.bpf_dir());
    REQUIRE(pinned);
    const auto links = pinned->links();
    REQUIRE(links);
    for (const auto& link : *links)
        if (link.kind == LinkKind::cgroup) return link.hooks.size();
    return 0;
}

}  // namespace

TEST_CASE("all socket hooks are attached, and the next agent's stand in their place") {
    const KernelSandbox sandbox;
    const Cgroup cgroup;
    for (int round = 0; round < 2; ++round) {
        const Datapath datapath = open_or_fail(options_of(sandbox, cgroup));
        INFO(datapath.sockets().text);
        REQUIRE(datapath.sockets().attached);
        CHECK(programs_of(cgroup) == each(1));
        CHECK(hooks_shown(sandbox) == socket_hooks().size());
    }
    CHECK(programs_of(cgroup) == each(1));  // with no agent
}

TEST_CASE("the state says so where the hooks cover a part of the cgroup hierarchy only") {
    const KernelSandbox sandbox;
    const Cgroup cgroup;
    const Datapath datapath = open_or_fail(options_of(sandbox, cgroup));
    REQUIRE(datapath.sockets().attached);
    CHECK(datapath.sockets().text == cgroup.path().string() + ", a part: processes outside of it are not covered");
}

TEST_CASE("a socket hook that cannot be attached leaves none of the others") {
    const KernelSandbox sandbox;
    const Cgroup cgroup;
    const auto others = take_connect6(cgroup);
    const Datapath datapath = open_or_fail(options_of(sandbox, cgroup));
    CHECK(!datapath.sockets().attached);
    CHECK(datapath.sockets().text.starts_with("attach connect6 to cgroup "));
    auto expected = each(0);
    expected[1] = kMostPrograms;
    CHECK(programs_of(cgroup) == expected);
    CHECK(hooks_shown(sandbox) == 0);
}

TEST_CASE("nor a former agent's, where they were not complete") {
    const KernelSandbox sandbox;
    const Cgroup cgroup;
    (void)open_or_fail(options_of(sandbox, cgroup));
    REQUIRE(::unlink((sandbox.bpf_dir() / "links" / "cgroup-connect6").c_str()) == 0);
    REQUIRE(hooks_shown(sandbox) == socket_hooks().size() - 1);
    {
        const auto others = take_connect6(cgroup);
        const Datapath datapath = open_or_fail(options_of(sandbox, cgroup));
        CHECK(!datapath.sockets().attached);
        CHECK(hooks_shown(sandbox) == 0);
    }
    CHECK(programs_of(cgroup) == each(0));
    const Datapath datapath = open_or_fail(options_of(sandbox, cgroup));
    CHECK(datapath.sockets().attached);
    CHECK(programs_of(cgroup) == each(1));
}

TEST_CASE("socket hooks that are switched off are detached, and cleanup detaches them, too") {
    const KernelSandbox sandbox;
    const Cgroup cgroup;
    (void)open_or_fail(options_of(sandbox, cgroup));
    REQUIRE(programs_of(cgroup) == each(1));
    auto off = options_of(sandbox, cgroup);
    off.sockets.host = false;
    {
        const Datapath datapath = open_or_fail(off);
        CHECK(!datapath.sockets().attached);
        CHECK(datapath.sockets().text == "off");
        CHECK(programs_of(cgroup) == each(0));
    }
    (void)open_or_fail(options_of(sandbox, cgroup));
    REQUIRE(programs_of(cgroup) == each(1));
    REQUIRE(cleanup(sandbox.bpf_dir()));
    CHECK(programs_of(cgroup) == each(0));
}

TEST_CASE("without a cgroup v2 hierarchy the state tells it, and a former agent's hooks go") {
    const KernelSandbox sandbox;
    const Cgroup cgroup;
    (void)open_or_fail(options_of(sandbox, cgroup));
    auto elsewhere = options_of(sandbox, cgroup);
    elsewhere.sockets.cgroup_root = "/proc";
    const Datapath datapath = open_or_fail(elsewhere);
    CHECK(!datapath.sockets().attached);
    CHECK(datapath.sockets().text == "/proc is not in a cgroup v2 hierarchy");
    CHECK(programs_of(cgroup) == each(0));
}

}  // namespace svclb::datapath
