// SPDX-License-Identifier: MIT
// The heap against the best allocators, interleaved in the same run.
//
//   bench_alloc [--json] [--samples] [--rounds N] [--ops N] [NAME ...]
//
// NAME picks rows ("64 B", "1 KiB", "mixed", "64 B, 2 threads", ..., "freed elsewhere").  The
// peers are shared libraries, opened side by side; one that is not installed is named and left
// out.  Each round runs every allocator once, in an order that turns by one from round to
// round, each through a function pointer.  Before each sample the round trip of a cache line
// between the two CPUs is measured: a sample taken while the machine was elsewhere shows by it.
// Printed are medians in ns for one allocation and its free, and the median over the rounds of
// our time divided by the best peer's of that round: below 1 means that ours is faster.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <pthread.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#define _Alignas alignas // the C headers, seen from C++
#define _Alignof alignof
#define _Static_assert static_assert
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" // a call named like its structure
extern "C" {
#include "heap.h"
}
#pragma GCC diagnostic pop

namespace {

using clock_type = std::chrono::steady_clock;

// ---- the allocators -------------------------------------------------------------------------

struct allocator {
    std::string name;
    void *(*alloc)(size_t);
    void (*release)(void *);
};

gmk_heap_t heap;
gmk_heap_cache_t caches[2]; // one per thread, as a worker has one

struct ours_t {
    gmk_heap_cache_t *cache;
    void *(*alloc_fn)(gmk_heap_t *, gmk_heap_cache_t *, size_t);
    bool (*free_fn)(gmk_heap_t *, gmk_heap_cache_t *, void *);
    void *alloc(size_t n) { return alloc_fn(&heap, cache, n); }
    void release(void *p) { free_fn(&heap, cache, p); }
};

struct peer_t {
    void *(*alloc_fn)(size_t);
    void (*free_fn)(void *);
    void *alloc(size_t n) { return alloc_fn(n); }
    void release(void *p) { free_fn(p); }
};

void add_peer(std::vector<allocator> &all, const char *name, const char *file, const char *alloc,
              const char *release)
{
    void *lib = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    auto a = lib ? reinterpret_cast<void *(*)(size_t)>(dlsym(lib, alloc)) : nullptr;
    auto r = lib ? reinterpret_cast<void (*)(void *)>(dlsym(lib, release)) : nullptr;
    if (a == nullptr || r == nullptr)
        std::fprintf(stderr, "bench_alloc: %s left out: %s\n", name, dlerror());
    else
        all.push_back({name, a, r});
}

// ---- the work -------------------------------------------------------------------------------

constexpr unsigned window = 64, size_count = 4096;
uint32_t mixed_sizes[size_count]; // 16 B .. 64 KiB, as many in each doubling

void make_sizes()
{
    uint64_t r = 88172645463325252u;
    for (auto &size : mixed_sizes) {
        r ^= r << 13, r ^= r >> 7, r ^= r << 17;
        uint32_t low = 16u << r % 12;
        size = low + static_cast<uint32_t>(r >> 32) % (low + 1);
    }
}

// Blocks live for `window` operations; each is written to once.  size 0: mixed.
template <typename A> void churn(A a, uint32_t size, uint64_t ops)
{
    void *live[window] = {};
    for (uint64_t i = 0; i < ops; i++) {
        void *&slot = live[size != 0 ? i % window : mixed_sizes[i * 7 % size_count] / 8 % window];
        if (slot != nullptr)
            a.release(slot);
        slot = a.alloc(size != 0 ? size : mixed_sizes[i % size_count]);
        if (slot == nullptr)
            std::abort();
        *static_cast<volatile uint64_t *>(slot) = i;
    }
    for (void *p : live)
        if (p != nullptr)
            a.release(p);
}

// The hand-over is the same for all: a ring whose ends are published every 32 blocks.
struct pipe_t {
    static constexpr uint64_t slots = 1024, batch = 32;
    alignas(128) std::atomic<uint64_t> head{0};
    alignas(128) std::atomic<uint64_t> tail{0};
    alignas(128) void *slot[slots];
};

void wait_until(const std::atomic<uint64_t> &word, uint64_t at_least)
{
    for (uint32_t round = 0; word.load(std::memory_order_acquire) < at_least; round++)
        gmk_hal_relax(round);
}

template <typename A> void make_blocks(A a, pipe_t &pipe, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i += pipe_t::batch) {
        wait_until(pipe.tail, i + pipe_t::batch > pipe_t::slots ? i + pipe_t::batch - pipe_t::slots : 0);
        for (uint64_t k = i; k < i + pipe_t::batch; k++) {
            void *p = a.alloc(64);
            if (p == nullptr)
                std::abort();
            *static_cast<volatile uint64_t *>(p) = k;
            pipe.slot[k % pipe_t::slots] = p;
        }
        pipe.head.store(i + pipe_t::batch, std::memory_order_release);
    }
}

template <typename A> uint64_t free_blocks(A a, pipe_t &pipe, uint64_t ops)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < ops; i += pipe_t::batch) {
        wait_until(pipe.head, i + pipe_t::batch);
        for (uint64_t k = i; k < i + pipe_t::batch; k++) {
            void *p = pipe.slot[k % pipe_t::slots];
            sum += *static_cast<volatile uint64_t *>(p);
            a.release(p);
        }
        pipe.tail.store(i + pipe_t::batch, std::memory_order_release);
    }
    return sum;
}

struct row {
    std::string name;
    uint32_t size; // 0 = mixed
    unsigned threads;
    bool elsewhere;
};

const row rows[] = {
    {"64 B", 64, 1, false},          {"64 B, 2 threads", 64, 2, false}, {"1 KiB", 1024, 1, false},
    {"1 KiB, 2 threads", 1024, 2, false}, {"mixed", 0, 1, false},       {"mixed, 2 threads", 0, 2, false},
    {"freed elsewhere", 64, 2, true},
};

// ---- two threads that stay ------------------------------------------------------------------

double ns_since(clock_type::time_point start)
{
    return std::chrono::duration<double, std::nano>(clock_type::now() - start).count();
}

void pin(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu % std::thread::hardware_concurrency(), &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

std::atomic<uint64_t> gate{0};
uint64_t gates = 0;

void meet(uint64_t until)
{
    gate.fetch_add(1, std::memory_order_acq_rel);
    wait_until(gate, until);
}

// Runs job(0) here and job(1) on the other CPU (or job(0) alone); the longer time of the two.
template <typename F> double timed(unsigned threads, F job)
{
    if (threads == 1) {
        auto start = clock_type::now();
        job(0);
        return ns_since(start);
    }
    double other_ns = 0;
    gates += 2;
    uint64_t until = gates;
    std::thread other([&] {
        pin(1);
        meet(until);
        auto start = clock_type::now();
        job(1);
        other_ns = ns_since(start);
    });
    meet(until);
    auto start = clock_type::now();
    job(0);
    double ns = ns_since(start);
    other.join();
    return std::max(ns, other_ns);
}

double round_trip_ns()
{
    constexpr uint64_t trips = 1000;
    alignas(128) static std::atomic<uint64_t> word;
    word = 0;
    return timed(2, [](unsigned who) {
        for (uint64_t i = 0; i < trips; i++) {
            if (who == 0)
                word.store(2 * i + 1, std::memory_order_release);
            wait_until(word, 2 * i + (who == 0 ? 2 : 1));
            if (who == 1)
                word.store(2 * i + 2, std::memory_order_release);
        }
    }) / trips;
}

template <typename M> double run(const row &r, uint64_t ops, M make)
{
    if (!r.elsewhere)
        return timed(r.threads, [&](unsigned who) { churn(make(who), r.size, ops); }) /
               static_cast<double>(ops);
    static pipe_t pipe;
    pipe.head = pipe.tail = 0;
    uint64_t sum = 0;
    double ns = timed(2, [&](unsigned who) {
        if (who == 0)
            make_blocks(make(0), pipe, ops);
        else
            sum = free_blocks(make(1), pipe, ops);
    });
    if (sum != ops * (ops - 1) / 2)
        std::abort(); // a block was lost or doubled
    return ns / static_cast<double>(ops);
}

double sample(const row &r, const allocator &a, uint64_t ops)
{
    if (a.alloc == nullptr)
        return run(r, ops, [](unsigned who) { return ours_t{&caches[who], gmk_heap_alloc, gmk_heap_free}; });
    return run(r, ops, [&](unsigned) { return peer_t{a.alloc, a.release}; });
}

// ---- the report -----------------------------------------------------------------------------

double median(std::vector<double> v)
{
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
}

struct options {
    bool json = false, samples = false;
    unsigned rounds = 11;
    uint64_t ops = 400000;
    std::vector<std::string> names;
};

void report(const options &o, const row &r, const std::vector<allocator> &all,
            const std::vector<std::vector<double>> &ns, const std::vector<double> &trips)
{
    std::vector<double> ratios;
    for (unsigned i = 0; i < o.rounds; i++) {
        double best = ns[1][i];
        for (size_t a = 2; a < all.size(); a++)
            best = std::min(best, ns[a][i]);
        ratios.push_back(ns[0][i] / best);
    }
    if (o.json) {
        std::printf("{\"bench\":\"alloc\",\"row\":\"%s\",\"unit\":\"ns\",\"rounds\":%u", r.name.c_str(),
                    o.rounds);
        for (size_t a = 0; a < all.size(); a++)
            std::printf(",\"%s\":%.2f", all[a].name.c_str(), median(ns[a]));
        std::printf(",\"ratio\":%.3f,\"round_trip_ns\":%.0f}\n", median(ratios), median(trips));
        return;
    }
    std::printf("%-18s", r.name.c_str());
    for (size_t a = 0; a < all.size(); a++)
        std::printf(" %10.2f", median(ns[a]));
    std::printf(" %8.2f %8.0f\n", median(ratios), median(trips));
    for (size_t a = 0; o.samples && a < all.size(); a++) {
        std::printf("  %-12s", all[a].name.c_str());
        for (double v : ns[a])
            std::printf(" %.2f", v);
        std::printf("\n");
    }
    for (size_t i = 0; o.samples && i < trips.size(); i++)
        std::printf(i == 0 ? "  round trips  %.0f" : i + 1 == trips.size() ? " %.0f\n" : " %.0f", trips[i]);
}

void run_row(const options &o, const row &r, const std::vector<allocator> &all)
{
    std::vector<std::vector<double>> ns(all.size(), std::vector<double>(o.rounds));
    std::vector<double> trips;
    uint64_t ops = (o.ops + pipe_t::batch - 1) / pipe_t::batch * pipe_t::batch;
    for (const allocator &a : all)
        (void)sample(r, a, ops / 4 / pipe_t::batch * pipe_t::batch); // warm
    for (unsigned i = 0; i < o.rounds; i++)
        for (size_t k = 0; k < all.size(); k++) {
            size_t a = (k + i) % all.size();
            trips.push_back(round_trip_ns());
            ns[a][i] = sample(r, all[a], ops);
        }
    report(o, r, all, ns, trips);
}

bool parse(options &o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!std::strcmp(argv[i], "--json"))
            o.json = true;
        else if (!std::strcmp(argv[i], "--samples"))
            o.samples = true;
        else if (!std::strcmp(argv[i], "--rounds") && i + 1 < argc)
            o.rounds = static_cast<unsigned>(std::strtoul(argv[++i], nullptr, 10));
        else if (!std::strcmp(argv[i], "--ops") && i + 1 < argc)
            o.ops = std::strtoul(argv[++i], nullptr, 10);
        else if (argv[i][0] != '-')
            o.names.push_back(argv[i]);
        else
            return false;
    }
    return o.rounds > 0 && o.ops >= 4 * pipe_t::batch;
}

} // namespace

// The peers want more static thread-local storage than the loader keeps free for libraries
// opened at run time; it reads the wish from the environment of a new program.
void restart_with_tls(char **argv)
{
    const char *name = "GLIBC_TUNABLES";
    if (std::getenv(name) == nullptr && setenv(name, "glibc.rtld.optional_static_tls=65536", 1) == 0)
        execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
    options o;
    restart_with_tls(argv);
    if (!parse(o, argc, argv)) {
        std::fprintf(stderr, "usage: bench_alloc [--json] [--samples] [--rounds N] [--ops N] [NAME ...]\n");
        return 2;
    }
    constexpr size_t area = size_t{64} << 20;
    if (gmk_heap_init(&heap, gmk_hal_page_alloc(area), area) != GMK_OK)
        return 1;
    for (auto &c : caches)
        gmk_heap_cache_init(&c);
    std::vector<allocator> all{{"ggmk", nullptr, nullptr}};
    add_peer(all, "tcmalloc", "libtcmalloc_minimal.so.4", "tc_malloc", "tc_free");
    add_peer(all, "jemalloc", "libjemalloc.so.2", "malloc", "free");
    add_peer(all, "mimalloc", "libmimalloc.so.2.0", "mi_malloc", "mi_free");
    if (all.size() == 1)
        return 1;
    make_sizes();
    pin(0);
    if (!o.json) {
        std::printf("ns per allocation and free; median of %u rounds\n%-18s", o.rounds, "");
        for (const allocator &a : all)
            std::printf(" %10s", a.name.c_str());
        std::printf(" %8s %8s\n", "/ best", "trip");
    }
    for (const row &r : rows)
        if (o.names.empty() || std::find(o.names.begin(), o.names.end(), r.name) != o.names.end())
            run_row(o, r, all);
    return 0;
}
