// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Typed access to the fields of one object, where each refusal tells line, object and path.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "svclb/kube/decode.hpp"
#include "tree.hpp"

namespace svclb::kube {

// Problems up to a bound: a file of garbage must not fill the log, nor the memory.
class Problems {
public:
    void add(DecodeProblem problem) {
        if (told_.size() < kMost) {
            told_.push_back(std::move(problem));
        } else {
            ++untold_;
        }
    }
    void add(Problems&& others) {
        for (auto& problem : others.told_) add(std::move(problem));
        untold_ += others.untold_;
    }
    [[nodiscard]] std::vector<DecodeProblem> take() {
        if (untold_ != 0)
            told_.push_back({.line = 0, .object = "", .field = "", .what = std::to_string(untold_) + " more problems"});
        return std::move(told_);
    }

private:
    static constexpr std::size_t kMost = 100;
    std::vector<DecodeProblem> told_;
    std::size_t untold_ = 0;
};

// A field and how it was reached; absent where the key is missing or its value null. Refers to the spot above it, so
// it lives on the stack of the function that looks into it.
class Spot {
public:
    explicit Spot(const Value& root) : value_(&root), line_(root.line) {}
    Spot(const Spot& above, std::string_view key, const Value* value, std::size_t line);
    Spot(const Spot& above, std::size_t index, const Value& value);

    [[nodiscard]] const Value* value() const { return value_; }
    [[nodiscard]] explicit operator bool() const { return value_ != nullptr; }
    [[nodiscard]] std::size_t line() const { return line_; }  // of the nearest thing above where it is absent
    [[nodiscard]] std::string path() const;                   // "spec.ports[0].port"

private:
    const Value* value_;
    const Spot* above_ = nullptr;
    std::string_view key_;
    std::size_t index_ = 0;
    std::size_t line_;
};

// One of the words that a field may have, and what it means.
template <class T>
struct Choice {
    std::string_view name;
    T value;
};

// Who wrote an object: a hand, whose odd values are typing errors, or an API server, which checks less than we know of
// and may be newer than we are.
enum class Writer : std::uint8_t { hand, api_server };

// Reads the fields of one object. A field that is wrong makes the object invalid and reads as its default; reading
// goes on, so that all of an object's faults are told at once.
class Fields {
public:
    Fields(std::string object, Problems& problems, Writer writer = Writer::hand)
        : object_(std::move(object)), problems_(problems), writer_(writer) {}

    [[nodiscard]] Writer writer() const { return writer_; }
    [[nodiscard]] bool valid() const { return valid_; }
    void refuse(const Spot& spot, std::string what);
    // What an API server may well send: its object stays valid, without this field.
    void doubt(const Spot& spot, std::string what);
    using Complain = void (Fields::*)(const Spot&, std::string);

    [[nodiscard]] Spot field(const Spot& map, std::string_view key);
    // False where it is absent, or no map, which is refused.
    [[nodiscard]] bool is_map(const Spot& spot);

    // Calls use(element) for each element of a list.
    template <class Use>
    void each(const Spot& list, Use use) {
        if (!list) return;
        if (list.value()->kind != Value::Kind::list) {
            refuse_type(list, "a list");
            return;
        }
        for (std::size_t i = 0; i < list.value()->children.size(); ++i) use(Spot(list, i, list.value()->children[i]));
    }

    // How many elements each() will find.
    [[nodiscard]] static std::size_t count(const Spot& list) { return list ? list.value()->children.size() : 0; }

    // The same for a list of maps.
    template <class Use>
    void each_map(const Spot& list, Use use) {
        each(list, [&](const Spot& element) {
            if (!element) refuse(element, "not a map: null");
            if (is_map(element)) use(element);
        });
    }

    void require(const Spot& spot) {
        if (!spot) refuse(spot, "missing");
    }

    [[nodiscard]] std::optional<std::string> text(const Spot& spot);
    // A text for which `fault` (such as not_dns_label) tells nothing.
    template <class Fault>
    [[nodiscard]] std::optional<std::string> text(const Spot& spot, Fault fault, Complain complain = &Fields::refuse) {
        auto given = text(spot);
        if (!given) return std::nullopt;
        if (auto what = fault(*given)) {
            (this->*complain)(spot, *std::move(what));
            return std::nullopt;
        }
        return given;
    }
    [[nodiscard]] std::vector<std::string> texts(const Spot& list);
    [[nodiscard]] std::optional<bool> boolean(const Spot& spot);
    // `meant` completes "not a ...: 70000".
    [[nodiscard]] std::optional<std::uint32_t> number(const Spot& spot, std::uint32_t low, std::uint32_t high,
                                                      std::string_view meant, Complain complain = &Fields::refuse);
    [[nodiscard]] std::optional<std::uint16_t> port(const Spot& spot, std::uint16_t low,
                                                    Complain complain = &Fields::refuse);

    // Of the words there are; a newer API may have more, hence no refusal of what it sends.
    template <class T, std::size_t N>
    [[nodiscard]] std::optional<T> choice(const Spot& spot, const std::array<Choice<T>, N>& choices) {
        const auto given = text(spot);
        if (!given) return std::nullopt;
        for (const auto& [name, value] : choices)
            if (*given == name) return value;
        std::string names;
        for (const auto& [name, value] : choices) names += (names.empty() ? "" : ", ") + std::string(name);
        doubt_choice(spot, names, *given);
        return std::nullopt;
    }

private:
    void refuse_type(const Spot& spot, std::string_view type);
    void doubt_choice(const Spot& spot, const std::string& names, const std::string& given);

    std::string object_;
    Problems& problems_;
    Writer writer_;
    bool valid_ = true;
};

// Names as the API has them. Nothing where the text is one, else what is wrong with it.
[[nodiscard]] std::optional<std::string> not_dns_label(std::string_view text);      // at most 63 characters
[[nodiscard]] std::optional<std::string> not_dns_subdomain(std::string_view text);  // at most 253
[[nodiscard]] std::optional<std::string> not_label_value(std::string_view text);    // at most 63, may be empty

}  // namespace svclb::kube
