// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "cgroup_root.hpp"

#include <catch2/catch_test_macros.hpp>

namespace svclb::datapath {

using Paths = std::vector<std::filesystem::path>;

TEST_CASE("cgroup v2 is found where it is mounted alone, beside version 1, and more than once") {
    CHECK(cgroup2_mounts("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n") == Paths{"/sys/fs/cgroup"});
    CHECK(cgroup2_mounts("tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
                         "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
                         "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
                         "none /host/cgroup cgroup2 rw 0 0") == Paths{"/sys/fs/cgroup/unified", "/host/cgroup"});
}

TEST_CASE("without cgroup v2 there is none, whatever a mount calls itself") {
    CHECK(cgroup2_mounts("").empty());
    CHECK(cgroup2_mounts("cgroup2 /a tmpfs rw 0 0\n\ncgroup2\n/b cgroup2\n").empty());
}

TEST_CASE("a mount point's blanks and backslashes are read") {
    CHECK(cgroup2_mounts("cgroup2 /a\\040b\\134c cgroup2 rw 0 0\n") == Paths{"/a b\\c"});
    CHECK(cgroup2_mounts("cgroup2 /a\\04 cgroup2 rw 0 0\n") == Paths{"/a\\04"});
}

TEST_CASE("a cgroup root that is no cgroup v2 directory is refused by name") {
    const auto no_cgroup = open_cgroup_root("/tmp");
    REQUIRE(!no_cgroup);
    CHECK(no_cgroup.error().message() == "/tmp is not in a cgroup v2 hierarchy");
    const auto missing = open_cgroup_root("/nonexistent");
    REQUIRE(!missing);
    CHECK(missing.error().message() == "open cgroup root /nonexistent: No such file or directory");
}

}  // namespace svclb::datapath
