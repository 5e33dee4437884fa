// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// inotify on one directory that may be removed, replaced and made again. Knows names, not contents.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"

struct inotify_event;

namespace svclb::kube {

class DirectoryWatch {
public:
    using Clock = std::chrono::steady_clock;
    // A file may be made complete without an event that says so (O_TMPFILE and a link), or be held open for ever.
    static constexpr auto kStalled = std::chrono::seconds(2);

    // What happened since the last take().
    struct Moves {
        bool everything = false;      // look at the whole directory: it is another one, or events were lost
        bool present = true;          // there is a directory
        std::set<std::string> names;  // entries that were written, made, moved or removed
        [[nodiscard]] bool empty() const { return !everything && names.empty(); }
    };

    static Result<DirectoryWatch> open(const std::filesystem::path& directory);

    [[nodiscard]] int fd() const { return inotify_.get(); }
    Result<Moves> take();
    // Somebody has this entry open and has written to it; its content is in between two states. It is among the names
    // of a later take(), when it is closed, or when nothing has happened to it for kStalled.
    [[nodiscard]] bool being_written(const std::string& name) const { return being_written_.contains(name); }
    // When take() has to be called even if nothing happens.
    [[nodiscard]] std::optional<Clock::time_point> next_stall() const;

private:
    DirectoryWatch(std::filesystem::path directory, UniqueFd inotify)
        : directory_(std::move(directory)), inotify_(std::move(inotify)) {}

    Status arm(Moves& moves);
    Status watch_directory(Moves& moves, bool& present);
    Status watch_ancestor();
    Status read_events(Moves& moves);
    void note(const inotify_event& event, const std::string& name, Moves& moves);
    void give_up_stalled(Moves& moves);
    void forget(int& watch) const;

    std::filesystem::path directory_;  // absolute
    UniqueFd inotify_;
    int directory_watch_ = -1;
    int ancestor_watch_ = -1;  // only while the directory is missing or reached by a symbolic link
    dev_t device_ = 0;
    ino_t inode_ = 0;
    std::map<std::string, Clock::time_point> being_written_;  // and when that was seen last
};

}  // namespace svclb::kube
