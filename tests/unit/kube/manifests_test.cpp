// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The manifests source against a real directory.
#include "svclb/kube/manifests.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdlib>
#include <fstream>

using namespace svclb;
using namespace svclb::kube;
namespace fs = std::filesystem;

namespace {

class TempDir {
public:
    TempDir() {
        auto path = (fs::temp_directory_path() / "svclb-manifests-XXXXXX").string();
        REQUIRE(::mkdtemp(path.data()) != nullptr);
        path_ = path;
    }
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    ~TempDir() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    [[nodiscard]] fs::path operator/(const std::string& name) const { return path_ / name; }

private:
    fs::path path_;
};

void write(const fs::path& path, const std::string& text) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << text;
    file.close();
    REQUIRE(file);
}

std::string service(const std::string& name, int port = 80) {
    return "---\napiVersion: v1\nkind: Service\nmetadata: {name: " + name +
           "}\nspec: {clusterIP: 10.96.0.1, ports: [{port: " + std::to_string(port) + "}]}\n";
}
std::string slice(const std::string& name, const std::string& ready) {
    return "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: " + name +
           ", labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nendpoints: [{addresses: [10.0.0.1], "
           "conditions: {ready: " +
           ready + "}}]\n";
}
std::string node(const std::string& name, const std::string& cidr = "10.0.0.0/24") {
    return "---\napiVersion: v1\nkind: Node\nmetadata: {name: " + name + "}\nspec: {podCIDR: " + cidr + "}\n";
}

Manifests opened(const fs::path& directory) {
    auto source = Manifests::open(directory);
    REQUIRE(source);
    return *std::move(source);
}

Change now(Manifests& source) {
    auto change = source.changes();
    REQUIRE(change);
    return *std::move(change);
}

bool readable(const Manifests& source, std::chrono::milliseconds wait) {
    pollfd fd{.fd = source.fd(), .events = POLLIN, .revents = 0};
    return ::poll(&fd, 1, static_cast<int>(wait.count())) == 1;
}

constexpr std::chrono::milliseconds kSoon{20000};

// The next change that is not empty, as the agent's loop would see it.
Change next(Manifests& source) {
    const auto end = std::chrono::steady_clock::now() + kSoon;
    while (std::chrono::steady_clock::now() < end) {
        REQUIRE(readable(source, kSoon));
        auto change = now(source);
        if (!change.empty()) return change;
    }
    FAIL("nothing changed");
    return {};
}

// Nothing to tell, for as long as a removal or a stalled look-again would take.
void quiet(Manifests& source, std::chrono::milliseconds wait = std::chrono::milliseconds(300)) {
    const auto end = std::chrono::steady_clock::now() + wait;
    while (true) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        if (left.count() <= 0 || !readable(source, left)) return;
        const auto change = now(source);
        REQUIRE(change.empty());
    }
}

int port_of(const Change& change) {
    REQUIRE(change.changed.size() == 1);
    return std::get<model::Service>(change.changed[0]).ports[0].port;
}

const model::ObjectKey web_key{"default", "web"};

}  // namespace

TEST_CASE("what is invalid and never was valid keeps its Service, what cannot be named keeps everything") {
    const TempDir dir;
    write(dir / "a.yaml", service("web") + slice("web-1", "true"));
    write(dir / "b.yaml", service("bad", 70000) +
                              "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: dns-1, "
                              "labels: {kubernetes.io/service-name: dns}}\naddressType: X\n");
    auto source = opened(dir / "");
    auto change = now(source);
    CHECK(change.complete);
    CHECK(change.kept_services == std::vector<model::ObjectKey>{{"default", "bad"}});
    CHECK(change.kept_endpoints == std::vector<model::ObjectKey>{{"default", "dns"}});

    // Its last good content is in force.
    write(dir / "a.yaml", service("web", 70000) + slice("web-1", "true"));
    write(dir / "b.yaml", service("bad"));
    change = next(source);
    CHECK(change.complete);
    CHECK(change.kept_services.empty());
    CHECK(change.invalid_objects == 1);

    for (const auto* text : {"kind: [", "apiVersion: v1\nkind: Service\nmetadata: {}\n", "metadata: {name: a}\n"}) {
        write(dir / "b.yaml", text);
        CHECK_FALSE(next(source).complete);
    }
    write(dir / "b.yaml", service("bad"));
    CHECK(next(source).complete);
}

TEST_CASE("the first call reads every file, and nothing changed means nothing to tell") {
    const TempDir dir;
    write(dir / "a.yaml", service("web") + slice("web-1", "true"));
    write(dir / "b.yml", node("node-a"));
    write(dir / "c.json", R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"node-b"}})");
    write(dir / ".hidden.yaml", node("hidden"));
    write(dir / "README.md", node("readme"));
    fs::create_directory(dir / "folder.yaml.d");
    auto source = opened(dir / "");
    const auto first = now(source);
    CHECK(first.changed.size() == 4);
    CHECK(first.problems.empty());
    CHECK(now(source).empty());
    CHECK_FALSE(readable(source, std::chrono::milliseconds(0)));
}

TEST_CASE("a directory that is not there is an error that names it") {
    const TempDir dir;
    auto missing = Manifests::open(dir / "missing");
    REQUIRE_FALSE(missing);
    CHECK(missing.error().message() ==
          "manifests directory " + (dir / "missing").string() + ": No such file or directory");
    write(dir / "file", "");
    auto file = Manifests::open(dir / "file");
    REQUIRE_FALSE(file);
    CHECK(file.error().message() == "manifests directory " + (dir / "file").string() + ": Not a directory");
}

TEST_CASE("an edit in place is told, and only what differs") {
    const TempDir dir;
    write(dir / "a.yaml", service("web") + slice("web-1", "true"));
    auto source = opened(dir / "");
    now(source);
    write(dir / "a.yaml", service("web") + slice("web-1", "false"));
    const auto change = next(source);
    REQUIRE(change.changed.size() == 1);
    CHECK(std::get<model::EndpointSlice>(change.changed[0]).endpoints[0].ready == false);
    CHECK(change.gone_services.empty());
    CHECK(change.gone_slices.empty());
    quiet(source);
}

TEST_CASE("an edit in place that keeps size and time is told") {
    const TempDir dir;
    write(dir / "a.yaml", service("web", 80));
    auto source = opened(dir / "");
    now(source);
    const auto before = fs::last_write_time(dir / "a.yaml");
    write(dir / "a.yaml", service("web", 81));
    fs::last_write_time(dir / "a.yaml", before);
    CHECK(port_of(next(source)) == 81);
}

TEST_CASE("a rename into place is told") {
    const TempDir dir;
    write(dir / "a.yaml", service("web", 80));
    auto source = opened(dir / "");
    now(source);
    write(dir / "a.yaml.tmp", service("web", 81));
    fs::rename(dir / "a.yaml.tmp", dir / "a.yaml");
    CHECK(port_of(next(source)) == 81);
    quiet(source);
}

TEST_CASE("a symlink swap as in a ConfigMap volume is told, all files at once") {
    const TempDir dir;
    const auto publish = [&](const std::string& version, int port) {
        fs::create_directory(dir / version);
        write(dir / (version + "/a.yaml"), service("web", port));
        write(dir / (version + "/b.yaml"), service("api", port));
        fs::create_directory_symlink(version, dir / "..data_tmp");
        fs::rename(dir / "..data_tmp", dir / "..data");
    };
    publish("..1", 80);
    fs::create_symlink("..data/a.yaml", dir / "a.yaml");
    fs::create_symlink("..data/b.yaml", dir / "b.yaml");
    auto source = opened(dir / "");
    CHECK(now(source).changed.size() == 2);

    publish("..2", 81);
    CHECK(next(source).changed.size() == 2);
    fs::remove_all(dir / "..1");
    quiet(source);

    fs::remove(dir / "..2/b.yaml");  // its link dangles now
    publish("..3", 81);
    fs::remove(dir / "..3/b.yaml");
    fs::remove(dir / "b.yaml");
    CHECK(next(source).gone_services == std::vector<model::ObjectKey>{{"default", "api"}});
}

TEST_CASE("an object that leaves its file is gone at once, one whose file leaves after a moment") {
    const TempDir dir;
    write(dir / "a.yaml", service("web") + slice("web-1", "true") + node("node-a"));
    write(dir / "b.yaml", service("api"));
    auto source = opened(dir / "");
    now(source);
    write(dir / "a.yaml", service("web"));
    const auto edited = next(source);
    CHECK(edited.gone_slices == std::vector<model::ObjectKey>{{"default", "web-1"}});
    CHECK(edited.gone_nodes == std::vector<std::string>{"node-a"});
    CHECK(edited.gone_services.empty());

    fs::remove(dir / "b.yaml");
    CHECK(now(source).empty());
    CHECK(next(source).gone_services == std::vector<model::ObjectKey>{{"default", "api"}});
    write(dir / "b.yaml", service("api"));
    CHECK(next(source).changed.size() == 1);
}

TEST_CASE("an editor that moves the old file away before it writes the new one takes nothing away") {
    const TempDir dir;
    write(dir / "a.yaml", service("web", 80));
    auto source = opened(dir / "");
    now(source);
    fs::rename(dir / "a.yaml", dir / "a.yaml~");
    CHECK(now(source).empty());
    std::ofstream file(dir / "a.yaml");
    CHECK(now(source).empty());
    file << service("web", 81);
    file.close();
    CHECK(port_of(next(source)) == 81);
    quiet(source);
}

TEST_CASE("a file that is being written is read when it is closed") {
    const TempDir dir;
    write(dir / "a.yaml", service("web", 80) + service("api", 80));
    auto source = opened(dir / "");
    now(source);
    std::ofstream file(dir / "a.yaml", std::ios::trunc);
    file << service("web", 81) << std::flush;  // it parses, and has lost an object
    CHECK(now(source).empty());
    write(dir / "b.yaml", node("node-a"));  // others go on meanwhile
    CHECK(next(source).changed.size() == 1);
    file << service("api", 81) << std::flush;
    CHECK(now(source).empty());
    file.close();
    const auto change = next(source);
    CHECK(change.changed.size() == 2);
    CHECK(change.gone_services.empty());
}

TEST_CASE("a file that somebody holds open is read when nothing has happened to it for a while") {
    const TempDir dir;
    auto source = opened(dir / "");
    now(source);
    std::ofstream file(dir / "a.yaml");
    file << service("web") << std::flush;
    CHECK(next(source).changed.size() == 1);
}

TEST_CASE("a file that does not parse keeps its objects, other documents of it go on") {
    const TempDir dir;
    write(dir / "a.yaml", service("web", 80) + service("api", 80));
    auto source = opened(dir / "");
    now(source);
    write(dir / "a.yaml", service("web", 81) + "---\nkind: [Service\n");
    const auto change = next(source);
    CHECK(port_of(change) == 81);
    CHECK(change.gone_services.empty());
    CHECK(change.problems == std::vector{(dir / "a.yaml").string() + ":8: YAML: end of sequence flow not found"});
    CHECK(change.invalid_objects == 1);

    write(dir / "b.yaml", node("node-a"));  // the same problem is told once
    CHECK(next(source).problems.empty());
    write(dir / "a.yaml", service("web", 81));
    const auto repaired = next(source);
    CHECK(repaired.gone_services == std::vector<model::ObjectKey>{{"default", "api"}});
    CHECK(repaired.invalid_objects == 0);
}

TEST_CASE("an invalid object keeps its last good content") {
    const TempDir dir;
    write(dir / "a.yaml", service("web", 80) + slice("web-1", "true") + node("node-a"));
    auto source = opened(dir / "");
    now(source);
    write(dir / "a.yaml", service("web", 70000) + slice("web-1", "maybe") + node("node-a", "5"));
    const auto change = next(source);
    CHECK(change.changed.empty());
    CHECK(change.gone_services.empty());
    CHECK(change.gone_slices.empty());
    CHECK(change.gone_nodes.empty());
    CHECK(change.invalid_objects == 3);
    REQUIRE(change.problems.size() == 3);
    CHECK(change.problems[0] ==
          (dir / "a.yaml").string() + ":5: Service default/web: spec.ports[0].port: not a port number: 70000");
    const auto refusals = source.refusals();
    REQUIRE(refusals.size() == 3);
    CHECK(refusals[0] ==
          Refusal{.object = "Service default/web",
                  .what = "spec.ports[0].port: not a port number: 70000 (" + (dir / "a.yaml").string() + ":5)",
                  .service = web_key});
    CHECK(refusals[1].object == "EndpointSlice default/web-1");
    CHECK(refusals[1].service == web_key);
    CHECK(refusals[2].object == "Node node-a");
    CHECK(refusals[2].service == model::ObjectKey{});
    write(dir / "a.yaml", service("web", 81) + slice("web-1", "true") + node("node-a"));
    const auto repaired = next(source);
    CHECK(port_of(repaired) == 81);
    CHECK(repaired.invalid_objects == 0);
    CHECK(source.refusals().empty());
}

TEST_CASE("of two files with one object the first by name has it, the other is told and takes over later") {
    const TempDir dir;
    write(dir / "b.yaml", service("web", 81));
    auto source = opened(dir / "");
    CHECK(port_of(now(source)) == 81);
    write(dir / "a.yaml", service("web", 80));
    const auto conflict = next(source);
    CHECK(port_of(conflict) == 80);
    CHECK(conflict.problems ==
          std::vector{(dir / "b.yaml").string() +
                      ":2: Service default/web: given twice, the first one is used: " + (dir / "a.yaml").string()});
    CHECK(conflict.invalid_objects == 1);
    write(dir / "c.yaml", node("node-a"));
    CHECK(next(source).problems.empty());

    write(dir / "a.yaml", node("node-b"));
    const auto handed_over = next(source);
    CHECK(handed_over.gone_services.empty());
    CHECK(handed_over.changed.size() == 2);
    CHECK(handed_over.invalid_objects == 0);
    write(dir / "b.yaml", "");
    CHECK(next(source).gone_services == std::vector{web_key});
}

TEST_CASE("an object that moves from one file to another never goes away") {
    const TempDir dir;
    write(dir / "a.yaml", service("web"));
    write(dir / "b.yaml", "");
    auto source = opened(dir / "");
    now(source);
    write(dir / "a.yaml", "");
    write(dir / "b.yaml", service("web"));
    CHECK(now(source).empty());
    fs::rename(dir / "b.yaml", dir / "c.yaml");
    const auto moved = now(source);
    CHECK(moved.gone_services.empty());
    CHECK(moved.changed.empty());
}

TEST_CASE("the directory may be replaced, or removed and made again") {
    const TempDir dir;
    const auto watched = dir / "manifests";
    fs::create_directory(watched);
    write(watched / "a.yaml", service("web", 80));
    write(watched / "b.yaml", service("api"));
    auto source = opened(watched);
    now(source);

    fs::rename(watched, dir / "old");
    const auto missing = next(source);
    CHECK(missing.problems == std::vector{watched.string() + ": no such directory, what it held stays in force"});
    CHECK(missing.gone_services.empty());

    fs::create_directory(dir / "new");
    write(dir / "new/a.yaml", service("web", 81));
    fs::rename(dir / "new", watched);
    CHECK(port_of(next(source)) == 81);
    CHECK(next(source).gone_services == std::vector<model::ObjectKey>{{"default", "api"}});

    write(dir / "old/a.yaml", service("web", 82));  // of no concern any more
    quiet(source);

    fs::remove_all(watched);
    fs::create_directory(watched);
    write(watched / "a.yaml", service("web", 83));
    CHECK(port_of(next(source)) == 83);
    write(watched / "a.yaml", service("web", 84));
    CHECK(port_of(next(source)) == 84);
}

TEST_CASE("the directory may be a symbolic link that is swapped") {
    const TempDir dir;
    for (const int version : {1, 2}) {
        const auto name = std::to_string(version);
        fs::create_directory(dir / name);
        write(dir / (name + "/a.yaml"), service("web", 80 + version));
    }
    fs::create_directory_symlink("1", dir / "current");
    auto source = opened(dir / "current");
    CHECK(port_of(now(source)) == 81);
    fs::create_directory_symlink("2", dir / "next");
    fs::rename(dir / "next", dir / "current");
    CHECK(port_of(next(source)) == 82);
}

TEST_CASE("the directory may vanish with everything above it") {
    const TempDir dir;
    const auto watched = dir / "deep/manifests";
    fs::create_directories(watched);
    write(watched / "a.yaml", service("web", 80));
    auto source = opened(watched);
    now(source);
    fs::remove_all(dir / "deep");
    next(source);
    fs::create_directories(watched);
    write(watched / "a.yaml", service("web", 81));
    while (true) {
        const auto change = next(source);
        if (change.changed.empty()) continue;
        CHECK(port_of(change) == 81);
        break;
    }
}

TEST_CASE("an entry that cannot be read is told once and costs nothing else") {
    const TempDir dir;
    write(dir / "a.yaml", service("web"));
    REQUIRE(::mkfifo((dir / "b.yaml").c_str(), 0600) == 0);
    fs::create_directory(dir / "c.yaml");
    fs::create_symlink("nowhere", dir / "d.yaml");
    auto source = opened(dir / "");
    const auto change = now(source);
    CHECK(change.changed.size() == 1);
    CHECK(change.problems == std::vector{(dir / "b.yaml").string() + ": not a regular file",
                                         (dir / "c.yaml").string() + ": not a regular file"});
    CHECK(change.invalid_objects == 2);
    CHECK(now(source).problems.empty());
    REQUIRE(source.refusals().size() == 2);
    CHECK(source.refusals()[0].object == (dir / "b.yaml").string());
}
