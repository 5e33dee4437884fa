// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "stream.hpp"

#include <algorithm>
#include <array>

namespace svclb::kube {

namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kMarks = "}],:";  // no value begins with one
// One large object must not hold its memory for ever.
constexpr std::size_t kKept = std::size_t{1} << 20U;
// Longer than this many times the largest value, it is no object but a stream that never ends.
constexpr std::size_t kMostOfLargest = 64;

void skip_space(std::string_view& bytes) {
    bytes.remove_prefix(std::min(bytes.find_first_not_of(kSpace), bytes.size()));
}

tl::unexpected<Error> garbage(const char* what) {
    return fail(Error::invalid(std::string("the answer is not what the API sends: ") + what));
}

}  // namespace

std::string closed(std::string_view beginning) {
    std::string open;  // the brackets that are needed
    std::size_t end = 0;
    std::string closing;
    bool in_string = false;
    for (std::size_t i = 0; i < beginning.size(); ++i) {
        const char c = beginning[i];
        if (in_string) {
            if (c == '\\') ++i;
            if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            open += c == '{' ? '}' : ']';
        } else if ((c == '}' || c == ']') && !open.empty()) {
            open.pop_back();
        } else if (c == ',' && i + open.size() <= beginning.size()) {
            end = i;
            closing.assign(open.rbegin(), open.rend());
        }
    }
    return std::string(beginning.substr(0, end)) + closing;
}

// Where the value ends in these bytes; npos where it goes on. On copies of the members, which the compiler would
// otherwise read and write for each byte.
std::size_t ValueCutter::end_in(std::string_view bytes) {
    if (form_ == Form::scalar) return bytes.find_first_of(",]} \t\r\n");
    bool in_string = in_string_;
    bool escaped = escaped_;
    std::size_t depth = depth_;
    std::size_t at = 0;
    bool whole = false;
    while (at < bytes.size() && !whole) {
        const char c = bytes[at++];
        if (!in_string) {
            if (c == '"') in_string = true;
            if (c == '{' || c == '[') ++depth;
            if (c == '}' || c == ']') whole = --depth == 0;
        } else if (escaped) {
            escaped = false;
        } else if (c == '\\') {
            escaped = true;
        } else if (c == '"') {
            in_string = false;
            whole = depth == 0;
        } else {
            while (at < bytes.size() && bytes[at] != '"' && bytes[at] != '\\') ++at;
        }
    }
    in_string_ = in_string;
    escaped_ = escaped;
    depth_ = depth;
    return whole ? at : std::string_view::npos;
}

Result<bool> ValueCutter::feed(std::string_view& bytes) {
    if (bytes.empty()) return false;
    if (form_ == Form::none) {
        if (begun_.capacity() > kKept) begun_ = {};
        begun_.clear();
        size_ = 0;
        cut_ = false;
        const char c = bytes.front();
        form_ = c == '"' ? Form::string : c == '{' || c == '[' ? Form::bracketed : Form::scalar;
    }
    const auto end = end_in(bytes);
    const auto size = std::min(end, bytes.size());
    const bool whole = end != std::string_view::npos;
    size_ += size;
    cut_ = size_ > largest_;
    if (cut_ && (form_ != Form::bracketed || size_ / kMostOfLargest > largest_))
        return fail(Error::invalid("a value longer than " + std::to_string(largest_) + " bytes"));
    if (cut_) {
        const auto most = std::min(largest_, kBeginning);
        begun_ += bytes.substr(0, most - std::min(most, begun_.size()));
        begun_.resize(std::min(most, begun_.size()));
        if (whole) value_ = begun_ = closed(begun_);
    } else if (whole && begun_.empty()) {
        value_ = bytes.substr(0, size);
    } else {
        begun_ += bytes.substr(0, size);
        value_ = begun_;
    }
    bytes.remove_prefix(size);
    return whole;
}

std::string_view ValueCutter::take() {
    form_ = Form::none;
    return value_;
}

Status EventSplitter::feed(std::string_view bytes, const Sink& sink) {
    while (true) {
        if (!cutter_.within()) {
            skip_space(bytes);
            if (bytes.empty()) return {};
            if (bytes.front() != '{') return garbage("an event that is no object");
        }
        const auto whole = cutter_.feed(bytes);
        if (!whole) return fail(whole.error());
        if (!*whole) return {};
        if (auto status = sink(cutter_.take()); !status) return status;
    }
}

// True where the next character was punctuation, false where a value begins.
Result<bool> ListSplitter::take_mark(std::string_view& bytes) {
    struct Rule {
        At at;
        char mark;
        At next;
    };
    constexpr std::array kRules{
        Rule{At::begin, '{', At::first_key}, Rule{At::first_key, '}', At::end},
        Rule{At::colon, ':', At::value},     Rule{At::after_value, ',', At::key},
        Rule{At::after_value, '}', At::end}, Rule{At::first_item, ']', At::after_value},
        Rule{At::after_item, ',', At::item}, Rule{At::after_item, ']', At::after_value},
    };
    const char c = bytes.front();
    for (const auto& rule : kRules) {
        if (rule.at != at_ || rule.mark != c) continue;
        at_ = rule.next;
        bytes.remove_prefix(1);
        return true;
    }
    if (at_ == At::value && key_ == "\"items\"" && c == '[') {
        at_ = At::first_item;
        bytes.remove_prefix(1);
        return true;
    }
    const bool is_key = at_ == At::first_key || at_ == At::key;
    const bool is_value = at_ == At::value || at_ == At::first_item || at_ == At::item;
    if ((is_key && c == '"') || (is_value && kMarks.find(c) == std::string_view::npos)) return false;
    return garbage(at_ == At::begin ? "a list that is no object"
                   : at_ == At::end ? "text after a list"
                                    : "broken JSON");
}

Status ListSplitter::take_value(const Sink& sink) {
    const auto value = cutter_.take();
    if (cutter_.cut() && at_ != At::first_item && at_ != At::item) return garbage("a list with such a large member");
    switch (at_) {
        case At::first_key:
        case At::key:
            key_ = value;
            at_ = At::colon;
            return {};
        case At::value:
            at_ = At::after_value;
            return sink.field(key_, value);
        default:
            at_ = At::after_item;
            return sink.item(value);
    }
}

Status ListSplitter::feed(std::string_view bytes, const Sink& sink) {
    while (true) {
        if (!cutter_.within()) {
            skip_space(bytes);
            if (bytes.empty()) return {};
            const auto mark = take_mark(bytes);
            if (!mark) return fail(mark.error());
            if (*mark) continue;
        }
        const auto whole = cutter_.feed(bytes);
        if (!whole) return fail(whole.error());
        if (!*whole) return {};
        if (auto status = take_value(sink); !status) return status;
    }
}

Status ListSplitter::finish() const {
    if (at_ == At::end) return {};
    return garbage("a list that breaks off");
}

}  // namespace svclb::kube
