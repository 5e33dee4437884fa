// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The bytes of an answer, cut anywhere -> whole JSON values: the events of a watch, the items of a list. Holds at most
// one value at a time, and looks at no more of it than where it ends: what is in it, the JSON parser decides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "svclb/base/result.hpp"

namespace svclb::kube {

// etcd takes no object beyond 1.5 MB; JSON may need some more than what is stored.
inline constexpr std::size_t kLargestValue = std::size_t{8} << 20U;
// Of a larger one this much is looked at: enough for its name and labels.
inline constexpr std::size_t kBeginning = std::size_t{64} << 10U;
// The longest JSON, no longer than `beginning`, that is complete without more than is in there: cut after a member and
// closed.
[[nodiscard]] std::string closed(std::string_view beginning);

// Finds the end of one JSON value.
class ValueCutter {
public:
    explicit ValueCutter(std::size_t largest) : largest_(largest) {}

    // Takes off `bytes`, which begin with the value or go on with it, what belongs to it. True when it is whole.
    Result<bool> feed(std::string_view& bytes);
    // The whole value, valid until the next feed and as long as the bytes it came from. Makes ready for the next one.
    [[nodiscard]] std::string_view take();
    [[nodiscard]] bool within() const { return form_ != Form::none; }
    // The value was too large: it is its beginning, closed.
    [[nodiscard]] bool cut() const { return cut_; }

private:
    enum class Form : std::uint8_t { none, bracketed, string, scalar };

    std::size_t end_in(std::string_view bytes);

    std::size_t largest_;
    Form form_ = Form::none;
    bool in_string_ = false;
    bool escaped_ = false;
    std::size_t depth_ = 0;
    std::string begun_;  // of a value that is in several pieces
    std::size_t size_ = 0;
    bool cut_ = false;
    std::string_view value_;
};

// A watch: objects with nothing but white space between.
class EventSplitter {
public:
    using Sink = std::function<Status(std::string_view)>;
    explicit EventSplitter(std::size_t largest = kLargestValue) : cutter_(largest) {}

    // Ends with the sink's first error, which is final.
    Status feed(std::string_view bytes, const Sink& sink);
    [[nodiscard]] bool within_value() const { return cutter_.within(); }
    // For the sink: see ValueCutter.
    [[nodiscard]] bool cut() const { return cutter_.cut(); }

private:
    ValueCutter cutter_;
};

// A list: one object whose member `items` is taken apart.
class ListSplitter {
public:
    struct Sink {
        std::function<Status(std::string_view)> item;
        std::function<Status(std::string_view key, std::string_view value)> field;  // any other member, as JSON
    };
    explicit ListSplitter(std::size_t largest = kLargestValue) : cutter_(largest) {}

    Status feed(std::string_view bytes, const Sink& sink);
    [[nodiscard]] bool cut() const { return cutter_.cut(); }
    // Fails where the list has not come to its end.
    [[nodiscard]] Status finish() const;

private:
    enum class At : std::uint8_t {
        begin,
        first_key,
        key,
        colon,
        value,
        after_value,
        first_item,
        item,
        after_item,
        end
    };

    Result<bool> take_mark(std::string_view& bytes);
    Status take_value(const Sink& sink);

    ValueCutter cutter_;
    At at_ = At::begin;
    std::string key_;
};

}  // namespace svclb::kube
