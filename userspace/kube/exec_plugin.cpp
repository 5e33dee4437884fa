// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// posix_spawn, two pipes and a pidfd. The child gets a process group of its own, so that what it starts ends with it.
#include "exec_plugin.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "svclb/model/text.hpp"

namespace svclb::kube {

namespace {

using model::printable;

constexpr std::size_t kMostOutput = std::size_t{1} << 20U;
constexpr std::size_t kMostLogLines = 20;
constexpr std::size_t kLongestLogLine = 400;

struct Pipe {
    UniqueFd read;
    UniqueFd write;
};

// Only our end does not block: the child's is as a program expects it.
Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno(errno, "pipe");
    Pipe pipe{.read = UniqueFd(ends[0]), .write = UniqueFd(ends[1])};
    if (::fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) return fail_errno(errno, "pipe");
    return pipe;
}

// What a child does between fork and exec.
class Preparation {
public:
    Preparation(int out, int err) {
        ::posix_spawn_file_actions_init(&actions_);
        ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        ::posix_spawn_file_actions_adddup2(&actions_, out, STDOUT_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions_, err, STDERR_FILENO);
        ::posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
        ::posix_spawnattr_init(&attributes_);
        // The agent takes its signals by a descriptor and so has them blocked.
        sigset_t none{};
        sigset_t all{};
        ::sigemptyset(&none);
        ::sigfillset(&all);
        ::posix_spawnattr_setsigmask(&attributes_, &none);
        ::posix_spawnattr_setsigdefault(&attributes_, &all);
        ::posix_spawnattr_setpgroup(&attributes_, 0);
        ::posix_spawnattr_setflags(&attributes_,
                                   POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    }
    ~Preparation() {
        ::posix_spawn_file_actions_destroy(&actions_);
        ::posix_spawnattr_destroy(&attributes_);
    }
    Preparation(const Preparation&) = delete;
    Preparation& operator=(const Preparation&) = delete;

    [[nodiscard]] const posix_spawn_file_actions_t* actions() const { return &actions_; }
    [[nodiscard]] const posix_spawnattr_t* attributes() const { return &attributes_; }

private:
    posix_spawn_file_actions_t actions_{};
    posix_spawnattr_t attributes_{};
};

// Ours, then the kubeconfig's, then the protocol's; each name once.
std::vector<std::string> environment_of(const ExecConfig& config, const std::string& exec_info) {
    std::map<std::string, std::string, std::less<>> values;
    for (char** entry = environ; *entry; ++entry) {
        const std::string_view text(*entry);
        const auto equals = text.find('=');
        if (equals != std::string_view::npos)
            values.insert_or_assign(std::string(text.substr(0, equals)), text.substr(equals + 1));
    }
    for (const auto& [name, value] : config.env) values.insert_or_assign(name, value);
    values.insert_or_assign("KUBERNETES_EXEC_INFO", exec_info);
    std::vector<std::string> out;
    out.reserve(values.size());
    for (const auto& [name, value] : values) out.emplace_back(name).append("=").append(value);
    return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> out;
    out.reserve(texts.size() + 1);
    for (auto& text : texts) out.push_back(text.data());
    out.push_back(nullptr);
    return out;
}

// Takes what is there; closes at the end, which also takes it out of the epoll set.
std::string drain(UniqueFd& fd) {
    std::string text;
    std::array<char, 16384> buffer{};
    while (fd && text.size() < kMostOutput) {
        const auto length = ::read(fd.get(), buffer.data(), buffer.size());
        if (length < 0 && errno == EINTR) continue;
        if (length < 0 && errno == EAGAIN) break;
        if (length <= 0) {
            fd = UniqueFd();
            break;
        }
        text.append(buffer.data(), static_cast<std::size_t>(length));
    }
    return text;
}

std::string text_of(const siginfo_t& info) {
    if (info.si_code == CLD_EXITED) return "exit status " + std::to_string(info.si_status);
    return "killed by signal " + std::to_string(info.si_status);
}

}  // namespace

struct ExecPlugin::Child {
    ~Child() {
        if (pid <= 0) return;
        kill();
        pollfd ended{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
        constexpr int kPatienceMs = 100;
        ::poll(&ended, 1, kPatienceMs);
        ::waitid(P_PID, static_cast<id_t>(pid), nullptr, WEXITED | WNOHANG);
    }

    void kill() const { ::kill(-pid, SIGKILL); }
    // It cannot be ended twice: the first reason counts.
    void end(std::string why) {
        if (!ended_for.empty()) return;
        ended_for = std::move(why);
        kill();
    }
    void read();
    void log_lines(std::string_view text);

    std::string name;
    pid_t pid = 0;  // 0: not started, or ended and waited for
    UniqueFd pidfd;
    UniqueFd out;
    UniqueFd err;
    Clock::time_point started;
    std::string output;
    std::string log_line;
    std::size_t log_lines_told = 0;
    std::string ended_for;  // why we killed it
};

void ExecPlugin::Child::read() {
    output += drain(out);
    if (output.size() > kMostOutput) end("more than 1 MiB of output");
    log_lines(drain(err));
}

void ExecPlugin::Child::log_lines(std::string_view text) {
    for (const char c : text) {
        if (c != '\n') {
            if (log_line.size() <= kLongestLogLine) log_line += c;
            continue;
        }
        if (++log_lines_told <= kMostLogLines) spdlog::warn("{}: {}", name, printable(log_line, kLongestLogLine));
        log_line.clear();
    }
}

ExecPlugin::ExecPlugin(ExecConfig config, Limits limits, UniqueFd epoll)
    : config_(std::move(config)), limits_(limits), epoll_(std::move(epoll)) {}

ExecPlugin::~ExecPlugin() = default;

Result<std::unique_ptr<ExecPlugin>> ExecPlugin::open(ExecConfig config, Limits limits) {
    UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll) return fail_errno(errno, "epoll_create");
    return std::unique_ptr<ExecPlugin>(new ExecPlugin(std::move(config), limits, std::move(epoll)));
}

Error ExecPlugin::failed(std::string what) const {
    return Error::invalid("exec plug-in " + printable(config_.command) + ": " + std::move(what));
}

Status ExecPlugin::start(const std::string& exec_info) {
    auto out = make_pipe();
    auto err = make_pipe();
    if (!out || !err) return fail(out ? err.error() : out.error());
    std::vector<std::string> words{config_.command};
    words.insert(words.end(), config_.args.begin(), config_.args.end());
    auto environment = environment_of(config_, exec_info);
    const Preparation preparation(out->write.get(), err->write.get());
    auto child = std::make_unique<Child>();
    const int error = ::posix_spawnp(&child->pid, config_.command.c_str(), preparation.actions(),
                                     preparation.attributes(), pointers(words).data(), pointers(environment).data());
    if (error != 0) {
        child->pid = 0;
        const auto hint =
            config_.install_hint.empty() ? "" : " (" + printable(config_.install_hint, kLongestLogLine) + ")";
        return fail(failed(std::string("cannot start it: ") + std::strerror(error) + hint));
    }
    child->name = "exec plug-in " + printable(config_.command);
    child->pidfd = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, child->pid, 0)));
    child->out = std::move(out->read);
    child->err = std::move(err->read);
    child->started = Clock::now();
    for (const int fd : {child->pidfd.get(), child->out.get(), child->err.get()}) {
        epoll_event event{};
        event.events = EPOLLIN;
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno(errno, "epoll_ctl");
    }
    child_ = std::move(child);
    return {};
}

void ExecPlugin::step() {
    if (!child_) return;
    if (Clock::now() - child_->started >= limits_.run)
        child_->end("no end after " + std::to_string(limits_.run.count()) + " ms");
    // First whether it has ended, then what it wrote before it did.
    siginfo_t info{};
    const bool ended =
        ::waitid(P_PID, static_cast<id_t>(child_->pid), &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0;
    child_->read();
    if (!ended) return;
    child_->kill();  // what it left behind
    child_->pid = 0;
    if (!child_->log_line.empty()) child_->log_lines("\n");
    if (child_->log_lines_told > kMostLogLines)
        spdlog::warn("{}: {} more lines", child_->name, child_->log_lines_told - kMostLogLines);
    if (child_->ended_for.empty() && (info.si_code != CLD_EXITED || info.si_status != 0))
        child_->ended_for = text_of(info);
    auto result = result_of(*child_);
    child_.reset();
    if (!result) {
        error_ = result.error();
    } else {
        given_ = Given{.credential = *std::move(result), .version = ++last_version_};
    }
}

Result<ExecCredential> ExecPlugin::result_of(Child& child) const {
    if (!child.ended_for.empty()) return fail(failed(child.ended_for));
    auto credential = parse_exec_credential(child.output, config_.api_version);
    if (!credential) return fail(failed(credential.error().message()));
    return credential;
}

Result<std::optional<ExecPlugin::Given>> ExecPlugin::current(const std::string& exec_info) {
    const bool expired = given_ && given_->credential.expires.value_or(std::chrono::system_clock::time_point::max()) <=
                                       std::chrono::system_clock::now();
    if (given_ && !expired) return given_;
    if (child_) return std::nullopt;
    if (error_) return fail(*std::exchange(error_, std::nullopt));
    // Until the next run may begin, the newest is what there is: our clock may be the one that is wrong.
    if (Clock::now() < next_start_) return given_;
    next_start_ = Clock::now() + limits_.pause;
    if (auto started = start(exec_info); !started) return fail(started.error());
    return std::nullopt;
}

void ExecPlugin::rejected(std::uint64_t version) {
    if (given_ && given_->version == version) given_.reset();
}

ExecPlugin::Clock::time_point ExecPlugin::deadline(bool waiting) const {
    if (child_ && child_->ended_for.empty()) return child_->started + limits_.run;
    if (!child_ && waiting) return next_start_;
    return Clock::time_point::max();
}

}  // namespace svclb::kube
