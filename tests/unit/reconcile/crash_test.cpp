// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The agent may die between any two writes, and any write may fail. Exhaustive over a script of passes.
#include <catch2/catch_test_macros.hpp>
#include <optional>

#include "support.hpp"

using namespace svclb::test;

namespace {

// Each pass of the script, and what it is there for.
std::vector<World> script() {
    const auto a = [](std::vector<Backend> backends, std::vector<Frontend> frontends) {
        return port("a", "http", std::move(frontends), std::move(backends));
    };
    const auto vip = frontend("10.0.0.1", 80);
    const auto node_port = frontend("192.168.0.1", 30080, FrontendKind::node_port);
    const auto b = port("b", "", {frontend("10.0.0.2", 80)}, {backend("10.1.0.1"), backend("10.1.0.9", In::none)});
    const auto six = port("b", "", {frontend("fd00::2", 80)}, {backend("fd00::101", In::both), backend("fd00::102")});
    const auto late = port("late", "", {vip}, {backend("10.1.0.7")}, "2025-01-01T00:00:00Z");
    std::vector<World> passes;
    // Two Services in two families.
    passes.push_back(world({a({backend("10.1.0.1"), backend("10.1.0.2")}, {vip}), b, six}));
    // Local members first, a shared run; a node port; one that claims a taken frontend.
    passes.push_back(world({a({backend("10.1.0.2", In::both), backend("10.1.0.1")}, {vip, node_port}), b, six, late}));
    // A backend turns not ready, another drains, weights, a Local set of its own.
    passes.push_back(
        world({a({backend("10.1.0.3", In::local), backend("10.1.0.1", In::none), backend("10.1.0.2", In::cluster, 3)},
                 {vip, node_port}),
               b, six, late}));
    // The older Service loses its frontends to others in the same pass, and has no backend.
    passes.push_back(world(
        {a({}, {frontend("10.0.0.1", 81)}), port("b", "", {frontend("10.0.0.2", 80), node_port}, b.backends), late}));
    // All but one are gone; the indices get new owners.
    passes.push_back(world({late}));
    passes.push_back(
        world({late, port("c", "x", {frontend("10.0.0.2", 80)}, {backend("10.1.0.1"), backend("10.1.0.4")}),
               port("c", "y", {frontend("10.0.0.2", 81)}, {backend("10.1.0.1", In::both)})}));
    // One backend of many goes, one comes.
    passes.push_back(
        world({late, port("c", "x", {frontend("10.0.0.2", 80)}, {backend("10.1.0.5"), backend("10.1.0.4")}),
               port("c", "y", {frontend("10.0.0.2", 81)}, {backend("10.1.0.1", In::both)})}));
    return passes;
}

struct Agent {
    FakeTables tables;
    Guard guard;
    std::optional<Reconciler> reconciler;

    Agent() : tables({.services = 4, .slots = 16, .backends = 8}), guard(tables) {}

    void start() {
        auto adopted = Reconciler::adopt(tables);
        REQUIRE(adopted);
        guard.released();  // the agent waits for a grace period before its first pass
        reconciler.emplace(*std::move(adopted));
    }
    // Until `next` is programmed; the grace period of a pass ends before the next one.
    PassResult pass(const World& before, const World& next) {
        auto result = reconciler->apply(changes(before, next));
        release(*reconciler, &guard);
        return result;
    }
    // What an agent does after its first complete list.
    void sync(const World& all) {
        start();
        CHECK(reconciler->apply(all_of(all)).failures == 0);
        CHECK(reconciler->retain_only(keys_of(all)).failures == 0);
    }
};

std::uint64_t writes_of(const std::vector<World>& passes) {
    Agent agent;
    agent.start();
    World now;
    for (const auto& next : passes) {
        REQUIRE(agent.pass(now, next).failures == 0);
        now = next;
    }
    REQUIRE(agent.guard.violation() == "");
    return agent.tables.writes;
}

void check_converged(const Agent& agent, const World& last) {
    CHECK(agent.guard.violation() == "");
    CHECK(agent.guard.epochs_due().empty());
    CHECK(canonical(agent.tables) == fresh_tables(last));
}

}  // namespace

TEST_CASE("an agent that dies after any write leaves tables that serve and that its successor completes") {
    const auto passes = script();
    const auto total = writes_of(passes);
    REQUIRE(total > 120);
    for (std::uint64_t dies = 0; dies <= total; ++dies) {
        INFO("dies after write " << dies);
        Agent agent;
        agent.start();
        agent.tables.stop_after(dies);
        World now;
        for (const auto& next : passes) {
            static_cast<void>(agent.pass(now, next));
            now = next;
            if (agent.tables.stopped()) break;
        }
        agent.tables.resume();
        agent.sync(passes.back());
        check_converged(agent, passes.back());

        agent.start();
        CHECK(agent.reconciler->apply(all_of(passes.back())).writes == 0);
        CHECK(agent.reconciler->retain_only(keys_of(passes.back())).writes == 0);
    }
}

TEST_CASE("an agent that dies while it completes what another left serves all the same") {
    const auto passes = script();
    const auto total = writes_of(passes);
    for (std::uint64_t first = 0; first <= total; first += 3) {
        for (std::uint64_t second = 1; second < 60; second += 4) {
            INFO("dies after write " << first << ", then after " << second << " more");
            Agent agent;
            agent.start();
            agent.tables.stop_after(first);
            World now;
            for (const auto& next : passes) {
                static_cast<void>(agent.pass(now, next));
                now = next;
                if (agent.tables.stopped()) break;
            }
            agent.tables.resume();
            agent.start();
            agent.tables.stop_after(second);
            static_cast<void>(agent.reconciler->apply(all_of(passes.back())));
            static_cast<void>(agent.reconciler->retain_only(keys_of(passes.back())));
            agent.tables.resume();
            agent.sync(passes.back());
            check_converged(agent, passes.back());
        }
    }
}

TEST_CASE("any single write may fail: others go on, one retry completes it") {
    const auto passes = script();
    const auto total = writes_of(passes);
    for (std::uint64_t fails = 1; fails <= total; ++fails) {
        INFO("write " << fails << " fails");
        Agent agent;
        agent.start();
        agent.tables.fail_nth(fails, fails % 2 == 0 ? ENOSPC : E2BIG);
        World now;
        for (const auto& next : passes) {
            const auto result = agent.pass(now, next);
            now = next;
            CHECK(result.failures <= 1);
            CHECK(result.errors.size() == result.failures);
            CHECK(result.retry.empty() == (result.failures == 0));
            CHECK(agent.reconciler->apply(retries(result, now)).failures == 0);
            release(*agent.reconciler, &agent.guard);
            CHECK(canonical(agent.tables) == fresh_tables(now));
            CHECK(agent.reconciler->apply(all_of(now)).writes == 0);
        }
        check_converged(agent, passes.back());
    }
}

TEST_CASE("any single write of the first clean-up may fail") {
    const auto before = script()[2];
    const auto after = script()[5];
    std::uint64_t total = 0;
    {
        Agent agent;
        agent.sync(before);
        const auto written = agent.tables.writes;
        agent.sync(after);
        total = agent.tables.writes - written;
    }
    for (std::uint64_t fails = 1; fails <= total; ++fails) {
        INFO("write " << fails << " fails");
        Agent agent;
        agent.sync(before);
        agent.tables.fail_nth(fails, ENOSPC);
        agent.start();
        for (auto result = agent.reconciler->apply(all_of(after)); !result.retry.empty();)
            result = agent.reconciler->apply(retries(result, after));
        for (auto result = agent.reconciler->retain_only(keys_of(after)); result.failures != 0;)
            result = agent.reconciler->retain_only(keys_of(after));
        check_converged(agent, after);
    }
}
