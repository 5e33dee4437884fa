// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Who we are to the API server, and by which CA we know it. Files are read again for each request (there are few), so
// that a token, CA or certificate that rotates is followed at once; one that cannot be read counts as it was last.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "exec_plugin.hpp"
#include "kubeconfig.hpp"
#include "svclb/base/result.hpp"

namespace svclb::kube {

struct Identity {
    using Version = std::uint64_t;
    std::string ca;           // PEM; "": the system's
    std::string certificate;  // PEM, with key, or none of both
    std::string key;
    std::string token;
    Version version = 0;  // of what the exec plug-in gave
};

class Credentials {
public:
    using Clock = std::chrono::steady_clock;

    // Fails where a file cannot be read; the plug-in is run when the first request asks.
    static Result<std::unique_ptr<Credentials>> open(Kubeconfig config, ExecPlugin::Limits limits = {});

    [[nodiscard]] int fd() const;  // readable when step() has something to do; -1: never
    void step();
    // When current() has to be called again; `waiting`: a request waits for it.
    [[nodiscard]] Clock::time_point deadline(bool waiting) const;
    // Nothing while the plug-in runs.
    Result<std::optional<Identity>> current();
    // The server did not accept it.
    void rejected(Identity::Version version);

private:
    explicit Credentials(Kubeconfig config) : config_(std::move(config)) {}
    Status read_files();
    void tell(const Status& status);

    Kubeconfig config_;
    Identity last_;     // as it was last read from files
    std::string told_;  // the last problem in the log
    std::unique_ptr<ExecPlugin> plugin_;
};

}  // namespace svclb::kube
