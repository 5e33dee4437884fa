// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What a reader (YAML, JSON) makes of a document. Bounded in depth and in what aliases may add, because the text may be
// anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "svclb/kube/value.hpp"

namespace svclb::kube {

// Takes a reader's events, builds the tree of one document.
//
// The elements of a list `items` at the top go to the sink one by one instead of into the tree: a list of a whole
// cluster never is in memory at once.
class TreeBuilder {
public:
    using Anchor = std::size_t;  // 0 = none
    using ItemSink = std::function<void(Value)>;

    explicit TreeBuilder(ItemSink item_sink) : item_sink_(std::move(item_sink)) {}

    void begin(Value::Kind kind, std::size_t line, Anchor anchor = 0);
    void end();
    void leaf(Value value, Anchor anchor = 0);
    void alias(std::size_t line, Anchor anchor);

    void fail(std::size_t line, std::string what);
    // Set when a limit is passed; the reader has to stop then.
    [[nodiscard]] const std::optional<ReadError>& error() const { return error_; }
    [[nodiscard]] Value take_root() { return std::move(root_); }

private:
    struct Open {
        Value value;
        Anchor anchor = 0;
        bool to_sink = false;
    };
    struct Anchored {
        Value value;
        std::size_t height = 0;
        std::size_t cost = 0;
    };

    void add(Value value, Anchor anchor);
    void remember(const Value& value, Anchor anchor);
    bool spend(std::size_t cost, std::size_t line);

    ItemSink item_sink_;
    std::vector<Open> open_;
    std::map<Anchor, Anchored> anchored_;
    std::size_t spent_ = 0;
    Value root_;
    std::optional<ReadError> error_;
};

}  // namespace svclb::kube
