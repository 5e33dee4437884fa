// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "bpf_dir.hpp"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace svclb::datapath {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBpffsMount = "/sys/fs/bpf";

fs::path nearest_existing(fs::path path) {
    std::error_code ignored;
    while (!fs::exists(path, ignored) && path.has_parent_path() && path != path.parent_path())
        path = path.parent_path();
    return path;
}

bool is_below(const fs::path& path, const fs::path& ancestor) {
    return std::mismatch(ancestor.begin(), ancestor.end(), path.begin(), path.end()).first == ancestor.end();
}

}  // namespace

bool is_bpffs(const fs::path& path) {
    struct statfs info {};
    // f_type is signed or not depending on the architecture.
    return ::statfs(path.c_str(), &info) == 0 && static_cast<unsigned long>(info.f_type) == BPF_FS_MAGIC;
}

Status prepare(const BpfDir& dir) {
    const fs::path root = dir.root.lexically_normal();
    if (!root.is_absolute()) return fail(Error::invalid("bpf-dir '" + dir.root.string() + "' is not an absolute path"));
    if (!is_bpffs(nearest_existing(root))) {
        if (!is_below(root, kBpffsMount) || root == kBpffsMount) {
            return fail(Error::invalid("bpf-dir '" + root.string() +
                                       "' is not on a bpffs; mount one there, or use a directory below " +
                                       kBpffsMount));
        }
        if (::mount("bpffs", kBpffsMount, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0) {
            return fail_errno(errno, std::string("mount a bpffs on ") + kBpffsMount);
        }
        // In a container without a host path the mount, and every connection's state, ends with the container.
        spdlog::warn("mounted a bpffs path={} note=\"pins last as long as this mount namespace\"", kBpffsMount);
    }
    for (const auto& path : {dir.maps(), dir.links()}) {
        std::error_code error;
        fs::create_directories(path, error);
        if (error == std::errc::operation_not_permitted && root.string().find('.') != std::string::npos) {
            return fail(Error::invalid("bpf-dir '" + root.string() + "': a bpffs allows no '.' in a name"));
        }
        if (error) return fail({error, "create " + path.string()});
    }
    // Whoever may write these maps may redirect every connection of the node.
    std::error_code error;
    fs::permissions(dir.root, fs::perms::owner_all, error);
    if (error) return fail({error, "restrict " + dir.root.string()});
    return {};
}

// A lock for reading, since a directory can't be opened for writing; a question after one for writing meets it, and
// takes none itself. Traffic does not depend on it.
UniqueFd hold(const BpfDir& dir) {
    UniqueFd fd{::open(dir.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    struct flock lock {};
    lock.l_type = F_RDLCK;
    if (!fd || ::fcntl(fd.get(), F_OFD_SETLK, &lock) != 0) {
        spdlog::warn("svclb-ctl will not see that this agent runs lock={} reason=\"{}\"", dir.root.string(),
                     std::error_code(errno, std::system_category()).message());
    }
    return fd;
}

bool is_held(const BpfDir& dir) {
    const UniqueFd fd{::open(dir.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    struct flock lock {};
    lock.l_type = F_WRLCK;
    return fd && ::fcntl(fd.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

Result<std::vector<std::string>> names_in(const fs::path& directory) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
        names.push_back(entry->path().filename().string());
    }
    if (error && error != std::errc::no_such_file_or_directory) return fail({error, "list " + directory.string()});
    std::sort(names.begin(), names.end());
    return names;
}

Result<UniqueFd> open_pin(const fs::path& path, bool read_only) {
    struct bpf_obj_get_opts opts {};
    opts.sz = sizeof(opts);
    opts.file_flags = read_only ? __u32{BPF_F_RDONLY} : 0U;
    const int fd = bpf_obj_get_opts(path.c_str(), &opts);
    if (fd >= 0) return UniqueFd(fd);
    if (fd == -ENOENT) return UniqueFd();
    return fail_errno(-fd, "open " + path.string());
}

Status pin(int fd, const fs::path& path) {
    if (auto removed = unpin(path); !removed) return removed;
    if (const int error = bpf_obj_pin(fd, path.c_str()); error != 0) return fail_errno(-error, "pin " + path.string());
    return {};
}

Status unpin(const fs::path& path) {
    std::error_code error;
    fs::remove(path, error);
    if (error && error != std::errc::no_such_file_or_directory) return fail({error, "remove " + path.string()});
    return {};
}

}  // namespace svclb::datapath
