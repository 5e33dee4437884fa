// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "api_object.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "svclb/model/text.hpp"

namespace svclb::kube {

namespace {

constexpr std::string_view kListEnd = "k8s.io/initial-events-end";
constexpr std::size_t kLongestVersion = 128;
constexpr std::size_t kLongestToken = 16384;

std::string_view text_at(const Value* map, std::string_view key) {
    const auto* value = map ? find(*map, key) : nullptr;
    return value && value->kind == Value::Kind::text ? std::string_view(value->text) : std::string_view();
}

int number_at(const Value* map, std::string_view key) {
    const auto text = text_at(map, key);
    int number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

tl::unexpected<Error> garbage(const std::string& what) {
    return fail(Error::invalid("the answer is not what the API sends: " + what));
}

bool is_number(std::string_view text) {
    return !text.empty() && text.front() != '0' && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// What is left of a cut one must not pass for all that there is.
void keep_metadata(Value& value) {
    std::vector<Value> kept;
    for (std::size_t i = 0; i + 1 < value.children.size(); i += 2) {
        const auto& key = value.children[i].text;
        if (key != "kind" && key != "apiVersion" && key != "metadata") continue;
        kept.push_back(std::move(value.children[i]));
        kept.push_back(std::move(value.children[i + 1]));
    }
    value.children = std::move(kept);
}

Result<Sighting> sighting_of(Value value, bool cut) {
    const auto* metadata = find(value, "metadata");
    Sighting sighting;
    sighting.key = {std::string(text_at(metadata, "namespace")), std::string(text_at(metadata, "name"))};
    sighting.version = text_at(metadata, "resourceVersion");
    if (sighting.key.name.empty()) return garbage("an object without a name");
    if (sighting.version.empty() || sighting.version.size() > kLongestVersion)
        return garbage("an object without a resourceVersion: " + model::printable(sighting.key.name));
    if (cut) keep_metadata(value);
    sighting.value = std::move(value);
    sighting.cut = cut;
    return sighting;
}

ApiStatus status_of(const Value& value) {
    ApiStatus status;
    status.code = number_at(&value, "code");
    status.reason = text_at(&value, "reason");
    status.message = text_at(&value, "message");
    const auto* details = find(value, "details");
    if (const auto wait = number_at(details, "retryAfterSeconds"); wait > 0)
        status.retry_after = std::chrono::seconds(wait);
    const auto* causes = details ? find(*details, "causes") : nullptr;
    if (causes && causes->kind == Value::Kind::list)
        status.version_too_large = std::ranges::any_of(causes->children, [](const Value& cause) {
            return text_at(&cause, "reason") == "ResourceVersionTooLarge";
        });
    // Servers before 1.20 have no such cause.
    status.version_too_large |= status.message.find("Too large resource version") != std::string::npos;
    return status;
}

}  // namespace

std::optional<std::strong_ordering> compare_versions(std::string_view a, std::string_view b) {
    if (a == b) return std::strong_ordering::equal;
    if (!is_number(a) || !is_number(b)) return std::nullopt;
    if (a.size() != b.size()) return a.size() <=> b.size();
    return a.compare(b) < 0 ? std::strong_ordering::less : std::strong_ordering::greater;
}

ApiObject read_sighting(ObjectKind kind, const Sighting& sighting) {
    Problems problems;
    auto read = read_object(kind, sighting.value, problems, Writer::api_server);
    ApiObject out;
    if (sighting.cut) {
        problems = {};
        problems.add({.line = 0, .object = read.text, .field = "", .what = "longer than 8 MiB"});
        read.object.reset();
    }
    for (const auto& problem : problems.take()) out.problems.push_back(to_string("", problem));
    out.object = std::move(read.object);
    out.uid = std::move(read.uid);
    if (kind == ObjectKind::service) out.service = read.key.value_or(model::ObjectKey{});
    if (kind == ObjectKind::endpoint_slice) out.service = std::move(read.owner);
    return out;
}

Result<WatchEvent> ApiReader::event(std::string_view json, bool cut) {
    auto value = parser_.parse(json);
    if (!value) return fail(value.error());
    const auto type = std::string(text_at(&*value, "type"));
    auto* object = const_cast<Value*>(find(*value, "object"));  // of our own value
    if (!object || object->kind != Value::Kind::map) return garbage("an event without an object");
    WatchEvent event;
    if (type == "ERROR") {
        event.type = WatchEvent::Type::error;
        event.status = status_of(*object);
        return event;
    }
    if (type == "BOOKMARK") {
        const auto* metadata = find(*object, "metadata");
        event.sighting.version = text_at(metadata, "resourceVersion");
        if (event.sighting.version.empty() || event.sighting.version.size() > kLongestVersion)
            return garbage("a bookmark without a resourceVersion");
        const auto* annotations = metadata ? find(*metadata, "annotations") : nullptr;
        event.list_end = text_at(annotations, kListEnd) == "true";
        return event;
    }
    if (type != "ADDED" && type != "MODIFIED" && type != "DELETED")
        return garbage("an event of type \"" + model::printable(type) + "\"");
    if (text_at(object, "kind") != to_string(kind_))
        return garbage("an object of kind \"" + model::printable(text_at(object, "kind")) + "\"");
    auto sighting = sighting_of(std::move(*object), cut);
    if (!sighting) return fail(sighting.error());
    event.type = type == "DELETED" ? WatchEvent::Type::gone : WatchEvent::Type::put;
    event.sighting = *std::move(sighting);
    return event;
}

Result<Sighting> ApiReader::item(std::string_view json, bool cut) {
    auto value = parser_.parse(json);
    if (!value) return fail(value.error());
    return sighting_of(*std::move(value), cut);
}

Result<ListMetadata> ApiReader::list_metadata(std::string_view json) {
    const auto value = parser_.parse(json);
    if (!value) return fail(value.error());
    ListMetadata out{.version = std::string(text_at(&*value, "resourceVersion")),
                     .more = std::string(text_at(&*value, "continue"))};
    if (out.version.size() > kLongestVersion || out.more.size() > kLongestToken)
        return garbage("a resourceVersion or token of that length");
    return out;
}

ApiStatus ApiReader::status(std::string_view json) {
    const auto value = parser_.parse(json);
    return value ? status_of(*value) : ApiStatus{};
}

}  // namespace svclb::kube
