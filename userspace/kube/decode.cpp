// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Text -> documents -> lists -> objects. What a document is made of (YAML, JSON) and what an object must look like are
// in the files beside this one; here is what counts and what is reported.
#include "svclb/kube/decode.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "objects.hpp"
#include "read.hpp"
#include "svclb/model/text.hpp"
#include "tree.hpp"

namespace svclb::kube {

namespace {

constexpr std::size_t kLongestText = std::size_t{64} << 20U;
// The YAML library is slow: text that begins like JSON and is not is worth a second try only while that is cheap.
constexpr std::size_t kLongestSecondTry = std::size_t{1} << 20U;
// These wait in memory until their list's kind is known.
constexpr std::size_t kMostWithoutKind = 200000;
constexpr std::size_t kLongestLine = 1000;

struct KnownKind {
    std::string_view api_group;
    std::string_view api_version;
    ObjectKind kind;
};
constexpr std::array kKnownKinds{
    KnownKind{"", "v1", ObjectKind::service},
    KnownKind{"discovery.k8s.io/", "discovery.k8s.io/v1", ObjectKind::endpoint_slice},
    KnownKind{"", "v1", ObjectKind::node},
    KnownKind{"networking.k8s.io/", "networking.k8s.io/v1", ObjectKind::service_cidr},
};

std::optional<KnownKind> known_kind(std::string_view name) {
    for (const auto& known : kKnownKinds) {
        if (name == to_string(known.kind)) return known;
    }
    return std::nullopt;
}

std::string text_at(const Value& map, std::string_view key) {
    const auto* value = find(map, key);
    return value && value->kind == Value::Kind::text ? value->text : std::string();
}

bool is_list_kind(std::string_view kind) {
    return kind.ends_with("List");
}

struct Named {
    ObjectKind kind;
    ReadObject read;
    std::size_t line = 0;
};

// What one document holds. It counts only when the document has been read to its end.
class Document {
public:
    Document() : builder_([this](Value item) { item_from_reader(std::move(item)); }) {}
    Document(const Document&) = delete;
    Document& operator=(const Document&) = delete;

    TreeBuilder& builder() { return builder_; }

    void finish() {
        const auto root = builder_.take_root();
        if (root.kind == Value::Kind::null) return;
        if (root.kind != Value::Kind::map) {
            ++nameless;
            problems.add({.line = root.line, .object = "", .field = "", .what = "not an object"});
            return;
        }
        if (is_list_kind(text_at(root, "kind"))) {
            finish_list(root);
            return;
        }
        // Its `items` mean something else.
        found.clear();
        nameless = 0;
        problems = {};
        object(root, text_at(root, "kind"), text_at(root, "apiVersion"));
    }

    std::vector<Named> found;
    std::size_t nameless = 0;
    Problems problems;

private:
    void item_from_reader(Value item) {
        // Items of a typed list have no kind of their own, and the list's comes after them in kubectl's order of keys.
        if (!text_at(item, "kind").empty()) {
            list_item(item, "", "");
        } else if (without_kind_.size() < kMostWithoutKind) {
            without_kind_.push_back(std::move(item));
        } else {
            builder_.fail(item.line, "more than " + std::to_string(kMostWithoutKind) + " items without a kind");
        }
    }

    void finish_list(const Value& root) {
        auto kind = text_at(root, "kind");
        kind.resize(kind.size() - std::string_view("List").size());
        const auto api_version = text_at(root, "apiVersion");
        for (const auto& item : without_kind_) list_item(item, kind, api_version);
    }

    void list_item(const Value& item, const std::string& list_kind, const std::string& list_version) {
        auto kind = text_at(item, "kind");
        auto api_version = text_at(item, "apiVersion");
        if (kind.empty()) kind = list_kind;
        if (api_version.empty()) api_version = list_version;
        if (!is_list_kind(kind)) {
            object(item, kind, api_version);
            return;
        }
        kind.resize(kind.size() - std::string_view("List").size());
        const auto* items = find(item, "items");
        if (!items || items->kind != Value::Kind::list) return;
        for (const auto& inner : items->children) list_item(inner, kind, api_version);
    }

    void object(const Value& root, const std::string& kind, const std::string& api_version) {
        const auto problem = [&](const char* field, std::string what) {
            ++nameless;
            problems.add({.line = root.line, .object = "", .field = field, .what = std::move(what)});
        };
        if (root.kind != Value::Kind::map) {
            problem("", "not an object");
            return;
        }
        if (kind.empty()) {
            problem("kind", "missing");
            return;
        }
        const auto known = known_kind(kind);
        if (!known) return;
        if (api_version.empty()) {
            problem("apiVersion", "missing, kind " + kind);
            return;
        }
        if (api_version != known->api_version) {
            // Another group's kind of the same name is none of ours; another version of ours must not be lost silently.
            if (!known->api_group.empty() && api_version.starts_with(known->api_group))
                problem("apiVersion",
                        "only " + std::string(known->api_version) + " is supported: " + model::printable(api_version));
            return;
        }
        found.push_back(
            {.kind = known->kind, .read = read_object(known->kind, root, problems, Writer::hand), .line = root.line});
    }

    TreeBuilder builder_;
    std::vector<Value> without_kind_;
};

class Collector {
public:
    void add(Document& document) {
        problems_.add(std::move(document.problems));
        out_.nameless += document.nameless;
        for (auto& named : document.found) add(std::move(named));
    }

    void broken(const ReadError& error) {
        problems_.add({.line = error.line, .object = "", .field = "", .what = error.what});
        out_.complete = false;
    }

    Decoded take() {
        out_.problems = problems_.take();
        return std::move(out_);
    }

private:
    void add(Named named) {
        auto& read = named.read;
        if (!read.object) {
            ++out_.refused;
            if (read.key)
                add_invalid(named.kind, std::move(read));
            else
                ++out_.nameless;
            return;
        }
        const auto [first, is_first] = lines_.try_emplace({named.kind, *std::move(read.key)}, named.line);
        if (is_first) {
            out_.objects.push_back(*std::move(read.object));
            out_.lines.push_back(named.line);
            return;
        }
        ++out_.refused;
        problems_.add({.line = named.line,
                       .object = read.text,
                       .field = "",
                       .what = "given twice, the first one is used: line " + std::to_string(first->second)});
    }

    void add_invalid(ObjectKind kind, ReadObject read) {
        auto& key = *read.key;
        switch (kind) {
            case ObjectKind::service:
                out_.invalid_services.push_back(std::move(key));
                break;
            case ObjectKind::endpoint_slice:
                out_.invalid_slices.push_back(std::move(key));
                out_.slice_owners.push_back(std::move(read.owner));
                break;
            case ObjectKind::node:
                out_.invalid_nodes.push_back(std::move(key.name));
                break;
            case ObjectKind::service_cidr:
                out_.invalid_service_cidrs.push_back(std::move(key.name));
                break;
        }
    }

    Decoded out_;
    std::map<std::pair<ObjectKind, model::ObjectKey>, std::size_t> lines_;
    Problems problems_;
};

// The text of one document: what is between two lines that begin with "---". YAML lets no other construct contain such
// a line.
struct Chunk {
    std::string_view text;
    std::size_t line = 0;
};

bool is_separator(std::string_view line) {
    return line.starts_with("---") &&
           (line.size() == 3 || std::string_view(" \t\r").find(line[3]) != std::string_view::npos);
}

std::vector<Chunk> split(std::string_view text) {
    std::vector<Chunk> chunks;
    std::size_t begin = 0;
    std::size_t first_line = 1;
    std::size_t line = 1;
    for (std::size_t at = 0; at < text.size(); ++line) {
        const auto end = std::min(text.find('\n', at), text.size());
        if (at != begin && is_separator(text.substr(at, end - at))) {
            chunks.push_back({.text = text.substr(begin, at - begin), .line = first_line});
            begin = at;
            first_line = line;
        }
        at = end + 1;
    }
    chunks.push_back({.text = text.substr(begin), .line = first_line});
    return chunks;
}

// Takes the separator, blank lines and lines of comment off the front.
Chunk content_of(Chunk chunk) {
    if (is_separator(chunk.text.substr(0, 4)) || chunk.text == "---") chunk.text.remove_prefix(3);
    while (!chunk.text.empty()) {
        const char c = chunk.text.front();
        if (c == '#') {
            chunk.text.remove_prefix(std::min(chunk.text.find('\n'), chunk.text.size()));
        } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            if (c == '\n') ++chunk.line;
            chunk.text.remove_prefix(1);
        } else {
            break;
        }
    }
    return chunk;
}

// One or several JSON objects, as kubectl and jq print them. Takes off `content` what it has read.
std::optional<ReadError> decode_json(Chunk& content, Collector& collector) {
    while (!content.text.empty()) {
        Document document;
        if (auto error = read_json(content.text, content.line, document.builder())) return error;
        document.finish();
        collector.add(document);
    }
    return std::nullopt;
}

std::optional<ReadError> decode_yaml(const Chunk& chunk, Collector& collector) {
    std::optional<Document> document;
    const auto fresh = [&]() -> TreeBuilder& { return document.emplace().builder(); };
    const auto done = [&] {
        document->finish();
        collector.add(*document);
    };
    return read_yaml(chunk.text, chunk.line, fresh, done);
}

bool looks_like_json(std::string_view text) {
    const auto second = text.find_first_not_of(" \t\r\n", 1);
    return second == std::string_view::npos || text[second] == '"';
}

void decode_chunk(const Chunk& chunk, Collector& collector) {
    const auto content = content_of(chunk);
    if (content.text.empty()) return;
    std::optional<ReadError> error;
    if (content.text.front() == '{') {
        auto rest = content;
        error = decode_json(rest, collector);
        if (!error) return;
        // A flow mapping of YAML begins like JSON.
        if (rest.text.size() != content.text.size() || content.text.size() > kLongestSecondTry) {
            collector.broken(*error);
            return;
        }
    }
    const auto yaml_error = decode_yaml(chunk, collector);
    if (yaml_error) collector.broken(error && looks_like_json(content.text) ? *error : *yaml_error);
}

}  // namespace

std::string to_string(const std::string& file, const DecodeProblem& problem) {
    std::string text;
    for (const auto& part : {problem.line == 0 ? file : file + ":" + std::to_string(problem.line), problem.object,
                             problem.field, problem.what})
        if (!part.empty()) text += (text.empty() ? "" : ": ") + part;
    return model::printable(text, kLongestLine);
}

Decoded decode_manifest(std::string_view text) {
    Collector collector;
    if (text.size() > kLongestText) {
        collector.broken({.line = 0, .what = "longer than 64 MiB"});
        return collector.take();
    }
    for (const auto& chunk : split(text)) decode_chunk(chunk, collector);
    return collector.take();
}

}  // namespace svclb::kube
