// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Difference of one service port's programmed and desired state, as an ordered list of writes. Pure.
//
//   before   backend rows that are new or gain something: written before the fresh slots that name them
//   runs     keep what is published, write fresh ones, or let Local be the first slots of the Cluster run
//   after    backend rows that go or lose something: written after the row that no longer points at them. The epoch
//            rises after these: a UDP flow that checked its backend under the new epoch against the old row would stay
//            with a dead backend for good.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "port.hpp"
#include "svclb/abi.h"
#include "svclb/base/result.hpp"
#include "svclb/model/desired.hpp"

namespace svclb::reconcile {

// How many slots of a run one backend has, one behind the other.
struct Share {
    std::uint32_t backend;  // position in the desired backends
    std::uint32_t slots;
};

struct Layout {
    std::vector<Share> cluster;
    std::vector<Share> local;  // where shared: the first shares of `cluster`
    std::uint32_t cluster_slots = 0;
    std::uint32_t local_slots = 0;
    bool shared = false;
};

// Slots in proportion to the weights, reduced by their greatest common divisor; a weight of 0 counts as 1, so that a
// set with members is never an empty run. An error where a run would be longer than a row can say.
// With Maglev they are those of its table, in the table's order.
[[nodiscard]] Result<Layout> layout_of(std::span<const model::Backend> backends,
                                       model::Algorithm algorithm = model::Algorithm::random);

// One run's slots in order; `ids` by position in `backends`.
[[nodiscard]] std::vector<svclb_slot> slots_of(std::span<const Share> shares, std::span<const model::Backend> backends,
                                               std::span<const std::uint32_t> ids, std::uint32_t service,
                                               std::uint16_t generation);
[[nodiscard]] bool run_holds(std::span<const svclb_slot> run, std::span<const Share> shares,
                             std::span<const model::Backend> backends, std::span<const std::uint32_t> ids,
                             std::uint32_t service, std::uint16_t generation);

enum class RunChoice : std::uint8_t { empty, keep, fresh, prefix_of_cluster };

struct RunPlan {
    RunChoice cluster = RunChoice::empty;
    RunChoice local = RunChoice::empty;
};

// `slots` is the whole table.
[[nodiscard]] RunPlan run_plan(const Port& port, const Layout& layout, std::span<const model::Backend> backends,
                               std::span<const std::uint32_t> ids, std::span<const svclb_slot> slots);

// Makes room for every desired backend: the rows of both, sorted, those not in the table with present = false. Returns
// the row's position for each desired backend.
[[nodiscard]] std::vector<std::uint32_t> merge_rows(std::vector<BackendRow>& rows,
                                                    std::span<const model::Backend> desired);

struct Target {
    bool wanted = false;
    svclb_backend row{};
};

struct BackendWrite {
    std::uint32_t position;
    bool remove;
    svclb_backend row;
};

struct BackendPlan {
    std::vector<BackendWrite> before;
    std::vector<BackendWrite> after;
    bool epoch_due = false;  // a row goes, or one that stays has other flags
};

// `targets` by position in `rows`.
[[nodiscard]] BackendPlan backend_plan(std::span<const BackendRow> rows, std::span<const Target> targets);

}  // namespace svclb::reconcile
