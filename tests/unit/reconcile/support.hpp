// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Desired states in few words, tables as comparable text, and a guard that watches every single write.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "harness/fake_tables.hpp"
#include "svclb/model/desired.hpp"
#include "svclb/reconcile/reconciler.hpp"

namespace svclb::test {

using model::Backend;
using model::Frontend;
using model::FrontendKind;
using model::ObjectKey;
using model::ServicePortState;
using model::ServiceState;
using model::TrafficPolicy;
using reconcile::PassResult;
using reconcile::Reconciler;
using reconcile::ServiceChange;

// What all Services ask for.
using World = std::map<ObjectKey, ServiceState>;

enum class In : std::uint8_t { none, cluster, local, both };

[[nodiscard]] model::Address address(const std::string& text);
[[nodiscard]] Frontend frontend(const std::string& text, std::uint16_t port,
                                FrontendKind kind = FrontendKind::cluster_ip);
// A backend in one of the sets is ready; one in none of them is not ready and not serving.
[[nodiscard]] Backend backend(const std::string& text, In sets = In::cluster, std::uint16_t weight = 1);
// TCP, of the family of its first frontend or backend. Sorts, and sets both verdicts.
[[nodiscard]] ServicePortState port(const std::string& service, const std::string& port_name,
                                    std::vector<Frontend> frontends, std::vector<Backend> backends,
                                    const std::string& created = "2024-01-01T00:00:00Z");
// Changes for each Service that one of the ports belongs to.
[[nodiscard]] World world(std::vector<ServicePortState> ports);
[[nodiscard]] std::vector<ServiceChange> all_of(const World& world);
// What turns `before` into `after`.
[[nodiscard]] std::vector<ServiceChange> changes(const World& before, const World& after);
[[nodiscard]] std::set<ObjectKey> keys_of(const World& world);

// Small addresses and ports, so that frontends collide and Services come and go.
[[nodiscard]] World random_world(std::mt19937& random);

// Everything in the tables but ids, places, generations and epochs, one line a row, sorted. Rows that contradict each
// other are told as such.
[[nodiscard]] std::vector<std::string> canonical(const FakeTables& tables);
// The same for a fresh start.
[[nodiscard]] std::vector<std::string> fresh_tables(const World& world);

// Rows whose references do not hold; "" = none. Must hold after each write.
[[nodiscard]] std::string contradiction(const FakeTables& tables);

// Checks after each write: contradiction(); that no run is overwritten that is published or rests; that each backend
// row that went or lost a flag is followed by a rise of its service's epoch.
class Guard {
public:
    // contradiction() reads all tables: long histories sample it, short ones check every write.
    explicit Guard(FakeTables& tables, std::uint64_t every = 1);
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard();

    // A grace period has passed.
    void released() { resting_.clear(); }
    // The first violation; "" = none.
    [[nodiscard]] const std::string& violation() const { return violation_; }
    // Services with a removal that no rise of the epoch has followed.
    [[nodiscard]] const std::map<std::uint32_t, std::uint32_t>& epochs_due() const { return due_; }

private:
    using Range = std::pair<std::uint32_t, std::uint32_t>;  // base, end
    void check(const Write& write);
    void tell(const std::string& what);

    FakeTables& tables_;
    std::uint64_t every_;
    std::vector<svclb_service> rows_;  // before the write
    Rows<svclb_backend_key, svclb_backend> backends_;
    std::vector<Range> resting_;
    std::map<std::uint32_t, std::uint32_t> due_;  // index -> epoch that must be left
    std::string violation_;
};

// Lets everything that rests go, as the agent does after a grace period.
void release(Reconciler& reconciler, Guard* guard = nullptr);
// Hands in again what a pass asks for.
[[nodiscard]] std::vector<ServiceChange> retries(const PassResult& result, const World& world);

}  // namespace svclb::test
