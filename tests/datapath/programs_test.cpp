// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A program is loaded with the first device that wants it, and with all others when the tables grow.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <set>
#include <string>

#include "attached_program.hpp"
#include "no_programs.hpp"
#include "svclb/datapath/pinned.hpp"

namespace svclb::datapath {
namespace {

using Names = std::multiset<std::string>;

const Names kPod{"from_pod", "to_pod"};
const Names kUplink{"from_uplink", "to_uplink"};
const Names kTunnel{"from_tunnel", "to_tunnel"};
const Names kWire{"from_wire"};

Names operator+(Names a, const Names& b) {
    a.insert(b.begin(), b.end());
    return a;
}

Options options_of(const KernelSandbox& sandbox, XdpMode xdp) {
    auto options = sandbox.options(GENERATE(AttachMode::automatic, AttachMode::clsact));
    options.xdp = xdp;
    return options;
}

}  // namespace

TEST_CASE("a program is loaded with the first device that wants it") {
    const KernelSandbox sandbox;
    const int pod = sandbox.add_pod_link("pod0");
    const int uplink = sandbox.add_pod_link("up0");
    const int tunnel = sandbox.add_pod_link("tun0");
    Datapath datapath = open_or_fail(options_of(sandbox, XdpMode::off));
    CHECK(loaded_programs(sandbox) == kPod);
    REQUIRE(datapath.attach_pod_link(pod, "pod0"));
    CHECK(loaded_programs(sandbox) == kPod);
    REQUIRE(datapath.attach(uplink, "up0", LinkKind::uplink));
    CHECK(loaded_programs(sandbox) == kPod + kUplink);
    REQUIRE(datapath.attach(tunnel, "tun0", LinkKind::tunnel));
    CHECK(loaded_programs(sandbox) == kPod + kUplink + kTunnel);
}

TEST_CASE("XDP's program is loaded with the first uplink that is to have it") {
    const KernelSandbox sandbox;
    const int veth = sandbox.add_pod_link("up0");
    Datapath datapath = open_or_fail(options_of(sandbox, XdpMode::automatic));
    REQUIRE(datapath.attach(veth, "up0", LinkKind::uplink));
    CHECK(loaded_programs(sandbox) == kPod + kUplink);
    REQUIRE(datapath.attach(veth, "up0", LinkKind::uplink, true));
    CHECK(loaded_programs(sandbox) == kPod + kUplink + kWire);
}

TEST_CASE("programs of expected devices are there before them") {
    const KernelSandbox sandbox;
    auto options = sandbox.options();
    options.expected = {LinkKind::host, LinkKind::uplink};
    const Datapath datapath = open_or_fail(options);
    CHECK(loaded_programs(sandbox) == Names{"from_host", "to_pod"} + kUplink);
}

TEST_CASE("the next agent loads the programs of what it adopts, and puts them in place") {
    const KernelSandbox sandbox;
    const int uplink = sandbox.add_pod_link("up0");
    const int tunnel = sandbox.add_pod_link("tun0");
    auto options = options_of(sandbox, XdpMode::native);
    options.expected = {};
    std::string hooks;
    {
        Datapath first = open_or_fail(options);
        CHECK(loaded_programs(sandbox).empty());
        REQUIRE(first.attach(uplink, "up0", LinkKind::uplink));
        REQUIRE(first.attach(tunnel, "tun0", LinkKind::tunnel));
        hooks = hooks_of(first, uplink) + hooks_of(first, tunnel);
    }
    const Datapath second = open_or_fail(options);
    // The kernel may still hold those of the first one, for packets under way.
    const auto loaded = loaded_programs(sandbox);
    CHECK(std::set(loaded.begin(), loaded.end()) ==
          std::set<std::string>{"from_tunnel", "from_uplink", "from_wire", "to_tunnel", "to_uplink"});
    CHECK(hooks_of(second, uplink) + hooks_of(second, tunnel) == hooks);
}

TEST_CASE("programs that do not load with a device leave everything as it was, and the next try may succeed") {
    const KernelSandbox sandbox;
    const int pod = sandbox.add_pod_link("pod0");
    const int other = sandbox.add_pod_link("pod1");
    Datapath datapath = open_or_fail(options_of(sandbox, XdpMode::off));
    REQUIRE(datapath.attach_pod_link(pod, "pod0"));
    REQUIRE(datapath.attach_pod_link(other, "pod1"));
    const std::string hooks = hooks_of(datapath, pod);
    const LinkKind kind = GENERATE(LinkKind::uplink, LinkKind::tunnel, LinkKind::host);
    {
        const NoPrograms no_programs;
        CHECK(error_of(datapath.attach(pod, "pod0", kind)).starts_with("load the BPF programs"));
    }
    CHECK(loaded_programs(sandbox) == kPod);
    CHECK(hooks_of(datapath, pod) == hooks);
    CHECK(hooks_of(datapath, other) == hooks);
    for (const auto& link : datapath.attached()) CHECK(link.kind == LinkKind::pod);
    REQUIRE(datapath.attach(pod, "pod0", kind));
    CHECK(loaded_programs(sandbox).size() == (kind == LinkKind::host ? 3 : 4));
}

// clsact: to see that a tcx link is there takes a privilege that is gone meanwhile.
TEST_CASE("where XDP's program does not load tc serves the uplink, and the next try may succeed") {
    const KernelSandbox sandbox;
    const int uplink = sandbox.add_pod_link("up0");
    Datapath datapath = open_or_fail(sandbox.options(AttachMode::clsact));
    REQUIRE(datapath.attach(uplink, "up0", LinkKind::uplink));
    const std::string hooks = hooks_of(datapath, uplink);
    const auto text = [&] { return Pinned::open(sandbox.bpf_dir())->xdp_text(); };
    {
        const NoPrograms no_programs;
        REQUIRE(datapath.attach(uplink, "up0", LinkKind::uplink, true));
    }
    CHECK(text().starts_with("not on up0: this kernel refuses the program: load the BPF programs"));
    CHECK(hooks_of(datapath, uplink) == hooks);
    REQUIRE(datapath.attach(uplink, "up0", LinkKind::uplink, true));
    CHECK(text() == "native on up0");
}

TEST_CASE("tables that grow load the programs that devices have wanted, and no others") {
    const KernelSandbox sandbox;
    const int pod = sandbox.add_pod_link("pod0");
    const int uplink = sandbox.add_pod_link("up0");
    const int tunnel = sandbox.add_pod_link("tun0");
    Datapath datapath = open_or_fail(options_of(sandbox, XdpMode::native));
    const auto of_grown = [&] { return programs_using({id_of_pinned(sandbox, "backend_counters")}); };
    REQUIRE(datapath.attach_pod_link(pod, "pod0"));
    REQUIRE(datapath.tables().grow(Sized::backends, 100));
    CHECK(of_grown() == kPod);
    REQUIRE(datapath.attach(uplink, "up0", LinkKind::uplink));
    REQUIRE(datapath.attach(tunnel, "tun0", LinkKind::tunnel));
    CHECK(of_grown() == kPod + kUplink + kTunnel + kWire);
    REQUIRE(datapath.tables().grow(Sized::backends, 200));
    CHECK(of_grown() == kPod + kUplink + kTunnel + kWire);
}

TEST_CASE("a device that comes after tables grew early has programs of the grown ones, whatever its kind") {
    const KernelSandbox sandbox;
    const int link = sandbox.add_pod_link("link0");
    Datapath datapath = open_or_fail(options_of(sandbox, XdpMode::off));
    const auto [kind, names] = GENERATE(
        table<LinkKind, Names>({{LinkKind::pod, {}}, {LinkKind::uplink, kUplink}, {LinkKind::tunnel, kTunnel}}));
    REQUIRE(datapath.tables().grow(Sized::backends, 100));
    REQUIRE(datapath.attach(link, "link0", kind));
    CHECK(programs_using({id_of_pinned(sandbox, "backend_counters")}) == kPod + names);
}

}  // namespace svclb::datapath
