// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "api_time.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>

namespace svclb::agent {
namespace {

using std::chrono::nanoseconds;

// Takes `digits` digits and the character after them off the front.
std::optional<unsigned> take_number(std::string_view& text, std::size_t digits, char end) {
    if (text.size() <= digits || text[digits] != end) return std::nullopt;
    unsigned value = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + digits, value);
    if (error != std::errc{} || stop != text.data() + digits) return std::nullopt;
    text.remove_prefix(digits + 1);
    return value;
}

}  // namespace

std::optional<RealTime> parse_time(std::string_view text) {
    namespace ch = std::chrono;
    const bool fraction = text.find('.') != std::string_view::npos;
    const auto year = take_number(text, 4, '-');
    const auto month = year ? take_number(text, 2, '-') : std::nullopt;
    const auto day = month ? take_number(text, 2, 'T') : std::nullopt;
    const auto hour = day ? take_number(text, 2, ':') : std::nullopt;
    const auto minute = hour ? take_number(text, 2, ':') : std::nullopt;
    const auto second = minute ? take_number(text, 2, fraction ? '.' : 'Z') : std::nullopt;
    if (!second) return std::nullopt;
    nanoseconds part{0};
    if (fraction) {
        if (text.size() < 2 || text.size() > 10) return std::nullopt;
        const auto digits = text.size() - 1;
        const auto value = take_number(text, digits, 'Z');
        if (!value) return std::nullopt;
        std::int64_t scaled = *value;
        for (auto at = digits; at < 9; ++at) scaled *= 10;
        part = nanoseconds(scaled);
    }
    const ch::year_month_day date{ch::year(static_cast<int>(*year)), ch::month(*month), ch::day(*day)};
    if (!text.empty() || !date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
    const auto time = ch::sys_days(date) + ch::hours(*hour) + ch::minutes(*minute) + ch::seconds(*second) + part;
    return ch::time_point_cast<RealTime::duration>(time);
}

std::string time_text(RealTime time) {
    namespace ch = std::chrono;
    const auto day = ch::floor<ch::days>(time);
    const ch::year_month_day date{day};
    const ch::hh_mm_ss clock{ch::floor<ch::microseconds>(time - day)};
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                       static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                       clock.minutes().count(), clock.seconds().count(), clock.subseconds().count());
}

}  // namespace svclb::agent
