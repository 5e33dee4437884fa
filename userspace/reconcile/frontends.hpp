// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Who has which frontend. Service ports claim keys; a ClusterIP wins over other addresses and those over node ports,
// then the oldest claim; only keys whose row differs from what the winner wants are written. A key that changes hands
// is overwritten, never absent. Also keeps one row for each ClusterIP address that has a frontend, and the agent's own
// record of the rows it wants.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "port.hpp"
#include "report.hpp"
#include "rows.hpp"
#include "svclb/datapath/tables.hpp"

namespace svclb::reconcile {

class Frontends {
public:
    // `by_index` names the service port of each index and must outlive this.
    explicit Frontends(const std::vector<Port*>& by_index) : by_index_(by_index) {}

    // From now on the port claims these (sorted by key, one a key) and no others.
    void claim(Port& port, std::vector<Claim> claims, const std::string& created);
    // Rows that are new or change hands. The service rows they point at must be published.
    void write_wanted(datapath::Tables& tables, Report& report);
    // Rows that nobody claims any more.
    void remove_unwanted(datapath::Tables& tables, Report& report);
    // Tells of each claim that lost, whichever pass made it.
    void tell_conflicts(Report& report) const;

    // Adoption, in this order: rows of both tables, then claim() for each port, then the end of it. What does not agree
    // is written by the next pass.
    void adopt_live(const svclb_frontend_key& key, const svclb_frontend& row);
    void adopt_record(const svclb_frontend_key& key, const svclb_frontend& row);
    void end_adoption();

    // Keys that have a row, or are about to.
    [[nodiscard]] std::size_t size() const { return entries_.size(); }

private:
    struct ClaimRef {
        Port* port;
        svclb_frontend row;  // without the service
    };
    struct Entry {
        std::vector<ClaimRef> claims;
        std::optional<svclb_frontend> live;    // row of `frontends`
        std::optional<svclb_frontend> record;  // row of the desired frontends
        std::uint32_t references = 0;          // of an address key: ClusterIP frontends at the address
        bool counted = false;                  // is one of those references
        bool pending = false;                  // is in pending_
    };
    struct Pending {
        svclb_frontend_key key;
        Entry* entry;
        model::ObjectKey cause;  // the Service that changed it
    };

    struct Wanted {
        const Pending* item;
        svclb_frontend row;
    };

    [[nodiscard]] static const ClaimRef* winner(const Entry& entry);
    [[nodiscard]] static std::optional<svclb_frontend> wanted(const svclb_frontend_key& key, const Entry& entry);
    void set_live(Entry& entry, std::optional<svclb_frontend> row);
    void touch(const svclb_frontend_key& key, Entry& entry, const model::ObjectKey& service);
    void drop_claim(Port& port, const svclb_frontend_key& key);
    void add_claim(Port& port, const Claim& claim);
    void count_addresses();
    void write(std::span<const Wanted> rows, datapath::Tables& tables, Report& report);
    void remove(const Pending& item, datapath::Tables& tables, Report& report);
    void settle();

    const std::vector<Port*>& by_index_;
    std::unordered_map<svclb_frontend_key, Entry, KeyHash, KeyEqual> entries_;
    // Keys whose rows may differ from what is wanted.
    std::vector<Pending> pending_;
    std::set<svclb_frontend_key, KeyLess> contested_;  // with several claims
};

}  // namespace svclb::reconcile
