// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "json_value.hpp"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <string>

namespace svclb::kube {

namespace {

namespace dom = simdjson::dom;

constexpr std::size_t kDeepest = 64;
constexpr std::size_t kUsual = std::size_t{64} << 10U;
constexpr std::size_t kLargestUsual = std::size_t{256} << 10U;
// More than half of an object is this.
constexpr std::array<std::string_view, 4> kUnread{"managedFields", "targetRef", "images", "ownerReferences"};

Value leaf(std::string_view text, bool plain) {
    Value value;
    value.kind = Value::Kind::text;
    value.plain = plain;
    value.text = text;
    return value;
}

// Recursion ends at the parser's limit of depth.
Value value_of(const dom::element& element) {
    Value value;
    switch (element.type()) {
        case dom::element_type::OBJECT: {
            const auto object = dom::object(element);
            value.kind = Value::Kind::map;
            value.children.reserve(2 * object.size());
            for (const auto member : object) {
                if (std::ranges::find(kUnread, member.key) != kUnread.end()) continue;
                value.children.push_back(leaf(member.key, false));
                value.children.push_back(value_of(member.value));
            }
            return value;
        }
        case dom::element_type::ARRAY: {
            const auto array = dom::array(element);
            value.kind = Value::Kind::list;
            value.children.reserve(array.size());
            for (const auto child : array) value.children.push_back(value_of(child));
            return value;
        }
        case dom::element_type::STRING:
            return leaf(std::string_view(element), false);
        case dom::element_type::BOOL:
            return leaf(bool(element) ? "true" : "false", true);
        case dom::element_type::NULL_VALUE:
            return value;
        default:
            return leaf(simdjson::to_string(element), true);
    }
}

}  // namespace

struct JsonParser::Memory {
    Memory() { error = parser.allocate(kUsual, kDeepest); }
    dom::parser parser;
    simdjson::error_code error;
};

Result<Value> JsonParser::parse(std::string_view text) {
    dom::element root;
    auto error = memory_->error;
    if (!error) error = memory_->parser.parse(text.data(), text.size()).get(root);
    if (error) return fail(Error::invalid("JSON: " + std::string(simdjson::error_message(error))));
    auto value = value_of(root);
    // It holds ten times the size of the largest text so far.
    if (text.size() > kLargestUsual) memory_ = std::make_unique<Memory>();
    return value;
}

JsonParser::JsonParser() : memory_(std::make_unique<Memory>()) {}
JsonParser::JsonParser(JsonParser&&) noexcept = default;
JsonParser& JsonParser::operator=(JsonParser&&) noexcept = default;
JsonParser::~JsonParser() = default;

}  // namespace svclb::kube
