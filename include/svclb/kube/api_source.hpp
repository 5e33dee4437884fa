// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Source `kubernetes`: lists and watches Services, EndpointSlices, the own Node and ServiceCIDRs of an API server.
// Tells nothing before Services and EndpointSlices are complete, then differences.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "svclb/base/result.hpp"
#include "svclb/kube/source.hpp"
#include "svclb/kube/transport.hpp"

namespace svclb::kube {

// Time and chance, so that tests can choose both.
struct Surroundings {
    using Clock = std::chrono::steady_clock;
    std::function<Clock::time_point()> now = Clock::now;
    std::function<double()> random;  // uniform in [0, 1); nothing: a generator of its own
};

// Servers send a bookmark about every minute; two may be late before a connection counts as dead. Without bookmarks it
// costs a new watch now and then.
inline constexpr std::chrono::seconds kWatchSilence{150};

struct ApiOptions {
    std::string node_name;
    std::chrono::seconds watch_silence = kWatchSilence;  // a watch without a word for so long is begun anew
    Surroundings surroundings;
};

class ApiSource final : public Source {
public:
    // The transport must outlive the source, which calls its step(); others may send their requests through it too,
    // and are called back from within changes().
    static Result<ApiSource> open(Transport& transport, const ApiOptions& options);
    ApiSource(ApiSource&&) noexcept;
    ApiSource& operator=(ApiSource&&) noexcept;
    ~ApiSource() override;

    [[nodiscard]] int fd() const override;
    Result<Change> changes() override;
    [[nodiscard]] std::vector<Refusal> refusals() const override;
    [[nodiscard]] SourceState state() const override;

private:
    struct State;
    explicit ApiSource(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace svclb::kube
