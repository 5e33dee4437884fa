// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "metrics.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <sstream>
#include <vector>

namespace svclb::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Lines = std::vector<std::string>;

const RealTime kStart{seconds{1'000'000}};

PassReport pass(milliseconds began, milliseconds ended) {
    PassReport report;
    report.began = kStart + began;
    report.ended = kStart + ended;
    return report;
}

// The samples of one metric, without its name.
Lines samples(const MetricFacts& facts, const std::string& name) {
    Lines found;
    std::istringstream text(metrics_text(facts));
    for (std::string line; std::getline(text, line);)
        if (line.starts_with(name) && line.find_first_of("{ ") == name.size())
            found.push_back(line.substr(name.size()));
    return found;
}

Lines types(const MetricFacts& facts, const std::string& prefix) {
    Lines found;
    std::istringstream text(metrics_text(facts));
    for (std::string line; std::getline(text, line);)
        if (line.starts_with("# TYPE " + prefix)) found.push_back(line.substr(7));
    return found;
}

TEST_CASE("an observation counts in every bucket that it is not above") {
    Histogram histogram{{1, 2, 4}};
    for (const double value : {0.5, 1.0, 3.0, 9.0}) histogram.observe(value);
    CHECK(histogram.counts() == std::vector<std::uint64_t>{2, 0, 1, 1});
    CHECK(histogram.sum() == 13.5);
}

TEST_CASE("kube-proxy's metrics have its names, types, labels and buckets") {
    MetricFacts facts;
    facts.kernel.emplace();
    facts.answers.healthz[200] = 3;
    facts.answers.livez[503] = 1;
    CHECK(types(facts, "kubeproxy_") ==
          Lines{"kubeproxy_sync_proxy_rules_duration_seconds histogram",
                "kubeproxy_sync_full_proxy_rules_duration_seconds histogram",
                "kubeproxy_sync_partial_proxy_rules_duration_seconds histogram",
                "kubeproxy_network_programming_duration_seconds histogram",
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge",
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds gauge",
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending gauge",
                "kubeproxy_sync_proxy_rules_endpoint_changes_total counter",
                "kubeproxy_sync_proxy_rules_service_changes_pending gauge",
                "kubeproxy_sync_proxy_rules_service_changes_total counter", "kubeproxy_proxy_healthz_total counter",
                "kubeproxy_proxy_livez_total counter", "kubeproxy_sync_proxy_rules_no_local_endpoints_total gauge"});
    CHECK(samples(facts, "kubeproxy_proxy_healthz_total") == Lines{R"({code="200"} 3)"});
    CHECK(samples(facts, "kubeproxy_proxy_livez_total") == Lines{R"({code="503"} 1)"});
    const auto sync = samples(facts, "kubeproxy_sync_proxy_rules_duration_seconds_bucket");
    REQUIRE(sync.size() == 2 * 16);
    CHECK(sync[0] == R"({ip_family="IPv4",le="0.001"} 0)");
    CHECK(sync[14] == R"({ip_family="IPv4",le="16.384"} 0)");
    CHECK(sync[31] == R"({ip_family="IPv6",le="+Inf"} 0)");
    const auto programming = samples(facts, "kubeproxy_network_programming_duration_seconds_bucket");
    REQUIRE(programming.size() == 2 * (2 + 59 + 12 + 7 + 1));
    CHECK(programming[0] == R"({ip_family="IPv4",le="0.25"} 0)");
    CHECK(programming[61] == R"({ip_family="IPv4",le="60"} 0)");
    CHECK(programming[79] == R"({ip_family="IPv4",le="300"} 0)");
}

TEST_CASE("a pass is a sync of both families, full where it built every Service") {
    MetricFacts facts;
    facts.passes.queued(kStart);
    facts.passes.queued(kStart + milliseconds{3});
    auto first = pass(milliseconds{4}, milliseconds{6});
    first.services_built = first.known_services = 10;
    first.writes = 40;
    facts.passes.passed(first);
    auto second = pass(milliseconds{1000}, milliseconds{1001});
    second.services_built = 1;
    second.known_services = 10;
    second.writes = 2;
    second.delays = {{model::Family::ipv6, milliseconds{700}}};
    facts.passes.passed(second);

    CHECK(samples(facts, "kubeproxy_sync_proxy_rules_duration_seconds_count") ==
          Lines{R"({ip_family="IPv4"} 2)", R"({ip_family="IPv6"} 2)"});
    CHECK(samples(facts, "kubeproxy_sync_full_proxy_rules_duration_seconds_sum") ==
          Lines{R"({ip_family="IPv4"} 0.002)", R"({ip_family="IPv6"} 0.002)"});
    CHECK(samples(facts, "kubeproxy_sync_partial_proxy_rules_duration_seconds_sum") ==
          Lines{R"({ip_family="IPv4"} 0.001)", R"({ip_family="IPv6"} 0.001)"});
    CHECK(samples(facts, "kubeproxy_network_programming_duration_seconds_sum") ==
          Lines{R"({ip_family="IPv4"} 0)", R"({ip_family="IPv6"} 0.7)"});
    CHECK(samples(facts, "kubeproxy_sync_proxy_rules_last_timestamp_seconds") ==
          Lines{R"({ip_family="IPv4"} 1000001.001)", R"({ip_family="IPv6"} 1000001.001)"});
    CHECK(samples(facts, "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds") ==
          Lines{R"({ip_family="IPv4"} 1000000.003)", R"({ip_family="IPv6"} 1000000.003)"});
    CHECK(samples(facts, "svclb_endpoint_programming_duration_seconds_sum") == Lines{" 0.7"});
    // The oldest of what the pass took in.
    CHECK(samples(facts, "svclb_event_programming_duration_seconds_count") == Lines{" 1"});
    CHECK(samples(facts, "svclb_event_programming_duration_seconds_sum") == Lines{" 0.006"});
    CHECK(samples(facts, "svclb_passes_total") == Lines{" 2"});
    CHECK(samples(facts, "svclb_table_writes_total") == Lines{" 42"});
}

TEST_CASE("changes are pending from a pass that could not write all to one that could") {
    MetricFacts facts;
    const auto pending = [&](std::size_t slices, std::size_t failures, std::size_t retries) {
        auto report = pass(milliseconds{0}, milliseconds{1});
        report.changes.endpoint_slices = slices;
        report.failures = failures;
        report.retries = retries;
        facts.passes.passed(report);
        return facts.passes.endpoint_slices.pending;
    };
    CHECK(pending(2, 0, 0) == 0);
    CHECK(pending(3, 1, 1) == 3);
    CHECK(pending(1, 0, 1) == 4);  // another Service's change, while the first one waits
    CHECK(facts.passes.last_synced == kStart + milliseconds{1});
    CHECK(pending(0, 0, 0) == 0);
    CHECK(samples(facts, "kubeproxy_sync_proxy_rules_endpoint_changes_total") == Lines{" 6"});
    CHECK(samples(facts, "svclb_table_write_failures_total") == Lines{" 1"});
}

TEST_CASE("how the source fares is told by resource") {
    MetricFacts facts;
    facts.source.connected = true;
    kube::ResourceState services;
    services.name = "services";
    services.age = milliseconds{1500};
    services.objects = 7;
    kube::ResourceState nodes;
    nodes.name = "nodes";
    nodes.failures = 2;
    facts.source.resources = {services, nodes};
    CHECK(samples(facts, "svclb_source_connected") == Lines{" 1"});
    CHECK(samples(facts, "svclb_watch_age_seconds") == Lines{R"({resource="services"} 1.5)"});
    CHECK(samples(facts, "svclb_watch_objects") == Lines{R"({resource="services"} 7)", R"({resource="nodes"} 0)"});
    CHECK(samples(facts, "svclb_source_failures_total") ==
          Lines{R"({resource="services"} 0)", R"({resource="nodes"} 2)"});
}

TEST_CASE("requests to the API server are told as client-go does") {
    MetricFacts facts;
    auto& requests = facts.source.requests;
    requests.host = "10.0.0.1:6443";
    requests.answered("GET", 200, milliseconds{30});
    requests.answered("GET", 200, milliseconds{3});
    requests.answered("GET", 429, milliseconds{3});
    requests.answered("POST", 0, seconds{70});
    CHECK(samples(facts, "rest_client_requests_total") ==
          Lines{R"({code="200",host="10.0.0.1:6443",method="GET"} 2)",
                R"({code="429",host="10.0.0.1:6443",method="GET"} 1)",
                R"({code="<error>",host="10.0.0.1:6443",method="POST"} 1)"});
    const auto buckets = samples(facts, "rest_client_request_duration_seconds_bucket");
    REQUIRE(buckets.size() == 2 * 13);
    CHECK(buckets[0] == R"({host="10.0.0.1:6443",verb="GET",le="0.005"} 2)");
    CHECK(buckets[2] == R"({host="10.0.0.1:6443",verb="GET",le="0.1"} 3)");
    CHECK(buckets[24] == R"({host="10.0.0.1:6443",verb="POST",le="60"} 0)");
    CHECK(buckets[25] == R"({host="10.0.0.1:6443",verb="POST",le="+Inf"} 1)");
}

TEST_CASE("the ping check is told as other components tell theirs, once there has been one") {
    Answers answers;
    CHECK(slis_text(answers).empty());
    answers.pings = 3;
    const auto text = slis_text(answers);
    CHECK(text.find("\nkubernetes_healthcheck{name=\"ping\",type=\"healthz\"} 1\n") != std::string::npos);
    CHECK(text.find("\nkubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"healthz\"} 3\n") !=
          std::string::npos);
}

TEST_CASE("every reason is counted under its name, apart by what becomes of the packet") {
    MetricFacts facts;
    facts.kernel.emplace();
    facts.kernel->reasons.at(SVCLB_REASON_UNALLOCATED_DROPPED).packets = 5;
    facts.kernel->reasons.at(SVCLB_REASON_NO_FLOW).packets = 6;
    const auto dropped = samples(facts, "svclb_dropped_packets_total");
    const auto untranslated = samples(facts, "svclb_untranslated_packets_total");
    CHECK(dropped.size() + untranslated.size() == SVCLB_REASON_COUNT);
    CHECK(std::ranges::count(dropped, R"({reason="UNALLOCATED_DROPPED"} 5)") == 1);
    CHECK(std::ranges::count(untranslated, R"({reason="NO_FLOW"} 6)") == 1);
}

TEST_CASE("each uplink tells how XDP serves it, and XDP what it did") {
    MetricFacts facts;
    facts.kernel.emplace();
    facts.kernel->xdp_modes = {{"eth0", "native"}, {"eth1", "off"}};
    facts.kernel->xdp.at(SVCLB_XDP_FORWARDED).packets = 4;
    facts.kernel->xdp.at(SVCLB_XDP_DROPPED).packets = 5;
    facts.kernel->xdp.at(SVCLB_XDP_PASSED).packets = 6;
    CHECK(samples(facts, "svclb_uplink_xdp") ==
          Lines{R"({device="eth0",mode="native"} 1)", R"({device="eth1",mode="off"} 1)"});
    CHECK(samples(facts, "svclb_xdp_packets_total") ==
          Lines{R"({action="forwarded"} 4)", R"({action="dropped"} 5)", R"({action="passed"} 6)"});
}

TEST_CASE("what the kernel does not tell is left out, the rest is there") {
    MetricFacts facts;
    CHECK(samples(facts, "svclb_dropped_packets_total").empty());
    CHECK(samples(facts, "svclb_flow_entries").empty());
    facts.flow_entries = 12;
    facts.passes.last.fill = {.services = 1, .frontends = 2, .backends = 3, .slots = 4};
    CHECK(samples(facts, "svclb_flow_entries") == Lines{" 12"});
    CHECK(samples(facts, "svclb_map_entries") ==
          Lines{R"({map="services"} 1)", R"({map="frontends"} 2)", R"({map="backends"} 3)", R"({map="slots"} 4)"});
    CHECK(samples(facts, "svclb_build_info") == Lines{R"({version=")" SVCLB_VERSION R"("} 1)"});
}

TEST_CASE("a Service port whose policy is Local counts where its backends are elsewhere") {
    const auto row = [](int family, svclb_set internal, svclb_set external, svclb_verdict local) {
        svclb_service made{};
        made.family = static_cast<__u8>(family);
        made.internal_set = internal;
        made.external_set = external;
        made.verdicts[SVCLB_SET_LOCAL] = local;
        return made;
    };
    const std::vector rows{row(0, SVCLB_SET_LOCAL, SVCLB_SET_LOCAL, SVCLB_VERDICT_DROP),
                           row(4, SVCLB_SET_LOCAL, SVCLB_SET_CLUSTER, SVCLB_VERDICT_DROP),
                           row(4, SVCLB_SET_LOCAL, SVCLB_SET_CLUSTER, SVCLB_VERDICT_REJECT),
                           row(6, SVCLB_SET_LOCAL, SVCLB_SET_LOCAL, SVCLB_VERDICT_DROP),
                           row(6, SVCLB_SET_CLUSTER, SVCLB_SET_CLUSTER, SVCLB_VERDICT_DROP)};
    const auto counts = without_local_backends(rows);
    CHECK(counts[0] == std::array<std::uint64_t, 2>{1, 0});
    CHECK(counts[1] == std::array<std::uint64_t, 2>{1, 1});
}

TEST_CASE("what a process costs is read behind its name, whatever that is") {
    const auto stat = parse_process_stat(
        "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 11 22 0 0 20 0 3 0 555 123456789 789 18446744073709551615");
    REQUIRE(stat);
    CHECK(stat->user_ticks == 11);
    CHECK(stat->system_ticks == 22);
    CHECK(stat->start_ticks == 555);
    CHECK(stat->virtual_bytes == 123456789);
    CHECK(stat->resident_pages == 789);
    CHECK_FALSE(parse_process_stat("7 (a) S 1 7"));
    CHECK_FALSE(parse_process_stat(""));
    const auto self = process_facts();
    CHECK(self.resident_bytes > 0);
    CHECK(self.open_fds >= 3);
    CHECK(self.max_fds >= self.open_fds);
    CHECK(self.start_time_s > 1e9);
}

}  // namespace
}  // namespace svclb::agent
