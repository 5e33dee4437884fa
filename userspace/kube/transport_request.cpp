// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "transport_request.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <new>

#include "svclb/model/text.hpp"

namespace svclb::kube {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// An API server gives up on a request that is no watch after 60 s by itself, and says so.
constexpr milliseconds kLongestSilence{70000};
// A peer that is gone is noticed after 10 + 3 * 5 s, on an idle connection and on one with data on its way.
constexpr long kKeepaliveIdleS = 10;
constexpr long kKeepaliveIntervalS = 5;
constexpr int kKeepaliveProbes = 3;
constexpr int kUserTimeoutMs = 25000;
constexpr std::size_t kLongestMessage = 400;

int on_socket(void* /*user*/, curl_socket_t socket, curlsocktype /*purpose*/) {
    // Best effort: a kernel that refuses leaves Request::silence.
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &kKeepaliveProbes, sizeof kKeepaliveProbes);
    ::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMs, sizeof kUserTimeoutMs);
    return CURL_SOCKOPT_OK;
}

std::string_view content_type(const std::string& method) {
    return method == "PATCH" ? "application/merge-patch+json" : "application/json";
}

}  // namespace

// curl_easy_setopt that remembers whether one of many failed.
class Exchange::Options {
public:
    explicit Options(CURL* handle) : handle_(handle) {}

    template <class T>
    void set(CURLoption option, T value) {
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg): the library's only way.
        const auto code = curl_easy_setopt(handle_, option, value);
        if (failed_ == CURLE_OK) failed_ = code;
    }
    void set(CURLoption option, const std::string& value) { set(option, value.c_str()); }
    void set_blob(CURLoption option, const std::string& value) {
        // Copied, the pointer is not written to.
        curl_blob blob{const_cast<char*>(value.data()), value.size(), CURL_BLOB_COPY};
        set(option, &blob);
    }
    void must(bool holds) {
        if (!holds && failed_ == CURLE_OK) failed_ = CURLE_OUT_OF_MEMORY;
    }
    [[nodiscard]] CURLcode failed() const { return failed_; }

private:
    CURL* handle_;
    CURLcode failed_ = CURLE_OK;
};

void RequestStats::answered(const std::string& method, int status, std::chrono::nanoseconds after) {
    // client-go's buckets, which dashboards are made for.
    static const Histogram none_yet{{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60}};
    ++answers[{method, status}];
    seconds.try_emplace(method, none_yet).first->second.observe(std::chrono::duration<double>(after).count());
}

Exchange::Exchange(RequestId id, Request request, Receiver& receiver, const Route& route, RequestStats& stats)
    : id_(id),
      request_(std::move(request)),
      receiver_(&receiver),
      stats_(stats),
      place_(route.server.text()),
      handle_(curl_easy_init()) {
    if (!handle_) throw std::bad_alloc();
}

Exchange& Exchange::of(CURL* handle) {
    void* exchange = nullptr;
    curl_easy_getinfo(handle, CURLINFO_PRIVATE, &exchange);
    return *static_cast<Exchange*>(exchange);
}

std::string Exchange::prepare(const Route& route, const Identity& identity, Clock::time_point now) {
    identity_ = identity.version;
    begun_ = heard_ = now;
    Options options(handle_.get());
    set_place(options, route);
    set_trust(options, identity);
    set_message(options, identity);
    options.set(CURLOPT_PRIVATE, static_cast<void*>(this));
    options.set(CURLOPT_ERRORBUFFER, words_.data());
    options.set(CURLOPT_PREREQFUNCTION, &Exchange::on_connected);
    options.set(CURLOPT_PREREQDATA, static_cast<void*>(this));
    options.set(CURLOPT_HEADERFUNCTION, &Exchange::on_header);
    options.set(CURLOPT_HEADERDATA, static_cast<void*>(this));
    options.set(CURLOPT_WRITEFUNCTION, &Exchange::on_body);
    options.set(CURLOPT_WRITEDATA, static_cast<void*>(this));
    return options.failed() == CURLE_OK ? "" : std::string("libcurl: ") + curl_easy_strerror(options.failed());
}

void Exchange::set_place(Options& options, const Route& route) {
    const auto& server = route.server;
    const auto& name = route.tls_server_name.empty() ? server.host : route.tls_server_name;
    options.set(CURLOPT_URL, "https://" + join_host_port(name, server.port) + server.path + request_.target);
    if (name != server.host || !route.dial.empty()) {
        // The certificate is looked at under the name of the URL, the connection goes to where the server is.
        const auto place = route.dial.empty() ? server.authority() : route.dial[route.dialled % route.dial.size()];
        connect_to_.reset(curl_slist_append(nullptr, ("::" + place).c_str()));
        options.must(connect_to_ != nullptr);
        options.set(CURLOPT_CONNECT_TO, connect_to_.get());
    }
    if (name != server.host) options.must(add_header("Host: " + server.authority()));
    options.set(CURLOPT_PROTOCOLS_STR, "https");
    options.set(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    options.set(CURLOPT_PATH_AS_IS, 1L);
    // An empty text is "none, whatever the environment says"; the environment has been looked at already.
    options.set(CURLOPT_PROXY, route.proxy);
    options.set(CURLOPT_NOPROXY, "");
    options.set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    options.set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
    options.set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(route.connect_timeout.count()));
    options.set(CURLOPT_TCP_KEEPALIVE, 1L);
    options.set(CURLOPT_TCP_KEEPIDLE, kKeepaliveIdleS);
    options.set(CURLOPT_TCP_KEEPINTVL, kKeepaliveIntervalS);
    options.set(CURLOPT_SOCKOPTFUNCTION, &on_socket);
    options.set(CURLOPT_NOSIGNAL, 1L);
    // Else the end of a request waits for the name server.
    options.set(CURLOPT_QUICK_EXIT, 1L);
}

void Exchange::set_trust(Options& options, const Identity& identity) {
    options.set(CURLOPT_SSL_VERIFYPEER, 1L);
    options.set(CURLOPT_SSL_VERIFYHOST, 2L);
    options.set(CURLOPT_PROXY_SSL_VERIFYPEER, 1L);
    options.set(CURLOPT_PROXY_SSL_VERIFYHOST, 2L);
    options.set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    options.set(CURLOPT_PROXY_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    // A resumed session would stand on what was verified with the CA of before.
    options.set(CURLOPT_SSL_SESSIONID_CACHE, 0L);
    if (!identity.ca.empty()) {
        options.set_blob(CURLOPT_CAINFO_BLOB, identity.ca);
        options.set_blob(CURLOPT_PROXY_CAINFO_BLOB, identity.ca);
        // The library would trust the system's directory of CAs as well.
        options.set(CURLOPT_CAPATH, static_cast<char*>(nullptr));
        options.set(CURLOPT_PROXY_CAPATH, static_cast<char*>(nullptr));
    }
    if (!identity.certificate.empty()) {
        options.set(CURLOPT_SSLCERTTYPE, "PEM");
        options.set(CURLOPT_SSLKEYTYPE, "PEM");
        options.set_blob(CURLOPT_SSLCERT_BLOB, identity.certificate);
        options.set_blob(CURLOPT_SSLKEY_BLOB, identity.key);
        // Else the TLS library would ask for one on a terminal.
        options.set(CURLOPT_KEYPASSWD, "");
    }
}

void Exchange::set_message(Options& options, const Identity& identity) {
    if (request_.method != "GET") options.set(CURLOPT_CUSTOMREQUEST, request_.method);
    if (!request_.body.empty()) {
        options.set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
        options.set(CURLOPT_POSTFIELDS, request_.body.data());
        options.must(add_header("Content-Type: " + std::string(content_type(request_.method))));
        options.must(add_header("Expect:"));
    }
    options.must(add_header("Accept: application/json"));
    if (!identity.token.empty()) options.must(add_header("Authorization: Bearer " + identity.token));
    options.set(CURLOPT_HTTPHEADER, headers_.get());
    // None of them for a proxy.
    options.set(CURLOPT_HEADEROPT, static_cast<long>(CURLHEADER_SEPARATE));
    options.set(CURLOPT_USERAGENT, "svclb-agent/" SVCLB_VERSION);
    options.set(CURLOPT_ACCEPT_ENCODING, "gzip");
    options.set(CURLOPT_FOLLOWLOCATION, 0L);
}

bool Exchange::add_header(const std::string& line) {
    auto* longer = curl_slist_append(headers_.get(), line.c_str());
    if (!longer) return false;
    static_cast<void>(headers_.release());
    headers_.reset(longer);
    return true;
}

int Exchange::on_connected(void* user, char* /*address*/, char* /*local_address*/, int /*port*/, int /*local_port*/) {
    static_cast<Exchange*>(user)->connected_ = true;
    return CURL_PREREQFUNC_OK;
}

std::size_t Exchange::on_header(char* data, std::size_t /*size*/, std::size_t count, void* user) {
    auto& self = *static_cast<Exchange*>(user);
    self.heard_ = Clock::now();
    if (self.cancelled()) return 0;
    const bool end_of_head = std::string_view(data, count).find_first_not_of("\r\n") == std::string_view::npos;
    if (!end_of_head || self.status_ != 0) return count;  // trailers come after the body
    long status = 0;
    curl_off_t retry_after_s = 0;
    curl_easy_getinfo(self.handle(), CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(self.handle(), CURLINFO_RETRY_AFTER, &retry_after_s);
    if (status < 200) return count;
    self.status_ = static_cast<int>(status);
    self.stats_.answered(self.request_.method, self.status_, self.heard_ - self.begun_);
    ResponseHead head{.status = self.status_, .retry_after = std::nullopt};
    if (retry_after_s > 0) head.retry_after = seconds(retry_after_s);
    self.receiver_->on_head(head);
    return self.cancelled() ? 0 : count;
}

std::size_t Exchange::on_body(char* data, std::size_t /*size*/, std::size_t count, void* user) {
    auto& self = *static_cast<Exchange*>(user);
    self.heard_ = Clock::now();
    if (self.cancelled()) return 0;
    self.receiver_->on_body({data, count});
    return self.cancelled() ? 0 : count;
}

void Exchange::end(const std::string& fault) {
    auto* receiver = receiver_;
    cancel();
    if (!receiver) return;
    if (status_ == 0 && begun_ != Clock::time_point{}) stats_.answered(request_.method, 0, Clock::now() - begun_);
    if (fault.empty()) {
        receiver->on_end({});
        return;
    }
    const auto path = request_.target.substr(0, request_.target.find('?'));
    const auto doing = place_ + ": " + request_.method + " " + model::printable(path);
    receiver->on_end(fail(Error::invalid(doing + ": " + fault)));
}

Exchange::Clock::time_point Exchange::deadline() const {
    return heard_ + (request_.silence.count() != 0 ? request_.silence : kLongestSilence);
}

std::string Exchange::silence() const {
    const auto silence = std::chrono::duration<double>(Clock::now() - heard_);
    auto text = std::to_string(silence.count());
    text.resize(text.find('.') + 2);
    return "the server sent nothing for " + text + " s";
}

std::string Exchange::fault(CURLcode code) const {
    if (code == CURLE_OK) return status_ != 0 ? "" : "an answer without a status";
    // The words are those of the first failure, which may have been followed by a try on a new connection.
    std::string text = curl_easy_strerror(code);
    if (words_.front() != '\0') text.append(" (").append(words_.data()).append(")");
    return model::printable(text, kLongestMessage);
}

std::uint64_t Exchange::bytes_received() const {
    curl_off_t body = 0;
    long head = 0;
    curl_easy_getinfo(handle_.get(), CURLINFO_SIZE_DOWNLOAD_T, &body);
    curl_easy_getinfo(handle_.get(), CURLINFO_HEADER_SIZE, &head);
    return static_cast<std::uint64_t>(body) + static_cast<std::uint64_t>(head);
}

}  // namespace svclb::kube
