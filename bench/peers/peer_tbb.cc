// SPDX-License-Identifier: MIT
// The scheduler's benchmark on oneTBB.  peer_tbb CASE WORKERS [N] prints "ns NANOSECONDS".
//
//   submit-enqueue  task_arena::enqueue from outside; the caller does not help
//   submit-group    task_group::run from outside, then wait(), in which the caller helps
//   chain, fan      task_group::run inside tasks
//
// WORKERS threads run tasks.  Outside cases have the submitter besides, as ours have.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

namespace {

struct alignas(128) counter { std::atomic<uint64_t> n{0}; };
counter counted[256]; // by place in the arena: written by one thread at a time

void count_one()
{
    auto &c = counted[tbb::this_task_arena::current_thread_index()].n;
    c.store(c.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

uint64_t total()
{
    uint64_t n = 0;
    for (auto &c : counted)
        n += c.n.load(std::memory_order_acquire);
    return n;
}

void submit_enqueue(tbb::task_arena &arena, uint64_t n)
{
    uint64_t goal = total() + n;
    for (uint64_t i = 0; i < n; i++)
        arena.enqueue(count_one);
    while (total() != goal)
        __builtin_ia32_pause();
}

void submit_group(tbb::task_arena &arena, uint64_t n)
{
    arena.execute([n] {
        tbb::task_group g;
        for (uint64_t i = 0; i < n; i++)
            g.run(count_one);
        g.wait();
    });
}

void link(tbb::task_group &g, uint64_t left)
{
    if (left)
        g.run([&g, left] { link(g, left - 1); });
}

void chain(tbb::task_arena &arena, uint64_t n)
{
    arena.execute([n] {
        tbb::task_group g;
        link(g, n);
        g.wait();
    });
}

void fan(tbb::task_arena &arena, uint64_t n)
{
    arena.execute([n] {
        tbb::task_group g;
        g.run([&g, n] {
            for (uint64_t i = 0; i < n; i++)
                g.run(count_one);
        });
        g.wait();
    });
}

struct { const char *name; void (*run)(tbb::task_arena &, uint64_t); int outside; uint64_t n; } const cases[] = {
    {"submit-enqueue", submit_enqueue, 1, 500000},
    {"submit-group", submit_group, 1, 500000},
    {"chain", chain, 0, 1000000},
    {"fan", fan, 0, 500000},
};

} // namespace

int main(int argc, char **argv)
{
    for (auto &c : cases) {
        if (argc < 3 || std::strcmp(c.name, argv[1]) != 0)
            continue;
        int threads = std::atoi(argv[2]) + c.outside;
        uint64_t n = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : c.n;
        tbb::global_control limit(tbb::global_control::max_allowed_parallelism, (size_t)threads);
        tbb::task_arena arena(threads, 1);
        arena.initialize();
        c.run(arena, n / 10);
        auto start = std::chrono::steady_clock::now();
        c.run(arena, n);
        double ns = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
        std::printf("ns %.3f\n", ns / (double)n);
        return 0;
    }
    std::fprintf(stderr, "usage: %s submit-enqueue|submit-group|chain|fan WORKERS [N]\n", argv[0]);
    return 2;
}
