// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "exec_credential.hpp"

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "fields.hpp"
#include "pem.hpp"
#include "read.hpp"
#include "svclb/model/text.hpp"

namespace svclb::kube {

namespace {

using nlohmann::json;
using SystemClock = std::chrono::system_clock;

std::string dump(const json& value) {
    return value.dump(-1, ' ', true, json::error_handler_t::replace);
}

json json_of(const Value& value) {
    switch (value.kind) {
        case Value::Kind::null:
            return nullptr;
        case Value::Kind::list: {
            auto list = json::array();
            for (const auto& child : value.children) list.push_back(json_of(child));
            return list;
        }
        case Value::Kind::map: {
            auto map = json::object();
            for (std::size_t i = 0; i + 1 < value.children.size(); i += 2)
                map[value.children[i].text] = json_of(value.children[i + 1]);
            return map;
        }
        case Value::Kind::text:
            break;
    }
    if (value.plain) {
        auto read = json::parse(value.text, nullptr, false);
        if (read.is_number() || read.is_boolean()) return read;
    }
    return value.text;
}

// Digits only: strptime would take spaces and signs.
std::optional<int> take_number(std::string_view& text, std::size_t digits) {
    if (text.size() < digits) return std::nullopt;
    int number = 0;
    for (const char c : text.substr(0, digits)) {
        if (c < '0' || c > '9') return std::nullopt;
        number = number * 10 + (c - '0');
    }
    text.remove_prefix(digits);
    return number;
}

bool take(std::string_view& text, std::string_view any_of) {
    if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
    text.remove_prefix(1);
    return true;
}

// RFC 3339: "2026-01-02T15:04:05Z", with a fraction or "+01:00" too.
std::optional<SystemClock::time_point> parse_time(std::string_view text) {
    const auto year = take_number(text, 4);
    const bool date = take(text, "-");
    const auto month = take_number(text, 2);
    const bool date_too = take(text, "-");
    const auto day = take_number(text, 2);
    const bool time = take(text, "Tt ");
    const auto hour = take_number(text, 2);
    const bool time_too = take(text, ":");
    const auto minute = take_number(text, 2);
    const bool time_three = take(text, ":");
    const auto second = take_number(text, 2);
    if (!year || !date || !month || !date_too || !day || !time || !hour || !time_too || !minute || !time_three ||
        !second || *month < 1 || *month > 12)
        return std::nullopt;
    if (take(text, ".")) {
        while (take_number(text, 1)) {
        }
    }
    int offset_minutes = 0;
    if (!take(text, "Zz")) {
        const bool west = text.starts_with('-');
        if (!take(text, "+-")) return std::nullopt;
        const auto hours = take_number(text, 2);
        const bool colon = take(text, ":");
        const auto minutes = take_number(text, 2);
        if (!hours || !colon || !minutes) return std::nullopt;
        offset_minutes = (*hours * 60 + *minutes) * (west ? -1 : 1);
    }
    if (!text.empty()) return std::nullopt;
    std::tm parts{};
    parts.tm_year = *year - 1900;
    parts.tm_mon = *month - 1;
    parts.tm_mday = *day;
    parts.tm_hour = *hour;
    parts.tm_min = *minute - offset_minutes;
    parts.tm_sec = *second;
    // The clock counts nanoseconds and ends in the year 2262.
    const std::chrono::seconds since_epoch(::timegm(&parts));
    constexpr auto kLast = std::chrono::duration_cast<std::chrono::seconds>(SystemClock::duration::max());
    constexpr auto kFirst = std::chrono::duration_cast<std::chrono::seconds>(SystemClock::duration::min());
    return SystemClock::time_point(std::clamp(since_epoch, kFirst, kLast));
}

std::string text_in(Fields& fields, const Spot& map, std::string_view key) {
    const auto spot = fields.field(map, key);
    if (!spot) return {};
    if (spot.value()->kind == Value::Kind::text && !spot.value()->plain) return spot.value()->text;
    fields.refuse(spot, "not a string");
    return {};
}

ExecCredential read_credential(Fields& fields, const Value& root, const std::string& api_version) {
    ExecCredential out;
    const Spot top(root);
    if (!fields.is_map(top)) {
        fields.refuse(top, "not an ExecCredential");
        return out;
    }
    if (text_in(fields, top, "kind") != "ExecCredential")
        fields.refuse(fields.field(top, "kind"), "not ExecCredential");
    if (text_in(fields, top, "apiVersion") != api_version)
        fields.refuse(fields.field(top, "apiVersion"), "not " + api_version + ", which was asked for");
    const auto status = fields.field(top, "status");
    fields.require(status);
    if (!fields.is_map(status)) return out;
    out.token = text_in(fields, status, "token");
    if (const auto fault = not_token(out.token)) fields.refuse(fields.field(status, "token"), *fault);
    out.certificate = text_in(fields, status, "clientCertificateData");
    out.key = text_in(fields, status, "clientKeyData");
    if (out.certificate.empty() != out.key.empty())
        fields.refuse(status, "clientCertificateData and clientKeyData: one without the other");
    if (out.token.empty() && out.certificate.empty()) fields.refuse(status, "neither a token nor a certificate");
    if (!out.certificate.empty()) {
        if (const auto fault = not_pem(out.certificate, "CERTIFICATE"))
            fields.refuse(fields.field(status, "clientCertificateData"), *fault);
        if (const auto fault = not_pem(out.key, "PRIVATE KEY"))
            fields.refuse(fields.field(status, "clientKeyData"), *fault);
    }
    const auto expires = fields.field(status, "expirationTimestamp");
    const auto time = text_in(fields, status, "expirationTimestamp");
    out.expires = parse_time(time);
    if (expires && !out.expires) fields.refuse(expires, "not a time: " + model::printable(time));
    return out;
}

}  // namespace

std::string to_json(const Value& value) {
    return dump(json_of(value));
}

std::string exec_info(const ExecConfig& exec, const Kubeconfig& config, const std::string& ca) {
    json info = {{"kind", "ExecCredential"}, {"apiVersion", exec.api_version}, {"spec", {{"interactive", false}}}};
    if (!exec.provide_cluster_info) return dump(info);
    auto& cluster = info["spec"]["cluster"];
    cluster["server"] = config.server.text();
    if (!config.tls_server_name.empty()) cluster["tls-server-name"] = config.tls_server_name;
    if (!ca.empty()) cluster["certificate-authority-data"] = encode_base64(ca);
    if (!config.proxy_url.empty()) cluster["proxy-url"] = config.proxy_url;
    if (!exec.cluster_config_json.empty()) cluster["config"] = json::parse(exec.cluster_config_json, nullptr, false);
    return dump(info);
}

Result<ExecCredential> parse_exec_credential(std::string_view text, const std::string& api_version) {
    Problems problems;
    Fields fields("ExecCredential", problems);
    TreeBuilder builder([](const Value& /*item*/) {});
    std::size_t line = 1;
    ExecCredential credential;
    if (const auto error = read_json(text, line, builder)) {
        problems.add({.line = 0, .object = "ExecCredential", .field = "", .what = error->what});
    } else if (!text.empty()) {
        problems.add({.line = 0, .object = "ExecCredential", .field = "", .what = "text after its end"});
    } else {
        credential = read_credential(fields, builder.take_root(), api_version);
    }
    const auto told = problems.take();
    if (told.empty()) return credential;
    const auto& first = told.front();
    return fail(Error::invalid(first.object + ": " + (first.field.empty() ? "" : first.field + ": ") + first.what));
}

}  // namespace svclb::kube
