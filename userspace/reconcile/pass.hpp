// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// One pass over the service ports that changed, in phases: each phase runs for all of them before the next begins, so
// that nothing is removed before everything new is in place. A service port that fails before its row is published is
// blocked: it keeps its old row, frontends and backends, and others go on.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "plan.hpp"
#include "programmed.hpp"
#include "report.hpp"
#include "rows.hpp"

namespace svclb::reconcile {

class Pass {
public:
    explicit Pass(Programmed& state) : state_(state), tables_(state.tables) {}

    void reserve(std::size_t service_ports) { works_.reserve(service_ports); }
    // `desired` must outlive the pass.
    void want(Port& port, const model::ServicePortState& desired) { works_.emplace_back(port, &desired, Task::want); }
    void drop(Port& port) { works_.emplace_back(port, nullptr, Task::drop); }
    // Only finishes what an agent that died left undone in the row.
    void raise_epoch(Port& port) { works_.emplace_back(port, nullptr, Task::raise); }

    [[nodiscard]] PassResult run();

private:
    enum class Task : std::uint8_t { want, drop, raise };
    struct Texts {  // ids in strings
        std::uint32_t node = SVCLB_NONE;
        std::uint32_t zone = SVCLB_NONE;
    };
    struct FreshId {
        std::uint32_t number = SVCLB_NONE;
        bool untouched = false;  // its counters are zero
    };
    struct Work {
        Work(Port& of, const model::ServicePortState* state, Task what) : port(&of), desired(state), task(what) {}
        [[nodiscard]] bool wants() const { return task == Task::want && !blocked; }
        [[nodiscard]] bool drops() const { return task == Task::drop && !blocked; }

        Port* port;
        const model::ServicePortState* desired;
        Task task;
        bool blocked = false;
        Layout layout;
        std::vector<Texts> texts;        // by position in desired->backends
        std::vector<std::uint32_t> ids;  // likewise
        std::vector<FreshId> taken_ids;  // in this pass
        BackendPlan backends;
        std::array<RunChoice, SVCLB_SETS> choices{};
        std::array<Span, SVCLB_SETS> fresh{};
        std::array<std::uint16_t, SVCLB_SETS> generations{};
    };

    // addition.cpp: what is new
    void lay_out(Work& work);
    void add_indices();
    void add_strings(Work& work);
    [[nodiscard]] bool add_string(Work& work, const model::Backend& backend, const char* field, const std::string& text,
                                  std::uint32_t& id);
    void plan_backends(Work& work);
    void reset_counters();
    void add_backends();
    void write_runs(Work& work);
    [[nodiscard]] bool write_run(Work& work, svclb_set set, const std::vector<Share>& shares, std::uint32_t slots);
    void publish(Work& work);
    void claim(Work& work);
    void add_ranges(Work& work);

    // removal.cpp: what goes
    void remove_lost_rows();
    void remove_ranges(Work& work);
    void retire_row(Work& work);
    void lower_backends(Work& work);
    void raise(Work& work);
    void finish(Work& work);
    void remove_strings();

    // pass.cpp
    void make_room();
    [[nodiscard]] bool write_backend(const Port& port, BackendRow& row, const BackendWrite& write);
    [[nodiscard]] bool wrote_backend(const Status& status, const Port& port, BackendRow& row,
                                     const BackendWrite& write);
    [[nodiscard]] bool publish_row(Port& port, const svclb_service& row, const char* what);
    [[nodiscard]] Result<FreshId> take_id(IdPool& pool, datapath::Sized map);
    [[nodiscard]] Result<Span> take_run(std::uint32_t slots);
    [[nodiscard]] std::uint64_t larger_size(datapath::Sized map, std::uint64_t at_least) const;
    [[nodiscard]] Status grow(datapath::Sized map, std::uint64_t at_least);
    void block(Work& work, const Error& error);
    template <class What>
    [[nodiscard]] bool wrote(const Status& status, const Port& port, What&& what) {
        return report_.wrote(status, port.id.service,
                             [&] { return describe(port.id) + ": " + std::forward<What>(what)(); });
    }

    Programmed& state_;
    datapath::Tables& tables_;
    Report report_;
    std::vector<Work> works_;
    // Asked to retry where a row of no service port fails.
    model::ObjectKey any_service_;
    // A map that could not grow is not tried again for each of thousands of service
    // ports.
    std::array<std::optional<Error>, 3> cannot_grow_;
};

}  // namespace svclb::reconcile
