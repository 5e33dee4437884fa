// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which objects of one kind exist, as the server told: by name and version, not by content. What is new waits here
// until it is taken; a list counts only when it is complete. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api_object.hpp"
#include "svclb/kube/source.hpp"

namespace svclb::kube {

class KnownObjects {
public:
    explicit KnownObjects(ObjectKind kind) : kind_(kind) {}

    // A list replaces what is known, at its end and not before: until then nothing of it is told, because a part of it
    // may be what another part needs (an endpoint that moved from one slice to another). Its versions count, even
    // where they are older: the cluster may have been restored from a backup.
    void begin_list();
    void list(const Sighting& sighting);
    void unlist(const Sighting& sighting);  // went while the list was being sent
    void end_list();

    // Events of a watch that follows a list of the version `since`. What is older than what is known is a replay, and
    // changes nothing; false then.
    bool put(const Sighting& sighting, const std::string& since);
    bool remove(const Sighting& sighting);

    // Moves what is new into the change.
    void take(Change& change);
    void add_refusals(std::vector<Refusal>& all) const;
    [[nodiscard]] std::size_t size() const { return known_.size(); }

private:
    struct Known {
        std::string version;
        bool told = false;  // good content of it is in force
    };
    struct Faulty {
        std::vector<std::string> problems;
        model::ObjectKey service;  // what the object concerns
        std::string uid;
        bool refused = false;  // else it is used, but for some fields
    };
    struct Listed {
        std::string version;
        ApiObject read;
    };

    void commit(const model::ObjectKey& key, std::string version, ApiObject read);
    void forget_faults(const model::ObjectKey& key);
    void drop(const model::ObjectKey& key);

    ObjectKind kind_;
    std::map<model::ObjectKey, Known> known_;
    std::map<model::ObjectKey, Faulty> faulty_;
    bool faults_changed_ = false;                                      // since the last take
    std::map<model::ObjectKey, Listed> listed_;                        // new or different
    std::set<model::ObjectKey> listed_same_;                           // known and not different
    std::map<model::ObjectKey, std::optional<model::Object>> untold_;  // nothing: gone
    std::vector<std::string> problems_;
};

}  // namespace svclb::kube
