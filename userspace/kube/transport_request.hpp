// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// One request as libcurl has it: its options, what comes back, and the words for what went wrong.
#pragma once

#include <curl/curl.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

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
    // Where to connect to instead of where the server's name leads, "10.0.0.1:6443"; one at a time, the next one after
    // a failure. Names and certificates stay those of the server.
    std::vector<std::string> dial{};
    std::size_t dialled = 0;
    // Name resolution, TCP, proxy and TLS together.
    std::chrono::milliseconds connect_timeout{10000};
};

class Exchange {
public:
    using Clock = std::chrono::steady_clock;

    // The route and the statistics must outlive it.
    Exchange(RequestId id, Request request, Receiver& receiver, const Route& route, RequestStats& stats);
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    [[nodiscard]] RequestId id() const { return id_; }
    [[nodiscard]] CURL* handle() const { return handle_.get(); }
    static Exchange& of(CURL* handle);

    // What went wrong, "" where nothing did; so for all that are called faults.
    std::string prepare(const Route& route, const Identity& identity, Clock::time_point now);
    [[nodiscard]] const Identity::Version& identity() const { return identity_; }

    // The receiver hears nothing from then on.
    void cancel() { receiver_ = nullptr; }
    [[nodiscard]] bool cancelled() const { return receiver_ == nullptr; }
    void end(const std::string& fault);

    // When the server has been silent for too long.
    [[nodiscard]] Clock::time_point deadline() const;
    [[nodiscard]] std::string silence() const;
    // There is a connection for it; where it is one for several requests, the next one meets it.
    [[nodiscard]] bool connected() const { return connected_; }
    [[nodiscard]] std::string fault(CURLcode code) const;

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

    static int on_connected(void* user, char* address, char* local_address, int port, int local_port);
    static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user);
    static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* user);
    void set_place(Options& options, const Route& route);
    void set_trust(Options& options, const Identity& identity);
    void set_message(Options& options, const Identity& identity);
    bool add_header(const std::string& line);

    RequestId id_;
    Request request_;
    Receiver* receiver_;
    RequestStats& stats_;
    std::string place_;  // of the server, for messages
    std::array<char, CURL_ERROR_SIZE> words_{};
    std::unique_ptr<curl_slist, ListDeleter> headers_;
    std::unique_ptr<curl_slist, ListDeleter> connect_to_;
    std::unique_ptr<CURL, HandleDeleter> handle_;  // refers to all of the above
    Identity::Version identity_{};
    Clock::time_point begun_{};
    Clock::time_point heard_{};
    bool connected_ = false;
    int status_ = 0;
};

}  // namespace svclb::kube
