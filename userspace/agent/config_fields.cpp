// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "config_fields.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <utility>

#include "svclb/model/text.hpp"

namespace svclb::agent {
namespace {

using kube::Value;
using model::printable;
using std::chrono::nanoseconds;
using Kind = Value::Kind;

constexpr std::size_t kMostProblems = 20;

std::string quoted(const Value& value) {
    return fmt::format("\"{}\"", printable(value.text));
}

template <class T>
std::optional<T> parse_number(std::string_view text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

// A value that leaves a field as if it had not been given.
bool says_nothing(const Value& value) {
    switch (value.kind) {
        case Kind::null:
            return true;
        case Kind::list:
            return value.children.empty();
        case Kind::map:
            for (std::size_t i = 1; i < value.children.size(); i += 2)
                if (!says_nothing(value.children[i])) return false;
            return true;
        case Kind::text:
            break;
    }
    if (value.text.empty() || value.text == "false") return true;
    return value.text == "0" || parse_duration(value.text) == nanoseconds::zero();
}

class Walk {
public:
    explicit Walk(const std::vector<Field>& fields) : fields_(fields) {}

    void map(const Value& value, const std::string& above) {
        std::set<std::string_view> seen;
        for (std::size_t i = 0; i + 1 < value.children.size(); i += 2) {
            const auto& key = value.children[i];
            const auto at = above + printable(key.text);
            if (key.kind != Kind::text)
                refuse(key.line, above, "a key that is no text");
            else if (!seen.insert(key.text).second)
                refuse(key.line, at, "given twice");
            else
                field(at, key.line, value.children[i + 1]);
        }
    }
    [[nodiscard]] FieldFindings take() { return std::move(findings_); }

private:
    void field(const std::string& at, std::size_t line, const Value& value) {
        const auto found = std::ranges::find(fields_, at, &Field::path);
        if (found == fields_.end()) {
            section(at, line, value);
        } else if (value.kind != Kind::null) {
            const auto wrong = found->take(value);
            if (!wrong.empty()) refuse(line, at, wrong);
            if (!found->honoured && !says_nothing(value)) findings_.unused.push_back(at);
        }
    }
    void section(const std::string& at, std::size_t line, const Value& value) {
        const auto below = at + ".";
        if (std::ranges::none_of(fields_, [&](const Field& field) { return field.path.starts_with(below); }))
            refuse(line, at, "unknown field");
        else if (value.kind == Kind::map)
            map(value, below);
        else if (value.kind != Kind::null)
            refuse(line, at, "must be a map");
    }
    void refuse(std::size_t line, const std::string& at, const std::string& what) {
        if (findings_.problems.size() < kMostProblems)
            findings_.problems.push_back(fmt::format("{}: {}: {}", line, at, what));
    }

    const std::vector<Field>& fields_;
    FieldFindings findings_;
};

}  // namespace

FieldFindings take_fields(const Value& root, const std::vector<Field>& fields) {
    Walk walk{fields};
    walk.map(root, "");
    return walk.take();
}

Taker text(std::string* to) {
    return [to](const Value& value) -> std::string {
        if (value.kind != Kind::text) return "must be a string";
        if (value.text.find('\0') != std::string::npos) return "must not contain a zero byte";
        if (to) *to = value.text;
        return {};
    };
}

Taker path(std::filesystem::path* to) {
    return [to](const Value& value) {
        std::string name;
        auto wrong = text(&name)(value);
        if (wrong.empty()) *to = std::move(name);
        return wrong;
    };
}

Taker boolean(bool* to) {
    return [to](const Value& value) -> std::string {
        const bool is_true = value.text == "true";
        if (value.kind != Kind::text || !value.plain || (!is_true && value.text != "false"))
            return "must be true or false";
        if (to) *to = is_true;
        return {};
    };
}

Taker integer(std::int64_t least, std::int64_t most, std::int64_t* to) {
    return [=](const Value& value) -> std::string {
        const auto read = value.plain ? parse_number<std::int64_t>(value.text) : std::nullopt;
        if (value.kind != Kind::text || !read || *read < least || *read > most)
            return fmt::format("must be an integer from {} to {}", least, most);
        if (to) *to = *read;
        return {};
    };
}

Taker number() {
    return [](const Value& value) -> std::string {
        if (value.kind == Kind::text && value.plain && parse_number<double>(value.text)) return {};
        return "must be a number";
    };
}

Taker duration(nanoseconds least, nanoseconds* to) {
    return [=](const Value& value) -> std::string {
        const auto read = value.kind == Kind::text ? parse_duration(value.text) : std::nullopt;
        if (!read) return "must be a duration like 90s or 1h30m";
        if (*read < least)
            return least == nanoseconds::zero()
                       ? "must not be negative"
                       : fmt::format("must be at least {} s", std::chrono::duration<double>(least).count());
        if (to) *to = *read;
        return {};
    };
}

Taker one_of(std::vector<std::string_view> words, std::string* to) {
    return [words = std::move(words), to](const Value& value) -> std::string {
        if (value.kind == Kind::text && std::ranges::find(words, value.text) != words.end()) {
            if (to) *to = value.text;
            return {};
        }
        std::vector<std::string_view> shown;
        std::ranges::copy_if(words, std::back_inserter(shown), [](auto word) { return !word.empty(); });
        return fmt::format("must be one of {}, not {}", fmt::join(shown, ", "),
                           value.kind == Kind::text ? quoted(value) : "a list or map");
    };
}

Taker parsed(std::string_view what, std::function<bool(const std::string&)> parse) {
    return [what, parse = std::move(parse)](const Value& value) -> std::string {
        if (value.kind != Kind::text) return fmt::format("must be {}", what);
        return parse(value.text) ? "" : fmt::format("{} is not {}", quoted(value), what);
    };
}

Taker list(Taker element) {
    return [element = std::move(element)](const Value& value) -> std::string {
        if (value.kind != Kind::list) return "must be a list";
        for (std::size_t i = 0; i < value.children.size(); ++i)
            if (auto wrong = element(value.children[i]); !wrong.empty()) return fmt::format("[{}]: {}", i, wrong);
        return {};
    };
}

Taker map_of(Taker element) {
    return [element = std::move(element)](const Value& value) -> std::string {
        if (value.kind != Kind::map) return "must be a map";
        for (std::size_t i = 0; i + 1 < value.children.size(); i += 2)
            if (auto wrong = element(value.children[i + 1]); !wrong.empty())
                return fmt::format("{}: {}", printable(value.children[i].text), wrong);
        return {};
    };
}

Taker fields_of(std::vector<Field> fields) {
    return [fields = std::move(fields)](const Value& value) -> std::string {
        if (value.kind != Kind::map) return "must be a map";
        const auto findings = take_fields(value, fields);
        return findings.problems.empty() ? "" : "line " + findings.problems.front();
    };
}

std::optional<nanoseconds> parse_duration(std::string_view text) {
    struct Unit {
        std::string_view name;
        double nanoseconds;
    };
    // Longer names first: "m" begins "ms".
    constexpr std::array kUnits{Unit{"ns", 1},  Unit{"us", 1e3}, Unit{"\xc2\xb5s", 1e3}, Unit{"ms", 1e6},
                                Unit{"s", 1e9}, Unit{"m", 60e9}, Unit{"h", 3600e9}};
    constexpr double kMost = 9.2e18;  // Go's, too: 292 years
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    if (text == "0") return nanoseconds::zero();
    if (text.empty()) return std::nullopt;
    double total = 0;
    while (!text.empty()) {
        const auto digits = text.find_first_not_of("0123456789.");
        if (digits == 0 || digits == std::string_view::npos) return std::nullopt;
        const auto value = parse_number<double>(text.substr(0, digits));
        text.remove_prefix(digits);
        const auto unit = std::ranges::find_if(kUnits, [&](const Unit& u) { return text.starts_with(u.name); });
        if (!value || unit == kUnits.end()) return std::nullopt;
        text.remove_prefix(unit->name.size());
        total += *value * unit->nanoseconds;
        if (total > kMost) return std::nullopt;
    }
    return nanoseconds{static_cast<std::int64_t>(negative ? -total : total)};
}

}  // namespace svclb::agent
