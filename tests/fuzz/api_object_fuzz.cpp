// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Any bytes as an event, an item, the metadata of a list and a Status. What is read from an item must be what the
// manifests source reads from the same text. The first byte says which kind is expected.
#include "api_object.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "known_objects.hpp"
#include "promises.hpp"
#include "stream.hpp"
#include "svclb/kube/decode.hpp"

namespace {

using namespace svclb;
using fuzz::require;

void check(const kube::Change& change) {
    for (const auto& problem : change.problems) fuzz::require_printable(problem);
    fuzz::check(change.changed);
}

void follow(kube::ObjectKind kind, const kube::WatchEvent& event) {
    using Type = kube::WatchEvent::Type;
    if (event.type != Type::put && event.type != Type::gone) return;
    require(!event.sighting.key.name.empty() && !event.sighting.version.empty());
    kube::KnownObjects known(kind);
    known.put(event.sighting, "");
    require(!known.put(event.sighting, ""));  // again
    known.begin_list();
    known.list(event.sighting);
    known.end_list();
    require(known.size() == 1);
    kube::Change change;
    known.take(change);
    require(change.changed.size() + change.invalid_objects == 1);
    require(!change.problems.empty() || change.invalid_objects == 0);
    require(!event.sighting.cut || change.invalid_objects == 1);
    check(change);
    require(known.remove(event.sighting));
    kube::Change gone;
    known.take(gone);
    const auto told =
        gone.gone_services.size() + gone.gone_slices.size() + gone.gone_nodes.size() + gone.gone_service_cidrs.size();
    require(told == change.changed.size() && known.size() == 0);
}

void compare_with_manifests(kube::ObjectKind kind, const kube::Sighting& sighting, std::string_view text) {
    const auto read = kube::read_sighting(kind, sighting);
    require(read.object || !read.problems.empty());
    // What is told of a server's object, a manifest is refused for.
    if (!read.problems.empty()) return;
    const auto manifest = kube::decode_manifest(text);
    if (manifest.objects.size() == 1 && manifest.objects[0].index() == read.object->index())
        require(manifest.objects[0] == *read.object);
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer calls it by this name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto kind = static_cast<kube::ObjectKind>(data[0] % 4);
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    kube::ApiReader reader(kind);
    for (const bool cut : {false, true})
        if (const auto event = reader.event(cut ? kube::closed(text) : std::string(text), cut)) follow(kind, *event);
    if (const auto item = reader.item(text)) compare_with_manifests(kind, *item, text);
    if (const auto metadata = reader.list_metadata(text)) require(metadata->version.size() <= 128);
    (void)reader.status(text);
    return 0;
}
