// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "manifest_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <variant>

#include "svclb/base/unique_fd.hpp"
#include "svclb/kube/decode.hpp"
#include "svclb/model/text.hpp"

namespace svclb::kube {
namespace {

constexpr off_t kLargestFile = off_t{64} << 20U;
constexpr std::size_t kLongestRefusal = 300;

ManifestKey key_of(const model::Object& object) {
    if (const auto* service = std::get_if<model::Service>(&object)) return {ManifestKind::service, service->key};
    if (const auto* slice = std::get_if<model::EndpointSlice>(&object))
        return {ManifestKind::endpoint_slice, slice->key};
    if (const auto* node = std::get_if<model::Node>(&object)) return {ManifestKind::node, {"", node->name}};
    return {ManifestKind::service_cidr, {"", std::get<model::ServiceCidr>(object).name}};
}

Refusal refusal(const std::string& file, const DecodeProblem& problem, const model::ObjectKey& service) {
    const auto place = problem.line == 0 ? file : file + ":" + std::to_string(problem.line);
    Refusal out;
    out.object = model::printable(problem.object.empty() ? place : problem.object, kLongestRefusal);
    out.what = to_string("", {.line = 0, .object = "", .field = problem.field, .what = problem.what});
    if (!problem.object.empty()) out.what += model::printable(" (" + place + ")", kLongestRefusal);
    out.service = service;
    return out;
}

std::int64_t nanoseconds(const timespec& time) {
    return std::int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

}  // namespace

std::string text_of(const ManifestKey& key) {
    switch (key.kind) {
        case ManifestKind::service:
            return "Service " + key.name.ns + "/" + key.name.name;
        case ManifestKind::endpoint_slice:
            return "EndpointSlice " + key.name.ns + "/" + key.name.name;
        case ManifestKind::node:
            return "Node " + key.name.name;
        case ManifestKind::service_cidr:
            break;
    }
    return "ServiceCIDR " + key.name.name;
}

FileIdentity identity_of(const struct stat& info) {
    return {info.st_dev, info.st_ino, info.st_size, nanoseconds(info.st_mtim), nanoseconds(info.st_ctim)};
}

Result<FileContent> read_manifest(const std::filesystem::path& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat info {};
    if (!fd || ::fstat(fd.get(), &info) != 0) return fail_errno(errno, path.string());
    if (!S_ISREG(info.st_mode)) return fail(Error::invalid(path.string() + ": not a regular file"));
    if (info.st_size > kLargestFile) return fail(Error::invalid(path.string() + ": longer than 64 MiB"));
    FileContent content{.identity = identity_of(info),
                        .text = std::string(static_cast<std::size_t>(info.st_size), '\0')};
    std::size_t used = 0;
    while (used < content.text.size()) {
        const auto length = ::read(fd.get(), content.text.data() + used, content.text.size() - used);
        if (length < 0 && errno == EINTR) continue;
        if (length < 0) return fail_errno(errno, path.string());
        if (length == 0) break;
        used += static_cast<std::size_t>(length);
    }
    content.text.resize(used);
    return content;
}

ManifestFile decode_file(const std::filesystem::path& path, FileContent content, const ManifestFile& last) {
    auto decoded = decode_manifest(content.text);
    content.text = {};
    ManifestFile next;
    next.identity = content.identity;
    next.refused = decoded.refused + (decoded.complete ? 0 : 1);
    next.known = decoded.complete && decoded.nameless == 0;
    for (std::size_t i = 0; i < decoded.objects.size(); ++i) {
        auto key = key_of(decoded.objects[i]);
        next.objects.emplace(std::move(key), HeldObject{std::make_shared<model::Object>(std::move(decoded.objects[i])),
                                                        decoded.lines[i]});
    }
    std::map<std::string, model::ObjectKey> services;  // by the text of the object
    for (const auto& key : decoded.invalid_services) services[text_of({ManifestKind::service, key})] = key;
    for (std::size_t i = 0; i < decoded.invalid_slices.size(); ++i)
        services[text_of({ManifestKind::endpoint_slice, decoded.invalid_slices[i]})] = decoded.slice_owners[i];
    for (const auto& problem : decoded.problems) {
        next.problems.push_back(to_string(path.string(), problem));
        next.refusals.push_back(refusal(path.string(), problem, services[problem.object]));
    }

    const auto keep = [&](ManifestKey key, model::ObjectKey service = {}) {
        if (const auto held = last.objects.find(key); held != last.objects.end())
            next.objects.try_emplace(std::move(key), held->second);
        else if (!service.name.empty())
            next.unusable.emplace(std::move(key), std::move(service));
    };
    for (const auto& key : decoded.invalid_services) keep({ManifestKind::service, key}, key);
    for (std::size_t i = 0; i < decoded.invalid_slices.size(); ++i)
        keep({ManifestKind::endpoint_slice, std::move(decoded.invalid_slices[i])}, std::move(decoded.slice_owners[i]));
    for (auto& key : decoded.invalid_nodes) keep({ManifestKind::node, {"", std::move(key)}});
    for (auto& key : decoded.invalid_service_cidrs) keep({ManifestKind::service_cidr, {"", std::move(key)}});
    if (!decoded.complete) next.objects.insert(last.objects.begin(), last.objects.end());
    return next;
}

}  // namespace svclb::kube
