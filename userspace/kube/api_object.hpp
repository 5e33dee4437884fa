// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What an API server's answers are made of: events of a watch, items and metadata of a list, Status. Pure, and fuzzed
// together with stream.hpp: they take any bytes.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json_value.hpp"
#include "objects.hpp"
#include "svclb/base/result.hpp"
#include "svclb/model/objects.hpp"

namespace svclb::kube {

// Resource versions are opaque, but that two decimal numbers without leading zeros, of one resource, are in the order
// of time (KEP-5504). Nothing for other ones that differ.
[[nodiscard]] std::optional<std::strong_ordering> compare_versions(std::string_view a, std::string_view b);

// An object that is there, good or not.
struct Sighting {
    model::ObjectKey key;  // as the server has it, valid by our rules or not
    std::string version;
    Value value;       // the whole of it
    bool cut = false;  // but of one that was too large only its kind and metadata, and not all of that
};

struct ApiObject {
    std::optional<model::Object> object;  // nothing where it is invalid
    model::ObjectKey service;             // the Service that it concerns; the name is "" where there is none
    std::string uid;
    std::vector<std::string> problems;  // printable lines: why it is invalid, or what it is taken without
};
[[nodiscard]] ApiObject read_sighting(ObjectKind kind, const Sighting& sighting);

struct ApiStatus {
    int code = 0;
    std::string reason;   // "Expired"
    std::string message;  // as it came
    bool version_too_large = false;
    std::optional<std::chrono::seconds> retry_after;
    [[nodiscard]] bool expired() const { return code == 410 || reason == "Expired" || reason == "Gone"; }
};

struct WatchEvent {
    enum class Type : std::uint8_t { put, gone, bookmark, error };
    Type type = Type::bookmark;
    Sighting sighting;      // of a bookmark the version only, of an error nothing
    bool list_end = false;  // of a bookmark: all objects that there were at the beginning have been told
    ApiStatus status;       // of an error
};

struct ListMetadata {
    std::string version;
    std::string more;  // token for the next page; "" = none
};

class ApiReader {
public:
    explicit ApiReader(ObjectKind kind) : kind_(kind) {}

    // `cut`: the text is the beginning of a larger one, see ValueCutter.
    Result<WatchEvent> event(std::string_view json, bool cut = false);
    Result<Sighting> item(std::string_view json, bool cut = false);
    Result<ListMetadata> list_metadata(std::string_view json);
    // Of an answer that is no success; fields that cannot be read stay empty.
    ApiStatus status(std::string_view json);

private:
    ObjectKind kind_;
    JsonParser parser_;
};

}  // namespace svclb::kube
