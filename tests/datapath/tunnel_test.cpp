// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Uplinks without an Ethernet header, beyond what they share with others: what is sent back has to be given one, and
// the node has an address of its own behind each. The rest is in uplink_test.cpp and uplink_errors_test.cpp, "bare".
#include <bpf/bpf.h>
#include <net/if.h>

#include <cstdlib>
#include <cstring>

#include "fragments.hpp"
#include "node_netns.hpp"
#include "outside.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

World bare_world() {
    return GENERATE(World{4, IPPROTO_TCP, true}, World{4, IPPROTO_UDP, true}, World{6, IPPROTO_TCP, true},
                    World{6, IPPROTO_UDP, true});
}

Bytes with_header(const Packet& packet, const Mac& to, bool protocol) {
    Packet same = packet;
    same.to_mac = to;
    same.from_mac = {};
    Bytes frame = same.frame();
    if (!protocol) frame[12] = frame[13] = 0;
    return frame;
}

void set_uplink_address(Datapath& datapath, unsigned ifindex, const Ip& v4, const Ip& v6) {
    svclb_node_addresses row{};
    std::memcpy(row.v4, v4.bytes.data(), sizeof(row.v4));
    std::memcpy(row.v6, v6.bytes.data(), sizeof(row.v6));
    for (const unsigned key : {0U, ifindex})
        REQUIRE(bpf_map_update_elem(datapath.map("uplink_addresses"), &key, &row, BPF_ANY) == 0);
}

void run(const std::string& commands) {
    INFO(commands);
    REQUIRE(std::system(commands.c_str()) == 0);  // NOLINT(cert-env33-c)
}

// A second way to the backends, by the device uplink2; it is taken where a rule says so, or the flow's hash.
enum class Way { by_source, by_ports, by_hash };

void add_way(const World& world, Way way) {
    const std::string ip = world.family == 4 ? "ip " : "ip -6 ";
    const std::string backends = world.family == 4 ? "10.244.0.0/16" : "fd00:244::/32";
    const std::string first = world.family == 4 ? "192.0.2.2" : "2001:db8::2";
    const std::string second = world.family == 4 ? "10.98.0.2" : "fd00:98::2";
    run("ip link add uplink2 type veth peer name far2 && ip link set far2 up && ip link set uplink2 up && "
        "ip address add 10.98.0.1/24 dev uplink2 && ip address add fd00:98::1/64 dev uplink2 nodad && "
        "cd /proc/sys/net/ipv4/conf && echo 0 >all/rp_filter && echo 0 >far/rp_filter && echo 1 >far/forwarding && "
        "for i in 4 6; do echo 1 >/proc/sys/net/ipv$i/fib_multipath_hash_policy || exit; done");
    if (way == Way::by_hash)
        return run(ip + "route del " + backends + " && " + ip + "route add " + backends + " nexthop via " + first +
                   " nexthop via " + second);
    run(ip + "route add " + backends + " via " + second + " table 100");
    run(ip + "rule add lookup 100 " +
        (way == Way::by_source
             ? "from " + to_string(outside_client(world).addr)
             : std::string("sport 45001-45008 dport 8080 ipproto ") + (world.tcp_flow() ? "tcp" : "udp")));
}

// As the kernel itself says.
bool takes_second_way(const World& world, const Endpoint& client) {
    const Endpoint backend = world.backend();
    const std::string route = (world.family == 4 ? "ip route get " : "ip -6 route get ") + to_string(backend.addr) +
                              " from " + to_string(client.addr) + " iif far ipproto " +
                              (world.tcp_flow() ? "tcp" : "udp") + " sport " + std::to_string(client.port) + " dport " +
                              std::to_string(backend.port);
    const std::string tell = "way=$(" + route + ") || exit 2; case $way in *'dev uplink2 '*) ;; *) exit 1 ;; esac";
    const int status = std::system(tell.c_str());  // NOLINT(cert-env33-c)
    REQUIRE((status == 0 || WEXITSTATUS(status) == 1));
    return status == 0;
}

}  // namespace

// Of IPv6 and TCP: the test-run takes the first octet of an IPv4 header for that of a multicast address, and the
// helpers that cut a packet or make room for an ICMP error count from the header that it believes in.
TEST_CASE("tunnel: a client that comes by one is refused by it", "[tunnel]") {
    const World world{6, IPPROTO_TCP, true};
    Datapath& datapath = fresh_datapath();
    datapath.bare_uplinks(true);
    const ServiceFixture service(datapath, 1, node_port(world), world.proto, {}, {.kind = SVCLB_FRONTEND_NODE_PORT});
    const Packet packet = tcp(outside_client(world), node_port(world), syn);
    const Run refused = datapath.from_uplink(packet);
    CHECK(refused.verdict == redirected);
    // A header for the helper to remove that sends it.
    CHECK(difference(with_header(refusal_of(world, packet), {}, false), refused.frame) == std::string());
    CHECK(datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).packets == 1);
    CHECK(datapath.reasons() == 1);
}

TEST_CASE("tunnel: an answer to the node itself gets the header of the pair of devices", "[tunnel]") {
    const World world = bare_world();
    CAPTURE(world);
    const NodeNetns netns;
    Datapath& datapath = fresh_datapath();
    datapath.bare_uplinks(true);
    const Endpoint node{world.net("192.0.2.1", "2001:db8::1"), 40000};
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Run sent = datapath.from_host(world.first(node, world.frontend()));
    REQUIRE(sent.verdict == redirected);
    const Packet answer = world.answer(world.backend(), source_of(sent.frame));
    const Run met = datapath.from_uplink(answer);
    CHECK(met.verdict == redirected);
    CHECK(difference(with_header(answer, {0x02, 's', 'v', 'c', 'l', 'b'}, true), met.frame) == std::string());
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("tunnel: a packet with the outer headers still in front of it goes round to lose them", "[tunnel]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, node_port(world), world.proto, {}, {.kind = SVCLB_FRONTEND_NODE_PORT});
    const Packet packet = world.first(outside_client(world), node_port(world));
    CHECK_RUN(datapath.from_tunnel(packet), redirected, packet);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("tunnel: the node is seen by its address there, and by its own elsewhere", "[tunnel]") {
    const World world = bare_world();
    const bool by_tunnel = GENERATE(true, false);
    const bool from_pod = GENERATE(true, false);
    CAPTURE(world, by_tunnel, from_pod);
    const NodeNetns netns;
    const NodePort at(world, Seen::node_elsewhere);
    Datapath& datapath = at.datapath;
    const unsigned uplink = ::if_nametoindex("uplink");
    set_uplink_address(datapath, by_tunnel ? uplink : uplink + 1000, ip("10.99.0.1"), ip("fd00:99::1"));
    const Ip own = by_tunnel ? world.net("10.99.0.1", "fd00:99::1") : node_address(world);
    const Endpoint client = from_pod ? world.client() : outside_client(world);

    const Packet first = world.first(client, node_port(world));
    const Packet forwarded = with_destination(first, world.backend());
    CHECK_RUN(from_pod ? datapath.from_pod(first) : datapath.from_uplink(first), next, forwarded);
    if (from_pod) datapath.bare_uplinks(false);  // its address tells no protocol
    const Run out = datapath.to_uplink(forwarded);
    CHECK(out.verdict == next);
    const Endpoint seen = source_of(out.frame);
    CHECK(seen.addr == own);
    CHECK(difference(with_source(forwarded, seen).frame(), out.frame) == std::string());
    const Packet answer = world.answer(world.backend(), seen);
    CHECK_RUN(datapath.from_uplink(answer), next, with_destination(answer, client));
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("tunnel: its address is the source of what begins with more than it carries, too", "[tunnel]") {
    const World world = GENERATE(World{4, IPPROTO_UDP, true}, World{6, IPPROTO_UDP, true});
    const bool in_fragments = GENERATE(true, false);
    CAPTURE(world, in_fragments);
    const NodeNetns netns;
    // Where no neighbour is known the kernel does not look at the size.
    REQUIRE(std::system("ip link set uplink mtu 1280 && ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:fe dev uplink && "
                        "ip neigh add 2001:db8::2 lladdr 02:00:00:00:00:fe dev uplink") == 0);  // NOLINT(cert-env33-c)
    const NodePort at(world, Seen::node_elsewhere);
    set_uplink_address(at.datapath, ::if_nametoindex("uplink"), ip("10.99.0.1"), ip("fd00:99::1"));
    const Packet whole = udp(outside_client(world), node_port(world), payload_of(in_fragments ? 4000 : 1400));
    const Packet first = in_fragments ? fragments_of(whole).front() : whole;
    const Run in = at.datapath.from_uplink(first);
    CHECK(in.verdict == next);
    CHECK(destination_of(in.frame) == world.backend());
    // The stack cuts it to size, or says that it is too large.
    const Packet forwarded = udp(outside_client(world), world.backend(), payload_of(500));
    const Run out = at.datapath.to_uplink(forwarded);
    CHECK(out.verdict == next);
    CHECK(source_of(out.frame).addr == world.net("10.99.0.1", "fd00:99::1"));
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("tunnel: one without an address of a family shows the node's own", "[tunnel]") {
    const World world = GENERATE(World{4, IPPROTO_TCP, true}, World{6, IPPROTO_TCP, true});
    CAPTURE(world);
    const NodeNetns netns;
    const NodePort at(world, Seen::node_elsewhere);
    Ip v4 = ip("10.99.0.1");
    Ip v6 = ip("fd00:99::1");
    (world.family == 4 ? v4 : v6) = {};
    set_uplink_address(at.datapath, ::if_nametoindex("uplink"), v4, v6);
    const Outside flow = establish(at);
    CHECK(flow.node.addr == node_address(world));
}

TEST_CASE("tunnel: of several ways to a backend, the device of the one that a flow takes gives the address",
          "[tunnel]") {
    const World world = any_world();
    const Way way = GENERATE(Way::by_source, Way::by_ports, Way::by_hash);
    CAPTURE(world, way);
    const NodeNetns netns;
    add_way(world, way);
    const NodePort at(world, Seen::node_elsewhere);
    set_uplink_address(at.datapath, ::if_nametoindex("uplink"), ip("10.99.0.1"), ip("fd00:99::1"));
    set_uplink_address(at.datapath, ::if_nametoindex("uplink2"), ip("10.98.0.1"), ip("fd00:98::1"));
    std::size_t second = 0;
    constexpr std::uint16_t kClients = 24;  // no hash leads all of them one way
    for (std::uint16_t i = 0; i < kClients; i++) {
        const Endpoint client{outside_client(world).addr + i % 2U, static_cast<std::uint16_t>(45001 + i)};
        CAPTURE(client);
        const bool takes_second = takes_second_way(world, client);
        const Packet first = world.first(client, node_port(world));
        const Packet forwarded = with_destination(first, world.backend());
        CHECK_RUN(at.datapath.from_uplink(first), next, forwarded);
        const Run out = at.datapath.to_uplink(forwarded);
        CHECK(source_of(out.frame).addr ==
              (takes_second ? world.net("10.98.0.1", "fd00:98::1") : world.net("10.99.0.1", "fd00:99::1")));
        second += takes_second ? 1 : 0;
    }
    CHECK(second > 0);
    CHECK(second < kClients);
    CHECK(at.datapath.reasons() == 0);
}
