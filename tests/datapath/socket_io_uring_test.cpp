// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What io_uring does on a program's behalf passes the socket hooks as the program's own calls do. The ring is driven by
// its system calls: one request, one answer.
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "socket_node.hpp"
#include "svclb/base/unique_fd.hpp"

using namespace svclb::test;

namespace {

class Ring {
public:
    Ring() : fd_(static_cast<int>(::syscall(__NR_io_uring_setup, 1, &parameters_))) {
        if (!fd_) SKIP("no io_uring here: " << std::strerror(errno));
        if ((parameters_.features & IORING_FEAT_SINGLE_MMAP) == 0) SKIP("io_uring of before 5.4");
        rings_ = map(parameters_.cq_off.cqes + parameters_.cq_entries * sizeof(io_uring_cqe), IORING_OFF_SQ_RING);
        entries_ = map(parameters_.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
    }

    // 0, or the errno.
    [[nodiscard]] int run(const io_uring_sqe& request) {
        std::memcpy(entries_, &request, sizeof(request));
        at(parameters_.sq_off.array) = 0;
        std::atomic_ref(at(parameters_.sq_off.tail)).fetch_add(1, std::memory_order_release);
        if (::syscall(__NR_io_uring_enter, fd_.get(), 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0) != 1) return errno;
        auto head = std::atomic_ref(at(parameters_.cq_off.head));
        const auto mask = at(parameters_.cq_off.ring_mask);
        io_uring_cqe answer{};
        std::memcpy(&answer, rings_ + parameters_.cq_off.cqes + (head.load() & mask) * sizeof(answer), sizeof(answer));
        head.fetch_add(1, std::memory_order_release);
        return answer.res < 0 ? -answer.res : 0;
    }

private:
    char* map(std::size_t size, off_t what) {
        void* where = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_.get(), what);
        REQUIRE(where != MAP_FAILED);
        return static_cast<char*>(where);  // until the process ends
    }
    std::uint32_t& at(std::uint32_t offset) { return *reinterpret_cast<std::uint32_t*>(rings_ + offset); }

    io_uring_params parameters_{};
    svclb::UniqueFd fd_;
    char* rings_ = nullptr;
    char* entries_ = nullptr;
};

}  // namespace

TEST_CASE("sockets: a connection that io_uring makes reaches a backend", "[sockets]") {
    const World world = any_world();
    CAPTURE(world);
    Node node;
    Ring ring;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});
    const Socket client(family_of(world), type_of(world));
    const Address to(world.frontend());
    io_uring_sqe request{};
    request.opcode = IORING_OP_CONNECT;
    request.fd = client.fd();
    request.addr = reinterpret_cast<std::uint64_t>(to.get());
    request.off = to.size;
    REQUIRE(ring.run(request) == 0);
    CHECK(client.peer() == world.frontend());
    CHECK(node.datapath.service_counter(1).flows == 1);
}

TEST_CASE("sockets: a datagram that io_uring sends reaches a backend, and its answer is the frontend's", "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    Ring ring;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});
    const Socket client(family_of(world), SOCK_DGRAM);
    Address to(world.frontend());
    std::string text = "question";
    iovec data{text.data(), text.size()};
    msghdr message{};
    message.msg_name = to.get();
    message.msg_namelen = to.size;
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    io_uring_sqe request{};
    request.opcode = IORING_OP_SENDMSG;
    request.fd = client.fd();
    request.addr = reinterpret_cast<std::uint64_t>(&message);
    request.len = 1;
    REQUIRE(ring.run(request) == 0);
    answer_one(server, "answer");
    Address from;
    message.msg_name = from.get();
    message.msg_namelen = from.size;
    request.opcode = IORING_OP_RECVMSG;
    REQUIRE(ring.run(request) == 0);
    CHECK(from.endpoint() == world.frontend());
}
