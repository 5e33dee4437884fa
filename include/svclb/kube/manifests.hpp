// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Source `manifests`: a directory of YAML or JSON files, followed with inotify. Edits in place, renames into place and
// ConfigMap-style symlink swaps are all seen. Not recursive; names that start with '.' and names without one of .yaml,
// .yml, .json are not read.
#pragma once

#include <filesystem>
#include <memory>

#include "svclb/base/result.hpp"
#include "svclb/kube/source.hpp"

namespace svclb::kube {

class Manifests final : public Source {
public:
    static Result<Manifests> open(std::filesystem::path directory);
    Manifests(Manifests&&) noexcept;
    Manifests& operator=(Manifests&&) noexcept;
    ~Manifests() override;

    [[nodiscard]] int fd() const override;  // readable when something below the directory moved
    // Reads what moved and returns the difference; the first call reads everything. A file that cannot be read or does
    // not parse leaves the objects it last gave in force.
    Result<Change> changes() override;
    [[nodiscard]] std::vector<Refusal> refusals() const override;

private:
    struct State;
    explicit Manifests(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace svclb::kube
