// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Keeps the tables equal to what the model wants, by difference: new rows before what points at them, removals last,
// nothing changed means zero writes. Not thread-safe; one owner, one loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "svclb/base/result.hpp"
#include "svclb/datapath/tables.hpp"
#include "svclb/model/desired.hpp"

namespace svclb::reconcile {

struct ServiceChange {
    model::ObjectKey service;
    model::ServiceState state;  // empty = the Service is gone, or not ours
};

struct PassResult {
    std::uint64_t writes = 0;
    std::uint64_t failures = 0;
    std::uint64_t epochs = 0;             // raised: UDP conversations of these service ports may have to move
    std::vector<Error> errors;            // at most a handful, each naming the service port and the map
    std::vector<model::ObjectKey> retry;  // Services to hand in again: their old state still serves
    // All frontends that several service ports claim now, whichever pass made it so: the oldest one has it, of one age
    // the first by name; this names both. Another one gets it as soon as that gives it up.
    std::vector<model::Problem> conflicts;
};

// Rows in use.
struct Fill {
    std::size_t services = 0;
    std::size_t frontends = 0;
    std::size_t backends = 0;
    std::size_t slots = 0;  // those that rest, too
};

class Reconciler {
public:
    // Reads back what is programmed (ids, runs, rows), so that an agent that starts anew keeps all of it.
    // Rows that contradict each other (a crash between two writes) are repaired by the first pass that touches them, or
    // by retain_only. `tables` must outlive the result.
    static Result<Reconciler> adopt(datapath::Tables& tables);

    Reconciler(Reconciler&&) noexcept;
    Reconciler& operator=(Reconciler&&) noexcept;
    ~Reconciler();

    PassResult apply(const std::vector<ServiceChange>& changes);
    // After the first complete list: removes every programmed Service that is not in `known`, and rows without an
    // owner.
    PassResult retain_only(const std::set<model::ObjectKey>& known);

    // Slot runs that no row points at any more, but that a program still running may read, rest. The caller waits for a
    // grace period after `resting()` turned true, then calls release with the ticket it took before the wait.
    [[nodiscard]] bool resting() const;
    [[nodiscard]] std::uint64_t ticket();
    void release(std::uint64_t ticket);

    // Programmed state, as the reconciler knows it; for status and tests.
    [[nodiscard]] std::vector<model::ServicePortId> programmed() const;
    // What is programmed for one Service, as the model would have said it. `created` is empty after adoption.
    [[nodiscard]] model::ServiceState programmed(const model::ObjectKey& service) const;

    [[nodiscard]] Fill fill() const;

private:
    struct State;
    explicit Reconciler(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace svclb::reconcile
