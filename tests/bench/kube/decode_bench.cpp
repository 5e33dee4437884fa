// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// decode_bench: what it costs to take a list of 10,000 EndpointSlices with 100,000 endpoints apart, decode it and keep
// it. Prints milliseconds of processor time and growth of resident memory.
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>

#include "api_object.hpp"
#include "known_objects.hpp"
#include "stream.hpp"

namespace {

using namespace svclb;
using namespace svclb::kube;

constexpr int kSlices = 10000;
constexpr int kEndpoints = 10;  // in each
// As the transport hands them on.
constexpr std::size_t kPiece = 16384;

std::string endpoint(int slice, int number) {
    const int count = slice * kEndpoints + number;
    const auto service = "service-" + std::to_string(slice);
    const auto address =
        std::to_string(count / 65536) + "." + std::to_string(count / 256 % 256) + "." + std::to_string(count % 256);
    return R"({"addresses":["10.)" + address +
           R"("],"conditions":{"ready":true,"serving":true,"terminating":false},"targetRef":{"kind":"Pod","namespace":")"
           R"(team","name":")" +
           service + "-5d8f7c9b6d-abcd" + std::to_string(number) +
           R"(","uid":"0f9c2b1e-3c55-4a43-9d2f-5b6a7c8d9e0f"},"nodeName":"ip-10-0-0-)" + std::to_string(count % 500) +
           R"(.eu-west-1.compute.internal","zone":"eu-west-1a","hints":{"forZones":[{"name":"eu-west-1a"}]}})";
}

std::string slice(int number) {
    const auto service = "service-" + std::to_string(number);
    std::string text =
        R"({"metadata":{"name":")" + service + R"(-x7k2p","generateName":")" + service + R"(-","namespace":"team-)" +
        std::to_string(number % 50) + R"(","uid":"0f9c2b1e-3c55-4a43-9d2f-5b6a7c8d9e0f","resourceVersion":")" +
        std::to_string(100000 + number) + R"(","creationTimestamp":"2024-05-06T07:08:09Z","labels":{"app":")" +
        service +
        R"(","endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io",)"
        R"("kubernetes.io/service-name":")" +
        service +
        R"("},"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2024-05-06T07:09:00Z"},)"
        R"("ownerReferences":[{"apiVersion":"v1","kind":"Service","name":")" +
        service +
        R"(","uid":"0f9c2b1e-3c55-4a43-9d2f-5b6a7c8d9e0f"}],"managedFields":[{"manager":)"
        R"("kube-controller-manager","operation":"Update","fieldsV1":{"f:addressType":{},)"
        R"("f:endpoints":{},"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:ports":{}}}]},)"
        R"("addressType":"IPv4","endpoints":[)";
    for (int i = 0; i < kEndpoints; ++i) text += (i == 0 ? "" : ",") + endpoint(number, i);
    return text +
           R"(],"ports":[{"name":"http","port":8080,"protocol":"TCP"},{"name":"metrics","port":9090,"protocol":"TCP"}]})";
}

double cpu_ms() {
    timespec now{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

double resident_mib() {
    std::ifstream statm("/proc/self/statm");
    double total = 0;
    double resident = 0;
    statm >> total >> resident;
    return resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / 1048576;
}

// Feeds the list to a sink for its items.
template <class Item>
void each_item(std::string_view text, Item item) {
    ListSplitter splitter;
    const ListSplitter::Sink sink{.item = item, .field = [](auto, auto) -> Status { return {}; }};
    for (; !text.empty(); text.remove_prefix(std::min(kPiece, text.size()))) {
        if (const auto status = splitter.feed(text.substr(0, kPiece), sink); !status) {
            std::fprintf(stderr, "%s\n", status.error().message().c_str());
            std::exit(1);
        }
    }
}

}  // namespace

int main() {
    std::string text = R"({"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"},"items":[)";
    for (int i = 0; i < kSlices; ++i) text += (i == 0 ? "" : ",") + slice(i);
    text += "]}";
    std::printf("list       %7.1f MiB, %d endpoints\n", static_cast<double>(text.size()) / 1048576,
                kSlices * kEndpoints);

    auto begun = cpu_ms();
    std::size_t bytes = 0;
    each_item(text, [&](std::string_view json) -> Status {
        bytes += json.size();
        return {};
    });
    std::printf("framing    %7.1f ms, %zu bytes of items\n", cpu_ms() - begun, bytes);

    JsonParser parser;
    std::size_t members = 0;
    begun = cpu_ms();
    each_item(text, [&](std::string_view json) -> Status {
        const auto value = parser.parse(json);
        if (!value) return fail(value.error());
        members += value->children.size() / 2;
        return {};
    });
    std::printf("and JSON   %7.1f ms, %zu members\n", cpu_ms() - begun, members);

    ApiReader reader(ObjectKind::endpoint_slice);
    KnownObjects known(ObjectKind::endpoint_slice);
    ::malloc_trim(0);
    const auto before = resident_mib();
    begun = cpu_ms();
    known.begin_list();
    each_item(text, [&](std::string_view json) -> Status {
        const auto sighting = reader.item(json);
        if (!sighting) return fail(sighting.error());
        known.list(*sighting);
        return {};
    });
    known.end_list();
    Change change;
    known.take(change);
    std::printf("all of it  %7.1f ms, %zu objects, %zu refused, %.1f MiB\n", cpu_ms() - begun, change.changed.size(),
                change.problems.size(), resident_mib() - before);

    begun = cpu_ms();
    known.begin_list();
    each_item(text, [&](std::string_view json) -> Status {
        const auto sighting = reader.item(json);
        if (!sighting) return fail(sighting.error());
        known.list(*sighting);
        return {};
    });
    known.end_list();
    Change again;
    known.take(again);
    std::printf("once more  %7.1f ms, %zu objects\n", cpu_ms() - begun, again.changed.size());
    return 0;
}
