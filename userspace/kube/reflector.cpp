// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// As client-go's reflector does, where nothing speaks against it: the servers are tested with that.
#include "reflector.hpp"

#include <algorithm>
#include <utility>

#include "svclb/model/text.hpp"

namespace svclb::kube {

namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr int kPage = 500;
constexpr seconds kListSilence{60};
// A server that doesn't know sendInitialEvents may ignore it: it sends everything there is and then nothing, or a
// bookmark of another kind, where the end of the list should have been told.
constexpr seconds kEndPatience{10};
// It may have been in trouble instead, or be another one by now.
constexpr minutes kPagesOnly{10};
constexpr seconds kShortestWatch{1};
constexpr minutes kAbsentPause{10};
constexpr std::size_t kLongestRefusal = std::size_t{64} << 10U;
constexpr std::size_t kLongestError = 300;

// For a query: everything but what RFC 3986 leaves unreserved is escaped.
std::string escaped(std::string_view text) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           std::string_view("-._~").find(c) != std::string_view::npos;
        if (plain) {
            out += c;
        } else {
            out += {'%', kDigits[byte >> 4U], kDigits[byte & 15U]};
        }
    }
    return out;
}

}  // namespace

Reflector::Reflector(Resource resource, Transport& transport, const Surroundings& surroundings,
                     std::chrono::seconds watch_silence)
    : resource_(std::move(resource)),
      transport_(transport),
      surroundings_(surroundings),
      watch_silence_(watch_silence),
      reader_(resource_.kind),
      objects_(resource_.kind),
      begun_(surroundings.now()),
      due_(begun_) {
    state_.name = resource_.name;
}

Reflector::~Reflector() {
    if (request_) transport_.cancel(*request_);
}

std::string Reflector::target() const {
    auto target = resource_.path + "?";
    for (const auto* selector : {&resource_.selectors, &resource_.saving})
        if (!selector->empty()) target += *selector + "&";
    const auto since = consistent_ || version_.empty() ? "" : "&resourceVersion=" + escaped(version_);
    if (phase_ == Phase::list) {
        if (!page_.empty()) return target + "limit=" + std::to_string(kPage) + "&continue=" + escaped(page_);
        // The server's cache answers where a version is given, and doesn't know pages then; etcd answers otherwise.
        if (!since.empty()) return target + since.substr(1);
        return target + "limit=" + std::to_string(kPage) + (consistent_ ? "" : "&resourceVersion=0");
    }
    // Spread, so that the watches of all nodes don't end together.
    const auto timeout = 300 + static_cast<int>(300 * surroundings_.random());
    target += "watch=true&allowWatchBookmarks=true&timeoutSeconds=" + std::to_string(timeout) + since;
    if (phase_ == Phase::initial) target += "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    return target;
}

void Reflector::send() {
    due_.reset();
    begun_ = surroundings_.now();
    head_ = {};
    refusal_.clear();
    eventful_ = false;
    events_ = EventSplitter();
    items_ = ListSplitter();
    metadata_ = {};
    list_kind_.clear();
    if (phase_ == Phase::watch) {
        ++state_.watches;
    } else if (page_.empty()) {
        ++state_.lists;
        objects_.begin_list();
    }
    Request request;
    request.target = target();
    request.silence = phase_ == Phase::list ? kListSilence : watch_silence_;
    request_ = transport_.send(std::move(request), *this);
}

void Reflector::tick() {
    const auto wake = wake_at();
    if (!wake || surroundings_.now() < *wake) return;
    if (request_) {
        fall_back();
    } else {
        send();
    }
}

std::optional<Surroundings::Clock::time_point> Reflector::wake_at() const {
    if (!request_) return due_;
    if (phase_ == Phase::initial && is_open()) return *heard_ + kEndPatience;
    return std::nullopt;
}

void Reflector::on_head(const ResponseHead& head) {
    heard_ = surroundings_.now();
    head_ = head;
    if (phase_ == Phase::watch && is_open()) well();
}

void Reflector::on_body(std::string_view bytes) {
    heard_ = surroundings_.now();
    if (!is_open()) {
        refusal_ += bytes.substr(0, kLongestRefusal - std::min(refusal_.size(), kLongestRefusal));
        return;
    }
    const auto status = phase_ == Phase::list
                            ? take_items(bytes)
                            : events_.feed(bytes, [this](std::string_view json) { return take_event(json); });
    // Without a request, the reason has been dealt with.
    if (!status && request_) fail_with(status.error().message());
}

void Reflector::on_end(const Status& status) {
    const auto open = is_open();
    request_.reset();
    if (!status) {
        fail_with(status.error().message());
    } else if (!open) {
        refused(reader_.status(refusal_));
    } else if (phase_ == Phase::list) {
        end_page();
    } else {
        end_watch();
    }
}

Status Reflector::take_items(std::string_view bytes) {
    const ListSplitter::Sink sink{
        .item = [this](std::string_view json) -> Status {
            const auto sighting = reader_.item(json, items_.cut());
            if (!sighting) return fail(sighting.error());
            objects_.list(*sighting);
            return {};
        },
        .field = [this](std::string_view key, std::string_view json) -> Status {
            if (key == "\"kind\"") list_kind_ = json;
            if (key != "\"metadata\"") return {};
            auto metadata = reader_.list_metadata(json);
            if (!metadata) return fail(metadata.error());
            metadata_ = *std::move(metadata);
            return {};
        },
    };
    return items_.feed(bytes, sink);
}

void Reflector::end_page() {
    if (const auto whole = items_.finish(); !whole) return fail_with(whole.error().message());
    // A proxy's page of greetings, in JSON, must not empty the tables.
    if (list_kind_ != "\"" + std::string(to_string(resource_.kind)) + "List\"" || metadata_.version.empty())
        return fail_with("the answer is no list of " + resource_.name);
    if (page_.empty()) list_version_ = metadata_.version;
    page_ = metadata_.more;
    if (page_.empty()) end_list(list_version_);
    due_ = surroundings_.now();
}

void Reflector::end_list(std::string version) {
    objects_.end_list();
    version_ = std::move(version);
    phase_ = Phase::watch;
    consistent_ = false;
    synced_ = true;
    well();
}

void Reflector::end_watch() {
    if (phase_ == Phase::initial) return fail_with("the list ended before its end was told");
    if (events_.within_value()) return fail_with("the answer breaks off in an object");
    if (!eventful_ && surroundings_.now() - begun_ < kShortestWatch) return fail_with("the watch ended at once");
    due_ = surroundings_.now();
}

Status Reflector::take_event(std::string_view json) {
    const auto event = reader_.event(json, events_.cut());
    if (!event) return fail(event.error());
    eventful_ = true;
    const auto& sighting = event->sighting;
    if (event->type == WatchEvent::Type::error) {
        head_.retry_after.reset();
        refused(event->status);
    } else if (event->type == WatchEvent::Type::bookmark) {
        return take_bookmark(*event);
    } else if (phase_ == Phase::initial) {
        if (event->type == WatchEvent::Type::put) objects_.list(sighting);
        if (event->type == WatchEvent::Type::gone) objects_.unlist(sighting);
    } else {
        if (event->type == WatchEvent::Type::put) objects_.put(sighting, version_);
        if (event->type == WatchEvent::Type::gone) objects_.remove(sighting);
        advance(sighting.version);
    }
    if (!request_) return fail(Error::invalid("ended"));
    return {};
}

Status Reflector::take_bookmark(const WatchEvent& event) {
    if (phase_ == Phase::watch) {
        advance(event.sighting.version);
    } else if (event.list_end) {
        end_list(event.sighting.version);
    } else {
        fall_back();
        return fail(Error::invalid("no streaming lists"));
    }
    return {};
}

void Reflector::advance(const std::string& version) {
    const auto order = compare_versions(version, version_);
    if (!order || *order > 0) version_ = version;
}

// An answer or an event that is a Status.
void Reflector::refused(ApiStatus status) {
    if (status.code == 0) status.code = head_.status;
    if (head_.retry_after) status.retry_after = head_.retry_after;
    const auto why = "status " + std::to_string(status.code) + (status.message.empty() ? "" : ": ") + status.message;
    if (status.expired()) {
        // Nothing is wrong: it only took us too long.
        abandon();
        list_again(true);
        due_ = surroundings_.now() + backoff_.next(surroundings_, status.retry_after);
    } else if (resource_.optional && (status.code == 403 || status.code == 404)) {
        abandon();
        well();
        synced_ = true;
        due_ =
            surroundings_.now() + std::chrono::duration_cast<milliseconds>(kAbsentPause * (1 + surroundings_.random()));
    } else if (phase_ == Phase::initial && (status.code == 400 || status.code == 422)) {
        fall_back();
    } else if (phase_ == Phase::list && page_.empty() && status.code == 400 && !resource_.saving.empty()) {
        resource_.saving.clear();
        fall_back();
    } else {
        // What keeps us out says nothing about our version; nor does a server that has too much to do.
        const bool busy = status.code == 429 || status.code == 503;
        const bool not_let_in = status.code == 401 || status.code == 403;
        if (status.version_too_large || !(busy || not_let_in)) list_again(status.version_too_large);
        fail_with(why, status.retry_after);
    }
}

void Reflector::well() {
    state_.connected = phase_ == Phase::watch && request_;
    state_.error.clear();
    told_.clear();
}

void Reflector::abandon() {
    if (request_) transport_.cancel(*request_);
    request_.reset();
    state_.connected = false;
}

void Reflector::list_again(bool consistent) {
    consistent_ |= consistent;
    const bool pages = streams_given_up_ && surroundings_.now() - *streams_given_up_ < kPagesOnly;
    phase_ = pages ? Phase::list : Phase::initial;
    page_.clear();
}

// The request has failed; it, or what list_again has set, is tried again. Where there are pages, the same page.
void Reflector::fail_with(const std::string& why, std::optional<seconds> retry_after) {
    const auto* what = phase_ == Phase::watch ? "watch " : "list ";
    abandon();
    ++state_.failures;
    state_.error = model::printable(what + resource_.name + ": " + why, kLongestError);
    if (state_.error != told_) problem_ = told_ = state_.error;
    due_ = surroundings_.now() + backoff_.next(surroundings_, retry_after);
}

// Pages for a while.
void Reflector::fall_back() {
    abandon();
    streams_given_up_ = surroundings_.now();
    list_again(false);
    due_ = surroundings_.now();
}

void Reflector::take_problem(Change& change) {
    if (!problem_.empty()) change.problems.push_back(std::exchange(problem_, {}));
}

ResourceState Reflector::state() const {
    auto state = state_;
    state.synced = synced_;
    state.objects = objects_.size();
    if (heard_) state.age = std::chrono::duration_cast<milliseconds>(surroundings_.now() - *heard_);
    return state;
}

}  // namespace svclb::kube
