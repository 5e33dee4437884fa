// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The life of a TCP flow: never cut, followed to its end, and not mistaken for the next one with its tuple.
#include <ostream>

#include "conversation.hpp"

using namespace svclb::test;

namespace {

struct Ends {
    bool client_fin = false;
    bool backend_fin = false;
    bool reset = false;
    bool operator==(const Ends&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Ends& ends) {
    return out << (ends.client_fin ? "client's FIN " : "") << (ends.backend_fin ? "backend's FIN " : "")
               << (ends.reset ? "RST " : "");
}

Ends ends_of(const Datapath& datapath, const svclb_flow_key6& key) {
    const svclb_flow flow = entry(datapath, key).flow;
    return {flow.client_fin != 0, flow.backend_fin != 0, flow.reset != 0};
}

// Moves the service to another backend: only a flow that is looked up anew goes there.
void replace_backend(ServiceFixture& service, const World& world) {
    service.publish({world.backend(1)});
    service.remove_backend(world.backend(0));
}

}  // namespace

TEST_CASE("TCP: an established flow stays with its backend whatever happens to the table", "[tcp]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());

    replace_backend(service, world);
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
    service.publish({});
    check_data_out(datapath, world, flow);
    service.remove_backend(world.backend(1));
    service.remove_frontend(world.frontend());
    datapath.service(1) = svclb_service{};
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
}

TEST_CASE("TCP: a flow that waits for its answer is not cut either once the client speaks on", "[tcp]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    replace_backend(service, world);
    check_data_out(datapath, world, flow);
    check_answer(datapath, world, flow);
    check_data_out(datapath, world, flow);
}

TEST_CASE("TCP: both entries learn of each FIN, whichever side sends it", "[tcp]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());

    check_out(datapath, flow, tcp(flow.client, flow.dialled, fin | ack));
    CHECK(ends_of(datapath, forward_key(world, flow)) == Ends{.client_fin = true});
    CHECK(ends_of(datapath, reply_key(world, flow)) == Ends{.client_fin = true});
    check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
    CHECK(ends_of(datapath, forward_key(world, flow)) == Ends{.client_fin = true, .backend_fin = true});
    CHECK(ends_of(datapath, reply_key(world, flow)) == Ends{.client_fin = true, .backend_fin = true});
    // The last acknowledgment, and a FIN sent again, still arrive.
    check_out(datapath, flow, tcp(flow.client, flow.dialled, ack));
    check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
}

TEST_CASE("TCP: a half-closed connection lives on", "[tcp]") {
    const World world = tcp_world();
    const bool client_closes = GENERATE(true, false);
    CAPTURE(world, client_closes);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    if (client_closes) {
        check_out(datapath, flow, tcp(flow.client, flow.dialled, fin | ack));
    } else {
        check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
    }
    replace_backend(service, world);
    for (int i = 0; i < 3; i++) {
        check_data_back(datapath, world, flow);
        check_data_out(datapath, world, flow);
    }
}

TEST_CASE("TCP: a SYN on a connection that the client has not closed stays with it", "[tcp]") {
    const World world = tcp_world();
    const bool backend_closed = GENERATE(false, true);
    CAPTURE(world, backend_closed);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    if (backend_closed) check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
    replace_backend(service, world);
    check_out(datapath, flow, world.first(flow.client, flow.dialled));
}

TEST_CASE("TCP: a new SYN on a connection that only the client closed takes another tuple", "[tcp]") {
    const World world = tcp_world();
    const std::string end = GENERATE("none", "FIN", "RST");
    CAPTURE(world, end);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation old = establish(datapath, world, world.client(), world.frontend());
    check_out(datapath, old, tcp(old.client, old.dialled, fin | ack));

    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    CHECK(flow.presented.port != old.presented.port);
    check_data_back(datapath, world, old);
    // The end of the old connection is not that of the new one, though both have the client's tuple.
    if (end != "none") check_back(datapath, old, tcp(old.backend, old.presented, end == "FIN" ? fin | ack : +rst));
    CHECK(ends_of(datapath, forward_key(world, flow)) == Ends{});
    CHECK(ends_of(datapath, reply_key(world, flow)) == Ends{});
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
}

TEST_CASE("TCP: both entries learn of a RST, whichever side sends it", "[tcp]") {
    const World world = tcp_world();
    const bool from_client = GENERATE(true, false);
    CAPTURE(world, from_client);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    if (from_client) {
        check_out(datapath, flow, tcp(flow.client, flow.dialled, rst | ack));
    } else {
        check_back(datapath, flow, tcp(flow.backend, flow.presented, rst | ack));
    }
    CHECK(ends_of(datapath, forward_key(world, flow)) == Ends{.reset = true});
    CHECK(ends_of(datapath, reply_key(world, flow)) == Ends{.reset = true});
}

TEST_CASE("TCP: a SYN on a closed flow chooses anew", "[tcp]") {
    const World world = tcp_world();
    const std::string closed_by = GENERATE("FINs", "client's RST", "backend's RST");
    CAPTURE(world, closed_by);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    replace_backend(service, world);
    // Until then a SYN stays with the connection that is there.
    check_out(datapath, flow, world.first(flow.client, flow.dialled));
    if (closed_by == "FINs") {
        check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
        check_out(datapath, flow, tcp(flow.client, flow.dialled, fin | ack));
    } else if (closed_by == "client's RST") {
        check_out(datapath, flow, tcp(flow.client, flow.dialled, rst));
    } else {
        check_back(datapath, flow, tcp(flow.backend, flow.presented, rst));
    }

    const Conversation again = establish(datapath, world, world.client(), world.frontend());
    CHECK(again.backend == world.backend(1));
    CHECK(again.presented == world.client());
    check_data_out(datapath, world, again);
    check_data_back(datapath, world, again);
}

TEST_CASE("TCP: a tuple is used again for the same backend", "[tcp]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    for (int i = 0; i < 5; i++) {
        const Conversation flow = establish(datapath, world, world.client(), world.frontend());
        CHECK(flow.presented == world.client());
        check_data_out(datapath, world, flow);
        check_out(datapath, flow, tcp(flow.client, flow.dialled, fin | ack));
        check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
        check_out(datapath, flow, tcp(flow.client, flow.dialled, ack));
    }
    CHECK(datapath.flows().size() == 2);
    CHECK(datapath.service_counter(1).flows == 5);
}

TEST_CASE("TCP: a backend's RST to the SYN begins nothing", "[tcp]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    check_back(datapath, flow, tcp(flow.backend, flow.presented, rst | ack));
    for (const FlowEntry& found : datapath.flows()) CHECK_FALSE(found.established);

    replace_backend(service, world);
    CHECK(establish(datapath, world, world.client(), world.frontend()).backend == world.backend(1));
}

TEST_CASE("TCP: a client that gives its SYN up begins nothing, answered or not", "[tcp]") {
    const World world = tcp_world();
    const bool answered = GENERATE(false, true);
    CAPTURE(world, answered);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    if (answered) check_answer(datapath, world, flow);
    check_out(datapath, flow, tcp(flow.client, flow.dialled, rst));
    for (const FlowEntry& found : datapath.flows()) CHECK_FALSE(found.established);

    replace_backend(service, world);
    const Conversation again = establish(datapath, world, world.client(), world.frontend());
    CHECK(again.backend == world.backend(1));
    CHECK(again.presented == world.client());
}

TEST_CASE("TCP: SYN and SYN-ACK may be repeated, and only what follows them establishes a connection", "[tcp]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0), world.backend(1)});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    for (int i = 0; i < 3; i++) {
        check_out(datapath, flow, world.first(flow.client, flow.dialled));
        check_answer(datapath, world, flow);
        check_answer(datapath, world, flow);
    }
    for (const FlowEntry& found : datapath.flows()) CHECK_FALSE(found.established);
    check_data_out(datapath, world, flow);
    for (const FlowEntry& found : datapath.flows()) CHECK(found.established);
    // Late ones are the connection's own.
    check_out(datapath, flow, world.first(flow.client, flow.dialled));
    check_answer(datapath, world, flow);
    CHECK(datapath.service_counter(1).flows == 1);
}
