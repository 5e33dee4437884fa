// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "service_fixture.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace svclb::test {
namespace {

constexpr std::uint32_t kSlotsEach = 1024;
constexpr std::uint32_t kBackendsEach = 64;

void set_addr(__be32* to, const Ip& address) {
    std::memcpy(to, address.bytes.data(), address.bytes.size());
}

std::uint32_t filter_index(const Ip& address, std::uint16_t port) {
    std::array<__be32, SVCLB_ADDR_WORDS> words{};
    set_addr(words.data(), address);
    return svclb_filter_index(words.data(), htons(port));
}

svclb_frontend_key frontend_key(const Endpoint& frontend, std::uint8_t proto) {
    svclb_frontend_key key{};
    set_addr(key.addr, frontend.addr);
    key.port = htons(frontend.port);
    key.proto = proto;
    return key;
}

svclb_backend_key backend_key(std::uint32_t service, const Endpoint& backend) {
    svclb_backend_key key{};
    key.service = service;
    set_addr(key.addr, backend.addr);
    key.port = htons(backend.port);
    return key;
}

void must(int error, const char* what) {
    if (error != 0) throw std::runtime_error(std::string(what) + ": " + std::strerror(-error));
}

}  // namespace

ServiceFixture::ServiceFixture(Datapath& datapath, std::uint32_t index, const Endpoint& frontend, std::uint8_t proto,
                               const std::vector<Endpoint>& backends, const ServiceOptions& options)
    : datapath_(datapath),
      index_(index),
      frontend_(frontend),
      proto_(proto),
      options_(options),
      next_slot_(index * kSlotsEach) {
    const std::uint32_t epoch = row().epoch;
    row() = svclb_service{};
    row().family = frontend.addr.v4() ? 4 : 6;
    row().proto = proto;
    row().affinity_s = options.affinity_s;
    row().algorithm = static_cast<std::uint8_t>(options.algorithm);
    row().epoch = epoch + 1;
    row().verdicts[options.set] = static_cast<std::uint8_t>(options.verdict_when_empty);
    publish(backends);
    add_frontend(frontend);
}

void ServiceFixture::publish(const std::vector<Endpoint>& slots, svclb_set set) {
    const auto in_set =
        static_cast<std::uint8_t>(set == SVCLB_SET_LOCAL ? SVCLB_BACKEND_IN_LOCAL : SVCLB_BACKEND_IN_CLUSTER);
    generation_++;
    if (next_slot_ % kSlotsEach + slots.size() > kSlotsEach) next_slot_ = index_ * kSlotsEach;
    const std::uint32_t base = next_slot_;
    for (const Endpoint& backend : slots) {
        if (std::find(known_.begin(), known_.end(), backend) == known_.end()) known_.push_back(backend);
        put_backend(backend, SVCLB_BACKEND_READY, static_cast<std::uint8_t>(in_set | SVCLB_BACKEND_SERVING));
        datapath_.filters().backend[filter_index(backend.addr, backend.port)] = 1;
        svclb_slot& slot = datapath_.slot(next_slot_++);
        slot = svclb_slot{};
        set_addr(slot.addr, backend.addr);
        slot.port = htons(backend.port);
        slot.generation = generation_;
        slot.service = index_;
        slot.backend = id_of(backend);
    }
    row().runs[set] = svclb_run(base, static_cast<std::uint32_t>(slots.size()), generation_);
    for (const Endpoint& backend : known_) {
        if (std::find(slots.begin(), slots.end(), backend) != slots.end()) continue;
        svclb_backend value{};
        const auto key = backend_key(index_, backend);
        if (bpf_map_lookup_elem(datapath_.map("backends"), &key, &value) != 0) continue;
        put_backend(backend, value.state, static_cast<std::uint8_t>(value.flags & ~in_set));
    }
}

void ServiceFixture::put_backend(const Endpoint& backend, std::uint8_t state, std::uint8_t flags) {
    const auto key = backend_key(index_, backend);
    const auto& here = options_.on_node;
    if (std::find(here.begin(), here.end(), backend) != here.end())
        flags = static_cast<std::uint8_t>(flags | SVCLB_BACKEND_ON_NODE);
    const svclb_backend value{.id = id_of(backend),
                              .node = options_.dsr ? 1U : SVCLB_NONE,
                              .zone = SVCLB_NONE,
                              .weight = 1,
                              .state = state,
                              .flags = flags};
    datapath_.counts_backend(value.id);
    must(bpf_map_update_elem(datapath_.map("backends"), &key, &value, BPF_ANY), "store a backend");
    row().epoch++;
}

void ServiceFixture::drain(const Endpoint& backend) {
    put_backend(backend, SVCLB_BACKEND_DRAINING, SVCLB_BACKEND_SERVING);
}

void ServiceFixture::remove_backend(const Endpoint& backend) {
    const auto key = backend_key(index_, backend);
    const int error = bpf_map_delete_elem(datapath_.map("backends"), &key);
    if (error != -ENOENT) must(error, "remove a backend");
    row().epoch++;
}

void ServiceFixture::add_frontend(const Endpoint& frontend) {
    const auto key = frontend_key(frontend, proto_);
    svclb_mark_frontend(&datapath_.filters(), &key, options_.kind);
    svclb_frontend value{};
    value.service = index_;
    value.kind = options_.kind;
    value.set = static_cast<std::uint8_t>(options_.set);
    value.outside_set = static_cast<std::uint8_t>(options_.outside_set.value_or(options_.set));
    if (options_.source_ranges) value.flags |= SVCLB_FRONTEND_SOURCE_RANGES;
    if (options_.dsr) value.flags |= SVCLB_FRONTEND_DSR;
    must(bpf_map_update_elem(datapath_.map("frontends"), &key, &value, BPF_ANY), "store a frontend");
}

void ServiceFixture::remove_frontend(const Endpoint& frontend) {
    const auto key = frontend_key(frontend, proto_);
    const int error = bpf_map_delete_elem(datapath_.map("frontends"), &key);
    if (error != -ENOENT) must(error, "remove a frontend");
}

void ServiceFixture::remove() {
    remove_frontend(frontend_);
    publish({});
    for (const Endpoint& backend : known_) remove_backend(backend);
    const std::uint32_t epoch = row().epoch;
    row() = svclb_service{};
    row().epoch = epoch + 1;
}

std::uint32_t ServiceFixture::id_of(const Endpoint& backend) const {
    const auto found = std::find(known_.begin(), known_.end(), backend);
    if (found == known_.end()) throw std::invalid_argument("not a backend: " + to_string(backend));
    return index_ * kBackendsEach + static_cast<std::uint32_t>(found - known_.begin());
}

void mark_cluster_ip(Datapath& datapath, const Ip& address) {
    datapath.filters().frontend[filter_index(address, 0)] = 1;
    const auto key = frontend_key({address, 0}, 0);
    svclb_frontend value{};
    value.kind = SVCLB_FRONTEND_CLUSTER_IP_ADDRESS;
    must(bpf_map_update_elem(datapath.map("frontends"), &key, &value, BPF_ANY), "mark a ClusterIP");
}

}  // namespace svclb::test
