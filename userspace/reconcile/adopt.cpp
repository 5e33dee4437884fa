// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Adoption: what the tables hold becomes the programmed state. Nothing is written here. What contradicts itself is kept
// as a stray service port, marked to be rewritten, or listed as lost, and the passes that follow repair it.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>

#include <arpa/inet.h>

#include "programmed.hpp"
#include "rows.hpp"

namespace svclb::reconcile {

namespace {

svclb_frontend without_service(svclb_frontend row) {
    row.service = SVCLB_NONE;
    return row;
}

class Adoption {
public:
    explicit Adoption(datapath::Tables& tables) : tables_(tables), state_(std::make_unique<Programmed>(tables)) {}

    Result<std::unique_ptr<Programmed>> run() {
        for (const auto step :
             {&Adoption::names, &Adoption::strings, &Adoption::backends, &Adoption::frontends, &Adoption::ranges})
            if (const auto read = (this->*step)(); !read) return fail(read.error());
        runs();
        used_ids();
        claims();
        return std::move(state_);
    }

private:
    [[nodiscard]] bool in_range(std::uint32_t index) const {
        return index != SVCLB_NONE && index < state_->by_index.size();
    }

    Port& add(std::unique_ptr<Port> port, std::uint32_t index) {
        port->index = index;
        port->row = tables_.services()[index];
        state_->by_index[index] = port.get();
        auto& added = *port;
        if (port->stray)
            state_->strays.emplace(added.id.service, std::move(port));
        else
            state_->ports.emplace(added.id, std::move(port));
        return added;
    }

    Port& stray_at(std::uint32_t index, const model::ObjectKey& service, bool named) {
        auto port = std::make_unique<Port>();
        port->id.service = service;
        port->stray = true;
        port->named = named;
        return add(std::move(port), index);
    }

    Port& owner_of(std::uint32_t index) {
        auto* port = state_->by_index[index];
        return port == nullptr ? stray_at(index, {}, false) : *port;
    }

    // Who owns each index. The first of two indices with one name keeps it.
    Status names() {
        const auto rows = tables_.services();
        state_->by_index.assign(rows.size(), nullptr);
        state_->generations.assign(rows.size(), 0);
        // By index: of two rows with one name the lower index must win, and the table has no order.
        std::map<std::uint32_t, svclb_service_name> names;
        auto read = tables_.each_name([&](std::uint32_t index, const svclb_service_name& name) {
            if (in_range(index))
                names.emplace(index, name);
            else
                state_->lost_names.push_back(index);
        });
        if (!read) return read;
        for (const auto& [index, name] : names) {
            const auto id = port_id(name, rows[index]);
            if (!id || state_->ports.contains(*id)) {
                stray_at(index, object_key(name), true);
                continue;
            }
            auto port = std::make_unique<Port>();
            port->id = *id;
            port->named = true;
            add(std::move(port), index);
        }
        for (std::uint32_t index = 1; index < rows.size(); ++index)
            if (rows[index].family != 0) owner_of(index);
        return {};
    }

    // The lowest of two ids with one text is the one that new rows get.
    Status strings() {
        std::map<std::uint32_t, std::string> texts;
        auto read =
            tables_.each_string([&](std::uint32_t id, const svclb_string& row) { texts.emplace(id, text_of(row)); });
        if (!read) return read;
        std::vector<bool> used;
        for (auto& [id, text] : texts) {
            // An id far beyond any that we give out would make the record of used ids as large.
            if (id == SVCLB_NONE || id >= kStringIdMax) {
                state_->lost_strings.push_back(id);
                continue;
            }
            used.resize(id + 1);
            used[id] = true;
            state_->strings.add(id, std::move(text));
        }
        state_->string_ids = IdPool(UINT32_MAX, used);
        return {};
    }

    Status backends() {
        const auto limit = tables_.capacity(datapath::Sized::backends);
        backend_ids_.resize(limit);
        auto read = tables_.each_backend([&](const svclb_backend_key& key, const svclb_backend& value) {
            if (!in_range(key.service) || key.pad != 0) {
                state_->lost_backends.push_back(key);
                return;
            }
            BackendRow row{.address = {}, .port = ntohs(key.port), .row = value, .present = true};
            std::memcpy(row.address.bytes.data(), key.addr, sizeof(key.addr));
            if (value.id == SVCLB_NONE || value.id >= limit || backend_ids_[value.id]) {
                row.row.id = SVCLB_NONE;
                row.rewrite = true;
            } else {
                backend_ids_[value.id] = true;
            }
            for (auto* text : {&row.row.node, &row.row.zone}) {
                if (*text != SVCLB_NONE && !state_->strings.contains(*text)) {
                    *text = SVCLB_NONE;
                    row.rewrite = true;
                }
                state_->strings.reference(*text);
            }
            owner_of(key.service).backends.push_back(row);
        });
        if (!read) return read;
        for (auto* port : state_->by_index) {
            if (port == nullptr) continue;
            std::sort(port->backends.begin(), port->backends.end(), [](const BackendRow& a, const BackendRow& b) {
                return std::tie(a.address, a.port) < std::tie(b.address, b.port);
            });
        }
        return {};
    }

    Status frontends() {
        auto read = tables_.each_frontend([&](const svclb_frontend_key& key, const svclb_frontend& row) {
            const bool serves = in_range(row.service);
            // The index must not get a new owner while a row points at it.
            if (serves) owner_of(row.service);
            state_->frontends.adopt_live(key, row);
            if (serves && owner_of(row.service).row.family != 0 && !is_address_key(key) &&
                row.kind != SVCLB_FRONTEND_CLUSTER_IP_ADDRESS)
                claims_[row.service].push_back({key, without_service(row)});
        });
        if (!read) return read;
        return tables_.each_desired([&](const svclb_frontend_key& key, const svclb_frontend& row) {
            state_->frontends.adopt_record(key, row);
        });
    }

    Status ranges() {
        auto read = tables_.each_range([&](const svclb_source_range& key) {
            if (in_range(key.service) && key.prefix >= SVCLB_SOURCE_RANGE_SERVICE_BITS)
                owner_of(key.service).ranges.push_back(range_of(key));
            else
                state_->lost_ranges.push_back(key);
        });
        for (auto* port : state_->by_index)
            if (port != nullptr) std::sort(port->ranges.begin(), port->ranges.end());
        return read;
    }

    // Which slots are in use. A run that lies outside the table, or on another's slots, is nobody's: its service port
    // gets a fresh one when it is handed in.
    void runs() {
        const auto slots = tables_.slots();
        state_->runs = RunAllocator(static_cast<std::uint32_t>(slots.size()));
        for (auto* port : state_->by_index) {
            if (port == nullptr || port->row.family == 0) continue;
            const auto cluster = port->row.runs[SVCLB_SET_CLUSTER];
            const auto local = port->row.runs[SVCLB_SET_LOCAL];
            own(*port, SVCLB_SET_CLUSTER);
            const bool shared =
                svclb_run_base(local) == svclb_run_base(cluster) && svclb_run_count(local) <= svclb_run_count(cluster);
            if (!shared) own(*port, SVCLB_SET_LOCAL);
            state_->generations[port->index] = std::max(svclb_run_generation(cluster), svclb_run_generation(local));
        }
        // Runs that were written and not published, or published and given up, count as well.
        for (const auto& slot : slots) {
            if (!in_range(slot.service)) continue;
            auto& newest = state_->generations[slot.service];
            const auto ahead = static_cast<std::uint16_t>(slot.generation - newest);
            if (ahead < 0x8000U) newest = slot.generation;
        }
    }

    void own(Port& port, svclb_set set) {
        const Span run{svclb_run_base(port.row.runs[set]), svclb_run_count(port.row.runs[set])};
        if (run.count != 0 && state_->runs.reserve(run)) port.owned[set] = run;
    }

    void used_ids() {
        std::vector<bool> indices(state_->by_index.size());
        for (std::size_t index = 0; index < indices.size(); ++index)
            indices[index] = state_->by_index[index] != nullptr;
        state_->indices = IdPool(static_cast<std::uint32_t>(indices.size()), indices);
        state_->backend_ids = IdPool(static_cast<std::uint32_t>(backend_ids_.size()), backend_ids_);
    }

    void claims() {
        const KeyLess less;
        for (auto& [index, claims] : claims_) {
            std::sort(claims.begin(), claims.end(), [&](const Claim& a, const Claim& b) { return less(a.key, b.key); });
            state_->frontends.claim(*state_->by_index[index], std::move(claims), "");
        }
        state_->frontends.end_adoption();
    }

    static constexpr std::uint32_t kStringIdMax = 1U << 26;

    datapath::Tables& tables_;
    std::unique_ptr<Programmed> state_;
    std::vector<bool> backend_ids_;
    std::unordered_map<std::uint32_t, std::vector<Claim>> claims_;
};

}  // namespace

Result<std::unique_ptr<Programmed>> read_back(datapath::Tables& tables) {
    return Adoption(tables).run();
}

}  // namespace svclb::reconcile
