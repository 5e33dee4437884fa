// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "strings.hpp"

#include <cassert>
#include <utility>

#include "svclb/abi.h"

namespace svclb::reconcile {

std::uint32_t Strings::find(std::string_view text) const {
    const auto found = ids_.find(text);
    return found == ids_.end() ? SVCLB_NONE : found->second;
}

std::string Strings::text(std::uint32_t id) const {
    const auto found = texts_.find(id);
    return found == texts_.end() ? std::string{} : found->second.text;
}

void Strings::add(std::uint32_t id, std::string text) {
    ids_.emplace(text, id);
    texts_.emplace(id, Text{std::move(text)});
    idle_.insert(id);
}

void Strings::remove(std::uint32_t id) {
    const auto entry = texts_.find(id);
    assert(entry != texts_.end() && entry->second.references == 0);
    if (const auto found = ids_.find(entry->second.text); found != ids_.end() && found->second == id) ids_.erase(found);
    texts_.erase(entry);
    idle_.erase(id);
}

void Strings::reference(std::uint32_t id) {
    if (id == SVCLB_NONE) return;
    if (texts_.at(id).references++ == 0) idle_.erase(id);
}

void Strings::dereference(std::uint32_t id) {
    if (id == SVCLB_NONE) return;
    if (--texts_.at(id).references == 0) idle_.insert(id);
}

}  // namespace svclb::reconcile
