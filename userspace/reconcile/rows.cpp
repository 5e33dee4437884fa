// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "rows.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <array>
#include <span>
#include <string_view>

namespace svclb::reconcile {

namespace {

// False if the text does not fit with its final zero.
bool fill(std::span<char> field, std::string_view text) {
    if (text.size() >= field.size()) return false;
    std::memcpy(field.data(), text.data(), text.size());
    return true;
}

std::string text_in(std::span<const char> field) {
    return {field.data(), ::strnlen(field.data(), field.size())};
}

}  // namespace

std::size_t KeyHash::operator()(const svclb_frontend_key& key) const noexcept {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    std::uint32_t rest = 0;
    std::memcpy(&high, &key.addr[0], sizeof(high));
    std::memcpy(&low, &key.addr[2], sizeof(low));
    std::memcpy(&rest, &key.port, sizeof(rest));
    std::uint64_t hash = (high ^ (std::uint64_t{rest} << 32)) * 0x9e3779b97f4a7c15U;
    hash = (hash ^ (hash >> 29) ^ low ^ rest) * 0xbf58476d1ce4e5b9U;
    return hash ^ (hash >> 32);
}

__be16 network_order(std::uint16_t port) noexcept {
    return htons(port);
}

svclb_frontend_key frontend_key(const model::Frontend& frontend) {
    svclb_frontend_key key{};
    std::memcpy(key.addr, frontend.address.bytes.data(), sizeof(key.addr));
    key.port = network_order(frontend.port);
    key.proto = static_cast<__u8>(frontend.protocol);
    return key;
}

svclb_frontend frontend_row(const model::Frontend& frontend) noexcept {
    svclb_frontend row{};
    row.kind = static_cast<__u8>(frontend.kind);
    row.set = static_cast<__u8>(frontend.set);
    row.outside_set = static_cast<__u8>(frontend.outside_set);
    if (frontend.source_ranges) row.flags |= SVCLB_FRONTEND_SOURCE_RANGES;
    if (frontend.dsr) row.flags |= SVCLB_FRONTEND_DSR;
    return row;
}

model::Frontend frontend_of(const svclb_frontend_key& key, const svclb_frontend& row) noexcept {
    model::Frontend frontend;
    std::memcpy(frontend.address.bytes.data(), key.addr, sizeof(key.addr));
    frontend.port = ntohs(key.port);
    frontend.protocol = static_cast<model::Protocol>(key.proto);
    frontend.kind = static_cast<model::FrontendKind>(row.kind);
    frontend.set = static_cast<model::TrafficPolicy>(row.set);
    frontend.outside_set = static_cast<model::TrafficPolicy>(row.outside_set);
    frontend.source_ranges = (row.flags & SVCLB_FRONTEND_SOURCE_RANGES) != 0;
    frontend.dsr = (row.flags & SVCLB_FRONTEND_DSR) != 0;
    return frontend;
}

svclb_source_range range_key(std::uint32_t service, const model::Cidr& range) noexcept {
    svclb_source_range key{};
    key.prefix = SVCLB_SOURCE_RANGE_SERVICE_BITS + std::uint32_t{range.prefix};
    key.service = service;
    std::memcpy(key.addr, range.address.bytes.data(), sizeof(key.addr));
    return key;
}

model::Cidr range_of(const svclb_source_range& key) noexcept {
    model::Cidr range;
    range.prefix = static_cast<std::uint8_t>(key.prefix - SVCLB_SOURCE_RANGE_SERVICE_BITS);
    std::memcpy(range.address.bytes.data(), key.addr, sizeof(key.addr));
    return range;
}

svclb_frontend_key address_key(const svclb_frontend_key& key) noexcept {
    svclb_frontend_key wildcard = key;
    wildcard.port = 0;
    wildcard.proto = 0;
    return wildcard;
}

bool is_address_key(const svclb_frontend_key& key) noexcept {
    return key.port == 0 && key.proto == 0;
}

std::string to_string(const svclb_frontend_key& key) {
    model::Address address;
    std::memcpy(address.bytes.data(), key.addr, sizeof(key.addr));
    if (is_address_key(key)) return model::to_string(address);
    return fmt::format("{}/{}", model::endpoint_text(address, ntohs(key.port)),
                       model::to_string(static_cast<model::Protocol>(key.proto)));
}

svclb_service service_row(const model::ServicePortState& desired) {
    svclb_service row{};
    row.affinity_s = desired.affinity_s;
    row.verdicts[SVCLB_SET_CLUSTER] = static_cast<__u8>(desired.cluster);
    row.verdicts[SVCLB_SET_LOCAL] = static_cast<__u8>(desired.local);
    row.family = static_cast<__u8>(desired.id.family);
    row.proto = static_cast<__u8>(desired.id.protocol);
    row.internal_set = static_cast<__u8>(desired.internal_policy);
    row.external_set = static_cast<__u8>(desired.external_policy);
    row.algorithm = static_cast<__u8>(desired.algorithm);
    return row;
}

Result<svclb_service_name> name_row(const model::ServicePortId& id) {
    svclb_service_name row{};
    if (!fill(row.ns, id.service.ns)) return fail(Error::invalid("namespace: longer than 63 bytes"));
    if (!fill(row.name, id.service.name)) return fail(Error::invalid("name: longer than 63 bytes"));
    if (!fill(row.port_name, id.port_name)) return fail(Error::invalid("port name: longer than 63 bytes"));
    return row;
}

Result<svclb_string> string_row(const std::string& text) {
    svclb_string row{};
    if (!fill(row.text, text)) return fail(Error::invalid("longer than 255 bytes"));
    return row;
}

std::string text_of(const svclb_string& row) {
    return text_in(row.text);
}

model::ObjectKey object_key(const svclb_service_name& name) {
    return {text_in(name.ns), text_in(name.name)};
}

std::optional<model::ServicePortId> port_id(const svclb_service_name& name, const svclb_service& row) {
    if (row.family != 4 && row.family != 6) return std::nullopt;
    if (row.proto != IPPROTO_TCP && row.proto != IPPROTO_UDP && row.proto != IPPROTO_SCTP) return std::nullopt;
    return model::ServicePortId{.service = object_key(name),
                                .port_name = text_in(name.port_name),
                                .protocol = static_cast<model::Protocol>(row.proto),
                                .family = static_cast<model::Family>(row.family)};
}

std::string describe(const model::ServicePortId& id) {
    return fmt::format("service port {} ({}, {})", model::to_string(id), model::to_string(id.protocol),
                       model::to_string(id.family));
}

}  // namespace svclb::reconcile
