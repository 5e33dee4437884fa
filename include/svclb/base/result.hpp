// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Errors as values. Error is an error code and the words of what we were doing; a layer adds words only if it knows
// something new (which Service, which map).
#pragma once

#include <cerrno>
#include <string>
#include <system_error>
#include <tl/expected.hpp>
#include <utility>

namespace svclb {

class [[nodiscard]] Error {
public:
    Error(std::error_code code, std::string doing) : code_(code), doing_(std::move(doing)) {}

    // For failures that are not a system call's: bad input, a broken promise of the outside world.
    static Error invalid(std::string what) {
        return {std::make_error_code(std::errc::invalid_argument), std::move(what)};
    }
    static Error from_errno(int error_number, std::string doing) {
        return {std::error_code(error_number, std::generic_category()), std::move(doing)};
    }

    [[nodiscard]] std::error_code code() const noexcept { return code_; }
    // One line for people: "doing: reason", or only the words where the words are the reason.
    [[nodiscard]] std::string message() const {
        if (code_ == std::errc::invalid_argument) return doing_;
        return doing_ + ": " + code_.message();
    }
    // The same error, with the wider context in front.
    [[nodiscard]] Error within(const std::string& context) const { return {code_, context + ": " + doing_}; }

private:
    std::error_code code_;
    std::string doing_;
};

// An alias, so that std::expected can replace it.
template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

inline tl::unexpected<Error> fail(Error error) {
    return tl::unexpected<Error>(std::move(error));
}
inline tl::unexpected<Error> fail_errno(int error_number, std::string doing) {
    return fail(Error::from_errno(error_number, std::move(doing)));
}

}  // namespace svclb
