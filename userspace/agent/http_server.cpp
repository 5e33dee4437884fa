// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "http_server.hpp"

#include <fmt/format.h>
#include <microhttpd.h>

#include <cerrno>
#include <exception>

#include "listen.hpp"

namespace svclb::agent {
namespace {

constexpr unsigned kConnections = 64;
constexpr unsigned kConnectionsPerClient = 16;
constexpr unsigned kIdleSeconds = 5;
constexpr std::size_t kConnectionMemory = 16384;  // a request's head, and its answer's

HttpAnswer answer_to(const HttpRoutes& routes, std::string_view method, std::string_view path) {
    if (method != MHD_HTTP_METHOD_GET && method != MHD_HTTP_METHOD_HEAD)
        return {.status = MHD_HTTP_METHOD_NOT_ALLOWED, .body = "method not allowed\n"};
    const auto route = routes.find(path);
    if (route == routes.end()) return {.status = MHD_HTTP_NOT_FOUND, .body = "not found\n"};
    try {
        return route->second();
    } catch (const std::exception&) {
        return {.status = MHD_HTTP_INTERNAL_SERVER_ERROR, .body = "internal error\n"};
    }
}

// Answers without reading a body: whoever sends one is cut off.
MHD_Result handle(void* routes, MHD_Connection* connection, const char* url, const char* method,
                  const char* /*version*/, const char* /*upload*/, std::size_t* /*upload_size*/, void** /*memory*/) {
    const auto answer = answer_to(*static_cast<const HttpRoutes*>(routes), method, url);
    // The library copies the body, whatever its type says.
    auto* response = MHD_create_response_from_buffer(answer.body.size(), const_cast<char*>(answer.body.data()),
                                                     MHD_RESPMEM_MUST_COPY);
    if (response == nullptr) return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer.type.c_str());
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    const auto queued = MHD_queue_response(connection, static_cast<unsigned>(answer.status), response);
    MHD_destroy_response(response);
    return queued;
}

}  // namespace

struct HttpServer::State {
    HttpRoutes routes;
    MHD_Daemon* daemon = nullptr;

    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    State(State&&) = delete;
    State& operator=(State&&) = delete;
    ~State() {
        if (daemon != nullptr) MHD_stop_daemon(daemon);
    }
};

HttpServer::HttpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpServer::HttpServer(HttpServer&&) noexcept = default;
HttpServer& HttpServer::operator=(HttpServer&&) noexcept = default;
HttpServer::~HttpServer() = default;

Result<HttpServer> HttpServer::listen(const model::AddressPort& at, HttpRoutes routes) {
    const auto name = "listen on " + model::endpoint_text(at.address, at.port);
    auto socket = listening_socket(at);
    if (!socket) return fail({socket.error().code(), name});
    auto state = std::make_unique<State>();
    state->routes = std::move(routes);
    state->daemon =
        MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, nullptr, nullptr, handle, &state->routes,
                         MHD_OPTION_LISTEN_SOCKET, socket->get(), MHD_OPTION_CONNECTION_LIMIT, kConnections,
                         MHD_OPTION_PER_IP_CONNECTION_LIMIT, kConnectionsPerClient, MHD_OPTION_CONNECTION_TIMEOUT,
                         kIdleSeconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT, kConnectionMemory, MHD_OPTION_END);
    if (state->daemon == nullptr) return fail_errno(errno, name);
    socket->release();  // the library closes it
    return HttpServer{std::move(state)};
}

}  // namespace svclb::agent
