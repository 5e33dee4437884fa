// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "output.hpp"

#include <yaml-cpp/yaml.h>

#include <catch2/catch_test_macros.hpp>
#include <string>

namespace svclb::ctl {
namespace {

TEST_CASE("columns are three spaces apart, the last one is not padded, empty cells say so") {
    CHECK(to_text({{"NAME", "PORT", "STATE"}, {{"a-long-name", "80", "ready"}, {"b", "", "x"}}}) ==
          "NAME          PORT     STATE\n"
          "a-long-name   80       ready\n"
          "b             <none>   x\n");
}

TEST_CASE("control characters reach no terminal") {
    CHECK(escaped("web\x1b[31m\n\x7f") == "web\\x1b[31m\\x0a\\x7f");
    CHECK(escaped("caf\xc3\xa9") == "caf\\xc3\\xa9");
    CHECK(to_text({{"NAME"}, {{"a\tb"}}}) == "NAME\na\\x09b\n");
}

TEST_CASE("JSON keeps the order of its keys and survives bytes that are no UTF-8") {
    const Json value = {{"b", 1}, {"a", "\xff"}};
    CHECK(to_json_text(value) == "{\n    \"b\": 1,\n    \"a\": \"\xef\xbf\xbd\"\n}\n");
}

TEST_CASE("YAML is the same value, with quotes where a reader would guess wrong") {
    const Json value = {
        {"items",
         {{{"name", "web"}, {"version", "1.10"}, {"flag", "true"}, {"none", ""}, {"port", 80}, {"on", true}},
          {{"name", "null"}, {"list", Json::array()}, {"map", Json::object()}}}}};
    CHECK(to_yaml_text(value) ==
          "items:\n"
          "  - name: web\n"
          "    version: \"1.10\"\n"
          "    flag: \"true\"\n"
          "    none: \"\"\n"
          "    port: 80\n"
          "    on: true\n"
          "  - name: \"null\"\n"
          "    list: []\n"
          "    map: {}\n");
}

TEST_CASE("YAML gives back every string that was put in") {
    for (const std::string text :
         {"yes",     "No", "0x1f", "12:30", "1e3",  "-",        "- a",   "a: b", "#c", "[fd00::1]:80", "10.0.0.1:80",
          "fd00::1", "*",  "&a",   "~",     "a\nb", "\x1b[31m", " lead", "%d",   "@x", "'q'",          "\"q\""}) {
        CAPTURE(text);
        const auto back = YAML::Load(to_yaml_text(Json{{"value", text}}))["value"];
        CHECK(back.IsScalar());
        CHECK(back.as<std::string>() == text);
    }
}

}  // namespace
}  // namespace svclb::ctl
