// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Mirror of the `strings` table: node and zone names, and how many backend rows name each.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace svclb::reconcile {

class Strings {
public:
    // SVCLB_NONE where the text has no row.
    [[nodiscard]] std::uint32_t find(std::string_view text) const;
    // "" where there is no such row.
    [[nodiscard]] std::string text(std::uint32_t id) const;
    [[nodiscard]] bool contains(std::uint32_t id) const { return texts_.contains(id); }
    // The row is in the table. A text that has a row already keeps that one for new references.
    void add(std::uint32_t id, std::string text);
    void remove(std::uint32_t id);

    // SVCLB_NONE is ignored by both.
    void reference(std::uint32_t id);
    void dereference(std::uint32_t id);
    [[nodiscard]] std::vector<std::uint32_t> unreferenced() const { return {idle_.begin(), idle_.end()}; }

private:
    struct Hash : std::hash<std::string_view> {
        using is_transparent = void;
    };
    struct Text {
        std::string text;
        std::uint64_t references = 0;
    };
    std::unordered_map<std::string, std::uint32_t, Hash, std::equal_to<>> ids_;
    std::unordered_map<std::uint32_t, Text> texts_;
    std::set<std::uint32_t> idle_;  // without a reference
};

}  // namespace svclb::reconcile
