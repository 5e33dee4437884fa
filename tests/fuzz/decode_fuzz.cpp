// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Any bytes into decode_manifest; what comes out must keep the promises of its header, and build without harm.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "promises.hpp"
#include "svclb/kube/decode.hpp"

using namespace svclb;
using fuzz::require;

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer calls it by this name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto decoded = kube::decode_manifest(text);

    require(decoded.objects.size() == decoded.lines.size());
    require(decoded.invalid_slices.size() == decoded.slice_owners.size());
    require(decoded.complete || !decoded.problems.empty());
    require(decoded.refused == 0 || !decoded.problems.empty());
    for (const auto& problem : decoded.problems) fuzz::require_printable(kube::to_string("file", problem));
    fuzz::check(decoded.objects);
    return 0;
}
