// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "node_health.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <microhttpd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "listen.hpp"
#include "svclb/model/text.hpp"

namespace svclb::agent {
namespace {

constexpr unsigned kConnections = 1024;
constexpr unsigned kConnectionsPerClient = 256;  // a load balancer may ask for every Service at once
constexpr unsigned kIdleSeconds = 5;
constexpr std::size_t kConnectionMemory = 8192;

// An IPv4 address of a socket for both families is a mapped one, which is how all of ours are stored.
std::optional<model::AddressPort> own_end(int fd) {
    sockaddr_storage storage{};
    socklen_t size = sizeof(storage);
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return std::nullopt;
    model::AddressPort at;
    if (storage.ss_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &storage, sizeof(v4));
        at.address.bytes[10] = at.address.bytes[11] = 0xff;
        std::memcpy(at.address.bytes.data() + 12, &v4.sin_addr, sizeof(v4.sin_addr));
        at.port = ntohs(v4.sin_port);
        return at;
    }
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof(v6));
    std::memcpy(at.address.bytes.data(), &v6.sin6_addr, sizeof(v6.sin6_addr));
    at.port = ntohs(v6.sin6_port);
    return at;
}

std::string body_of(const model::ObjectKey& service, std::size_t local, bool healthy) {
    nlohmann::ordered_json body;
    body["service"] = {{"namespace", service.ns}, {"name", service.name}};
    body["localEndpoints"] = local;
    body["serviceProxyHealthy"] = healthy;
    return body.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
}

MHD_Result answer(MHD_Connection* connection, int status, std::size_t local, std::string body) {
    auto* response = MHD_create_response_from_buffer(body.size(), body.data(), MHD_RESPMEM_MUST_COPY);
    if (response == nullptr) return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "X-Load-Balancing-Endpoint-Weight", std::to_string(local).c_str());
    const auto queued = MHD_queue_response(connection, static_cast<unsigned>(status), response);
    MHD_destroy_response(response);
    return queued;
}

}  // namespace

struct NodeHealth::Server {
    struct Port {
        model::ObjectKey service;
        model::HealthCheck check;
    };

    explicit Server(const std::function<bool()>& is_healthy) : healthy(is_healthy) {}
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    Server(Server&&) = delete;
    Server& operator=(Server&&) = delete;
    ~Server() {
        if (acceptor.joinable()) {
            const std::uint64_t one = 1;
            [[maybe_unused]] const auto written = ::write(end.get(), &one, sizeof(one));
            acceptor.join();
        }
        if (daemon != nullptr) MHD_stop_daemon(daemon);
    }

    static MHD_Result handle(void* server, MHD_Connection* connection, const char* url, const char* method,
                             const char* version, const char* upload, std::size_t* upload_size, void** memory);
    void accept_all();
    [[nodiscard]] bool accept_at(int listener);

    const std::function<bool()>& healthy;
    MHD_Daemon* daemon = nullptr;
    UniqueFd epoll;
    UniqueFd end;
    std::thread acceptor;
    std::mutex mutex;  // of what follows; no listener is closed while somebody accepts from it
    std::map<model::AddressPort, UniqueFd> listeners;
    std::map<std::uint16_t, Port> ports;
};

// Any path and any method are answered alike, and no body is read.
MHD_Result NodeHealth::Server::handle(void* server, MHD_Connection* connection, const char* /*url*/,
                                      const char* /*method*/, const char* /*version*/, const char* /*upload*/,
                                      std::size_t* /*upload_size*/, void** /*memory*/) {
    auto& self = *static_cast<Server*>(server);
    const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const auto at = info == nullptr ? std::nullopt : own_end(info->connect_fd);
    const bool healthy = self.healthy();
    std::optional<Port> port;
    {
        const std::lock_guard lock(self.mutex);
        if (const auto found = at ? self.ports.find(at->port) : self.ports.end(); found != self.ports.end())
            port = found->second;
    }
    // Closed meanwhile.
    if (!port) return answer(connection, MHD_HTTP_SERVICE_UNAVAILABLE, 0, "{}");
    const auto local = at->address.family() == model::Family::ipv4 ? port->check.local4 : port->check.local6;
    const int status = local > 0 && healthy ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    return answer(connection, status, local, body_of(port->service, local, healthy));
}

// False: the process has no descriptor left, or the like.
bool NodeHealth::Server::accept_at(int listener) {
    const std::lock_guard lock(mutex);
    const auto is_it = [listener](const auto& entry) { return entry.second.get() == listener; };
    if (std::ranges::none_of(listeners, is_it)) return true;
    sockaddr_storage client{};
    socklen_t size = sizeof(client);
    const int fd = ::accept4(listener, reinterpret_cast<sockaddr*>(&client), &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return errno == EAGAIN || errno == ECONNABORTED || errno == EINTR;
    // The library closes it, also where it will have no more connections.
    MHD_add_connection(daemon, fd, reinterpret_cast<const sockaddr*>(&client), size);
    return true;
}

void NodeHealth::Server::accept_all() {
    for (;;) {
        std::array<epoll_event, 16> events{};
        const int count = ::epoll_wait(epoll.get(), events.data(), static_cast<int>(events.size()), -1);
        for (int i = 0; i < count; ++i) {
            const int fd = events.at(static_cast<std::size_t>(i)).data.fd;
            if (fd == end.get()) return;
            // What waits is still there: do not run in circles.
            if (!accept_at(fd)) std::this_thread::sleep_for(std::chrono::milliseconds{20});
        }
    }
}

NodeHealth::NodeHealth(std::function<bool()> healthy) : healthy_(std::move(healthy)) {}
NodeHealth::~NodeHealth() = default;

Status NodeHealth::start() {
    if (server_) return {};
    auto server = std::make_unique<Server>(healthy_);
    server->epoll = UniqueFd{::epoll_create1(EPOLL_CLOEXEC)};
    server->end = UniqueFd{::eventfd(0, EFD_CLOEXEC)};
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = server->end.get();
    if (!server->epoll || !server->end ||
        ::epoll_ctl(server->epoll.get(), EPOLL_CTL_ADD, server->end.get(), &event) != 0)
        return fail_errno(errno, "set up the health check server");
    server->daemon =
        MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC, 0, nullptr, nullptr,
                         Server::handle, server.get(), MHD_OPTION_CONNECTION_LIMIT, kConnections,
                         MHD_OPTION_PER_IP_CONNECTION_LIMIT, kConnectionsPerClient, MHD_OPTION_CONNECTION_TIMEOUT,
                         kIdleSeconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT, kConnectionMemory, MHD_OPTION_END);
    if (server->daemon == nullptr) return fail_errno(errno, "start the health check server");
    server->acceptor = std::thread([self = server.get()] { self->accept_all(); });
    server_ = std::move(server);
    return {};
}

void NodeHealth::serve(const Sync::HealthChecks& checks, const std::vector<model::Address>& addresses) {
    warnings_.clear();
    if (checks.empty() && !server_) return;
    const auto warn = [&](const model::ObjectKey& service, const std::string& why) {
        warnings_.push_back({fmt::format("Service {}/{}", model::printable(service.ns), model::printable(service.name)),
                             "FailedToStartServiceHealthcheck", "spec.healthCheckNodePort: " + why});
    };
    if (const auto started = start(); !started) {
        for (const auto& [service, check] : checks) warn(service, started.error().message());
        return;
    }
    const std::vector<model::Address> everywhere{*model::parse_address("::")};
    std::map<model::AddressPort, model::ObjectKey> wanted;
    std::map<std::uint16_t, Server::Port> ports;
    for (const auto& [service, check] : checks) {
        const auto [port, is_first] = ports.emplace(check.port, Server::Port{service, check});
        if (!is_first) {
            const auto& other = port->second.service;
            warn(service, fmt::format("port {} is that of {}/{}", check.port, model::printable(other.ns),
                                      model::printable(other.name)));
            continue;
        }
        for (const auto& address : addresses.empty() ? everywhere : addresses)
            wanted.emplace(model::AddressPort{address, check.port}, service);
    }
    const std::lock_guard lock(server_->mutex);
    server_->ports = std::move(ports);
    auto& listeners = server_->listeners;
    std::erase_if(listeners, [&](const auto& entry) { return !wanted.contains(entry.first); });
    for (const auto& [at, service] : wanted) {
        if (listeners.contains(at)) continue;
        auto socket = listening_socket(at);
        epoll_event event{};
        event.events = EPOLLIN;
        if (socket) {
            event.data.fd = socket->get();
            if (::epoll_ctl(server_->epoll.get(), EPOLL_CTL_ADD, socket->get(), &event) != 0)
                socket = fail_errno(errno, "epoll_ctl");
        }
        if (socket)
            listeners.emplace(at, std::move(*socket));
        else
            warn(service, fmt::format("listen on {}: {}", model::endpoint_text(at.address, at.port),
                                      socket.error().code().message()));
    }
    std::ranges::sort(warnings_);
}

}  // namespace svclb::agent
