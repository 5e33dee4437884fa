// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Devices get our programs and lose them; nobody else's programs notice.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <filesystem>
#include <optional>

#include "kernel_sandbox.hpp"
#include "svclb/datapath/pinned.hpp"

namespace svclb::datapath {
namespace {

namespace fs = std::filesystem;

std::string both(const std::string& mode) {
    return "tc ingress " + mode + ";tc egress " + mode + ";";
}

bool kernel_has_tcx(const KernelSandbox& sandbox) {
    return Datapath::open(sandbox.options(AttachMode::tcx)).has_value();
}

// A mode that this kernel has, with its name.
std::string mode_name(AttachMode mode) {
    return mode == AttachMode::tcx ? "tcx" : "clsact";
}

AttachMode any_mode(const KernelSandbox& sandbox) {
    const AttachMode mode = GENERATE(AttachMode::tcx, AttachMode::clsact);
    if (mode == AttachMode::tcx && !kernel_has_tcx(sandbox)) SKIP("this kernel has no tcx (6.6 and later)");
    return mode;
}

// Somebody else's program, which says "ok".
void add_foreign_filter(int ifindex, bpf_tc_attach_point side, std::uint32_t priority, std::uint32_t handle) {
    const std::array<bpf_insn, 2> ok = {
        bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
        bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    const UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "foreign", "GPL", ok.data(), ok.size(), nullptr));
    REQUIRE(program);
    bpf_tc_hook hook{};
    hook.sz = sizeof(hook);
    hook.ifindex = ifindex;
    hook.attach_point = side;
    bpf_tc_opts opts{};
    opts.sz = sizeof(opts);
    opts.prog_fd = program.get();
    opts.handle = handle;
    opts.priority = priority;
    REQUIRE(bpf_tc_attach(&hook, &opts) == 0);
}

}  // namespace

TEST_CASE("attaching twice is attaching once, and detaching leaves nothing") {
    const KernelSandbox sandbox;
    const AttachMode mode = any_mode(sandbox);
    const int link = sandbox.add_pod_link("pod0");
    Datapath datapath = open_or_fail(sandbox.options(mode));
    REQUIRE(datapath.attach_pod_link(link, "pod0"));
    REQUIRE(datapath.attach_pod_link(link, "pod0"));
    CHECK(hooks_of(datapath, link) == both(mode_name(mode)));
    REQUIRE(datapath.detach(link));
    CHECK(datapath.attached().empty());
    CHECK(fs::is_empty(sandbox.bpf_dir() / "links"));
    CHECK(output_of("tc filter show dev pod0 ingress").empty());
    REQUIRE(datapath.detach(link));
}

TEST_CASE("a device changes over from pod link to uplink, and the next agent knows it as one") {
    const KernelSandbox sandbox;
    const AttachMode mode = any_mode(sandbox);
    const int link = sandbox.add_pod_link("pod0");
    {
        Datapath first = open_or_fail(sandbox.options(mode));
        REQUIRE(first.attach_pod_link(link, "pod0"));
        REQUIRE(first.attach(link, "pod0", LinkKind::uplink));
        REQUIRE(first.attached().size() == 1);
        CHECK(first.attached()[0].kind == LinkKind::uplink);
        CHECK(hooks_of(first, link) == both(mode_name(mode)));
    }
    Datapath second = open_or_fail(sandbox.options(mode));
    REQUIRE(second.attached().size() == 1);
    CHECK(second.attached()[0].kind == LinkKind::uplink);
    CHECK(hooks_of(second, link) == both(mode_name(mode)));
    REQUIRE(second.detach(link));
    CHECK(second.attached().empty());
    CHECK(fs::is_empty(sandbox.bpf_dir() / "links"));
    CHECK(output_of("tc filter show dev pod0 ingress").empty());
}

TEST_CASE("XDP on an uplink: in the mode that is asked for, by the next agent too, and gone without") {
    const KernelSandbox sandbox;
    const auto [asked, mode, other] = GENERATE(table<XdpMode, std::string, XdpMode>(
        {{XdpMode::native, "native", XdpMode::generic}, {XdpMode::generic, "generic", XdpMode::native}}));
    const int link = sandbox.add_pod_link("up0");
    auto options = sandbox.options();
    options.xdp = asked;
    const auto xdp_text = [&] { return Pinned::open(sandbox.bpf_dir())->xdp_text(); };
    const auto xdp_on = [&](const Datapath& datapath) {
        const auto hooks = hooks_of(datapath, link);
        const auto at = hooks.find("xdp ");
        return at == std::string::npos ? "" : hooks.substr(at);
    };
    {
        Datapath first = open_or_fail(options);
        REQUIRE(first.attach(link, "up0", LinkKind::uplink));
        CHECK(xdp_on(first) == "xdp " + mode + ";");
        CHECK(xdp_text() == mode + " on up0");
    }
    {
        Datapath second = open_or_fail(options);
        CHECK(xdp_on(second) == "xdp " + mode + ";");
        REQUIRE(second.attach(link, "up0", LinkKind::pod));
        CHECK(xdp_on(second).empty());
        REQUIRE(second.attach(link, "up0", LinkKind::uplink));
        CHECK(xdp_on(second) == "xdp " + mode + ";");
    }
    options.xdp = other;
    {
        Datapath third = open_or_fail(options);
        REQUIRE(third.attach(link, "up0", LinkKind::uplink));
        CHECK(xdp_on(third) == (other == XdpMode::native ? "xdp native;" : "xdp generic;"));
    }
    options.xdp = GENERATE(XdpMode::off, XdpMode::automatic);
    Datapath last = open_or_fail(options);
    REQUIRE(last.attach(link, "up0", LinkKind::uplink));
    CHECK(xdp_on(last).empty());
    CHECK(output_of("ip link show up0").find("xdp") == std::string::npos);
}

TEST_CASE("cleanup removes XDP, and somebody else's is left alone") {
    const KernelSandbox sandbox;
    const int link = sandbox.add_pod_link("up0");
    auto options = sandbox.options();
    options.xdp = XdpMode::native;
    {
        Datapath datapath = open_or_fail(options);
        REQUIRE(datapath.attach(link, "up0", LinkKind::uplink));
    }
    REQUIRE(cleanup(sandbox.bpf_dir()));
    CHECK(output_of("ip link show up0").find("xdp") == std::string::npos);

    const std::array<bpf_insn, 2> pass = {
        bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = XDP_PASS},
        bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    const UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_XDP, "foreign", "GPL", pass.data(), pass.size(), nullptr));
    REQUIRE(bpf_xdp_attach(link, program.get(), 0, nullptr) == 0);
    options.xdp = GENERATE(XdpMode::native, XdpMode::generic);
    Datapath datapath = open_or_fail(options);
    REQUIRE(datapath.attach(link, "up0", LinkKind::uplink));
    CHECK(Pinned::open(sandbox.bpf_dir())->xdp_text().starts_with("not on up0: the XDP program \"foreign\" (id "));
    REQUIRE(datapath.detach(link));
    CHECK(output_of("ip -d link show up0").find("xdp") != std::string::npos);
}

TEST_CASE("a tunnel gets programs of its own") {
    const KernelSandbox sandbox;
    const AttachMode mode = any_mode(sandbox);
    const int link = sandbox.add_pod_link("pod0");
    Datapath datapath = open_or_fail(sandbox.options(mode));
    REQUIRE(datapath.attach(link, "pod0", LinkKind::tunnel));
    Datapath next = open_or_fail(sandbox.options(mode));
    REQUIRE(next.attached().size() == 1);
    CHECK(next.attached()[0].kind == LinkKind::tunnel);
    CHECK(next.attached()[0].hooks.size() == 2);
    REQUIRE(next.detach(link));
    CHECK(next.attached().empty());
}

TEST_CASE("what one agent attached, the next one finds, updates in place and can detach") {
    const KernelSandbox sandbox;
    const AttachMode mode = any_mode(sandbox);
    const int link = sandbox.add_pod_link("pod0");
    {
        Datapath first = open_or_fail(sandbox.options(mode));
        REQUIRE(first.attach_pod_link(link, "pod0"));
    }
    Datapath second = open_or_fail(sandbox.options(mode));
    REQUIRE(second.attached().size() == 1);
    CHECK(second.attached()[0].name == "pod0");
    CHECK(hooks_of(second, link) == both(mode_name(mode)));
    REQUIRE(second.attach_pod_link(link, "pod0"));
    REQUIRE(second.detach(link));
    const Datapath third = open_or_fail(sandbox.options(mode));
    CHECK(third.attached().empty());
}

TEST_CASE("a half-attached device, as a crash leaves it, is completed") {
    const KernelSandbox sandbox;
    if (!kernel_has_tcx(sandbox)) SKIP("this kernel has no tcx (6.6 and later)");
    const int link = sandbox.add_pod_link("pod0");
    {
        Datapath first = open_or_fail(sandbox.options(AttachMode::tcx));
        REQUIRE(first.attach_pod_link(link, "pod0"));
    }
    fs::remove(sandbox.bpf_dir() / "links" / (std::to_string(link) + "-ingress"));
    Datapath second = open_or_fail(sandbox.options(AttachMode::tcx));
    CHECK(hooks_of(second, link) == "tc egress tcx;");
    REQUIRE(second.attach_pod_link(link, "pod0"));
    CHECK(hooks_of(second, link) == both("tcx"));
}

TEST_CASE("a device that is gone is no error, before or after a restart, and leaves no pins") {
    const KernelSandbox sandbox;
    const AttachMode mode = any_mode(sandbox);
    const int first_link = sandbox.add_pod_link("pod0");
    const int second_link = sandbox.add_pod_link("pod1");
    {
        Datapath datapath = open_or_fail(sandbox.options(mode));
        REQUIRE(datapath.attach_pod_link(first_link, "pod0"));
        REQUIRE(datapath.attach_pod_link(second_link, "pod1"));
        sandbox.ip("link del pod0");
        CHECK(datapath.detach(first_link));
        CHECK(datapath.attached().size() == 1);
    }
    sandbox.ip("link del pod1");
    const Datapath next = open_or_fail(sandbox.options(mode));
    CHECK(next.attached().empty());
    CHECK(fs::is_empty(sandbox.bpf_dir() / "links"));
}

TEST_CASE("a device that does not exist is an error that leaves no trace") {
    const KernelSandbox sandbox;
    const AttachMode mode = any_mode(sandbox);
    Datapath datapath = open_or_fail(sandbox.options(mode));
    CHECK_FALSE(datapath.attach_pod_link(4711, "nothing"));
    CHECK(datapath.attached().empty());
}

TEST_CASE("a link whose device moved to another namespace is not taken for one of ours") {
    const KernelSandbox sandbox;
    if (!kernel_has_tcx(sandbox)) SKIP("this kernel has no tcx (6.6 and later)");
    const int link = sandbox.add_pod_link("pod0");
    {
        Datapath first = open_or_fail(sandbox.options(AttachMode::tcx));
        REQUIRE(first.attach_pod_link(link, "pod0"));
        sandbox.ip("link set pod0 netns OTHER");
    }
    const Datapath second = open_or_fail(sandbox.options(AttachMode::tcx));
    CHECK(second.attached().empty());
    CHECK(fs::is_empty(sandbox.bpf_dir() / "links"));
}

TEST_CASE("a change of mode moves the programs from one to the other") {
    const KernelSandbox sandbox;
    if (!kernel_has_tcx(sandbox)) SKIP("this kernel has no tcx (6.6 and later)");
    const int link = sandbox.add_pod_link("pod0");
    for (const AttachMode mode : {AttachMode::clsact, AttachMode::tcx, AttachMode::clsact}) {
        Datapath datapath = open_or_fail(sandbox.options(mode));
        REQUIRE(datapath.attach_pod_link(link, "pod0"));
        CHECK(hooks_of(datapath, link) == both(mode_name(mode)));
    }
    CHECK(fs::is_empty(sandbox.bpf_dir() / "links"));
}

TEST_CASE("filters and the qdisc of others stay as they are through attach, restart, detach and cleanup") {
    const KernelSandbox sandbox;
    const AttachMode mode = any_mode(sandbox);
    const int link = sandbox.add_pod_link("pod0");
    sandbox.tc("qdisc add dev pod0 clsact");
    add_foreign_filter(link, BPF_TC_INGRESS, 1, 1);
    add_foreign_filter(link, BPF_TC_EGRESS, 99, 1);
    const auto foreign = [] {
        return output_of(
            "tc qdisc show dev pod0 clsact; tc filter show dev pod0 ingress; tc filter show dev pod0 egress");
    };
    const std::string before = foreign();
    REQUIRE(before.find("foreign") != std::string::npos);
    {
        Datapath first = open_or_fail(sandbox.options(mode));
        REQUIRE(first.attach_pod_link(link, "pod0"));
        CHECK(foreign().find("foreign") != std::string::npos);
    }
    {
        Datapath second = open_or_fail(sandbox.options(mode));
        CHECK(hooks_of(second, link) == both(mode_name(mode)));
        REQUIRE(second.detach(link));
        CHECK(foreign() == before);
        REQUIRE(second.attach_pod_link(link, "pod0"));
    }
    REQUIRE(cleanup(sandbox.bpf_dir()));
    CHECK(foreign() == before);
    CHECK_FALSE(fs::exists(sandbox.bpf_dir()));
}

TEST_CASE("a foreign filter in our very place is neither replaced nor removed") {
    const KernelSandbox sandbox;
    const int link = sandbox.add_pod_link("pod0");
    sandbox.tc("qdisc add dev pod0 clsact");
    add_foreign_filter(link, BPF_TC_EGRESS, 7, 0x53564c42);
    const std::string before = output_of("tc filter show dev pod0 egress");
    Datapath datapath = open_or_fail(sandbox.options(AttachMode::clsact));
    CHECK_FALSE(datapath.attach_pod_link(link, "pod0"));
    REQUIRE(datapath.detach(link));
    REQUIRE(cleanup(sandbox.bpf_dir()));
    CHECK(output_of("tc filter show dev pod0 egress") == before);
}

TEST_CASE("cleanup detaches under a running agent and may be repeated") {
    const KernelSandbox sandbox;
    const AttachMode mode = any_mode(sandbox);
    const int link = sandbox.add_pod_link("pod0");
    Datapath running = open_or_fail(sandbox.options(mode));
    REQUIRE(running.attach_pod_link(link, "pod0"));
    REQUIRE(cleanup(sandbox.bpf_dir()));
    REQUIRE(cleanup(sandbox.bpf_dir()));
    CHECK_FALSE(fs::exists(sandbox.bpf_dir()));
    CHECK(output_of("tc filter show dev pod0 ingress").empty());
    // The link that it still holds is dead: attaching makes a new one.
    const Datapath next = open_or_fail(sandbox.options(mode));
    CHECK(next.attached().empty());
}

TEST_CASE("the programs are told which devices are uplinks, and no longer of those that an earlier agent had") {
    const KernelSandbox sandbox;
    const int link = sandbox.add_pod_link("pod0");
    const auto is_told = [&](int ifindex) {
        const UniqueFd map(bpf_obj_get((sandbox.bpf_dir() / "maps" / "uplink_devices").c_str()));
        REQUIRE(map);
        std::uint32_t value = 0;
        return bpf_map_lookup_elem(map.get(), &ifindex, &value) == 0;
    };
    {
        Datapath datapath = open_or_fail(sandbox.options(AttachMode::clsact));
        REQUIRE(datapath.attach(link, "pod0", LinkKind::uplink));
        CHECK(is_told(link));
        REQUIRE(datapath.attach(link, "pod0", LinkKind::pod));
        CHECK_FALSE(is_told(link));
        REQUIRE(datapath.attach(link, "pod0", LinkKind::uplink));
        REQUIRE(datapath.detach(link));
        CHECK_FALSE(is_told(link));
        REQUIRE(datapath.attach(link, "pod0", LinkKind::uplink));
    }
    {
        const Datapath datapath = open_or_fail(sandbox.options(AttachMode::clsact));
        CHECK(is_told(link));
    }
    CHECK(output_of("ip link delete pod0").empty());
    const Datapath datapath = open_or_fail(sandbox.options(AttachMode::clsact));
    CHECK_FALSE(is_told(link));
}

}  // namespace svclb::datapath
