// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "config.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace svclb::agent {
namespace {

// What a command line makes; nothing where it is not usable.
std::optional<Config> from(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "svclb-agent");
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    auto made = config_from(static_cast<int>(argv.size()), argv.data());
    auto* config = std::get_if<Config>(&made);
    return config == nullptr ? std::nullopt : std::optional(std::move(*config));
}

// The drain mode of deploy/ is the file of the other modes and two flags.
TEST_CASE("flags win over the file, and take its Service CIDRs and its source away") {
    const auto file = std::filesystem::temp_directory_path() / fmt::format("svclb-config-{}", ::getpid());
    std::ofstream(file)
        << "apiVersion: svclb.io/v1alpha1\nkind: AgentConfiguration\nkubeconfig: /k\nnodeName: of-file\n"
           "serviceCIDRs: [10.96.0.0/16]\n";
    const auto of_file = from({"--config=" + file.string()});
    const auto drain = from({"--config=" + file.string(), "--node-name=n", "--manifests=/m", "--service-cidr=off"});
    const auto other = from({"--service-cidr=10.97.0.0/16,fd00::/112", "--config=" + file.string()});
    std::filesystem::remove(file);

    REQUIRE(of_file);
    CHECK(of_file->kubeconfig == "/k");
    CHECK(of_file->service_cidrs == std::vector{*model::parse_cidr("10.96.0.0/16")});
    REQUIRE(drain);
    CHECK(drain->kubeconfig.empty());
    CHECK(drain->manifests == "/m");
    CHECK(drain->node_name == "n");
    CHECK(drain->service_cidrs.empty());
    REQUIRE(other);
    CHECK(other->service_cidrs == std::vector{*model::parse_cidr("10.97.0.0/16"), *model::parse_cidr("fd00::/112")});
}

// That of deploy/.
TEST_CASE("a cleanup takes the directory of the file, and needs no source") {
    const auto file = std::filesystem::temp_directory_path() / fmt::format("svclb-config-{}", ::getpid());
    std::ofstream(file) << "apiVersion: svclb.io/v1alpha1\nkind: AgentConfiguration\nbpfDir: /sys/fs/bpf/other\n";
    const auto clean_up = from({"--cleanup", "--config=" + file.string()});
    std::filesystem::remove(file);
    REQUIRE(clean_up);
    CHECK(clean_up->action == Action::clean_up);
    CHECK(clean_up->datapath.bpf_dir == "/sys/fs/bpf/other");
}

TEST_CASE("what is no Service CIDR is bad usage, and \"off\" stands alone") {
    CHECK(from({"--manifests=/m", "--service-cidr=off"}));
    CHECK_FALSE(from({"--manifests=/m", "--service-cidr=off,10.96.0.0/16"}));
    CHECK_FALSE(from({"--manifests=/m", "--service-cidr=on"}));
    CHECK_FALSE(from({"--manifests=/m", "--service-cidr=10.96.0.0/99"}));
}

}  // namespace
}  // namespace svclb::agent
