// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The programs of bench.bpf.c with maps of production size and one service port in each family.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bpf_object.hpp"
#include "datapath_bench.h"
#include "packet.hpp"
#include "svclb/abi.h"

namespace svclb::bench {

using test::Endpoint;
using test::Packet;

// Clients begin here: the lower half of the address and the port are the flow's number.
Endpoint client(int family);
Endpoint frontend(int family);
Endpoint backend(int family);
Endpoint stranger(int family);

// One packet of a conversation as a step; the flow's number is still zero in it.
bench_step step_of(const Packet& packet, bool reply);

class BenchObject {
public:
    BenchObject();

    // Gives the programs these packets in turn, for flows of numbers 0 to `flows` - 1, or ever new ones from `first`
    // on.
    void plan(const std::vector<bench_step>& steps, std::uint32_t flow_mask, std::uint32_t first = 0);
    // Runs a program so often on a packet of this size; nanoseconds of one run. Throws if the last verdict is another.
    double run(const std::string& program, const Packet& packet, std::uint32_t times, std::int32_t verdict);

    // Packets that were translated, both families together.
    [[nodiscard]] std::uint64_t translated() const;
    void forget_flows();

private:
    void add_service(std::uint32_t index, int family, std::uint8_t proto);

    test::Object object_;
    test::MappedMap plan_;
    test::MappedMap services_;
    test::MappedMap slots_;
    test::MappedMap filters_;
};

}  // namespace svclb::bench
