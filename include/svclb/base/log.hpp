// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Logging, set up once: one line for each event on standard error, fields as key=value.
#pragma once

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace svclb {

inline void set_up_log(spdlog::level::level_enum level) {
    auto logger = spdlog::stderr_logger_mt("svclb");
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    logger->set_level(level);
    spdlog::set_default_logger(std::move(logger));
}

}  // namespace svclb
