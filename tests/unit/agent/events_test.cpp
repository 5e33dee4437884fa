// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "events.hpp"

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <nlohmann/json.hpp>

#include "api_time.hpp"

namespace svclb::agent {
namespace {

using Json = nlohmann::json;
using std::chrono::minutes;
using std::chrono::seconds;

const RealTime kNow = *parse_time("2026-01-05T03:04:05Z");
const Warning kConflict{"Service default/late", "FrontendConflict", "10.96.0.10:80/TCP belongs to default/web"};

std::string name_in(const kube::Request& request) {
    return Json::parse(request.body).at("metadata").at("name").get<std::string>();
}

// Accepts everything, and keeps what it was sent.
class FakeTransport final : public kube::Transport {
public:
    kube::RequestId send(kube::Request request, kube::Receiver& receiver) override {
        sent.push_back(std::move(request));
        receiver_ = &receiver;
        return sent.size();
    }
    void cancel(kube::RequestId id) override { cancelled = id; }
    [[nodiscard]] int fd() const override { return -1; }
    void step() override {}
    [[nodiscard]] std::uint64_t bytes_received() const override { return 0; }
    [[nodiscard]] kube::RequestStats stats() const override { return {}; }

    void answer(int status) {
        receiver_->on_head({.status = status, .retry_after = {}});
        receiver_->on_end({});
    }
    void lose() { receiver_->on_end(fail(Error::invalid("reset"))); }

    std::vector<kube::Request> sent;
    kube::RequestId cancelled = 0;

private:
    kube::Receiver* receiver_ = nullptr;
};

}  // namespace

TEST_CASE("a warning becomes an Event on its object") {
    EventBook book{"node-a"};
    book.note(kConflict, "uid-1", kNow);
    const auto request = book.take(kNow);
    REQUIRE(request);
    CHECK(request->method == "POST");
    CHECK(request->target == "/apis/events.k8s.io/v1/namespaces/default/events");
    auto event = Json::parse(request->body);
    const auto name = event["metadata"]["name"].get<std::string>();
    CHECK(name.starts_with("late."));
    CHECK(name.size() == 5 + 16);
    event["metadata"].erase("name");
    CHECK(event ==
          Json::parse(R"({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"namespace": "default"},
        "eventTime": "2026-01-05T03:04:05.000000Z", "reportingController": "svclb-agent",
        "reportingInstance": "svclb-agent-node-a", "action": "Programming", "reason": "FrontendConflict",
        "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "late", "uid": "uid-1"},
        "note": "10.96.0.10:80/TCP belongs to default/web", "type": "Warning"})"));
}

TEST_CASE("the same warning has the same name on every node, another one has another") {
    EventBook one{"node-a"};
    EventBook two{"node-b"};
    one.note(kConflict, "", kNow);
    two.note(kConflict, "", kNow + seconds(9));
    const auto name = name_in(*one.take(kNow));
    CHECK(name == name_in(*two.take(kNow)));
    auto other = kConflict;
    other.note += " now";
    EventBook three{"node-a"};
    three.note(other, "", kNow);
    CHECK(name != name_in(*three.take(kNow)));
}

TEST_CASE("said again it counts, and is not sent more often than every few minutes") {
    EventBook book{"node-a"};
    book.note(kConflict, "", kNow);
    const auto name = name_in(*book.take(kNow));
    book.answered(201);
    for (int second = 1; second <= 60; ++second) {
        book.note(kConflict, "", kNow + seconds(second));
        CHECK_FALSE(book.take(kNow + seconds(second)));
    }
    const auto again = book.take(kNow + minutes(6));
    REQUIRE(again);
    CHECK(again->method == "PATCH");
    CHECK(again->target == "/apis/events.k8s.io/v1/namespaces/default/events/" + name);
    CHECK(Json::parse(again->body) ==
          Json::parse(R"({"series": {"count": 61, "lastObservedTime": "2026-01-05T03:05:05.000000Z"}})"));
    book.answered(200);
    CHECK_FALSE(book.take(kNow + minutes(60)));
    CHECK(book.counts().sent == 2);
}

TEST_CASE("an Event that another node made is left to it") {
    EventBook book{"node-a"};
    book.note(kConflict, "", kNow);
    REQUIRE(book.take(kNow));
    book.answered(409);
    book.note(kConflict, "", kNow + minutes(30));
    CHECK(book.take(kNow + minutes(30))->method == "POST");  // it may have been forgotten by now
    CHECK(book.counts().sent == 1);
    CHECK(book.counts().failed == 0);
}

TEST_CASE("an Event that the API server has forgotten is made anew") {
    EventBook book{"node-a"};
    book.note(kConflict, "", kNow);
    REQUIRE(book.take(kNow));
    book.answered(201);
    book.note(kConflict, "", kNow + minutes(90));
    CHECK(book.take(kNow + minutes(90))->method == "PATCH");
    book.answered(404);
    book.note(kConflict, "", kNow + minutes(120));
    CHECK(book.take(kNow + minutes(120))->method == "POST");
}

TEST_CASE("one at a time, a burst, then one every five seconds") {
    EventBook book{"node-a"};
    for (int i = 0; i < 100; ++i)
        book.note({"Service default/s" + std::to_string(i), "InvalidField", "x"}, "",
                  kNow + std::chrono::milliseconds(i));
    const auto later = kNow + seconds(1);
    REQUIRE(book.take(later));
    CHECK_FALSE(book.take(later));
    book.answered(201);
    int sent = 1;
    while (book.take(later)) {
        book.answered(201);
        ++sent;
    }
    CHECK(sent == 20);
    CHECK_FALSE(book.take(later + seconds(4)));
    REQUIRE(book.take(later + seconds(6)));
    book.answered(201);
    CHECK_FALSE(book.take(later + seconds(6)));
}

TEST_CASE("more than it can hold is counted as dropped, what has been told makes room") {
    EventBook book{"node-a"};
    const auto warning = [](int i) { return Warning{"Service default/s" + std::to_string(i), "InvalidField", "x"}; };
    for (int i = 0; i < 300; ++i) book.note(warning(i), "", kNow);
    CHECK(book.counts().dropped == 44);
    REQUIRE(book.take(kNow));
    book.answered(201);
    book.note(warning(1000), "", kNow);
    CHECK(book.counts().dropped == 44);
}

TEST_CASE("what names no object of the API is no Event") {
    EventBook book{"node-a"};
    for (const auto* object : {"", "web", "Service default/b\\x1b", "Service ../../x/y", "Pod default/web",
                               "Service default/", "Service Default/web"}) {
        CAPTURE(object);
        CHECK_FALSE(object_reference(object));
        book.note({object, "InvalidObject", "x"}, "", kNow);
    }
    CHECK_FALSE(book.take(kNow));
    CHECK(object_reference("ServiceCIDR main")->key == model::ObjectKey{"", "main"});
    CHECK(object_reference("EndpointSlice default/web-x7")->api_version == "discovery.k8s.io/v1");
    book.note({"ServiceCIDR main", "InvalidObject", "x"}, "", kNow);
    CHECK(book.take(kNow)->target == "/apis/events.k8s.io/v1/namespaces/default/events");
}

TEST_CASE("a failed request is counted and holds nothing up") {
    FakeTransport transport;
    EventSender sender{transport, "node-a"};
    sender.note(kConflict, "", kNow);
    sender.note({"Service default/other", "InvalidField", "x"}, "", kNow + seconds(1));
    sender.step(kNow);
    sender.step(kNow);
    CHECK(transport.sent.size() == 1);
    transport.lose();
    sender.step(kNow);
    REQUIRE(transport.sent.size() == 2);
    transport.answer(403);
    sender.step(kNow);
    CHECK(transport.sent.size() == 2);
    CHECK(sender.counts().failed == 2);
    CHECK(sender.counts().sent == 0);
}

TEST_CASE("a sender that goes takes its request back") {
    FakeTransport transport;
    {
        EventSender sender{transport, "node-a"};
        sender.note(kConflict, "", kNow);
        sender.step(kNow);
    }
    CHECK(transport.cancelled == 1);
}

}  // namespace svclb::agent
