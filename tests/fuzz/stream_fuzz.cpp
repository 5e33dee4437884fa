// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// An answer, whole and cut into pieces, must be taken apart alike. The first byte says what is expected (even: a
// watch, odd: a list), the second the length of the pieces; the rest is the answer.
#include "stream.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "promises.hpp"

namespace {

using namespace svclb;
using fuzz::require;

constexpr std::size_t kLargest = 4096;  // small, so that inputs reach it

using Values = std::vector<std::string>;

Values take_apart(bool is_list, std::string_view text, std::size_t piece) {
    Values out;
    kube::EventSplitter events(kLargest);
    kube::ListSplitter list(kLargest);
    const auto take = [&](std::string_view value) -> Status {
        require(value.size() <= kLargest);
        out.emplace_back(value);
        return {};
    };
    const auto field = [&](std::string_view key, std::string_view value) -> Status {
        require(key.size() >= 2 && key.front() == '"' && key.back() == '"');
        out.emplace_back(key);
        return take(value);
    };
    Status status;
    while (status && !text.empty()) {
        const auto bytes = text.substr(0, piece);
        text.remove_prefix(bytes.size());
        status = is_list ? list.feed(bytes, {.item = take, .field = field}) : events.feed(bytes, take);
    }
    if (status && is_list) status = list.finish();
    if (!status) out.push_back("error: " + status.error().message());
    if (status && events.within_value()) out.emplace_back("within a value");
    return out;
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer calls it by this name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
    const bool is_list = data[0] % 2 == 1;
    const auto whole = take_apart(is_list, text, text.size());
    require(take_apart(is_list, text, std::size_t{data[1]} + 1) == whole);
    require(take_apart(is_list, text, 1) == whole);
    return 0;
}
