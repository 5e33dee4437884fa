// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "metrics.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <sstream>
#include <utility>

namespace svclb::agent {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

constexpr std::array kFamilyNames{"IPv4", "IPv6"};
constexpr std::array kPolicyNames{"internal", "external"};

// kube-proxy's, as its dashboards expect them: from `first`, each one twice the one before.
std::vector<double> doubling(double first, int count) {
    std::vector<double> bounds;
    for (int i = 0; i < count; ++i, first *= 2) bounds.push_back(first);
    return bounds;
}

// 0.25, 0.5, every second to a minute, then every 5 s to 2 minutes, every 30 s to 5 minutes.
std::vector<double> programming_bounds() {
    std::vector<double> bounds{0.25, 0.5};
    for (int s = 1; s < 60; ++s) bounds.push_back(s);
    for (int s = 60; s < 120; s += 5) bounds.push_back(s);
    for (int s = 120; s <= 300; s += 30) bounds.push_back(s);
    return bounds;
}

// Those of sync_proxy_rules_duration begin where a pass here ends.
std::vector<double> sync_bounds() {
    return doubling(0.001, 15);
}
std::vector<double> fine_bounds() {
    return doubling(0.0001, 20);
}

PassMetrics::Family new_family() {
    return {Histogram{sync_bounds()}, Histogram{sync_bounds()}, Histogram{sync_bounds()},
            Histogram{programming_bounds()}};
}

double seconds(std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
}
double seconds(const std::optional<RealTime>& time) {
    return time ? seconds(time->time_since_epoch()) : 0;
}
template <class Number>
double real(Number number) {
    return static_cast<double>(number);
}

// The answer under construction.
class Page {
public:
    // Metrics of one name have to follow each other.
    void gauge(const char* name, const char* help, double value, Labels labels = {}) {
        auto& metric = add(name, help, MetricType::Gauge, std::move(labels));
        metric.gauge.value = value;
    }
    void counter(const char* name, const char* help, double value, Labels labels = {}) {
        auto& metric = add(name, help, MetricType::Counter, std::move(labels));
        metric.counter.value = value;
    }
    void histogram(const char* name, const char* help, const Histogram& from, Labels labels = {}) {
        auto& metric = add(name, help, MetricType::Histogram, std::move(labels));
        std::uint64_t below = 0;
        for (std::size_t i = 0; i < from.bounds().size(); ++i) {
            below += from.counts()[i];
            metric.histogram.bucket.push_back({.cumulative_count = below, .upper_bound = from.bounds()[i]});
        }
        metric.histogram.sample_count = below + from.counts().back();
        metric.histogram.sample_sum = from.sum();
    }
    [[nodiscard]] std::string text() const {
        std::ostringstream out;
        prometheus::TextSerializer{}.Serialize(out, families_);
        return out.str();
    }

private:
    ClientMetric& add(const char* name, const char* help, MetricType type, Labels labels) {
        if (families_.empty() || families_.back().name != name)
            families_.push_back({.name = name, .help = help, .type = type, .metric = {}});
        auto& metric = families_.back().metric.emplace_back();
        metric.label = std::move(labels);
        return metric;
    }

    std::vector<MetricFamily> families_;
};

Labels family_label(std::size_t family) {
    return {{"ip_family", kFamilyNames.at(family)}};
}

// One metric for each family.
template <class Add>
void by_family(Add add) {
    for (std::size_t family = 0; family < kFamilyNames.size(); ++family) add(family, family_label(family));
}

void add_kube_proxy(Page& page, const PassMetrics& passes, const Answers& answers) {
    const auto per_family = [&](const char* name, const char* help, Histogram PassMetrics::Family::*which) {
        by_family([&](std::size_t family, Labels labels) {
            page.histogram(name, help, passes.families.at(family).*which, std::move(labels));
        });
    };
    per_family("kubeproxy_sync_proxy_rules_duration_seconds", "Time that a pass took", &PassMetrics::Family::sync);
    per_family("kubeproxy_sync_full_proxy_rules_duration_seconds", "Time that a pass over every Service took",
               &PassMetrics::Family::full);
    per_family("kubeproxy_sync_partial_proxy_rules_duration_seconds", "Time that a pass over some Services took",
               &PassMetrics::Family::partial);
    per_family("kubeproxy_network_programming_duration_seconds",
               "From the time that the controller noted on an EndpointSlice to programmed",
               &PassMetrics::Family::programming);
    by_family([&](std::size_t, Labels labels) {
        page.gauge("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When all was last programmed without an error",
                   seconds(passes.last_synced), std::move(labels));
    });
    by_family([&](std::size_t, Labels labels) {
        page.gauge("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "When a change last arrived",
                   seconds(passes.last_queued), std::move(labels));
    });
    page.gauge("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "EndpointSlice changes that are not programmed",
               real(passes.endpoint_slices.pending));
    page.counter("kubeproxy_sync_proxy_rules_endpoint_changes_total", "EndpointSlice changes that have arrived",
                 real(passes.endpoint_slices.total));
    page.gauge("kubeproxy_sync_proxy_rules_service_changes_pending", "Service changes that are not programmed",
               real(passes.services.pending));
    page.counter("kubeproxy_sync_proxy_rules_service_changes_total", "Service changes that have arrived",
                 real(passes.services.total));
    for (const auto& [code, count] : answers.healthz)
        page.counter("kubeproxy_proxy_healthz_total", "Answers of /healthz", real(count),
                     {{"code", std::to_string(code)}});
    for (const auto& [code, count] : answers.livez)
        page.counter("kubeproxy_proxy_livez_total", "Answers of /livez", real(count), {{"code", std::to_string(code)}});
}

// As client-go counts, so that dashboards find them.
void add_requests(Page& page, const kube::RequestStats& requests) {
    for (const auto& [what, count] : requests.answers)
        page.counter("rest_client_requests_total", "Requests to the API server, by method and status", real(count),
                     {{"code", what.second == 0 ? "<error>" : std::to_string(what.second)},
                      {"host", requests.host},
                      {"method", what.first}});
    for (const auto& [method, histogram] : requests.seconds)
        page.histogram("rest_client_request_duration_seconds", "From a request to the head of its answer", histogram,
                       {{"host", requests.host}, {"verb", method}});
}

void add_passes(Page& page, const PassMetrics& passes) {
    page.histogram("svclb_event_programming_duration_seconds", "From the arrival of a change to programmed",
                   passes.event_delay);
    page.histogram("svclb_endpoint_programming_duration_seconds",
                   "As kubeproxy_network_programming_duration_seconds, in finer buckets", passes.endpoint_delay);
    page.counter("svclb_passes_total", "Passes, whether or not there was anything to write", real(passes.passes));
    page.counter("svclb_table_writes_total", "Rows written", real(passes.writes));
    page.counter("svclb_table_write_failures_total", "Rows that could not be written", real(passes.failures));
    const auto& last = passes.last;
    page.gauge("svclb_services", "Services known", real(last.known_services));
    page.gauge("svclb_endpoint_slices", "EndpointSlices known", real(last.known_endpoint_slices));
    page.gauge("svclb_held_services", "Services that stay as a former agent left them, for want of a whole view",
               real(last.held_services));
    page.gauge("svclb_retry_services", "Services whose failed writes wait to be tried again", real(last.retries));
    page.gauge("svclb_frontend_conflicts", "Frontends that two Services claim", real(last.conflicts));
    page.gauge("svclb_complete", "1 once every object has been read", last.complete ? 1 : 0);
}

void add_source(Page& page, const kube::SourceState& source, const EventCounts& events) {
    page.gauge("svclb_source_synced", "1 once everything that is waited for has been read", source.synced ? 1 : 0);
    page.gauge("svclb_source_connected", "1 while what is known is up to date", source.connected ? 1 : 0);
    page.counter("svclb_source_received_bytes_total", "Bytes from the API server", real(source.bytes_received));
    const auto each = [&](const char* name, const char* help, bool counts, auto value) {
        for (const auto& resource : source.resources) {
            const std::optional<double> number = value(resource);
            if (!number) continue;
            Labels labels{{"resource", resource.name}};
            if (counts)
                page.counter(name, help, *number, std::move(labels));
            else
                page.gauge(name, help, *number, std::move(labels));
        }
    };
    using Resource = kube::ResourceState;
    using Value = std::optional<double>;
    each("svclb_watch_age_seconds", "Since the last word from the API server", false,
         [](const Resource& resource) { return resource.age ? Value{seconds(*resource.age)} : std::nullopt; });
    each("svclb_watch_connected", "1 while the watch is open", false,
         [](const Resource& resource) { return Value{resource.connected ? 1 : 0}; });
    each("svclb_watch_objects", "Objects known", false,
         [](const Resource& resource) { return Value{real(resource.objects)}; });
    each("svclb_lists_total", "Lists begun", true,
         [](const Resource& resource) { return Value{real(resource.lists)}; });
    each("svclb_watches_total", "Watches begun", true,
         [](const Resource& resource) { return Value{real(resource.watches)}; });
    each("svclb_source_failures_total", "Lists and watches that failed", true,
         [](const Resource& resource) { return Value{real(resource.failures)}; });
    const auto event = [&](const char* result, std::uint64_t count) {
        page.counter("svclb_events_total", "Events about objects, by what became of them", real(count),
                     {{"result", result}});
    };
    event("sent", events.sent);
    event("failed", events.failed);
    event("dropped", events.dropped);
}

void add_reasons(Page& page, const KernelFacts& kernel) {
    struct Reason {
        const char* name;
        bool dropped;
    };
#define SVCLB_METRIC_REASON(name, text, dropped) Reason{#name, (dropped) != 0},
    static constexpr std::array kReasons{SVCLB_REASONS(SVCLB_METRIC_REASON)};
#undef SVCLB_METRIC_REASON
    const auto add = [&](const char* name, const char* help, bool dropped) {
        for (std::size_t i = 0; i < kReasons.size(); ++i)
            if (kReasons.at(i).dropped == dropped)
                page.counter(name, help, real(kernel.reasons.at(i).packets), {{"reason", kReasons.at(i).name}});
    };
    add("svclb_dropped_packets_total", "Packets that ended here, by reason", true);
    add("svclb_untranslated_packets_total", "Packets to frontends that went on without translation, by reason", false);
}

void add_xdp(Page& page, const KernelFacts& kernel) {
    for (const auto& [device, mode] : kernel.xdp_modes)
        page.gauge("svclb_uplink_xdp", "1, labelled with the mode in which XDP serves the uplink; off: tc alone does",
                   1, {{"device", device}, {"mode", mode}});
    const auto action = [&](const char* name, svclb_xdp_action which) {
        page.counter("svclb_xdp_packets_total", "Frames that came in by uplinks with XDP, by what it did with them",
                     real(kernel.xdp.at(which).packets), {{"action", name}});
    };
    action("forwarded", SVCLB_XDP_FORWARDED);
    action("dropped", SVCLB_XDP_DROPPED);
    action("passed", SVCLB_XDP_PASSED);
}

void add_kernel(Page& page, const KernelFacts& kernel) {
    for (std::size_t policy = 0; policy < kPolicyNames.size(); ++policy)
        by_family([&](std::size_t family, Labels labels) {
            labels.push_back({"traffic_policy", kPolicyNames.at(policy)});
            page.gauge("kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                       "Service ports with policy Local and endpoints, but none on this node",
                       real(kernel.without_local_backends.at(family).at(policy)), std::move(labels));
        });
    for (const auto& map : kernel.maps)
        page.gauge("svclb_map_max_entries", "Size of a map", map.max_entries, {{"map", map.name}});
    for (const auto& map : kernel.maps)
        page.gauge("svclb_map_bytes", "Kernel memory of a map", real(map.bytes), {{"map", map.name}});
    page.counter("svclb_flows_collected_total", "Flow entries removed after their timeout",
                 real(kernel.agent.collected));
    page.counter("svclb_sockets_ended_total", "Connected UDP sockets of the node whose backend had gone",
                 real(kernel.agent.sockets_ended));
    page.gauge("svclb_invalid_objects", "Objects whose last content was refused", kernel.agent.invalid_objects);
    add_reasons(page, kernel);
    add_xdp(page, kernel);
}

void add_fill(Page& page, const reconcile::Fill& fill) {
    const auto map = [&](const char* name, std::size_t entries) {
        page.gauge("svclb_map_entries", "Rows in use of the maps that the agent writes", real(entries),
                   {{"map", name}});
    };
    map("services", fill.services);
    map("frontends", fill.frontends);
    map("backends", fill.backends);
    map("slots", fill.slots);
}

void add_process(Page& page, const ProcessFacts& process) {
    page.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", process.resident_bytes);
    page.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", process.virtual_bytes);
    page.counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", process.cpu_seconds);
    page.gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
               process.start_time_s);
    page.gauge("process_open_fds", "Number of open file descriptors.", process.open_fds);
    page.gauge("process_max_fds", "Maximum number of open file descriptors.", process.max_fds);
}

}  // namespace

PassMetrics::PassMetrics()
    : families{new_family(), new_family()}, endpoint_delay{fine_bounds()}, event_delay{fine_bounds()} {}

void PassMetrics::queued(RealTime when) {
    last_queued = when;
    if (!arrived_) arrived_ = when;
}

void PassMetrics::passed(const PassReport& report) {
    const auto took = seconds(report.ended - report.began);
    const bool full = report.services_built >= report.known_services;
    for (auto& family : families) {
        family.sync.observe(took);
        (full ? family.full : family.partial).observe(took);
    }
    for (const auto& [family, time] : report.delays) {
        families.at(family == model::Family::ipv4 ? 0 : 1).programming.observe(seconds(time));
        endpoint_delay.observe(seconds(time));
    }
    if (arrived_) event_delay.observe(seconds(report.ended - *arrived_));
    arrived_.reset();
    const bool clean = report.failures == 0 && report.retries == 0;
    const auto count = [clean](Changes& changes, std::size_t more) {
        changes.total += more;
        changes.pending = clean ? 0 : changes.pending + more;
    };
    count(services, report.changes.services);
    count(endpoint_slices, report.changes.endpoint_slices);
    if (clean) last_synced = report.ended;
    ++passes;
    writes += report.writes;
    failures += report.failures;
    last = report;
    last.delays.clear();
}

std::string metrics_text(const MetricFacts& facts) {
    Page page;
    page.gauge("svclb_build_info", "1, labelled with the version of the agent", 1, {{"version", SVCLB_VERSION}});
    add_kube_proxy(page, facts.passes, facts.answers);
    add_passes(page, facts.passes);
    add_source(page, facts.source, facts.events);
    add_requests(page, facts.source.requests);
    page.gauge("svclb_healthy", "What /livez says", facts.healthy ? 1 : 0);
    page.gauge("svclb_node_eligible", "0 where the node is gone or about to go", facts.node_leaving ? 0 : 1);
    add_fill(page, facts.passes.last.fill);
    if (facts.flow_entries)
        page.gauge("svclb_flow_entries", "Entries that the last walk over the flow tables has seen, two for each flow",
                   real(*facts.flow_entries));
    if (facts.kernel) add_kernel(page, *facts.kernel);
    add_process(page, facts.process);
    return page.text();
}

std::string slis_text(const Answers& answers) {
    Page page;
    if (answers.pings == 0) return {};
    page.gauge("kubernetes_healthcheck", "Result of the last check", 1, {{"name", "ping"}, {"type", "healthz"}});
    page.counter("kubernetes_healthchecks_total", "Results of checks", real(answers.pings),
                 {{"name", "ping"}, {"status", "success"}, {"type", "healthz"}});
    return page.text();
}

std::array<std::array<std::uint64_t, 2>, 2> without_local_backends(std::span<const svclb_service> rows) {
    std::array<std::array<std::uint64_t, 2>, 2> counts{};
    for (const auto& row : rows) {
        // Backends elsewhere and none here: that is what the drop is for.
        if (row.family == 0 || row.verdicts[SVCLB_SET_LOCAL] != SVCLB_VERDICT_DROP) continue;
        auto& family = counts.at(row.family == 4 ? 0 : 1);
        if (row.internal_set == SVCLB_SET_LOCAL) ++family[0];
        if (row.external_set == SVCLB_SET_LOCAL) ++family[1];
    }
    return counts;
}

}  // namespace svclb::agent
