// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "tree.hpp"

#include <algorithm>
#include <utility>

namespace svclb::kube {

namespace {

// The API's own objects need nine levels, in a list.
constexpr std::size_t kDeepest = 64;
// Bytes of copies that the anchors and aliases of one document may ask for. A few lines of aliases to aliases can ask
// for terabytes.
constexpr std::size_t kCopyBudget = std::size_t{16} << 20U;

std::size_t height_of(const Value& value) {
    std::size_t below = 0;
    for (const auto& child : value.children) below = std::max(below, height_of(child));
    return below + 1;
}

std::size_t cost_of(const Value& value) {
    std::size_t cost = sizeof(Value) + value.text.size();
    for (const auto& child : value.children) cost += cost_of(child);
    return cost;
}

}  // namespace

const Value* find(const Value& map, std::string_view key) {
    if (map.kind != Value::Kind::map) return nullptr;
    for (std::size_t i = 0; i + 1 < map.children.size(); i += 2) {
        if (map.children[i].kind == Value::Kind::text && map.children[i].text == key) return &map.children[i + 1];
    }
    return nullptr;
}

void TreeBuilder::begin(Value::Kind kind, std::size_t line, Anchor anchor) {
    if (open_.size() >= kDeepest) {
        fail(line, "nested deeper than " + std::to_string(kDeepest) + " levels");
        return;
    }
    Open opened;
    opened.value.kind = kind;
    opened.value.line = static_cast<std::uint32_t>(line);
    opened.anchor = anchor;
    if (kind == Value::Kind::list && open_.size() == 1 && open_[0].value.kind == Value::Kind::map) {
        const auto& top = open_[0].value.children;
        opened.to_sink = top.size() % 2 == 1 && top.back().text == "items";
    }
    open_.push_back(std::move(opened));
}

void TreeBuilder::end() {
    auto closed = std::move(open_.back());
    open_.pop_back();
    add(std::move(closed.value), closed.anchor);
}

void TreeBuilder::leaf(Value value, Anchor anchor) {
    add(std::move(value), anchor);
}

void TreeBuilder::alias(std::size_t line, Anchor anchor) {
    const auto found = anchored_.find(anchor);
    if (found == anchored_.end()) {
        fail(line, "alias to a value that contains it");
        return;
    }
    if (open_.size() + found->second.height > kDeepest) {
        fail(line, "nested deeper than " + std::to_string(kDeepest) + " levels");
        return;
    }
    if (!spend(found->second.cost, line)) return;
    add(found->second.value, 0);
}

void TreeBuilder::add(Value value, Anchor anchor) {
    if (anchor != 0) remember(value, anchor);
    if (open_.empty()) {
        root_ = std::move(value);
    } else if (open_.back().to_sink) {
        item_sink_(std::move(value));
    } else {
        open_.back().value.children.push_back(std::move(value));
    }
}

void TreeBuilder::remember(const Value& value, Anchor anchor) {
    const auto cost = cost_of(value);
    if (!spend(cost, value.line)) return;
    anchored_.insert_or_assign(anchor, Anchored{.value = value, .height = height_of(value), .cost = cost});
}

bool TreeBuilder::spend(std::size_t cost, std::size_t line) {
    spent_ += cost;
    if (spent_ <= kCopyBudget) return true;
    fail(line, "anchors and aliases stand for more than " + std::to_string(kCopyBudget >> 20U) + " MiB");
    return false;
}

void TreeBuilder::fail(std::size_t line, std::string what) {
    if (!error_) error_ = ReadError{.line = line, .what = std::move(what)};
}

}  // namespace svclb::kube
