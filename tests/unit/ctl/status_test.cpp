// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "status.hpp"

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <string>

#include "tables_fixture.hpp"

namespace svclb::ctl {
namespace {

using test::busy_node;

TEST_CASE("status of a running agent") {
    CHECK(status_text(busy_node(), false) ==
          "agent:          running (pid 4711)\n"
          "started:        2023-11-14T22:13:20Z\n"
          "node:           node-a\n"
          "source:         manifests /etc/svclb\n"
          "last sync:      2s ago (2023-11-14T22:14:18Z)\n"
          "passes:         4\n"
          "writes:         40 total, 2 in the last pass\n"
          "failures:       0\n"
          "last error:     web.yaml:3: Service default/x: spec.ports[0].port: \\x1b[31m\n"
          "objects:        2 services, 3 endpoint slices, 1 invalid\n"
          "service ports:  2\n"
          "frontends:      4\n"
          "backends:       5\n"
          "flows:          2 (9 dead ones collected)\n"
          "links:          1 attached\n"
          "host sockets:   translated, below /sys/fs/cgroup\n"
          "pod sockets:    3 of 3 pod links\n"
          "host packets:   to 10.96.0.0/12\n"
          "xdp:            native on eth0; 12 packets turned round, 7 dropped, 30 passed up\n"
          "fullest map:    services 37.5% (3 of 8)\n"
          "problems:       1\n"
          "OBJECT                    REASON             PROBLEM\n"
          "Service kube-system/dns   FrontendConflict   default/web has it\n"
          "drops:\n"
          "REASON                PACKETS   BYTES   MEANING\n"
          "NO_BACKEND_REJECTED   3         180     no usable backend: rejected\n");
}

TEST_CASE("status of maps that no agent keeps") {
    Snapshot s;
    s.drops = busy_node().drops;
    s.drops[0].packets = 0;
    s.maps = {{"frontends", "hash", 0, 64, 4096}};
    CHECK(status_text(s, true) ==
          "agent:          not running\n"
          "started:        <none>\n"
          "node:           <none>\n"
          "source:         <none>\n"
          "last sync:      <none>\n"
          "passes:         0\n"
          "writes:         0 total, 0 in the last pass\n"
          "failures:       0\n"
          "last error:     <none>\n"
          "objects:        0 services, 0 endpoint slices, 0 invalid\n"
          "service ports:  0\n"
          "frontends:      0\n"
          "backends:       0\n"
          "flows:          0 (0 dead ones collected)\n"
          "links:          0 attached\n"
          "host sockets:   <none>\n"
          "pod sockets:    <none>\n"
          "host packets:   <none>\n"
          "xdp:            <none>\n"
          "maps:           frontends 0.0% (0 of 64)\n"
          "drops:          <none>\n");
}

TEST_CASE("status of an agent on an API server tells how that fares") {
    auto s = busy_node();
    auto& agent = s.agent;
    const auto before = [&](std::uint64_t seconds) { return s.now_ns - seconds * 1'000'000'000; };
    agent.source_parts = 2;
    agent.source_since_ns = before(300);
    agent.source_part[0] = {.name = "services",
                            .heard_ns = before(4),
                            .objects = 7,
                            .lists = 1,
                            .watches = 2,
                            .failures = 1,
                            .synced = 1,
                            .connected = 1};
    std::strcpy(agent.source_part[1].name, "nodes");
    const auto up = status_text(s, false);
    CHECK(up.find("\nconnection:     up for 300s (since 2023-11-14T22:09:20Z)\n"
                  "watches:        services followed, heard 4s ago, 7 objects, 1 lists, 2 watches, 1 failures\n"
                  "                nodes not read yet, never heard, 0 objects, 0 lists, 0 watches, 0 failures\n") !=
          std::string::npos);
    CHECK(up.find("held:") == std::string::npos);

    agent.source_connected = 0;
    agent.source_part[0].connected = 0;
    agent.complete = 0;
    agent.held_services = 9;
    std::strcpy(agent.source_error, "no route\x1b");
    const auto down = status_text(s, false);
    CHECK(
        down.find("connection:     down for 300s (since 2023-11-14T22:09:20Z), serving the last state: no route\\x1b\n"
                  "watches:        services interrupted, heard 4s ago") != std::string::npos);
    CHECK(down.find("held:           9 services stay as an earlier agent left them, the input is not known as a whole "
                    "yet\n") != std::string::npos);

    const auto json = status_json(s);
    CHECK(json["connected"] == false);
    CHECK(json["connectionAgeSeconds"] == 300);
    CHECK(json["sourceError"] == "no route\x1b");
    CHECK(json["heldServices"] == 9);
    CHECK(json["watches"][0] == Json::parse(R"({"name": "services", "synced": true, "connected": false, "objects": 7,
        "lists": 1, "watches": 2, "failures": 1, "heardAgeSeconds": 4})"));
}

TEST_CASE("status of an agent that died names who it was") {
    auto s = busy_node();
    s.agent_running = false;
    CHECK(status_text(s, false).starts_with("agent:          not running (last was pid 4711)\n"));
}

TEST_CASE("status in JSON") {
    CHECK(status_json(busy_node()) == Json::parse(R"({
        "bpfDir": "/sys/fs/bpf/svclb",
        "agent": {"running": true, "pid": 4711, "abiVersion": 1, "startedAt": "2023-11-14T22:13:20Z"},
        "node": "node-a",
        "source": "manifests /etc/svclb",
        "complete": true,
        "connected": true,
        "sourceError": "",
        "bytesReceived": 0,
        "watches": [],
        "lastSync": "2023-11-14T22:14:18Z",
        "lastSyncAgeSeconds": 2,
        "passes": 4,
        "writes": 40,
        "lastWrites": 2,
        "failures": 0,
        "lastError": "web.yaml:3: Service default/x: spec.ports[0].port: \u001b[31m",
        "collectedFlows": 9,
        "objects": {"services": 2, "endpointSlices": 3, "invalid": 1},
        "heldServices": 0,
        "conflicts": 1,
        "problems": [{"object": "Service kube-system/dns", "reason": "FrontendConflict", "text": "default/web has it"}],
        "events": {"sent": 0, "failed": 0, "dropped": 0},
        "servicePorts": 2,
        "frontends": 4,
        "backends": 5,
        "flows": 2,
        "links": 1,
        "hostSockets": {"attached": true, "text": "/sys/fs/cgroup"},
        "podSockets": {"text": "3 of 3 pod links"},
        "hostPackets": "to 10.96.0.0/12",
        "xdp": {"text": "native on eth0", "packets": 12, "bytes": 1200, "dropped": 7, "passed": 30},
        "maps": [{"name": "services", "entries": 3, "maxEntries": 8},
                 {"name": "slots", "entries": 4, "maxEntries": 16},
                 {"name": "frontends", "entries": 7, "maxEntries": 64}],
        "drops": [{"reason": "NO_BACKEND_REJECTED", "text": "no usable backend: rejected", "dropped": true,
                   "packets": 3, "bytes": 180}]
    })"));
}

}  // namespace
}  // namespace svclb::ctl
