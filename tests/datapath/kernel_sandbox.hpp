// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A network namespace and a bpffs directory of a test's own. Both are gone when it ends, passed or not.
#pragma once

#include <filesystem>
#include <string>

#include "svclb/base/unique_fd.hpp"
#include "svclb/datapath/datapath.hpp"

namespace svclb::datapath {

class KernelSandbox {
public:
    // Skips the test, with the reason, where the kernel or our privileges do not allow it.
    KernelSandbox();
    ~KernelSandbox();
    KernelSandbox(const KernelSandbox&) = delete;
    KernelSandbox& operator=(const KernelSandbox&) = delete;
    KernelSandbox(KernelSandbox&&) = delete;
    KernelSandbox& operator=(KernelSandbox&&) = delete;

    [[nodiscard]] const std::filesystem::path& bpf_dir() const { return bpf_dir_; }
    // Small maps, so that a load takes little.
    [[nodiscard]] Options options(AttachMode mode = AttachMode::automatic) const;

    // A veth pair whose other end lives in the second namespace. Returns the ifindex of our end.
    int add_pod_link(const std::string& name) const;
    // An iproute2 command in our namespace: "link add ...". "OTHER" stands for the second namespace.
    void ip(const std::string& arguments) const;
    void tc(const std::string& arguments) const;

private:
    UniqueFd home_;   // the namespace that the test came from
    UniqueFd other_;  // where peers live
    std::filesystem::path bpf_dir_;
};

[[nodiscard]] int ifindex_of(const std::string& name);
// The hooks of a device as text: "tc ingress tcx;tc egress tcx;".
[[nodiscard]] std::string hooks_of(const Datapath& datapath, int ifindex);
// Output of a command.
[[nodiscard]] std::string output_of(const std::string& command);
// What a Result or Status has failed with, for the message of a failed check.
template <class T>
std::string error_of(const Result<T>& result) {
    return result ? "" : result.error().message();
}
Datapath open_or_fail(const Options& options);

}  // namespace svclb::datapath
