// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// YAML by yaml-cpp's events: no tree of its own, which would expand aliases without a bound. The library limits its
// recursion (DepthGuard) before any stack is at risk. Its exceptions end here.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <exception>
#include <istream>
#include <streambuf>
#include <string>
#include <utility>

#include "read.hpp"

namespace svclb::kube {

namespace {

// The library has no way to stop it but this.
struct Stop : std::exception {};

// Hands out the text window by window and notes how far the library has read ahead of its events. It keeps a token of
// some 200 bytes for each bracket of a flow collection until the outermost one ends, so a file of brackets would take
// all memory; long scalars read ahead too, hence the room.
class Window : public std::streambuf {
public:
    explicit Window(std::string_view text) : rest_(text) {}

    void event() { ahead_ = 0; }
    // From then on the library saw an end of text that is none.
    [[nodiscard]] bool refused() const { return refused_; }

protected:
    int_type underflow() override {
        const auto next = rest_.substr(0, kWindow);
        ahead_ += next.size();
        refused_ |= ahead_ > kFarthestAhead;
        if (next.empty() || refused_) return traits_type::eof();
        rest_.remove_prefix(next.size());
        // A get area is never written to.
        auto* begin = const_cast<char*>(next.data());
        setg(begin, begin, begin + next.size());
        return traits_type::to_int_type(*begin);
    }

private:
    static constexpr std::size_t kWindow = 4096;
    static constexpr std::size_t kFarthestAhead = std::size_t{3} << 19U;

    std::string_view rest_;
    std::size_t ahead_ = 0;
    bool refused_ = false;
};

class Events : public YAML::EventHandler {
public:
    Events(Window& window, std::size_t first_line, const std::function<TreeBuilder&()>& fresh,
           const std::function<void()>& done)
        : window_(window), first_line_(first_line), fresh_(fresh), done_(done) {}

    void OnDocumentStart(const YAML::Mark& mark) override {
        // At a token that can begin nothing, such as a stray ']', the library gives empty documents without an end.
        stray_ = mark.pos == document_begin_;
        stray_line_ = line(mark);
        if (stray_) throw Stop();
        document_begin_ = mark.pos;
        builder_ = &fresh_();
    }
    void OnDocumentEnd() override {
        check();
        done_();
    }

    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        leaf(mark, anchor, Value::Kind::null, {}, {});
    }
    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  const std::string& value) override {
        leaf(mark, anchor, Value::Kind::text, tag, value);
    }
    void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        builder_->alias(line(mark), anchor);
        check();
    }

    void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value /*style*/) override {
        begin(mark, anchor, Value::Kind::list);
    }
    void OnSequenceEnd() override { end(); }
    void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value /*style*/) override {
        begin(mark, anchor, Value::Kind::map);
    }
    void OnMapEnd() override { end(); }

    [[nodiscard]] std::optional<ReadError> error() const {
        if (stray_) return ReadError{.line = stray_line_, .what = "YAML: unexpected text after the end of a value"};
        return builder_ ? builder_->error() : std::nullopt;
    }
    [[nodiscard]] std::size_t line(const YAML::Mark& mark) const {
        return mark.line < 0 ? first_line_ : first_line_ + static_cast<std::size_t>(mark.line);
    }

private:
    void leaf(const YAML::Mark& mark, YAML::anchor_t anchor, Value::Kind kind, const std::string& tag,
              const std::string& text) {
        Value value;
        value.kind = kind;
        // "?" is what the library calls a scalar without quotes and tag; a tag other than these says "string".
        value.plain = tag == "?" || tag == "tag:yaml.org,2002:int" || tag == "tag:yaml.org,2002:bool";
        value.line = static_cast<std::uint32_t>(line(mark));
        value.text = text;
        builder_->leaf(std::move(value), anchor);
        check();
    }
    void begin(const YAML::Mark& mark, YAML::anchor_t anchor, Value::Kind kind) {
        builder_->begin(kind, line(mark), anchor);
        check();
    }
    void end() {
        builder_->end();
        check();
    }
    void check() {
        window_.event();
        if (builder_->error() || window_.refused()) throw Stop();
    }

    Window& window_;
    std::size_t first_line_;
    const std::function<TreeBuilder&()>& fresh_;
    const std::function<void()>& done_;
    TreeBuilder* builder_ = nullptr;
    int document_begin_ = -1;  // where the library's last document began
    bool stray_ = false;
    std::size_t stray_line_ = 0;
};

}  // namespace

std::optional<ReadError> read_yaml(std::string_view text, std::size_t line, const std::function<TreeBuilder&()>& fresh,
                                   const std::function<void()>& done) {
    Window window(text);
    Events events(window, line, fresh, done);
    std::optional<ReadError> error;
    try {
        std::istream stream(&window);
        YAML::Parser parser(stream);
        while (parser.HandleNextDocument(events)) {
        }
    } catch (const Stop&) {
        error = events.error();
    } catch (const YAML::Exception& e) {
        error = ReadError{.line = events.line(e.mark), .what = "YAML: " + e.msg};
    } catch (const std::exception& e) {
        error = ReadError{.line = line, .what = std::string("YAML: ") + e.what()};
    }
    if (window.refused())
        return ReadError{.line = line,
                         .what = "YAML: a value or flow collection longer than 1.5 MiB (JSON may be longer)"};
    return error;
}

tl::expected<Value, ReadError> read_document(std::string_view yaml) {
    TreeBuilder builder([](const Value&) {});
    Value root;
    std::optional<ReadError> second;
    const auto fresh = [&]() -> TreeBuilder& { return builder; };
    const auto done = [&] {
        auto value = builder.take_root();
        if (root.kind == Value::Kind::null)
            root = std::move(value);
        else if (value.kind != Value::Kind::null && !second)
            second = ReadError{.line = value.line, .what = "more than one document"};
    };
    if (auto error = read_yaml(yaml, 1, fresh, done)) return tl::unexpected{std::move(*error)};
    if (second) return tl::unexpected{std::move(*second)};
    return root;
}

}  // namespace svclb::kube
