// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Lists and watches that end, break, are refused, or tell something else than what there is.
#include "reflector.hpp"

#include <catch2/generators/catch_generators.hpp>
#include <random>
#include <set>

#include "fake_transport.hpp"

using namespace svclb;
using namespace svclb::kube;
using namespace svclb::kube::test;
using namespace std::chrono_literals;

namespace {

using Names = std::set<std::string>;

struct World {
    FakeTransport transport;
    FakeClock clock;
    Surroundings surroundings = clock.surroundings();
    std::unique_ptr<Reflector> reflector = made(false);
    Names names;  // of the Services in force
    std::vector<std::string> problems;
    std::size_t changes = 0;  // objects that were told

    std::unique_ptr<Reflector> made(bool optional, const std::string& saving = "") {
        return std::make_unique<Reflector>(Resource{.kind = ObjectKind::service,
                                                    .name = "services",
                                                    .path = "/s",
                                                    .selectors = "",
                                                    .saving = saving,
                                                    .optional = optional},
                                           transport, surroundings);
    }
    // One round of the agent's loop.
    void run() {
        transport.step();
        reflector->tick();
        Change change;
        reflector->take_problem(change);
        if (reflector->synced()) reflector->take_objects(change);
        for (const auto& object : change.changed) names.insert(std::get<model::Service>(object).key.name);
        for (const auto& key : change.gone_services) names.erase(key.name);
        changes += change.changed.size() + change.gone_services.size();
        problems.insert(problems.end(), change.problems.begin(), change.problems.end());
    }
    void pass(std::chrono::milliseconds time) {
        clock.pass(time);
        run();
    }
    [[nodiscard]] RequestId open() const { return transport.at("/s").id; }
    [[nodiscard]] bool is_open() const { return transport.find("/s").has_value(); }
    [[nodiscard]] std::string target() const { return transport.at("/s").request.target; }

    // The server's side, on the request that is open.
    void answer(const std::string& body) {
        transport.head(open(), 200);
        go_on(body);
    }
    void go_on(const std::string& body) {
        transport.body(open(), body);
        run();
    }
    void end() {
        transport.end(open());
        run();
    }
    void whole(const std::string& body) {
        const auto id = open();
        transport.head(id, 200);
        transport.body(id, body);
        transport.end(id);
        run();
    }
    void reset() {
        transport.reset(open());
        run();
    }
    void refuse(int code, const std::string& body, std::optional<std::chrono::seconds> retry_after = std::nullopt) {
        const auto id = open();
        transport.head(id, code, retry_after);
        transport.body(id, body);
        transport.end(id);
        run();
    }
    // a and b at version 10, watched.
    void begin() {
        run();
        answer(event("ADDED", service("a", "3")) + event("ADDED", service("b", "4")) + list_end("Service", "10"));
        REQUIRE(names == Names{"a", "b"});
    }
    // As begin, by a server without streaming lists; the watch is the open request.
    void begin_with_pages() {
        run();
        refuse(422, status(422, "Invalid"));
        whole(list("Service", "10", {service("a", "3"), service("b", "4")}));
        REQUIRE(names == Names{"a", "b"});
    }
};

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

constexpr const char* kStream =
    "/s?watch=true&allowWatchBookmarks=true&timeoutSeconds=450&sendInitialEvents=true&"
    "resourceVersionMatch=NotOlderThan";
constexpr auto kBackoff = 1200ms;  // the first, where chance says a half

}  // namespace

TEST_CASE("a streamed list counts at its end, whatever its chunks, and goes on as the watch") {
    const auto text = event("ADDED", service("a", "3")) + event("ADDED", service("b", "4")) +
                      event("MODIFIED", service("b", "11", 81)) + event("ADDED", service("c", "12")) +
                      event("DELETED", service("c", "13")) + list_end("Service", "14");
    for (std::size_t cut = 0; cut + 1 < text.size(); ++cut) {  // all but the line's end is all there is
        CAPTURE(cut);
        World world;
        world.run();
        REQUIRE(world.target() == kStream);
        world.answer(text.substr(0, cut));
        REQUIRE(world.changes == 0);
        REQUIRE_FALSE(world.reflector->synced());
        world.go_on(text.substr(cut));
        REQUIRE(world.names == Names{"a", "b"});
        REQUIRE(world.reflector->state().connected);
        world.go_on(event("ADDED", service("d", "15")));
        REQUIRE(world.names == Names{"a", "b", "d"});
        REQUIRE(world.transport.targets.size() == 1);
    }
}

TEST_CASE("a watch byte by byte is the same as at once") {
    World world;
    world.begin();
    for (const char c : event("ADDED", service("c", "11")) + bookmark("Service", "12")) world.go_on(std::string(1, c));
    CHECK(world.names == Names{"a", "b", "c"});
    world.end();
    CHECK(world.target() == "/s?watch=true&allowWatchBookmarks=true&timeoutSeconds=450&resourceVersion=12");
    CHECK(world.problems.empty());
}

TEST_CASE("a server without streaming lists is asked for pages, by 400, 422 or what it sends instead of the end") {
    World world;
    world.run();
    SECTION("400") {
        world.refuse(400, status(400, "BadRequest"));
    }
    SECTION("422") {
        world.refuse(422, status(422, "Invalid"));
    }
    SECTION("another bookmark") {
        world.answer(event("ADDED", service("gone", "3")) + bookmark("Service", "10") +
                     event("ADDED", service("x", "11")));
    }
    SECTION("nothing more") {
        world.answer(event("ADDED", service("gone", "3")));
        world.pass(9999ms);
        REQUIRE(world.target() == kStream);
        world.pass(1ms);
    }
    CHECK(world.problems.empty());
    world.run();
    CHECK(world.target() == "/s?limit=500&resourceVersion=0");
    world.whole(list("Service", "20", {service("a", "3")}, "t/1=="));
    CHECK(world.changes == 0);
    CHECK(world.target() == "/s?limit=500&continue=t%2F1%3D%3D");
    world.whole(list("Service", "20", {service("b", "4")}, "t2"));
    world.whole(list("Service", "20", {service("c", "5")}));
    CHECK(world.names == Names{"a", "b", "c"});
    CHECK(world.target() == "/s?watch=true&allowWatchBookmarks=true&timeoutSeconds=450&resourceVersion=20");
    CHECK(world.transport.at("/s").request.silence == 150s);
    CHECK(world.reflector->state().lists == 2);
    CHECK(world.reflector->state().watches == 1);
}

TEST_CASE("a selector that a server does not know is left out, for good") {
    World world;
    world.reflector = world.made(false, "fieldSelector=spec.x%3Dy");
    world.run();
    CHECK(world.target() == "/s?fieldSelector=spec.x%3Dy&" + std::string(kStream).substr(3));
    world.refuse(400, status(400, "BadRequest"));
    world.run();
    CHECK(world.target() == "/s?fieldSelector=spec.x%3Dy&limit=500&resourceVersion=0");
    world.refuse(400, status(400, "BadRequest"));
    world.run();
    CHECK(world.target() == "/s?limit=500&resourceVersion=0");
    CHECK(world.problems.empty());
    world.whole(list("Service", "20", {service("a", "3")}));
    CHECK(world.names == Names{"a"});
    CHECK(world.target() == "/s?watch=true&allowWatchBookmarks=true&timeoutSeconds=450&resourceVersion=20");
    // Without it, 400 is a failure like any other.
    world.end();
    world.pass(kBackoff);
    world.refuse(400, status(400, "BadRequest"));
    CHECK_FALSE(world.problems.empty());
}

TEST_CASE("streamed lists are tried again by a list ten minutes on") {
    World world;
    world.begin_with_pages();
    world.pass(599s);
    world.refuse(410, status(410, "Expired"));
    world.pass(kBackoff);
    CHECK(world.target() == "/s?limit=500");
    world.whole(list("Service", "20", {service("a", "3"), service("b", "4")}));
    world.refuse(410, status(410, "Expired"));
    world.pass(1min);
    CHECK(world.target() == kStream);
    world.refuse(422, status(422, "Invalid"));
    world.run();
    CHECK(world.target() == "/s?limit=500");
    CHECK(world.problems.empty());
}

TEST_CASE("waits and the length of watches are spread, within their bounds") {
    World world;
    world.surroundings.random = [engine = std::mt19937_64(GENERATE(1U, 2U, 3U))]() mutable {
        return std::uniform_real_distribution<double>()(engine);
    };
    std::set<std::chrono::milliseconds> waits;
    Backoff backoff;
    std::chrono::milliseconds least = Backoff::kFirst;
    for (int i = 0; i < 100; ++i) {
        const auto wait = backoff.next(world.surroundings, std::nullopt);
        CHECK(wait >= least);
        CHECK(wait <= 2 * least);
        least = std::min(2 * least, Backoff::kLast);
        waits.insert(wait);
        // Never sooner than the server says.
        CHECK(backoff.next(world.surroundings, std::chrono::seconds(60)) == 60s);
        least = std::min(2 * least, Backoff::kLast);
    }
    CHECK(waits.size() > 90);
    std::set<int> lengths;
    world.begin();
    for (int i = 0; i < 100; ++i) {
        world.clock.pass(1min);
        world.end();
        const auto target = world.target();
        const auto at = target.find("timeoutSeconds=") + std::string_view("timeoutSeconds=").size();
        lengths.insert(std::stoi(target.substr(at)));
        world.answer("");
    }
    CHECK(*lengths.begin() >= 300);
    CHECK(*lengths.rbegin() < 600);
    CHECK(lengths.size() > 50);
}

TEST_CASE("a slow list is not taken for one without an end") {
    World world;
    world.run();
    world.answer("");
    for (const char c : event("ADDED", service("a", "3")) + list_end("Service", "10")) {
        world.clock.pass(9s);
        world.go_on(std::string(1, c));
    }
    CHECK(world.names == Names{"a"});
    CHECK(world.transport.targets.size() == 1);
}

TEST_CASE("pages break anywhere: nothing is told until the last one, and the same page is asked for again") {
    const auto page = list("Service", "20", {service("c", "5"), service("d", "6")});
    for (std::size_t cut = 0; cut < page.size(); ++cut) {
        CAPTURE(cut);
        World world;
        world.run();
        world.refuse(422, status(422, "Invalid"));
        world.whole(list("Service", "20", {service("a", "3")}, "t1"));
        world.answer(page.substr(0, cut));
        REQUIRE(world.changes == 0);
        world.reset();
        REQUIRE_FALSE(world.is_open());
        world.pass(kBackoff);
        REQUIRE(world.target() == "/s?limit=500&continue=t1");
        world.whole(page);
        REQUIRE(world.names == Names{"a", "c", "d"});
    }
}

TEST_CASE("410 in the middle of pages begins a list that the server reads anew") {
    World world;
    world.run();
    world.refuse(422, status(422, "Invalid"));
    world.whole(list("Service", "20", {service("a", "3"), service("old", "4")}, "t1"));
    world.refuse(410, status(410, "Expired"));
    CHECK(world.changes == 0);
    world.pass(kBackoff);
    CHECK(world.target() == "/s?limit=500");
    world.whole(list("Service", "30", {service("a", "3")}));
    CHECK(world.names == Names{"a"});
    CHECK(world.problems.empty());
}

TEST_CASE("410 for a watch, as its answer or as an event: a new list, of which only differences are told") {
    World world;
    world.begin();
    SECTION("as an event") {
        world.go_on(event("ERROR", status(410, "Expired")));
    }
    SECTION("as an event without a code") {
        world.go_on(event("ERROR", status(0, "Expired")));
    }
    SECTION("as the answer") {
        world.end();
        world.refuse(410, status(410, "Gone"));
    }
    SECTION("for the list, too") {
        world.go_on(event("ERROR", status(410, "Expired")));
        world.pass(kBackoff);
        world.refuse(410, status(410, "Expired"));
        world.clock.pass(kBackoff);
    }
    CHECK(world.names == Names{"a", "b"});
    CHECK(world.problems.empty());
    CHECK_FALSE(world.is_open());
    world.pass(kBackoff);
    CHECK(world.target() == kStream);
    const auto before = world.changes;
    world.answer(event("ADDED", service("a", "3")) + event("ADDED", service("c", "12")));
    CHECK(world.changes == before);
    CHECK(world.reflector->synced());
    world.go_on(list_end("Service", "20"));
    CHECK(world.names == Names{"a", "c"});
    CHECK(world.changes == before + 2);
    world.end();
    CHECK(has(world.target(), "resourceVersion=20"));
}

TEST_CASE("a watch that breaks in an object is taken up where it was, at every place") {
    const auto text = event("ADDED", service("c", "11")) + event("DELETED", service("a", "12"));
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        CAPTURE(cut);
        World world;
        world.begin();
        world.go_on(text.substr(0, cut));
        world.reset();
        REQUIRE(world.names.contains("b"));
        world.pass(kBackoff);
        const bool first = world.names.contains("c");
        const bool second = !world.names.contains("a");
        REQUIRE(has(world.target(), second  ? "&resourceVersion=12"
                                    : first ? "&resourceVersion=11"
                                            : "&resourceVersion=10"));
        world.answer(first ? "" : event("ADDED", service("c", "11")));
        world.go_on(second ? "" : event("DELETED", service("a", "12")));
        REQUIRE(world.names == Names{"b", "c"});
    }
}

TEST_CASE("a watch that the server ends is taken up at once; one that ends at once, or in an object, is not") {
    World world;
    world.begin();
    world.clock.pass(5min);
    world.end();
    CHECK(world.is_open());
    CHECK(world.reflector->state().connected);
    CHECK(world.problems.empty());
    world.answer("");
    world.end();
    CHECK_FALSE(world.is_open());
    CHECK(world.problems == std::vector<std::string>{"watch services: the watch ended at once"});
    world.pass(kBackoff);
    world.answer(event("ADDED", service("c", "11")) + "{\"type\":");
    world.end();
    CHECK(world.problems.back() == "watch services: the answer breaks off in an object");
    CHECK(world.names == Names{"a", "b", "c"});
}

TEST_CASE("garbage changes nothing and begins the watch again") {
    const auto bad = [](const std::string& text, const std::string& problem) {
        CAPTURE(text);
        World world;
        world.begin();
        world.go_on(text + event("ADDED", service("after", "20")));
        CHECK(world.names == Names{"a", "b"});
        CHECK_FALSE(world.is_open());
        CHECK(world.transport.cancelled == 1);
        REQUIRE(world.problems.size() == 1);
        CHECK(world.problems[0].starts_with("watch services: " + problem));
        world.pass(kBackoff);
        CHECK(has(world.target(), "&resourceVersion=10"));
    };
    const std::string wrong = "the answer is not what the API sends: ";
    bad("<html>", wrong + "an event that is no object");
    bad("{]", "JSON: ");  // the rest are the library's words, which change with it
    bad("{}\n", wrong + "an event without an object");
    bad(R"({"type":"ADDED","object":7})", wrong + "an event without an object");
    bad(event("UPSERT\\u001b[2J", service("c", "11")), wrong + R"(an event of type "UPSERT\x1b[2J")");
    bad(event("ADDED", node("c", "11", "z")), wrong + "an object of kind \"Node\"");
    bad(event("ADDED", service("", "11")), wrong + "an object without a name");
    bad(event("ADDED", service("c", "")), wrong + "an object without a resourceVersion: c");
    bad(event("BOOKMARK", "{}"), wrong + "a bookmark without a resourceVersion");
}

TEST_CASE("an answer that is no list of ours empties nothing") {
    World world;
    world.begin_with_pages();
    world.go_on("");
    const auto relist = [&] {
        world.refuse(410, status(410, "Expired"));
        world.pass(1min);
    };
    relist();
    for (const auto* body : {"{}", "<html>welcome</html>", R"({"kind":"Status","items":[]})", R"({"items":[]})",
                             R"({"kind":"NodeList","metadata":{"resourceVersion":"20"},"items":[]})",
                             R"({"kind":"ServiceList","metadata":{},"items":[]})",
                             R"({"kind":"ServiceList","metadata":{"resourceVersion":"20"},"items":[{}]})", ""}) {
        CAPTURE(body);
        world.whole(body);
        CHECK(world.names == Names{"a", "b"});
        CHECK_FALSE(world.is_open());
        world.pass(1min);
        CHECK(world.target() == "/s?limit=500");
    }
    world.whole(list("Service", "20", {}));
    CHECK(world.names.empty());
}

TEST_CASE("older objects that are played again change nothing") {
    World world;
    world.begin();
    world.go_on(event("MODIFIED", service("a", "11", 81)) + event("DELETED", service("b", "12")) +
                event("ADDED", service("c", "13")));
    const auto before = world.changes;
    world.go_on(event("MODIFIED", service("a", "9")) + event("MODIFIED", service("a", "11")) +
                event("DELETED", service("a", "10")) + event("ADDED", service("b", "4")) +
                event("ADDED", service("never", "7")) + bookmark("Service", "5"));
    CHECK(world.changes == before);
    CHECK(world.names == Names{"a", "c"});
    // "100" is later than "13": numbers, not texts.
    world.go_on(event("MODIFIED", service("c", "100", 82)));
    CHECK(world.changes == before + 1);
    world.end();
    CHECK(has(world.target(), "&resourceVersion=100"));
}

TEST_CASE("a deletion that carries the version of what it deletes counts") {
    World world;
    world.begin();
    world.go_on(bookmark("Service", "50") + event("DELETED", service("a", "3")));
    CHECK(world.names == Names{"b"});
}

TEST_CASE("versions that are no numbers are compared for equality only") {
    World world;
    world.run();
    world.answer(event("ADDED", service("a", "x9")) + list_end("Service", "x10"));
    world.go_on(event("MODIFIED", service("a", "x1")) + event("ADDED", service("b", "x2")) +
                event("MODIFIED", service("b", "x2")));
    CHECK(world.changes == 3);
    world.end();
    CHECK(has(world.target(), "&resourceVersion=x2"));
}

TEST_CASE("429 and 503 are waited out as long as they ask, and don't cost a list") {
    World world;
    world.begin();
    world.clock.pass(5min);
    world.end();
    world.refuse(429, status(429, "TooManyRequests", "slow down"), 7s);
    CHECK(world.problems == std::vector<std::string>{"watch services: status 429: slow down"});
    world.pass(6999ms);
    CHECK_FALSE(world.is_open());
    world.pass(1ms);
    CHECK(has(world.target(), "watch=true&allowWatchBookmarks=true&timeoutSeconds=450&resourceVersion=10"));
    world.refuse(503, "");
    CHECK(world.problems.back() == "watch services: status 503");
    world.pass(1min);
    CHECK(has(world.target(), "&resourceVersion=10"));
    // A wait within the Status of an event.
    world.answer(event("ERROR", R"({"kind":"Status","code":429,"details":{"retryAfterSeconds":20}})"));
    world.pass(19s);
    CHECK_FALSE(world.is_open());
    world.pass(1s);
    CHECK(has(world.target(), "&resourceVersion=10"));
    // More than five minutes is a mistake.
    world.refuse(429, "", std::chrono::hours(24));
    world.pass(5min);
    CHECK(world.is_open());
}

TEST_CASE("500s cost a list each, from the version that is known, further and further apart") {
    World world;
    world.begin();
    world.clock.pass(5min);
    world.end();
    std::vector<std::chrono::milliseconds> waits;
    for (int i = 0; i < 8; ++i) {
        world.refuse(500, status(500, "InternalError"));
        std::chrono::milliseconds waited{0};
        while (!world.is_open()) {
            waited += 100ms;
            world.pass(100ms);
        }
        waits.push_back(waited);
        CHECK(world.target() ==
              "/s?watch=true&allowWatchBookmarks=true&timeoutSeconds=450&resourceVersion=10&"
              "sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
    }
    CHECK(waits ==
          std::vector<std::chrono::milliseconds>{1200ms, 2400ms, 4800ms, 9600ms, 19200ms, 22500ms, 22500ms, 22500ms});
    CHECK(world.names == Names{"a", "b"});
    world.answer(event("ADDED", service("a", "3")) + list_end("Service", "30"));
    CHECK(world.names == Names{"a"});
    // Well for two minutes: from the beginning.
    world.clock.pass(3min);
    world.reset();
    world.pass(kBackoff);
    CHECK(world.is_open());
}

TEST_CASE("a version from the future is dropped: the cluster was restored from a backup") {
    World world;
    world.begin();
    world.end();
    SECTION("as servers say it now") {
        world.refuse(504, R"({"kind":"Status","code":504,"reason":"Timeout","message":"no",)"
                          R"("details":{"causes":[{"reason":"ResourceVersionTooLarge"}]}})");
    }
    SECTION("as they said it") {
        world.refuse(500, status(500, "Timeout", "Too large resource version: 10, current: 2"));
    }
    world.pass(1min);
    CHECK(world.target() == kStream);
    world.answer(event("ADDED", service("a", "1")) + list_end("Service", "2"));
    CHECK(world.names == Names{"a"});
    world.go_on(event("ADDED", service("c", "3")));
    CHECK(world.names == Names{"a", "c"});
}

TEST_CASE("what keeps us out leaves everything in force and is told once") {
    World world;
    world.begin();
    world.end();
    for (int i = 0; i < 3; ++i) {
        world.refuse(401, status(401, "Unauthorized", "token\\nexpired"));
        world.pass(1min);
        CHECK(has(world.target(), "&resourceVersion=10"));
    }
    CHECK(world.problems == std::vector<std::string>{R"(watch services: status 401: token\x0aexpired)"});
    CHECK(world.reflector->state().error == world.problems[0]);
    CHECK(world.reflector->state().failures == 3);
    CHECK_FALSE(world.reflector->state().connected);
    world.answer(event("ADDED", service("c", "11")));
    CHECK(world.names == Names{"a", "b", "c"});
    CHECK(world.reflector->state().error.empty());
    CHECK(world.reflector->state().connected);
}

TEST_CASE("401 in the middle of a watch is no end of what is known: the watch is taken up where it was") {
    World world;
    world.begin();
    world.go_on(event("ADDED", service("c", "11")) + event("ERROR", status(401, "Unauthorized", "token expired")) +
                event("ADDED", service("after", "12")));
    CHECK(world.names == Names{"a", "b", "c"});
    CHECK(world.transport.cancelled == 1);
    CHECK(world.problems == std::vector<std::string>{"watch services: status 401: token expired"});
    CHECK(world.reflector->synced());
    CHECK_FALSE(world.reflector->state().connected);
    CHECK_FALSE(world.is_open());
    world.pass(kBackoff);
    CHECK(world.target() == "/s?watch=true&allowWatchBookmarks=true&timeoutSeconds=450&resourceVersion=11");
    world.answer(event("DELETED", service("c", "12")));
    CHECK(world.names == Names{"a", "b"});
    CHECK(world.reflector->state().connected);
}

TEST_CASE("what a server doesn't have, or doesn't show, is no failure where it is optional") {
    World world;
    world.reflector = world.made(true);
    world.run();
    const int code = GENERATE(403, 404);
    world.refuse(code, status(code, "NotFound"));
    CHECK(world.reflector->synced());
    CHECK(world.problems.empty());
    CHECK(world.reflector->state().failures == 0);
    world.pass(15min - 1ms);
    CHECK_FALSE(world.is_open());
    world.pass(1ms);
    CHECK(world.target() == kStream);
    world.answer(event("ADDED", service("a", "3")) + list_end("Service", "10"));
    CHECK(world.names == Names{"a"});
}

TEST_CASE("an object of 1.5 MB in pieces") {
    auto large = service("large", "11");
    large.insert(large.size() - 1, ",\"x\":\"" + std::string(1536 * 1024, 'x') + "\"");
    const auto text = event("ADDED", large);
    World world;
    world.begin();
    for (std::size_t i = 0; i < text.size(); i += 16384) world.go_on(text.substr(i, 16384));
    CHECK(world.names == Names{"a", "b", "large"});
}

TEST_CASE("an object beyond the limit keeps its last good content, in lists and watches, and stops no other") {
    World world;
    world.begin();
    const auto large = [](const std::string& version) {
        auto text = service("b", version);
        const auto at = text.find(R"("creationTimestamp")");
        return text.insert(at, R"("annotations":{"x":")" + std::string(9U << 20U, 'y') + R"("},)");
    };
    const std::string line = "Service default/b: longer than 8 MiB";
    world.go_on(event("MODIFIED", large("11")) + event("ADDED", service("c", "12")));
    CHECK(world.names == Names{"a", "b", "c"});
    CHECK(world.problems == std::vector<std::string>{line});
    std::vector<Refusal> refusals;
    world.reflector->add_refusals(refusals);
    REQUIRE(refusals.size() == 1);
    CHECK(refusals[0].what == "longer than 8 MiB");
    CHECK(refusals[0].service == model::ObjectKey{"default", "b"});

    world.go_on(event("ERROR", status(410, "Expired")));
    world.pass(kBackoff);
    SECTION("streamed") {
        world.answer(event("ADDED", service("a", "3")) + event("ADDED", large("11")) + list_end("Service", "20"));
    }
    SECTION("paged") {
        world.refuse(422, status(422, "Invalid"));
        world.run();
        world.whole(list("Service", "20", {service("a", "3"), large("13")}));
    }
    CHECK(world.names == Names{"a", "b"});
    CHECK(world.problems == std::vector<std::string>{line});
    if (world.target().find("sendInitialEvents") == std::string::npos) world.answer("");
    world.go_on(event("MODIFIED", service("b", "21")));
    refusals.clear();
    world.reflector->add_refusals(refusals);
    CHECK(refusals.empty());
}

TEST_CASE("an object that is invalid in a list is kept from removal, and counts when it is good again") {
    World world;
    world.begin();
    world.go_on(event("ERROR", status(410, "Expired")));
    world.pass(kBackoff);
    world.answer(event("ADDED", service("a", "12", 70000)) + event("ADDED", service("b", "4")) +
                 list_end("Service", "20"));
    CHECK(world.names == Names{"a", "b"});
    CHECK(world.problems.size() == 1);
    const auto before = world.changes;
    world.go_on(event("MODIFIED", service("a", "21", 82)));
    CHECK(world.changes == before + 1);
}
