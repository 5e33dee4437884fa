// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Many rows in one system call: a call for each of hundreds of thousands of rows is most of what a first sync costs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "svclb/datapath/tables.hpp"

namespace svclb::reconcile {

// Rows in one call: bounds what the copies of a batch take.
inline constexpr std::size_t kBatch = 4096;

// Sends the items in order, but those that skip(item) excludes by the time it is their turn. done(status, item) is
// called for each that was tried; after a failure the next ones go on.
template <class Item, class Skip, class Send, class Done>
void in_batches(std::span<const Item> items, const Skip& skip, const Send& send, const Done& done) {
    std::vector<Item> batch;
    while (!items.empty() || !batch.empty()) {
        const auto more = std::min(items.size(), kBatch - batch.size());
        batch.insert(batch.end(), items.begin(), items.begin() + static_cast<std::ptrdiff_t>(more));
        items = items.subspan(more);
        batch.erase(std::remove_if(batch.begin(), batch.end(), skip), batch.end());
        if (batch.empty()) continue;
        const datapath::Tables::Batch result = send(std::span<const Item>(batch));
        std::size_t tried = 0;
        for (; tried < result.done; ++tried) done(Status{}, batch[tried]);
        if (!result.status) done(result.status, batch[tried++]);
        batch.erase(batch.begin(), batch.begin() + static_cast<std::ptrdiff_t>(tried));
    }
}

}  // namespace svclb::reconcile
