// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Many rows in one system call: a call for each of hundreds of thousands of rows is most of what a first sync costs.
#pragma once

#include <algorithm>
#include <cassert>
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
    std::vector<std::size_t> positions;  // of each in `items`
    // Where one fails the next ones often do (a full table): from one row on again, or each of thousands of failures
    // would cost the making of a whole batch.
    std::size_t most = kBatch;
    while (!items.empty()) {
        batch.clear();
        positions.clear();
        for (std::size_t at = 0; at < items.size() && batch.size() < most; ++at) {
            if (skip(items[at])) continue;
            batch.push_back(items[at]);
            positions.push_back(at);
        }
        if (batch.empty()) return;
        const datapath::Tables::Batch result = send(std::span<const Item>(batch));
        assert(result.status ? result.done == batch.size() : result.done < batch.size());
        for (std::size_t at = 0; at < result.done; ++at) done(Status{}, batch[at]);
        if (!result.status) done(result.status, batch[result.done]);
        items = items.subspan((result.status ? positions.back() : positions[result.done]) + 1);
        most = result.status ? std::min(most * 2, kBatch) : 1;
    }
}

}  // namespace svclb::reconcile
