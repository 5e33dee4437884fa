// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Source `manifests`: a directory of YAML or JSON files, followed with inotify. Edits in place, renames into place and
// ConfigMap-style symlink swaps are all seen. Not recursive; names that start with '.' and names without one of .yaml,
// .yml, .json are not read.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "svclb/base/result.hpp"
#include "svclb/model/objects.hpp"

namespace svclb::kube {

struct ManifestChange {
    std::vector<model::Object> changed;  // new or different objects
    std::vector<model::ObjectKey> gone_services;
    std::vector<model::ObjectKey> gone_slices;
    std::vector<std::string> gone_nodes;
    std::vector<std::string> problems;  // new since the last read, one line each
    std::uint32_t invalid_objects = 0;  // how many objects are refused now
    [[nodiscard]] bool empty() const {
        return changed.empty() && gone_services.empty() && gone_slices.empty() && gone_nodes.empty() &&
               problems.empty();
    }
};

class Manifests {
public:
    static Result<Manifests> open(std::filesystem::path directory);
    Manifests(Manifests&&) noexcept;
    Manifests& operator=(Manifests&&) noexcept;
    ~Manifests();

    [[nodiscard]] int fd() const;  // readable when something below the directory moved
    // Reads what moved and returns the difference; the first call reads everything. A file that cannot be read or does
    // not parse leaves the objects it last gave in force.
    Result<ManifestChange> changes();

private:
    struct State;
    explicit Manifests(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace svclb::kube
