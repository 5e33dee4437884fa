// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Answers GET requests for a few paths, on a thread of its own. Connections, their memory and their idle time are
// bounded, and many slow clients cost no more than that.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "svclb/base/result.hpp"
#include "svclb/model/address.hpp"

namespace svclb::agent {

struct HttpAnswer {
    int status = 200;
    std::string type = "text/plain; charset=utf-8";
    std::string body;
};

// By path; called on the server's thread, one at a time.
using HttpRoutes = std::map<std::string, std::function<HttpAnswer()>, std::less<>>;

class HttpServer {
public:
    // An error names the address. The address of all (0.0.0.0, ::) means both families, as Go has it.
    static Result<HttpServer> listen(const model::AddressPort& at, HttpRoutes routes);

    HttpServer(HttpServer&&) noexcept;
    HttpServer& operator=(HttpServer&&) noexcept;
    ~HttpServer();  // after a call that is under way

private:
    struct State;
    explicit HttpServer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace svclb::agent
