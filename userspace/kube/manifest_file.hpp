// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// One file of manifests: what it has, and what it had where that cannot be read any more.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "svclb/base/result.hpp"
#include "svclb/kube/source.hpp"
#include "svclb/model/objects.hpp"

namespace svclb::kube {

enum class ManifestKind : std::uint8_t { service, endpoint_slice, node, service_cidr };
struct ManifestKey {
    ManifestKind kind;
    model::ObjectKey name;  // "" as the namespace of what has none
    auto operator<=>(const ManifestKey&) const = default;
};

std::string text_of(const ManifestKey& key);  // "Service default/web"

// Two contents of one name differ in it, but for two writes in one tick of the clock: those are told by events.
struct FileIdentity {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = -1;
    std::int64_t modified_ns = 0;
    std::int64_t changed_ns = 0;
    bool operator==(const FileIdentity&) const = default;
};

FileIdentity identity_of(const struct stat& info);

using ObjectRef = std::shared_ptr<const model::Object>;

struct HeldObject {
    ObjectRef object;
    std::size_t line = 0;
};

struct ManifestFile {
    FileIdentity identity;
    std::map<ManifestKey, HeldObject> objects;
    std::map<ManifestKey, model::ObjectKey>
        unusable;                       // invalid ones that were never valid, and the Services they concern
    std::vector<std::string> problems;  // as they are told: file, line and all
    std::vector<Refusal> refusals;      // the same, by object
    std::size_t refused = 0;
    bool known = false;  // every object in it at least by name
    std::optional<std::chrono::steady_clock::time_point> vanished;
};

struct FileContent {
    FileIdentity identity;
    std::string text;
};

// Never waits for the other end of a FIFO.
Result<FileContent> read_manifest(const std::filesystem::path& path);

// What the file still has, but not well enough to be read, stays as it was in `last`.
ManifestFile decode_file(const std::filesystem::path& path, FileContent content, const ManifestFile& last);

}  // namespace svclb::kube
