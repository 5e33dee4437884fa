// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Other cases load what they run; here the verifier of this kernel sees every program for packets.
#include "world.hpp"

using namespace svclb::test;

TEST_CASE("loading: this kernel accepts every program for packets", "[loading]") {
    Datapath& datapath = fresh_datapath();
    for (const char* name : {"from_pod", "to_pod", "from_host", "from_uplink", "to_uplink", "from_wire"}) {
        CAPTURE(name);
        CHECK(datapath.program(name) >= 0);
    }
}
