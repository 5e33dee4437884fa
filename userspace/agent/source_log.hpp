// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the log is told of a source that comes and goes: each thing once. Pure.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "svclb/kube/source.hpp"

namespace svclb::agent {

class SourceLog {
public:
    struct Line {
        bool warning = false;
        std::string text;
        bool operator==(const Line&) const = default;
    };
    explicit SourceLog(std::string source) : source_(std::move(source)) {}

    [[nodiscard]] std::optional<Line> next(const kube::SourceState& state) {
        if (state.connected) {
            error_.clear();
            if (std::exchange(connected_, true)) return std::nullopt;
            return Line{.warning = false, .text = "following " + source_};
        }
        connected_ = false;
        // Between a failure and its remedy there is a time without either.
        if (state.error.empty() || state.error == error_) return std::nullopt;
        error_ = state.error;
        return Line{.warning = true, .text = source_ + ": " + error_ + "; what is programmed goes on serving"};
    }

private:
    std::string source_;
    bool connected_ = false;
    std::string error_;
};

}  // namespace svclb::agent
