// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Keeps KnownObjects equal to one resource of the API server: list, watch, and what to do when either ends. A state
// machine over Transport: no socket, clock or chance of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "api_object.hpp"
#include "backoff.hpp"
#include "known_objects.hpp"
#include "stream.hpp"
#include "svclb/kube/api_source.hpp"
#include "svclb/kube/source.hpp"
#include "svclb/kube/transport.hpp"

namespace svclb::kube {

struct Resource {
    ObjectKind kind;
    std::string name;       // "services"
    std::string path;       // "/api/v1/services"
    std::string selectors;  // escaped: "fieldSelector=..."; "" = everything
    // One more, which only saves objects that are none of ours; left out by a server that does not know it.
    std::string saving;
    bool optional = false;  // not every server has it, or lets us see it
};

class Reflector final : private Receiver {
public:
    using Clock = Surroundings::Clock;

    Reflector(Resource resource, Transport& transport, const Surroundings& surroundings,
              std::chrono::seconds watch_silence = kWatchSilence);
    Reflector(const Reflector&) = delete;
    Reflector& operator=(const Reflector&) = delete;
    ~Reflector() override;

    // Sends what is due; to be called when wake_at has come.
    void tick();
    [[nodiscard]] std::optional<Clock::time_point> wake_at() const;

    // A whole list has been read, or it is known that there is none to be had.
    [[nodiscard]] bool synced() const { return synced_; }
    // Moves what is new into the change: objects and all, or only the problems of the connection.
    void take_objects(Change& change) { objects_.take(change); }
    void take_problem(Change& change);
    void add_refusals(std::vector<Refusal>& all) const { objects_.add_refusals(all); }
    [[nodiscard]] ResourceState state() const;

private:
    enum class Phase : std::uint8_t {
        list,     // next or under way: a list in pages
        initial,  // a watch that begins with everything there is
        watch,    // from version_ on
    };
    void on_head(const ResponseHead& head) override;
    void on_body(std::string_view bytes) override;
    void on_end(const Status& status) override;

    [[nodiscard]] std::string target() const;
    [[nodiscard]] bool is_open() const { return request_ && head_.status == 200; }
    void send();
    Status take_items(std::string_view bytes);
    Status take_event(std::string_view json);
    Status take_bookmark(const WatchEvent& event);
    void end_page();
    void end_list(std::string version);
    void end_watch();
    void refused(ApiStatus status);
    void advance(const std::string& version);
    void well();
    void abandon();
    void list_again(bool consistent);
    void fail_with(const std::string& why, std::optional<std::chrono::seconds> retry_after = std::nullopt);
    void fall_back();

    Resource resource_;
    Transport& transport_;
    const Surroundings& surroundings_;
    std::chrono::seconds watch_silence_;
    ApiReader reader_;
    KnownObjects objects_;
    Backoff backoff_;

    Phase phase_ = Phase::initial;
    std::optional<Clock::time_point> streams_given_up_;  // when the server seemed not to know sendInitialEvents
    bool consistent_ = false;   // the next list has to be read anew by the server: no version of ours is of use
    std::string version_;       // up to which everything is known; "" before the first list
    std::string page_;          // token of the next page
    std::string list_version_;  // of the first page
    ListMetadata metadata_;     // of the page under way
    std::string list_kind_;     // the same, with quotes
    EventSplitter events_;
    ListSplitter items_;

    std::optional<RequestId> request_;
    ResponseHead head_;
    std::string refusal_;      // body of an answer that is no success
    Clock::time_point begun_;  // the request
    std::optional<Clock::time_point> heard_;
    std::optional<Clock::time_point> due_;
    bool eventful_ = false;  // the watch has brought something

    bool synced_ = false;
    ResourceState state_;
    std::string problem_;  // untold
    std::string told_;     // the last one, until all is well
};

}  // namespace svclb::kube
