// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "directory_watch.hpp"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <system_error>

namespace svclb::kube {

namespace {

constexpr std::uint32_t kEntryEvents = IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_FROM |
                                       IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF;
constexpr std::uint32_t kAncestorEvents =
    IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF;

}  // namespace

Result<DirectoryWatch> DirectoryWatch::open(const std::filesystem::path& directory) {
    std::error_code error;
    auto absolute = std::filesystem::absolute(directory, error).lexically_normal();
    if (error) return fail({error, "directory " + directory.string()});
    if (!absolute.has_filename()) absolute = absolute.parent_path();
    UniqueFd inotify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (!inotify) return fail_errno(errno, "inotify");
    return DirectoryWatch(std::move(absolute), std::move(inotify));
}

Result<DirectoryWatch::Moves> DirectoryWatch::take() {
    Moves moves;
    if (auto status = read_events(moves); !status) return fail(status.error());
    give_up_stalled(moves);
    if (auto status = arm(moves); !status) return fail(status.error());
    return moves;
}

std::optional<DirectoryWatch::Clock::time_point> DirectoryWatch::next_stall() const {
    std::optional<Clock::time_point> next;
    for (const auto& [name, seen] : being_written_)
        next = std::min(next.value_or(Clock::time_point::max()), seen + kStalled);
    return next;
}

void DirectoryWatch::give_up_stalled(Moves& moves) {
    const auto now = Clock::now();
    for (auto it = being_written_.begin(); it != being_written_.end();) {
        if (now - it->second < kStalled) {
            ++it;
            continue;
        }
        moves.names.insert(it->first);
        it = being_written_.erase(it);
    }
}

// The watch goes with the directory's inode, so the path is compared with it each time. What changed between two looks
// is seen because the watch is made before the look that follows it.
Status DirectoryWatch::arm(Moves& moves) {
    bool present = false;
    if (auto status = watch_directory(moves, present); !status) return status;
    std::error_code ignored;
    if (present && !std::filesystem::is_symlink(directory_, ignored)) {
        forget(ancestor_watch_);
    } else {
        if (auto status = watch_ancestor(); !status) return status;
        if (auto status = watch_directory(moves, present); !status) return status;
    }
    moves.present = present;
    return {};
}

Status DirectoryWatch::watch_directory(Moves& moves, bool& present) {
    const UniqueFd opened(::open(directory_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    struct stat now {};
    present = opened && ::fstat(opened.get(), &now) == 0;
    if (!present) {
        forget(directory_watch_);
        being_written_.clear();
        return {};
    }
    if (directory_watch_ >= 0 && now.st_dev == device_ && now.st_ino == inode_) return {};
    forget(directory_watch_);
    being_written_.clear();
    // By descriptor, so that what is watched is what was compared.
    const auto path = "/proc/self/fd/" + std::to_string(opened.get());
    directory_watch_ = ::inotify_add_watch(inotify_.get(), path.c_str(), kEntryEvents);
    if (directory_watch_ < 0) return fail_errno(errno, "watch directory " + directory_.string());
    device_ = now.st_dev;
    inode_ = now.st_ino;
    moves.everything = true;
    return {};
}

// The nearest directory above that exists: its events tell when to look again.
Status DirectoryWatch::watch_ancestor() {
    forget(ancestor_watch_);
    std::error_code ignored;
    auto ancestor = directory_.parent_path();
    while (!std::filesystem::is_directory(ancestor, ignored) && ancestor.has_relative_path())
        ancestor = ancestor.parent_path();
    ancestor_watch_ = ::inotify_add_watch(inotify_.get(), ancestor.c_str(), kAncestorEvents | IN_ONLYDIR);
    if (ancestor_watch_ < 0) return fail_errno(errno, "watch directory " + ancestor.string());
    return {};
}

void DirectoryWatch::forget(int& watch) const {
    if (watch >= 0) ::inotify_rm_watch(inotify_.get(), watch);
    watch = -1;
}

Status DirectoryWatch::read_events(Moves& moves) {
    alignas(inotify_event) std::array<char, 16384> buffer{};
    while (true) {
        const auto length = ::read(inotify_.get(), buffer.data(), buffer.size());
        if (length < 0 && errno == EINTR) continue;
        if (length < 0 && errno == EAGAIN) return {};
        if (length <= 0) return fail_errno(errno, "read inotify events");
        for (std::size_t at = 0; at < static_cast<std::size_t>(length);) {
            inotify_event event{};
            std::memcpy(&event, buffer.data() + at, sizeof event);
            // Padded with zeros to event.len.
            const std::string name(event.len != 0 ? buffer.data() + at + sizeof event : "");
            note(event, name, moves);
            at += sizeof event + event.len;
        }
    }
}

void DirectoryWatch::note(const inotify_event& event, const std::string& name, Moves& moves) {
    if ((event.mask & IN_Q_OVERFLOW) != 0) {
        moves.everything = true;
        being_written_.clear();
        return;
    }
    if (event.wd == ancestor_watch_ && (event.mask & (IN_IGNORED | IN_DELETE_SELF)) != 0) ancestor_watch_ = -1;
    if (event.wd != directory_watch_) return;
    if ((event.mask & IN_IGNORED) != 0) {
        directory_watch_ = -1;
        return;
    }
    if (name.empty() || (event.mask & IN_ISDIR) != 0) return;
    if ((event.mask & IN_MODIFY) != 0) {
        being_written_.insert_or_assign(name, Clock::now());
        return;
    }
    if ((event.mask & IN_CREATE) != 0) {
        // A new file is empty until its maker has written and closed it; a new link is complete.
        struct stat now {};
        const bool is_new =
            ::lstat((directory_ / name).c_str(), &now) == 0 && S_ISREG(now.st_mode) && now.st_nlink == 1;
        if (is_new) {
            being_written_.insert_or_assign(name, Clock::now());
            return;
        }
    }
    if ((event.mask & IN_ATTRIB) == 0) being_written_.erase(name);
    moves.names.insert(name);
}

}  // namespace svclb::kube
