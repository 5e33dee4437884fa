// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Whose object counts where two files have the same one, and the difference to what was told before. A file that is
// being written, does not parse or has just been moved away keeps its objects in force.
#include "svclb/kube/manifests.hpp"

#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "directory_watch.hpp"
#include "manifest_file.hpp"
#include "svclb/base/unique_fd.hpp"
#include "svclb/kube/decode.hpp"
#include "svclb/model/text.hpp"

namespace svclb::kube {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Moves = DirectoryWatch::Moves;

// Many editors move the old file away before they write the new one.
constexpr auto kVanishGrace = std::chrono::milliseconds(200);
constexpr auto kLookAgain = std::chrono::milliseconds(1);

bool is_manifest(const std::string& name) {
    if (name.starts_with('.')) return false;
    return name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json");
}

Status add_to_epoll(int epoll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno(errno, "epoll_ctl");
    return {};
}

}  // namespace

struct Manifests::State {
    State(fs::path directory_, DirectoryWatch watch_) : directory(std::move(directory_)), watch(std::move(watch_)) {}

    fs::path directory;
    DirectoryWatch watch;
    UniqueFd timer;
    UniqueFd epoll;
    std::map<std::string, ManifestFile> files;
    std::map<ManifestKey, std::set<std::string>> claims;     // the files that have an object: the first one is it
    std::map<ManifestKey, std::set<std::string>> conflicts;  // told for each object with several claims
    std::map<ManifestKey, ObjectRef> before;  // of each object touched in this round, as it was told last
    bool has_links = false;                   // a file may change without an event that names it
    bool missing_told = false;
    Moves pending;

    ObjectRef winner(const ManifestKey& key) const;
    void touch(const ManifestKey& key) { before.try_emplace(key, winner(key)); }
    void look_at(const Moves& moves, Change& change);
    std::set<std::string> list_names();
    void look_at_file(const std::string& name, bool named, Change& change);
    void read_again(const std::string& name, FileContent content, Change& change);
    void replace(const std::string& name, ManifestFile next, Change& change);
    void unreadable(const std::string& name, const std::string& problem, Change& change);
    void vanished(const std::string& name);
    void end_of_grace(Change& change);
    void tell_conflicts(const ManifestKey& key, Change& change);
    void tell_difference(Change& change);
    void set_timer() const;
};

ObjectRef Manifests::State::winner(const ManifestKey& key) const {
    const auto claim = claims.find(key);
    if (claim == claims.end() || claim->second.empty()) return nullptr;
    return files.at(*claim->second.begin()).objects.at(key).object;
}

std::set<std::string> Manifests::State::list_names() {
    std::set<std::string> names;
    has_links = false;
    std::error_code error;
    for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
        auto name = it->path().filename().string();
        if (!is_manifest(name)) continue;
        std::error_code ignored;
        has_links |= it->is_symlink(ignored);
        names.insert(std::move(name));
    }
    return names;
}

void Manifests::State::look_at(const Moves& moves, Change& change) {
    if (!moves.present) {
        // Rather an accident, or half of a replacement, than the wish to have nothing.
        if (!std::exchange(missing_told, true))
            change.problems.push_back(directory.string() + ": no such directory, what it held stays in force");
        return;
    }
    missing_told = false;
    // An entry that is none of ours may be what our links point to, or through.
    const bool others = std::ranges::any_of(moves.names, [](const auto& name) { return !is_manifest(name); });
    auto names = moves.names;
    if (moves.everything || (has_links && others)) {
        names.merge(list_names());
        for (const auto& [name, file] : files) names.insert(name);
    }
    for (const auto& name : names) {
        if (is_manifest(name)) look_at_file(name, moves.names.contains(name), change);
    }
}

void Manifests::State::look_at_file(const std::string& name, bool named, Change& change) {
    if (watch.being_written(name)) {
        files.try_emplace(name);  // known to be there
        return;
    }
    const auto path = directory / name;
    const auto file = files.find(name);
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0 && errno == ENOENT) {
        vanished(name);
        return;
    }
    if (file != files.end()) {
        const bool back = std::exchange(file->second.vanished, std::nullopt).has_value();
        if (!named && !back && file->second.identity == identity_of(info)) return;
    }
    struct stat link {};
    has_links |= ::lstat(path.c_str(), &link) == 0 && S_ISLNK(link.st_mode);
    auto content = read_manifest(path);
    if (!content && content.error().code() == std::errc::no_such_file_or_directory) {
        vanished(name);
        return;
    }
    if (!content) {
        unreadable(name, content.error().message(), change);
        return;
    }
    // Whoever began to write before the end of our reading has left an event by now.
    auto moves = watch.take();
    if (moves) {
        pending.everything |= moves->everything;
        pending.names.merge(moves->names);
    }
    if (watch.being_written(name)) {
        files.try_emplace(name);
        return;
    }
    read_again(name, *std::move(content), change);
}

void Manifests::State::unreadable(const std::string& name, const std::string& problem, Change& change) {
    auto& file = files[name];
    file.identity = {};
    file.known = false;
    const std::vector<std::string> problems{model::printable(problem, 1000)};
    if (file.problems != problems) change.problems.push_back(problems.front());
    file.problems = problems;
    file.refused = 1;
    file.refusals = {
        {.object = model::printable((directory / name).string(), 300), .what = problems.front(), .service = {}}};
    change.refusals_changed = true;
}

void Manifests::State::vanished(const std::string& name) {
    const auto file = files.find(name);
    if (file != files.end() && !file->second.vanished) file->second.vanished = Clock::now();
}

void Manifests::State::read_again(const std::string& name, FileContent content, Change& change) {
    auto next = decode_file(directory / name, std::move(content), files[name]);
    replace(name, std::move(next), change);
}

void Manifests::State::replace(const std::string& name, ManifestFile next, Change& change) {
    auto& file = files[name];
    for (const auto& problem : next.problems) {
        if (std::ranges::find(file.problems, problem) == file.problems.end()) change.problems.push_back(problem);
    }
    for (const auto& [key, held] : file.objects) touch(key);
    for (const auto& [key, held] : next.objects) touch(key);
    for (const auto& [key, held] : file.objects) claims[key].erase(name);
    for (const auto& [key, held] : next.objects) claims[key].insert(name);
    change.refusals_changed |= file.refusals != next.refusals;
    file = std::move(next);
}

void Manifests::State::end_of_grace(Change& change) {
    const auto now = Clock::now();
    std::vector<std::string> gone;
    for (const auto& [name, file] : files) {
        if (file.vanished && now - *file.vanished >= kVanishGrace && !watch.being_written(name)) gone.push_back(name);
    }
    for (const auto& name : gone) {
        replace(name, {}, change);
        files.erase(name);
    }
}

void Manifests::State::tell_conflicts(const ManifestKey& key, Change& change) {
    std::set<std::string> lines;
    const auto claim = claims.find(key);
    if (claim == claims.end()) return;
    const auto& names = claim->second;
    for (auto it = names.begin(); it != names.end(); ++it) {
        if (it == names.begin()) continue;
        lines.insert(to_string((directory / *it).string(), {.line = files.at(*it).objects.at(key).line,
                                                            .object = text_of(key),
                                                            .field = "",
                                                            .what = "given twice, the first one is used: " +
                                                                    (directory / *names.begin()).string()}));
    }
    auto& told = conflicts[key];
    for (const auto& line : lines) {
        if (!told.contains(line)) change.problems.push_back(line);
    }
    change.refusals_changed |= told != lines;
    told = std::move(lines);
    if (told.empty()) conflicts.erase(key);
    if (names.empty()) claims.erase(key);
}

void Manifests::State::tell_difference(Change& change) {
    for (const auto& [key, last] : before) {
        const auto now = winner(key);
        tell_conflicts(key, change);
        if (now && !(last && *now == *last)) change.changed.push_back(*now);
        if (now || !last) continue;
        switch (key.kind) {
            case ManifestKind::service:
                change.gone_services.push_back(key.name);
                break;
            case ManifestKind::endpoint_slice:
                change.gone_slices.push_back(key.name);
                break;
            case ManifestKind::node:
                change.gone_nodes.push_back(key.name.name);
                break;
            case ManifestKind::service_cidr:
                change.gone_service_cidrs.push_back(key.name.name);
                break;
        }
    }
    before.clear();
    std::size_t refused = 0;
    change.complete = !missing_told;
    std::set<model::ObjectKey> services;
    std::set<model::ObjectKey> endpoints;
    for (const auto& [name, file] : files) {
        refused += file.refused;
        change.complete &= file.known;
        for (const auto& [key, service] : file.unusable)
            if (!winner(key)) (key.kind == ManifestKind::service ? services : endpoints).insert(service);
    }
    for (const auto& [key, lines] : conflicts) refused += lines.size();
    change.invalid_objects = static_cast<std::uint32_t>(refused);
    change.kept_services.assign(services.begin(), services.end());
    change.kept_endpoints.assign(endpoints.begin(), endpoints.end());
}

void Manifests::State::set_timer() const {
    auto next = watch.next_stall();
    const auto now = Clock::now();
    if (!pending.empty()) next = now;
    for (const auto& [name, file] : files) {
        if (file.vanished && !watch.being_written(name))
            next = std::min(next.value_or(Clock::time_point::max()), *file.vanished + kVanishGrace);
    }
    itimerspec when{};  // all zero: disarmed
    if (next) {
        // In milliseconds, rounded up: a timer that is early would only come again.
        const auto wait = std::max(std::chrono::ceil<std::chrono::milliseconds>(*next - now), kLookAgain).count();
        when.it_value.tv_sec = wait / 1000;
        when.it_value.tv_nsec = (wait % 1000) * 1000000;
    }
    ::timerfd_settime(timer.get(), 0, &when, nullptr);
}

Result<Manifests> Manifests::open(fs::path directory) {
    std::error_code error;
    const bool is_directory = fs::is_directory(directory, error);
    if (!is_directory) {
        if (!error) error = std::make_error_code(std::errc::not_a_directory);
        return fail({error, "manifests directory " + directory.string()});
    }
    auto watch = DirectoryWatch::open(directory);
    if (!watch) return fail(watch.error());
    auto state = std::make_unique<State>(std::move(directory), *std::move(watch));
    state->timer = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    if (!state->timer) return fail_errno(errno, "timerfd_create");
    state->epoll = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
    if (!state->epoll) return fail_errno(errno, "epoll_create1");
    for (const int fd : {state->timer.get(), state->watch.fd()}) {
        if (auto status = add_to_epoll(state->epoll.get(), fd); !status) return fail(status.error());
    }
    return Manifests(std::move(state));
}

Result<Change> Manifests::changes() {
    std::uint64_t expirations = 0;
    // Nothing to read when it was not the timer that woke us.
    [[maybe_unused]] const auto ignored = ::read(state_->timer.get(), &expirations, sizeof expirations);

    auto moves = state_->watch.take();
    if (!moves) return fail(moves.error().within("manifests directory " + state_->directory.string()));
    moves->everything |= state_->pending.everything;
    moves->names.merge(state_->pending.names);
    state_->pending = {};

    Change change;
    state_->look_at(*moves, change);
    state_->end_of_grace(change);
    state_->tell_difference(change);
    state_->set_timer();
    return change;
}

std::vector<Refusal> Manifests::refusals() const {
    std::vector<Refusal> all;
    for (const auto& [name, file] : state_->files) all.insert(all.end(), file.refusals.begin(), file.refusals.end());
    for (const auto& [key, lines] : state_->conflicts)
        for (const auto& line : lines)
            all.push_back({.object = model::printable(text_of(key)), .what = line, .service = {}});
    return all;
}

int Manifests::fd() const {
    return state_->epoll.get();
}

Manifests::Manifests(std::unique_ptr<State> state) : state_(std::move(state)) {}
Manifests::Manifests(Manifests&&) noexcept = default;
Manifests& Manifests::operator=(Manifests&&) noexcept = default;
Manifests::~Manifests() = default;

}  // namespace svclb::kube
