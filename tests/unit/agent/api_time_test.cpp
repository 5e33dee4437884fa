// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "api_time.hpp"

#include <catch2/catch_test_macros.hpp>

namespace svclb::agent {

TEST_CASE("times are read with and without a fraction") {
    using std::chrono::nanoseconds;
    using std::chrono::seconds;
    const RealTime base{seconds(1767225599)};
    CHECK(parse_time("2025-12-31T23:59:59Z") == base);
    CHECK(parse_time("2025-12-31T23:59:59.5Z") == base + nanoseconds(500000000));
    CHECK(parse_time("2025-12-31T23:59:59.000000001Z") == base + nanoseconds(1));
    CHECK(parse_time("2024-02-29T00:00:00Z") == RealTime{seconds(1709164800)});
}

TEST_CASE("what is no time is nothing") {
    for (const auto* text :
         {"", "2025-12-31", "2025-12-31T23:59:59", "2025-13-31T23:59:59Z", "2025-02-29T23:59:59Z",
          "2025-12-31T24:59:59Z", "2025-12-31T23:60:59Z", "2025-12-31T23:59:61Z", "2025-12-31T23:59:59.Z",
          "2025-12-31T23:59:59.0000000001Z", "2025-12-31T23:59:59.5Zx", "2025-12-31T23:59:-9Z", "2025-12-31t23:59:59Z",
          "2025-12-31T23:59:59+01:00", "+025-12-31T23:59:59Z"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_time(text));
    }
}

TEST_CASE("a time that is written is read as the same") {
    const auto time = *parse_time("2026-01-05T03:04:05.000678Z");
    CHECK(time_text(time) == "2026-01-05T03:04:05.000678Z");
    CHECK(parse_time(time_text(time)) == time);
}

}  // namespace svclb::agent
