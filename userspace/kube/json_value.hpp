// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// JSON of one object from an API server -> the tree that the manifests are read into, too, so that both have the same
// rules. Without lines, which mean nothing there, and without the members that nobody reads.
#pragma once

#include <memory>
#include <string_view>

#include "svclb/base/result.hpp"
#include "tree.hpp"

namespace svclb::kube {

class JsonParser {
public:
    JsonParser();
    JsonParser(JsonParser&&) noexcept;
    JsonParser& operator=(JsonParser&&) noexcept;
    ~JsonParser();

    // Takes any bytes.
    Result<Value> parse(std::string_view text);

private:
    struct Memory;
    std::unique_ptr<Memory> memory_;  // kept from one text to the next
};

}  // namespace svclb::kube
