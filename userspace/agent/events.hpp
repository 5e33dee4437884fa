// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Warnings as Events of the API (events.k8s.io/v1) on the objects concerned. EventBook is pure and decides what is sent
// when; EventSender sends it, one request at a time, and never waits.
//
// One name for one thing to say, whichever node says it: of a thousand nodes that see the same conflict one makes the
// Event, and the others are told that it exists. Only the one that made it counts on.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "observe.hpp"
#include "svclb/kube/transport.hpp"
#include "sync.hpp"

namespace svclb::agent {

class EventBook {
public:
    explicit EventBook(std::string node_name) : node_name_(std::move(node_name)) {}

    // It is so, for the first time or again. `uid` is the object's, "" where it is not known.
    void note(const Warning& warning, const std::string& uid, RealTime now);

    // What to send now, if anything. Nothing more comes before answered().
    [[nodiscard]] std::optional<kube::Request> take(RealTime now);
    // HTTP status of the answer to the last one, 0 where none came.
    void answered(int status);

    [[nodiscard]] const EventCounts& counts() const { return counts_; }

private:
    enum class Made : std::uint8_t { no, by_us, by_others };
    struct Entry {
        Warning warning;
        std::string uid;
        Made made = Made::no;
        bool due = false;
        std::uint64_t count = 0;  // of notes
        RealTime first;
        RealTime last;
        RealTime told;
    };

    [[nodiscard]] kube::Request request_for(const std::string& name, const Entry& entry) const;
    bool make_room();
    bool may_send(RealTime now);

    std::string node_name_;
    std::map<std::string, Entry> entries_;  // by the Event's name
    std::string waiting_;                   // the entry that an answer is awaited for; "" = none
    double tokens_ = kBurst;
    std::optional<RealTime> filled_;
    EventCounts counts_;

    static constexpr std::size_t kEntries = 256;
    static constexpr double kBurst = 20;
    static constexpr double kPerSecond = 0.2;
    // An Event that is told again before that only counts.
    static constexpr std::chrono::minutes kQuiet{5};
};

// The object of a Warning as the API refers to it.
struct ObjectReference {
    std::string api_version;
    std::string kind;
    model::ObjectKey key;
};
// Nothing for a text that names no object, or none that an API server would have.
[[nodiscard]] std::optional<ObjectReference> object_reference(std::string_view text);

class EventSender final : public kube::Receiver {
public:
    // The transport must outlive this.
    EventSender(kube::Transport& transport, std::string node_name)
        : transport_(transport), book_(std::move(node_name)) {}
    ~EventSender() override {
        if (request_) transport_.cancel(*request_);
    }
    EventSender(const EventSender&) = delete;
    EventSender& operator=(const EventSender&) = delete;

    void note(const Warning& warning, const std::string& uid, RealTime now) { book_.note(warning, uid, now); }
    // Sends the next one if it is time.
    void step(RealTime now);
    [[nodiscard]] const EventCounts& counts() const { return book_.counts(); }

private:
    void on_head(const kube::ResponseHead& head) override { status_ = head.status; }
    void on_body(std::string_view /*bytes*/) override {}
    void on_end(const Status& status) override;

    kube::Transport& transport_;
    EventBook book_;
    std::optional<kube::RequestId> request_;
    int status_ = 0;
    int told_ = 0;  // the last refusal that was logged
};

}  // namespace svclb::agent
