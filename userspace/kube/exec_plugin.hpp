// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Runs a credential plug-in (kubeconfig's users[].user.exec) beside the event loop and keeps what it printed. One run
// at a time, bounded in time, output and frequency. Its standard error goes to our log.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "exec_credential.hpp"
#include "kubeconfig.hpp"
#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::kube {

class ExecPlugin {
public:
    using Clock = std::chrono::steady_clock;
    struct Limits {
        std::chrono::milliseconds run{60000};    // then it is killed
        std::chrono::milliseconds pause{10000};  // from the start of one run to the start of the next
    };

    static Result<std::unique_ptr<ExecPlugin>> open(ExecConfig config, Limits limits);
    ~ExecPlugin();
    ExecPlugin(const ExecPlugin&) = delete;
    ExecPlugin& operator=(const ExecPlugin&) = delete;

    [[nodiscard]] int fd() const { return epoll_.get(); }  // readable when step() has something to do
    void step();
    // When step() or current() has to be called even so; `waiting`: somebody needs what current() has not given.
    [[nodiscard]] Clock::time_point deadline(bool waiting) const;

    struct Given {
        ExecCredential credential;
        std::uint64_t version = 0;
    };
    // What holds now. Begins a run where one is needed, with this KUBERNETES_EXEC_INFO; nothing while it lasts. The
    // error of a run that failed is told once.
    Result<std::optional<Given>> current(const std::string& exec_info);
    // What has this version is no longer to be given.
    void rejected(std::uint64_t version);

private:
    struct Child;

    ExecPlugin(ExecConfig config, Limits limits, UniqueFd epoll);
    Status start(const std::string& exec_info);
    Result<ExecCredential> result_of(Child& child) const;
    [[nodiscard]] Error failed(std::string what) const;

    ExecConfig config_;
    Limits limits_;
    UniqueFd epoll_;
    std::unique_ptr<Child> child_;
    Clock::time_point next_start_{};
    std::optional<Given> given_;
    std::optional<Error> error_;
    std::uint64_t last_version_ = 0;
};

}  // namespace svclb::kube
