// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// JSON (RFC 8259). Numbers stay text: the fields say what they must be.
#include <array>
#include <cstdint>
#include <string>

#include "read.hpp"

namespace svclb::kube {

namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

class JsonReader {
public:
    JsonReader(std::string_view text, std::size_t line, TreeBuilder& builder)
        : text_(text), line_(line), builder_(builder) {}

    // False once something is wrong; error() tells what.
    bool document() {
        skip_space();
        if (!value()) return false;
        skip_space();
        return true;
    }

    [[nodiscard]] std::string_view rest() const { return text_.substr(at_); }
    [[nodiscard]] std::size_t line() const { return line_; }
    [[nodiscard]] ReadError error() const { return builder_.error().value_or(error_); }

private:
    bool fail(std::string what) {
        error_ = {.line = line_, .what = std::move(what)};
        return false;
    }

    [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    bool take(char c) {
        if (peek() != c || at_ == text_.size()) return false;
        ++at_;
        return true;
    }

    void skip_space() {
        for (; at_ < text_.size(); ++at_) {
            const char c = text_[at_];
            if (c == '\n') ++line_;
            if (c != ' ' && c != '\n' && c != '\t' && c != '\r') return;
        }
    }

    // Recursion ends at the builder's limit of depth.
    bool value() {
        switch (peek()) {
            case '{':
                return map();
            case '[':
                return list();
            case '"':
                return string_leaf();
            case 't':
                return word("true", Value::Kind::text);
            case 'f':
                return word("false", Value::Kind::text);
            case 'n':
                return word("null", Value::Kind::null);
            default:
                return number();
        }
    }

    bool begin(Value::Kind kind) {
        ++at_;
        builder_.begin(kind, line_);
        skip_space();
        return !builder_.error();
    }

    bool end() {
        builder_.end();
        return true;
    }

    bool map() {
        if (!begin(Value::Kind::map)) return false;
        if (take('}')) return end();
        while (true) {
            if (peek() != '"') return fail("JSON: expected a key in double quotes");
            if (!string_leaf()) return false;
            skip_space();
            if (!take(':')) return fail("JSON: expected ':' after a key");
            skip_space();
            if (!value()) return false;
            skip_space();
            if (take('}')) return end();
            if (!take(',')) return fail("JSON: expected ',' or '}' in an object");
            skip_space();
        }
    }

    bool list() {
        if (!begin(Value::Kind::list)) return false;
        if (take(']')) return end();
        while (true) {
            if (!value()) return false;
            skip_space();
            if (take(']')) return end();
            if (!take(',')) return fail("JSON: expected ',' or ']' in an array");
            skip_space();
        }
    }

    bool leaf(Value::Kind kind, bool plain, std::string text) {
        Value value;
        value.kind = kind;
        value.plain = plain;
        value.line = static_cast<std::uint32_t>(line_);
        value.text = std::move(text);
        builder_.leaf(std::move(value));
        return !builder_.error();
    }

    bool word(std::string_view expected, Value::Kind kind) {
        if (text_.substr(at_, expected.size()) != expected) return fail("JSON: expected a value");
        at_ += expected.size();
        return leaf(kind, true, kind == Value::Kind::null ? std::string() : std::string(expected));
    }

    bool digits() {
        const auto begin = at_;
        while (is_digit(peek())) ++at_;
        return at_ != begin;
    }

    bool number() {
        const auto begin = at_;
        take('-');
        if (!take('0') && !digits()) return fail("JSON: expected a value");
        if (take('.') && !digits()) return fail("JSON: expected digits after '.'");
        if (take('e') || take('E')) {
            if (!take('+')) take('-');
            if (!digits()) return fail("JSON: expected digits in an exponent");
        }
        return leaf(Value::Kind::text, true, std::string(text_.substr(begin, at_ - begin)));
    }

    bool string_leaf() {
        ++at_;
        std::string out;
        while (true) {
            const auto run = at_;
            while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
                   static_cast<unsigned char>(text_[at_]) >= 0x20)
                ++at_;
            out += text_.substr(run, at_ - run);
            if (take('"')) return leaf(Value::Kind::text, false, std::move(out));
            if (!take('\\'))
                return fail(at_ == text_.size() ? "JSON: string does not end"
                                                : "JSON: line break or control character in a string");
            if (!escape(out)) return false;
        }
    }

    bool escape(std::string& out) {
        constexpr std::string_view kNames = "\"\\/bfnrt";
        constexpr std::string_view kMeant = "\"\\/\b\f\n\r\t";
        if (take('u')) return unicode(out);
        const auto found = at_ < text_.size() ? kNames.find(text_[at_]) : std::string_view::npos;
        if (found == std::string_view::npos) return fail("JSON: unknown escape in a string");
        ++at_;
        out += kMeant[found];
        return true;
    }

    bool hex4(std::uint32_t& out) {
        constexpr std::string_view kDigits = "0123456789abcdefABCDEF";
        out = 0;
        for (int i = 0; i < 4; ++i) {
            const auto found = at_ < text_.size() ? kDigits.find(text_[at_]) : std::string_view::npos;
            if (found == std::string_view::npos) return fail("JSON: expected four hexadecimal digits after \\u");
            ++at_;
            out = out << 4U | static_cast<std::uint32_t>(found < 16 ? found : found - 6);
        }
        return true;
    }

    // A half of a surrogate pair alone reads as U+FFFD, as everywhere.
    bool unicode(std::string& out) {
        constexpr std::uint32_t kReplacement = 0xfffd;
        std::uint32_t code = 0;
        if (!hex4(code)) return false;
        if (code >= 0xd800 && code < 0xdc00 && text_.substr(at_, 2) == "\\u") {
            const auto before = at_;
            at_ += 2;
            std::uint32_t low = 0;
            if (!hex4(low)) return false;
            if (low >= 0xdc00 && low < 0xe000) {
                code = 0x10000 + ((code - 0xd800) << 10U) + (low - 0xdc00);
            } else {
                at_ = before;
            }
        }
        if (code >= 0xd800 && code < 0xe000) code = kReplacement;
        append_utf8(out, code);
        return true;
    }

    static void append_utf8(std::string& out, std::uint32_t code) {
        const auto tail = [&](unsigned shift) { out += static_cast<char>(0x80U | (code >> shift & 0x3fU)); };
        if (code < 0x80) {
            out += static_cast<char>(code);
        } else if (code < 0x800) {
            out += static_cast<char>(0xc0U | code >> 6U);
            tail(0);
        } else if (code < 0x10000) {
            out += static_cast<char>(0xe0U | code >> 12U);
            tail(6);
            tail(0);
        } else {
            out += static_cast<char>(0xf0U | code >> 18U);
            tail(12);
            tail(6);
            tail(0);
        }
    }

    std::string_view text_;
    std::size_t at_ = 0;
    std::size_t line_;
    TreeBuilder& builder_;
    ReadError error_;
};

}  // namespace

std::optional<ReadError> read_json(std::string_view& text, std::size_t& line, TreeBuilder& builder) {
    JsonReader reader(text, line, builder);
    if (!reader.document()) return reader.error();
    text = reader.rest();
    line = reader.line();
    return std::nullopt;
}

}  // namespace svclb::kube
