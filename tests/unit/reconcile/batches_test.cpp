// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "batches.hpp"

#include <catch2/catch_test_macros.hpp>
#include <numeric>
#include <set>
#include <vector>

using svclb::fail_errno;
using svclb::Status;
using svclb::datapath::Tables;
using svclb::reconcile::in_batches;
using svclb::reconcile::kBatch;

namespace {

// Items are numbers; those in `bad` fail.
struct Run {
    std::set<int> bad;
    std::set<int> skipped;
    std::vector<int> written;
    std::vector<int> failed;
    std::size_t sent = 0;
    std::size_t calls = 0;

    void operator()(int count) {
        std::vector<int> items(static_cast<std::size_t>(count));
        std::iota(items.begin(), items.end(), 0);
        in_batches(
            std::span<const int>(items), [this](int item) { return skipped.contains(item); },
            [this](std::span<const int> batch) {
                ++calls;
                sent += batch.size();
                Tables::Batch result;
                for (const int item : batch) {
                    if (bad.contains(item)) {
                        result.status = fail_errno(ENOSPC, "full");
                        break;
                    }
                    ++result.done;
                }
                return result;
            },
            [this](const Status& status, int item) { (status ? written : failed).push_back(item); });
    }
};

}  // namespace

TEST_CASE("what does not fail goes in batches of the most that one takes") {
    Run run;
    run(static_cast<int>(2 * kBatch + 1));
    CHECK(run.calls == 3);
    CHECK(run.written.size() == 2 * kBatch + 1);
    CHECK(run.failed.empty());
}

TEST_CASE("one that fails is told, in its place, and the others are written") {
    Run run;
    run.bad = {0, 3, 4, 9};
    run(10);
    CHECK(run.failed == std::vector{0, 3, 4, 9});
    CHECK(run.written == std::vector{1, 2, 5, 6, 7, 8});
}

TEST_CASE("what is skipped is neither sent nor told, before and after a failure") {
    Run run;
    run.bad = {2, 5};
    run.skipped = {0, 3, 5, 7};
    run(8);
    CHECK(run.failed == std::vector{2});
    CHECK(run.written == std::vector{1, 4, 6});
    run = {};
    run.skipped = {0, 1};
    run(2);
    CHECK(run.calls == 0);
}

TEST_CASE("items that fail one after the other do not each cost a whole batch") {
    Run run;
    constexpr int kCount = 20000;
    for (int item = 100; item < kCount; ++item) run.bad.insert(item);
    run(kCount);
    CHECK(run.written.size() == 100);
    CHECK(run.failed.size() == kCount - 100);
    CHECK(run.sent < 2 * kCount);
}
