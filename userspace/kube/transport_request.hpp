// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// One request as libcurl has it: its options, what comes back, and the words for what went wrong.
#pragma once

#include <curl/curl.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "credentials.hpp"
#include "server_url.hpp"
#include "svclb/base/result.hpp"
#include "svclb/kube/transport.hpp"

namespace svclb::kube {

// Where requests go. Does not change while a transport lives; who we are may (Identity).
struct Route {
    ServerUrl server;
    std::string tls_server_name;  // "": the server's host
    std::string proxy;            // "": none
};

class Exchange {
public:
    using Clock = std::chrono::steady_clock;

    Exchange(RequestId id, Request request, Receiver& receiver);
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    [[nodiscard]] RequestId id() const { return id_; }
    [[nodiscard]] CURL* handle() const { return handle_.get(); }
    static Exchange& of(CURL* handle);

    Status prepare(const Route& route, const Identity& identity, Clock::time_point now);
    [[nodiscard]] const Identity::Version& identity() const { return identity_; }

    // The receiver hears nothing from then on.
    void cancel() { receiver_ = nullptr; }
    [[nodiscard]] bool cancelled() const { return receiver_ == nullptr; }
    void end(const Status& status);

    // When the server has been silent for too long.
    [[nodiscard]] Clock::time_point deadline() const;
    [[nodiscard]] Error silent() const;
    // What came of it, and the words where it failed.
    [[nodiscard]] Status outcome(CURLcode code) const;

    [[nodiscard]] int status() const { return status_; }  // HTTP; 0 before the head is complete
    [[nodiscard]] std::uint64_t bytes_received() const;

private:
    struct HandleDeleter {
        void operator()(CURL* handle) const noexcept { curl_easy_cleanup(handle); }
    };
    struct ListDeleter {
        void operator()(curl_slist* list) const noexcept { curl_slist_free_all(list); }
    };
    class Options;

    static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user);
    static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* user);
    void set_place(Options& options, const Route& route);
    void set_trust(Options& options, const Identity& identity);
    void set_message(Options& options, const Route& route, const Identity& identity);
    bool add_header(const std::string& line);
    [[nodiscard]] std::string doing() const;

    RequestId id_;
    Request request_;
    Receiver* receiver_;
    std::string place_;  // of the server, for messages
    std::array<char, CURL_ERROR_SIZE> words_{};
    std::unique_ptr<curl_slist, ListDeleter> headers_;
    std::unique_ptr<curl_slist, ListDeleter> connect_to_;
    std::unique_ptr<CURL, HandleDeleter> handle_;  // refers to all of the above
    Identity::Version identity_{};
    Clock::time_point heard_{};
    int status_ = 0;
};

}  // namespace svclb::kube
