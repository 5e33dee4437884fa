// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// svclb-ctl: what the datapath of this node holds, by name, with the agent running or not. It only reads, but for flows
// that it is told to flush.
// Exit codes: 0 done, 1 failed, 2 bad usage or bad input, 3 differences found (verify).
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "flush.hpp"
#include "output.hpp"
#include "render.hpp"
#include "snapshot.hpp"
#include "status.hpp"
#include "verify.hpp"
#include "view.hpp"

namespace svclb::ctl {
namespace {

enum Exit { kDone = 0, kFailed = 1, kBadUsage = 2, kDifferent = 3 };

struct Flags {
    std::string bpf_dir = "/sys/fs/bpf/svclb";
    Format format = Format::table;
    std::string ns;
    bool all_namespaces = false;
    std::vector<std::string> names;
    std::string service;
    std::string backend;
    std::string client;
    std::string state;
    std::string protocol;
    bool direct = false;
};

int complain(Exit code, const std::string& message) {
    std::fputs(("svclb-ctl: " + escaped(message) + "\n").c_str(), stderr);
    return code;
}

int print(const std::string& text, Exit code = kDone) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
        return complain(kFailed, Error::from_errno(errno, "write to standard output").message());
    return code;
}

int print(const Json& value, Format format, Exit code = kDone) {
    return print(format == Format::yaml ? to_yaml_text(value) : to_json_text(value), code);
}

bool is_table(Format format) {
    return format == Format::table || format == Format::wide;
}

// As kubectl does: an empty list is no failure, and its message does not get in the way of a pipe.
template <class Items, class ToTable, class ToJson>
int print_items(const Items& items, Format format, const ToTable& to_table, const ToJson& to_json) {
    if (!is_table(format)) return print(to_json(items), format);
    if (!items.empty()) return print(to_text(to_table(items, format == Format::wide)));
    std::fputs("No resources found.\n", stderr);
    return kDone;
}

Result<Selection> selection_of(const Flags& flags) {
    Selection selection;
    if (!flags.ns.empty() && !flags.all_namespaces) selection.ns = flags.ns;
    for (const std::string& text : flags.names) {
        auto name = parse_name(text);
        if (!name) return fail(std::move(name.error()));
        if (selection.ns && name->ns && *name->ns != *selection.ns)
            return fail(Error::invalid("service " + text + " is not in namespace " + *selection.ns));
        selection.names.push_back(std::move(*name));
    }
    return selection;
}

Status apply_filter_flags(const Flags& flags, FlowFilter& filter) {
    const auto set = [](const std::string& text, const char* option, auto parse, auto& out) -> Status {
        if (text.empty()) return {};
        auto value = parse(text);
        if (!value) return fail(value.error().within(option));
        out = *value;
        return {};
    };
    Status done = set(flags.service, "--service", parse_name, filter.service);
    if (done) done = set(flags.backend, "--backend", parse_endpoint, filter.backend);
    if (done) done = set(flags.client, "--client", parse_endpoint, filter.client);
    if (done) done = set(flags.state, "--state", parse_state, filter.state);
    if (done) done = set(flags.protocol, "--protocol", parse_protocol, filter.proto);
    filter.direct = flags.direct || flags.format == Format::wide;
    return done;
}

// What every list of things that belong to services has in common: selection, reading, names that do not exist.
template <class ToItems, class ToTable, class ToJson>
int get_of_services(const Flags& flags, const Parts& parts, const ToItems& to_items, const ToTable& to_table,
                    const ToJson& to_json) {
    const auto selection = selection_of(flags);
    if (!selection) return complain(kBadUsage, selection.error().message());
    const auto snapshot = read_snapshot(flags.bpf_dir, parts);
    if (!snapshot) return complain(kFailed, snapshot.error().message());
    if (const auto unknown = unknown_service(*snapshot, *selection))
        return complain(kFailed, "service \"" + *unknown + "\" not found");
    return print_items(to_items(*snapshot, *selection), flags.format, to_table, to_json);
}

int get_flows(const Flags& flags) {
    FlowFilter filter;
    if (const Status done = apply_filter_flags(flags, filter); !done)
        return complain(kBadUsage, done.error().message());
    const auto to_items = [&](const Snapshot& snapshot, const Selection& selection) {
        return flows(snapshot, selection, filter);
    };
    return get_of_services(flags, {.flows = true}, to_items, flows_table, flows_json);
}

int flush_flows(const Flags& flags) {
    FlowFilter filter;
    if (const Status done = apply_filter_flags(flags, filter); !done)
        return complain(kBadUsage, done.error().message());
    filter.direct = flags.direct;
    const auto selection = selection_of(flags);
    if (!selection) return complain(kBadUsage, selection.error().message());
    const bool filtered = selection->ns || !selection->names.empty() || filter.service || filter.backend ||
                          filter.client || filter.state || filter.proto;
    if (filtered == flags.direct)
        return complain(kBadUsage, filtered ? "flush flows: either a filter or --all"
                                            : "flush flows: cuts every connection without a filter: say --all");
    const auto snapshot = read_snapshot(flags.bpf_dir, {});
    if (!snapshot) return complain(kFailed, snapshot.error().message());
    if (const auto unknown = unknown_service(*snapshot, *selection))
        return complain(kFailed, "service \"" + *unknown + "\" not found");
    const auto flushed = flush(flags.bpf_dir, *snapshot, *selection, filter);
    if (!flushed) return complain(kFailed, flushed.error().message());
    if (!is_table(flags.format)) return print(Json{{"flushed", *flushed}}, flags.format);
    return print(std::to_string(*flushed) + (*flushed == 1 ? " flow flushed\n" : " flows flushed\n"));
}

// Links and maps: things of the node with a name of their own. A namespace means nothing to them and is ignored.
template <class Item, class ToTable, class ToJson>
int print_named(std::vector<Item> items, const char* kind, const Flags& flags, const ToTable& to_table,
                const ToJson& to_json) {
    for (const std::string& name : flags.names)
        if (std::ranges::find(items, name, &Item::name) == items.end())
            return complain(kFailed, std::string(kind) + " \"" + name + "\" not found");
    std::erase_if(items, [&](const Item& item) {
        return !flags.names.empty() && std::ranges::find(flags.names, item.name) == flags.names.end();
    });
    return print_items(
        items, flags.format, [&](const auto& rows, bool) { return to_table(rows); }, to_json);
}

int get_links(const Flags& flags) {
    const auto snapshot = read_snapshot(flags.bpf_dir, {.links = true});
    if (!snapshot) return complain(kFailed, snapshot.error().message());
    return print_named(snapshot->links, "link", flags, links_table, links_json);
}

int get_maps(const Flags& flags) {
    const auto snapshot = read_snapshot(flags.bpf_dir, {.maps = true});
    if (!snapshot) return complain(kFailed, snapshot.error().message());
    return print_named(maps(*snapshot), "map", flags, maps_table, maps_json);
}

int status(const Flags& flags) {
    const auto snapshot = read_snapshot(flags.bpf_dir, kStatusParts);
    if (!snapshot) return complain(kFailed, snapshot.error().message());
    if (!is_table(flags.format)) return print(status_json(*snapshot), flags.format);
    return print(status_text(*snapshot, flags.format == Format::wide));
}

int verify(const Flags& flags) {
    constexpr int kReadings = 4;
    constexpr std::chrono::milliseconds kBetween{50};  // an agent finishes its pass in far less
    auto snapshot = read_snapshot(flags.bpf_dir, kVerifyParts);
    if (!snapshot) return complain(kFailed, snapshot.error().message());
    std::vector<Difference> differences = verify(*snapshot);
    for (int reading = 1; reading < kReadings && !differences.empty(); ++reading) {
        std::this_thread::sleep_for(kBetween);
        snapshot = read_snapshot(flags.bpf_dir, kVerifyParts);
        if (!snapshot) return complain(kFailed, snapshot.error().message());
        differences = persisting(differences, verify(*snapshot));
    }
    const Exit code = differences.empty() ? kDone : kDifferent;
    if (!is_table(flags.format)) return print(differences_json(differences), flags.format, code);
    return print(differences_text(*snapshot, differences), code);
}

// Asked for only after everything was read: a mistyped command is told as itself.
void needs_command(CLI::App& app, const char* commands) {
    app.require_subcommand(0, 1);
    app.callback([&app, commands] {
        if (app.get_subcommands().empty()) throw CLI::RequiredError(std::string("a command (") + commands + ")");
    });
}

void add_flow_filters(CLI::App& list, Flags& flags) {
    list.add_option("NAME", flags.names, "Services: NAME, NAMESPACE/NAME or NAMESPACE/NAME:PORT");
    list.add_option("--service", flags.service, "Only of this service: NAMESPACE/NAME[:PORT]");
    list.add_option("--backend", flags.backend, "Only to this backend: ADDRESS[:PORT]");
    list.add_option("--client", flags.client, "Only from this client: ADDRESS[:PORT]");
    list.add_option("--state", flags.state,
                    "Only in this state: SYN_SENT, ESTABLISHED, CLOSING, CLOSED (TCP), "
                    "UNREPLIED, ASSURED (other protocols)");
    list.add_option("--protocol", flags.protocol, "Only of this protocol: TCP, UDP, SCTP");
}

void add_flush(CLI::App& app, Flags& flags, int& exit_code) {
    CLI::App* flush = app.add_subcommand("flush", "Remove flows: open connections end, others begin anew");
    flush->fallthrough();
    needs_command(*flush, "flows");
    CLI::App* list = flush->add_subcommand("flows", "Connections and conversations being translated")->fallthrough();
    add_flow_filters(*list, flags);
    list->add_option("-n,--namespace", flags.ns, "Only of services in this namespace");
    list->add_flag("--all", flags.direct,
                   "Every flow, and every note about a conversation that dials a backend itself");
    list->callback([&flags, &exit_code] { exit_code = flush_flows(flags); });
}

void add_get(CLI::App& app, Flags& flags, int& exit_code) {
    CLI::App* get = app.add_subcommand("get", "List what the tables hold");
    get->fallthrough();
    needs_command(*get, "services, backends, flows, affinity, links or maps");
    get->add_option("-n,--namespace", flags.ns, "Only this namespace (a node has none of its own: default is all)");
    get->add_flag("-A,--all-namespaces", flags.all_namespaces, "All namespaces, which is the default");

    const auto add = [&](const char* name, const char* alias, const char* text, auto run) {
        CLI::App* list = get->add_subcommand(name, text)->alias(alias)->fallthrough();
        list->callback([&flags, &exit_code, run] { exit_code = run(flags); });
        return list;
    };
    const auto takes_services = [&](CLI::App* list) {
        list->add_option("NAME", flags.names, "Services: NAME, NAMESPACE/NAME or NAMESPACE/NAME:PORT");
    };

    CLI::App* list = add("services", "service", "Service ports, their frontends and backends", [](const Flags& f) {
        return get_of_services(f, {.counters = true, .connections = true}, services, services_table, services_json);
    });
    list->alias("svc");
    takes_services(list);
    list = add("backends", "backend", "Endpoints of service ports, usable or not", [](const Flags& f) {
        return get_of_services(f, {.counters = true, .connections = true}, backends, backends_table, backends_json);
    });
    takes_services(list);
    list = add("flows", "flow", "Connections and conversations being translated", get_flows);
    add_flow_filters(*list, flags);
    list->add_flag("--all", flags.direct, "Also conversations that dial a backend themselves; -o wide has them too");
    list = add("affinity", "affinities", "Clients that stay with a backend", [](const Flags& f) {
        return get_of_services(f, {.affinity = true}, affinity, affinity_table, affinity_json);
    });
    takes_services(list);
    list = add("links", "link", "Devices that the programs are attached to", get_links);
    list->add_option("NAME", flags.names, "Devices");
    list = add("maps", "map", "BPF maps and how full they are", get_maps);
    list->add_option("NAME", flags.names, "Maps");
}

int run(int argc, char** argv) {
    const std::map<std::string, Format> formats{
        {"table", Format::table}, {"wide", Format::wide}, {"json", Format::json}, {"yaml", Format::yaml}};
    Flags flags;
    std::string format = "table";
    int exit_code = kDone;

    CLI::App app{"Shows what svclb balances on this node, from the pinned maps alone: no agent has to run.",
                 "svclb-ctl"};
    needs_command(app, "status, get, flush or verify");
    app.set_version_flag("--version", std::string("svclb-ctl ") + SVCLB_VERSION);
    app.add_option("--bpf-dir", flags.bpf_dir, "Directory of the agent's pins")->capture_default_str();
    app.add_option("-o,--output", format, "table, wide, json or yaml")
        ->capture_default_str()
        ->check(CLI::IsMember(formats))
        ->each([&](const std::string& word) { flags.format = formats.at(word); });
    app.add_subcommand("status", "The agent, its last sync, totals and drops")->fallthrough()->callback([&] {
        exit_code = status(flags);
    });
    add_get(app, flags, exit_code);
    add_flush(app, flags, exit_code);
    app.add_subcommand("verify", "Compare what the agent wanted with what the maps hold, both ways")
        ->fallthrough()
        ->callback([&] { exit_code = verify(flags); });

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);  // help and version
        return complain(kBadUsage, error.what());
    }
    return exit_code;
}

}  // namespace
}  // namespace svclb::ctl

int main(int argc, char** argv) {
    try {
        return svclb::ctl::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "svclb-ctl: %s\n", error.what());
        return 1;
    }
}
