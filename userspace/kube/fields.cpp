// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "fields.hpp"

#include <algorithm>
#include <charconv>

#include "svclb/model/text.hpp"

namespace svclb::kube {

namespace {

using model::printable;

constexpr std::size_t kLongestLabel = 63;
constexpr std::size_t kLongestSubdomain = 253;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}
bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}

// A text without quotes that YAML reads as a number or a boolean, and the API therefore does not take for a string.
bool reads_as_other(std::string_view text) {
    for (const auto* word : {"true", "True", "TRUE", "false", "False", "FALSE"}) {
        if (text == word) return true;
    }
    if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
    if (text.starts_with("0x") || text.starts_with("0o")) {
        return text.size() > 2 && text.find_first_not_of("0123456789abcdefABCDEF", 2) == std::string_view::npos;
    }
    const auto skip_digits = [&text] {
        const auto end = std::min(text.find_first_not_of("0123456789"), text.size());
        text.remove_prefix(end);
        return end != 0;
    };
    bool digits = skip_digits();
    if (!text.empty() && text.front() == '.') {
        text.remove_prefix(1);
        digits |= skip_digits();
    }
    if (digits && !text.empty() && (text.front() == 'e' || text.front() == 'E')) {
        text.remove_prefix(1);
        if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
        digits = skip_digits();
    }
    return digits && text.empty();
}

std::string shown(const Value& value) {
    switch (value.kind) {
        case Value::Kind::null:
            return "null";
        case Value::Kind::list:
            return "a list";
        case Value::Kind::map:
            return "a map";
        case Value::Kind::text:
            break;
    }
    return value.plain ? printable(value.text) : "\"" + printable(value.text) + "\"";
}

bool inner(char c, bool upper, std::string_view more) {
    return is_lower(c) || is_digit(c) || (upper && is_upper(c)) || more.find(c) != std::string_view::npos;
}

bool spelled(std::string_view text, bool upper, std::string_view more) {
    return inner(text.front(), upper, "") && inner(text.back(), upper, "") &&
           std::ranges::all_of(text, [&](char c) { return inner(c, upper, more); });
}

std::optional<std::string> too_long(std::string_view text, std::size_t most) {
    if (text.size() <= most) return std::nullopt;
    return "longer than " + std::to_string(most) + " characters: " + printable(text);
}

}  // namespace

Spot::Spot(const Spot& above, std::string_view key, const Value* value, std::size_t line)
    : value_(value && value->kind != Value::Kind::null ? value : nullptr), above_(&above), key_(key), line_(line) {}

Spot::Spot(const Spot& above, std::size_t index, const Value& value)
    : value_(value.kind == Value::Kind::null ? nullptr : &value), above_(&above), index_(index), line_(value.line) {}

std::string Spot::path() const {
    if (!above_) return {};
    auto path = above_->path();
    if (key_.empty()) return path + "[" + std::to_string(index_) + "]";
    // Keys of labels and annotations have dots of their own.
    if (key_.find_first_of("./") != std::string_view::npos) return path + "[" + std::string(key_) + "]";
    if (!path.empty()) path += '.';
    return path + std::string(key_);
}

void Fields::refuse(const Spot& spot, std::string what) {
    valid_ = false;
    problems_.add({.line = spot.line(), .object = object_, .field = spot.path(), .what = std::move(what)});
}

void Fields::doubt(const Spot& spot, std::string what) {
    const bool valid = valid_ && writer_ == Writer::api_server;
    refuse(spot, std::move(what));
    valid_ = valid;
}

void Fields::refuse_type(const Spot& spot, std::string_view type) {
    refuse(spot, "not " + std::string(type) + ": " + shown(*spot.value()));
}

void Fields::doubt_choice(const Spot& spot, const std::string& names, const std::string& given) {
    doubt(spot, "not one of " + names + ": " + printable(given));
}

Spot Fields::field(const Spot& map, std::string_view key) {
    const Value* first = nullptr;
    auto line = map.line();
    const auto& children = map.value()->children;
    for (std::size_t i = 0; i + 1 < children.size(); i += 2) {
        if (children[i].kind != Value::Kind::text || children[i].text != key) continue;
        if (first) {
            refuse(Spot(map, key, &children[i], children[i].line),
                   first->line == 0 ? "given twice" : "given twice, first in line " + std::to_string(first->line));
            break;
        }
        first = &children[i + 1];
        // YAML gives a null that is not written the line of what follows.
        line = first->kind == Value::Kind::null ? children[i].line : first->line;
    }
    return {map, key, first, line};
}

bool Fields::is_map(const Spot& spot) {
    if (!spot) return false;
    if (spot.value()->kind != Value::Kind::map) {
        refuse_type(spot, "a map");
        return false;
    }
    // Silently ignored, it would lose what the author merged in.
    if (find(*spot.value(), "<<")) refuse(spot, "merge key << is not supported");
    return true;
}

std::optional<std::string> Fields::text(const Spot& spot) {
    if (!spot) return std::nullopt;
    const auto& value = *spot.value();
    if (value.kind == Value::Kind::text && !(value.plain && reads_as_other(value.text))) return value.text;
    refuse_type(spot, "a string");
    return std::nullopt;
}

std::vector<std::string> Fields::texts(const Spot& list) {
    std::vector<std::string> out;
    each(list, [&](const Spot& element) {
        auto one = text(element);
        if (one) {
            out.push_back(*std::move(one));
        } else if (!element) {
            refuse(element, "not a string: null");
        }
    });
    return out;
}

std::optional<bool> Fields::boolean(const Spot& spot) {
    if (!spot) return std::nullopt;
    const auto& value = *spot.value();
    if (value.kind == Value::Kind::text && value.plain) {
        if (value.text == "true") return true;
        if (value.text == "false") return false;
    }
    refuse_type(spot, "true or false");
    return std::nullopt;
}

std::optional<std::uint32_t> Fields::number(const Spot& spot, std::uint32_t low, std::uint32_t high,
                                            std::string_view meant, Complain complain) {
    if (!spot) return std::nullopt;
    const auto& value = *spot.value();
    if (value.kind == Value::Kind::text && value.plain) {
        const char* end = value.text.data() + value.text.size();
        std::uint32_t number = 0;
        const auto [stop, error] = std::from_chars(value.text.data(), end, number);
        // A leading zero is octal to some readers of YAML and decimal to others.
        const bool ambiguous = value.text.size() > 1 && value.text.front() == '0';
        if (error == std::errc{} && stop == end && !ambiguous && number >= low && number <= high) return number;
    }
    const bool quoted = value.kind == Value::Kind::text && !value.plain;
    (this->*complain)(spot, "not " + std::string(meant) + ": " + shown(value) + (quoted ? " is a string" : ""));
    return std::nullopt;
}

std::optional<std::uint16_t> Fields::port(const Spot& spot, std::uint16_t low, Complain complain) {
    const auto port = number(spot, low, 65535, "a port number", complain);
    if (!port) return std::nullopt;
    return static_cast<std::uint16_t>(*port);
}

std::optional<std::string> not_dns_label(std::string_view text) {
    if (text.empty()) return "empty";
    if (!spelled(text, false, "-")) return "not a DNS label (a-z, 0-9 and '-' inside): " + printable(text);
    return too_long(text, kLongestLabel);
}

std::optional<std::string> not_dns_subdomain(std::string_view text) {
    if (text.empty()) return "empty";
    std::size_t begin = 0;
    while (true) {
        const auto end = std::min(text.find('.', begin), text.size());
        const auto label = text.substr(begin, end - begin);
        if (label.empty() || !spelled(label, false, "-"))
            return "not a DNS name (labels of a-z, 0-9 and '-' inside, with dots between): " + printable(text);
        if (end == text.size()) break;
        begin = end + 1;
    }
    return too_long(text, kLongestSubdomain);
}

std::optional<std::string> not_label_value(std::string_view text) {
    if (text.empty()) return std::nullopt;
    if (!spelled(text, true, "-_."))
        return "not a label value (letters, digits and '-', '_', '.' inside): " + printable(text);
    return too_long(text, kLongestLabel);
}

}  // namespace svclb::kube
