// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "stream.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <string>
#include <vector>

using namespace svclb;
using namespace svclb::kube;

namespace {

using Texts = std::vector<std::string>;

// What comes out, and at the end "!" and the error if there is one.
Texts events(const Texts& pieces, std::size_t largest = kLargestValue) {
    EventSplitter splitter(largest);
    Texts out;
    for (const auto& piece : pieces) {
        const auto status = splitter.feed(piece, [&](std::string_view value) -> Status {
            out.emplace_back(value);
            return {};
        });
        if (!status) {
            out.push_back("!" + status.error().message());
            return out;
        }
    }
    if (splitter.within_value()) out.emplace_back("...");
    return out;
}

Texts items(const Texts& pieces, std::size_t largest = kLargestValue) {
    ListSplitter splitter(largest);
    Texts out;
    const ListSplitter::Sink sink{.item = [&](std::string_view value) -> Status {
                                      out.emplace_back(value);
                                      return {};
                                  },
                                  .field = [&](std::string_view key, std::string_view value) -> Status {
                                      out.push_back(std::string(key) + "=" + std::string(value));
                                      return {};
                                  }};
    Status status;
    for (const auto& piece : pieces) {
        if (status) status = splitter.feed(piece, sink);
    }
    if (status) status = splitter.finish();
    if (!status) out.push_back("!" + status.error().message());
    return out;
}

// The text in one piece, in two pieces cut at every place, and byte by byte.
void every_cut(const std::string& text, const std::function<Texts(const Texts&)>& split, const Texts& expected) {
    CHECK(split({text}) == expected);
    Texts bytes;
    for (std::size_t i = 0; i < text.size(); ++i) {
        CAPTURE(i);
        CHECK(split({text.substr(0, i), text.substr(i)}) == expected);
        bytes.push_back(text.substr(i, 1));
    }
    CHECK(split(bytes) == expected);
}

}  // namespace

TEST_CASE("events are cut out of their stream wherever its pieces begin and end") {
    const std::string one = R"({"type":"ADDED","object":{"a":"}]\"{\\","b":[{},[]],"c":"\\"}})";
    const std::string two = R"({"type" : "BOOKMARK"})";
    every_cut("\n " + one + "\r\n" + two + two + "\n\n", [](const Texts& pieces) { return events(pieces); },
              {one, two, two});
}

TEST_CASE("an event that is not there yet waits, one that is none is an error") {
    CHECK(events({"{\"a\":"}) == Texts{"..."});
    CHECK(events({" \n"}).empty());
    const std::string error = "!the answer is not what the API sends: an event that is no object";
    CHECK(events({"{}<html>"}) == Texts{"{}", error});
    CHECK(events({"[]"}) == Texts{error});
    CHECK(events({"}"}) == Texts{error});
}

TEST_CASE("the items of a list are cut out, the rest of it is told by key") {
    const std::string text =
        R"({ "kind":"ServiceList" ,"metadata":{"resourceVersion":"1","continue":"["},)"
        R"("items" : [ {"a":"]}"}, {"items":[1]},null,7 , "x\""],"n":-1.5e3,"t":true,"e":[],"items":null})"
        "\n";
    every_cut(
        text, [](const Texts& pieces) { return items(pieces); },
        {R"("kind"="ServiceList")", R"("metadata"={"resourceVersion":"1","continue":"["})", R"({"a":"]}"})",
         R"({"items":[1]})", "null", "7", R"("x\"")", R"("n"=-1.5e3)", R"("t"=true)", R"("e"=[])", R"("items"=null)"});
    every_cut(R"({"items":[]})", [](const Texts& pieces) { return items(pieces); }, {});
    every_cut("{}", [](const Texts& pieces) { return items(pieces); }, {});
}

TEST_CASE("a list that is broken, or not at its end, is an error") {
    const auto error = [](const std::string& text) {
        const auto out = items({text});
        REQUIRE_FALSE(out.empty());
        return out.back();
    };
    const std::string no_list = "!the answer is not what the API sends: ";
    CHECK(error("") == no_list + "a list that breaks off");
    CHECK(error(R"({"items":[{})") == no_list + "a list that breaks off");
    CHECK(error(R"({"items":[{}])") == no_list + "a list that breaks off");
    CHECK(error("[]") == no_list + "a list that is no object");
    CHECK(error("<html>") == no_list + "a list that is no object");
    CHECK(error("{} {}") == no_list + "text after a list");
    for (const auto* text :
         {R"({,)", R"({"a"})", R"({"a",)", R"({"a":,})", R"({"a":1 2})", R"({"a":1,})", R"({"items":[,]})",
          R"({"items":[1,]})", R"({"items":[1 2]})", R"({"items":[1})", R"({"items":[}])", R"({a:1})"}) {
        CAPTURE(text);
        CHECK(error(text) == no_list + "broken JSON");
    }
}

TEST_CASE("an object of 1.5 MB passes, of one beyond the limit the beginning does, however it is cut") {
    const auto large = "{\"a\":\"" + std::string(1536 * 1024, 'x') + "\"}";
    CHECK(events({large}) == Texts{large});
    CHECK(events({large.substr(0, 1000), large.substr(1000, 1000000), large.substr(1001000)}) == Texts{large});
    CHECK(items({"{\"items\":[" + large + "]}"}) == Texts{large});

    CHECK(events({R"({"a":1234})"}, 10) == Texts{R"({"a":1234})"});
    const std::string event = R"({"a":1,"b":[2,{"c":"}],"}]})";
    for (std::size_t i = 1; i < event.size(); ++i) {
        CAPTURE(i);
        CHECK(events({event.substr(0, i), event.substr(i) + R"({"d":1})"}, 11) == Texts{R"({"a":1})", R"({"d":1})"});
        CHECK(items({R"({"items":[)" + event.substr(0, i), event.substr(i) + R"(,7],"k":1})"}, 11) ==
              Texts{R"({"a":1})", "7", R"("k"=1)"});
    }
    const std::string error = "!a value longer than 10 bytes";
    CHECK(items({R"({"items":["123456789"]})"}, 10) == Texts{error});
    CHECK(items({R"({"metadata":{"a":1,"b":2}})"}, 11) ==
          Texts{"!the answer is not what the API sends: a list with such a large member"});
    // One without an end is no object.
    CHECK(events({R"({"a":1,"b":")" + std::string(1000, 'x')}, 10) == Texts{error});
    CHECK(closed(R"({"a":[1,{"b":"\",")") == R"({"a":[1]})");
    CHECK(closed(R"({"a":1)").empty());
    CHECK(closed(std::string(100, '[') + ",").empty());
    // Many of them are no large one.
    CHECK(events({R"({"a":1}{"a":2}{"a":3})"}, 10).size() == 3);
}
