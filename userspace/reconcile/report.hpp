// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Counts the writes of one pass and collects what went wrong in it.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <utility>

#include "svclb/reconcile/reconciler.hpp"

namespace svclb::reconcile {

class Report {
public:
    // One write of the pass. `what` makes the words and is called only after a failure.
    template <class What>
    [[nodiscard]] bool wrote(const Status& status, const model::ObjectKey& service, What&& what) {
        ++result_.writes;
        if (status) return true;
        failed(service, status.error().within(std::forward<What>(what)()));
        return false;
    }
    void failed(const model::ObjectKey& service, Error error) {
        ++result_.failures;
        // A full table fails thousands of service ports in one pass; the first few say it all.
        if (result_.errors.size() < kErrorsKept) result_.errors.push_back(std::move(error));
        retry(service);
    }
    void raised_epoch() { ++result_.epochs; }
    void retry(const model::ObjectKey& service) { retry_.insert(service); }
    void conflict(model::Problem problem) { conflicts_.insert(std::move(problem)); }

    [[nodiscard]] PassResult result() && {
        result_.retry.assign(retry_.begin(), retry_.end());
        result_.conflicts.assign(conflicts_.begin(), conflicts_.end());
        return std::move(result_);
    }

private:
    static constexpr std::size_t kErrorsKept = 8;
    PassResult result_;
    std::set<model::ObjectKey> retry_;
    std::set<model::Problem> conflicts_;
};

}  // namespace svclb::reconcile
