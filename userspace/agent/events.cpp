// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "events.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "api_time.hpp"

namespace svclb::agent {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLongestName = 253;
constexpr std::size_t kLongestNote = 1024;
constexpr int kCreated = 201;
constexpr int kOk = 200;
constexpr int kNotFound = 404;
constexpr int kConflict = 409;
constexpr std::chrono::seconds kSilence{10};

// FNV-1a: the same on every node and in every release.
std::uint64_t hash_of(std::initializer_list<std::string_view> texts) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const auto text : texts) {
        for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
        hash = (hash ^ 0xffU) * 0x100000001b3U;
    }
    return hash;
}

bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= kLongestName && std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    });
}

// Objects that belong to no namespace have their Events in this one.
const std::string& namespace_of(const ObjectReference& object) {
    static const std::string none = "default";
    return object.key.ns.empty() ? none : object.key.ns;
}

std::string event_name(const ObjectReference& object, const Warning& warning) {
    const auto hash = fmt::format("{:016x}", hash_of({warning.object, warning.reason, warning.note}));
    return fmt::format("{}.{}", object.key.name.substr(0, kLongestName - 1 - hash.size()), hash);
}

}  // namespace

std::optional<ObjectReference> object_reference(std::string_view text) {
    static constexpr std::array<std::pair<std::string_view, const char*>, 4> kKinds{{
        {"Service", "v1"},
        {"EndpointSlice", "discovery.k8s.io/v1"},
        {"Node", "v1"},
        {"ServiceCIDR", "networking.k8s.io/v1"},
    }};
    const auto space = text.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    const auto kind =
        std::ranges::find(kKinds, text.substr(0, space), &std::pair<std::string_view, const char*>::first);
    if (kind == kKinds.end()) return std::nullopt;
    text.remove_prefix(space + 1);
    ObjectReference object{.api_version = kind->second, .kind = std::string{kind->first}, .key = {}};
    if (const auto slash = text.find('/'); slash != std::string_view::npos) {
        object.key.ns = text.substr(0, slash);
        if (!is_name(object.key.ns)) return std::nullopt;
        text.remove_prefix(slash + 1);
    }
    object.key.name = text;
    if (!is_name(object.key.name)) return std::nullopt;
    return object;
}

void EventBook::note(const Warning& warning, const std::string& uid, RealTime now) {
    const auto object = object_reference(warning.object);
    if (!object) return;
    const auto name = event_name(*object, warning);
    auto found = entries_.find(name);
    if (found == entries_.end()) {
        if (!make_room()) {
            ++counts_.dropped;
            return;
        }
        found =
            entries_.emplace(name, Entry{.warning = warning, .uid = uid, .first = now, .last = now, .told = {}}).first;
    }
    auto& entry = found->second;
    ++entry.count;
    entry.last = now;
    entry.due = true;
}

// The oldest one that has been told goes.
bool EventBook::make_room() {
    if (entries_.size() < kEntries) return true;
    auto oldest = entries_.end();
    for (auto at = entries_.begin(); at != entries_.end(); ++at) {
        if (at->second.due || at->first == waiting_) continue;
        if (oldest == entries_.end() || at->second.last < oldest->second.last) oldest = at;
    }
    if (oldest == entries_.end()) return false;
    entries_.erase(oldest);
    return true;
}

bool EventBook::may_send(RealTime now) {
    const std::chrono::duration<double> passed = now - filled_.value_or(now);
    filled_ = now;
    tokens_ = std::min(kBurst, tokens_ + std::max(passed.count(), 0.0) * kPerSecond);
    return tokens_ >= 1;
}

std::optional<kube::Request> EventBook::take(RealTime now) {
    if (!waiting_.empty() || !may_send(now)) return std::nullopt;
    // Longest waiting first.
    auto next = entries_.end();
    for (auto at = entries_.begin(); at != entries_.end(); ++at) {
        const auto& entry = at->second;
        if (!entry.due || (entry.told != RealTime{} && now - entry.told < kQuiet)) continue;
        if (next == entries_.end() || entry.last < next->second.last) next = at;
    }
    if (next == entries_.end()) return std::nullopt;
    auto& [name, entry] = *next;
    tokens_ -= 1;
    entry.due = false;
    entry.told = now;
    waiting_ = name;
    return request_for(name, entry);
}

kube::Request EventBook::request_for(const std::string& name, const Entry& entry) const {
    const auto object = object_reference(entry.warning.object).value_or(ObjectReference{});
    const auto& ns = namespace_of(object);
    kube::Request request;
    request.silence = kSilence;
    request.target = fmt::format("/apis/events.k8s.io/v1/namespaces/{}/events", ns);
    if (entry.made == Made::by_us) {
        request.method = "PATCH";
        request.target += "/" + name;
        request.body = Json{{"series", {{"count", entry.count}, {"lastObservedTime", time_text(entry.last)}}}}.dump();
        return request;
    }
    Json regarding = {{"apiVersion", object.api_version}, {"kind", object.kind}, {"name", object.key.name}};
    if (!object.key.ns.empty()) regarding["namespace"] = object.key.ns;
    if (!entry.uid.empty()) regarding["uid"] = entry.uid;
    const Json event = {{"apiVersion", "events.k8s.io/v1"},
                        {"kind", "Event"},
                        {"metadata", {{"name", name}, {"namespace", ns}}},
                        {"eventTime", time_text(entry.first)},
                        {"reportingController", "svclb-agent"},
                        {"reportingInstance", "svclb-agent-" + node_name_},
                        {"action", "Programming"},
                        {"reason", entry.warning.reason},
                        {"regarding", std::move(regarding)},
                        {"note", entry.warning.note.substr(0, kLongestNote)},
                        {"type", "Warning"}};
    request.method = "POST";
    request.body = event.dump(-1, ' ', true, Json::error_handler_t::replace);
    return request;
}

void EventBook::answered(int status) {
    const auto found = entries_.find(std::exchange(waiting_, {}));
    const bool ok = status == kOk || status == kCreated || status == kConflict;
    ++(ok ? counts_.sent : counts_.failed);
    if (found == entries_.end()) return;
    auto& made = found->second.made;
    if (status == kCreated) made = Made::by_us;
    if (status == kConflict) made = Made::by_others;
    // It lived for an hour. Made anew when it is noted the next time.
    if (status == kNotFound) made = Made::no;
}

void EventSender::step(RealTime now) {
    if (request_) return;
    auto request = book_.take(now);
    if (!request) return;
    status_ = 0;
    request_ = transport_.send(std::move(*request), *this);
}

void EventSender::on_end(const Status& status) {
    request_.reset();
    const int code = status ? status_ : 0;
    book_.answered(code);
    const bool refused = code >= 400 && code != kConflict && code != kNotFound;
    if (refused && told_ != code) spdlog::warn("Events cannot be written: HTTP status {}", code);
    told_ = refused ? code : told_;
}

}  // namespace svclb::agent
