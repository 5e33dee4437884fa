// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// To be preloaded: setns() is denied for the network namespace whose inode is BARRED_NETNS, as a security module may do
// it, and WALK_LOG gets a line whenever the directory of all processes is opened.
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>

extern "C" int setns(int fd, int type) noexcept {
    const char* barred = std::getenv("BARRED_NETNS");
    struct stat at {};
    if (barred != nullptr && ::fstat(fd, &at) == 0 && at.st_ino == std::strtoul(barred, nullptr, 10)) {
        errno = EPERM;
        return -1;
    }
    return static_cast<int>(::syscall(SYS_setns, fd, type));
}

extern "C" int openat(int directory, const char* path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    const char* log = std::getenv("WALK_LOG");
    if (log != nullptr && std::strcmp(path, "/proc") == 0) {
        const int fd = ::open(log, O_WRONLY | O_APPEND | O_CLOEXEC);
        (void)!::write(fd, "walk\n", 5);
        ::close(fd);
    }
    return static_cast<int>(::syscall(SYS_openat, directory, path, flags, mode));
}
