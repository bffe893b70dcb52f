// SPDX-License-Identifier: MIT
// Rings against their best peers, interleaved in the same run.
//
//   bench_ring [--json] [--samples] [--rounds N] [--items N] [NAME ...]
//
// NAME picks tests (spsc-8, spsc-8-bulk, spsc-64, ..., mpmc-pair, mpmc-1p1c, mpmc-2p2c, ...).
// Each round runs every queue once, in an order that turns by one from round to round.  Before each
// sample the round trip of a cache line between the two CPUs is measured: a sample taken while
// the machine was elsewhere shows by it.  Printed are medians, and the median over the rounds of
// each queue's time divided by ours; a ratio above 1 means that ours is faster.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <poll.h>
#include <pthread.h>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <boost/lockfree/spsc_queue.hpp>
#include <concurrentqueue/concurrentqueue.h>
#include <readerwriterqueue/readerwriterqueue.h>
#include <tbb/concurrent_queue.h>

#include "bench_ring.h"

namespace {

// ---- the peers that are C++ -----------------------------------------------------------------

template <typename Q> void *make_sized() { return new Q(BENCH_CAPACITY); }
template <typename Q> void destroy(void *q) { delete static_cast<Q *>(q); }

#define MAKERS(id, ...)                                              \
    void *id##_make() { return make_sized<__VA_ARGS__>(); }          \
    void id##_destroy(void *q) { destroy<__VA_ARGS__>(q); }

using boost8_t = boost::lockfree::spsc_queue<bench_e8_t>;
using boost64_t = boost::lockfree::spsc_queue<bench_e64_t>;
using reader8_t = moodycamel::ReaderWriterQueue<bench_e8_t>;
using reader64_t = moodycamel::ReaderWriterQueue<bench_e64_t>;
using concurrent_t = moodycamel::ConcurrentQueue<bench_e48_t>;
using tbb_t = tbb::concurrent_bounded_queue<bench_e48_t>;

MAKERS(boost8, boost8_t)
MAKERS(boost64, boost64_t)
MAKERS(reader8, reader8_t)
MAKERS(reader64, reader64_t)

BENCH_SINGLE(boost8, boost8_t, bench_e8_t, BENCH_NOTHING, q->push(e), BENCH_NOTHING, q->pop(e))
BENCH_BULK(boost8, boost8_t, bench_e8_t, BENCH_NOTHING, q->push(a, k), BENCH_NOTHING, q->pop(a, k))
BENCH_SINGLE(boost64, boost64_t, bench_e64_t, BENCH_NOTHING, q->push(e), BENCH_NOTHING, q->pop(e))
BENCH_BULK(boost64, boost64_t, bench_e64_t, BENCH_NOTHING, q->push(a, k), BENCH_NOTHING, q->pop(a, k))
BENCH_SINGLE(reader8, reader8_t, bench_e8_t, BENCH_NOTHING, q->try_enqueue(e), BENCH_NOTHING, q->try_dequeue(e))
BENCH_SINGLE(reader64, reader64_t, bench_e64_t, BENCH_NOTHING, q->try_enqueue(e), BENCH_NOTHING, q->try_dequeue(e))

// Bounded by the memory it is given first: try_enqueue allocates no more.
void *concurrent_make() { return new concurrent_t(BENCH_CAPACITY, 2, 0); }
void concurrent_destroy(void *q) { destroy<concurrent_t>(q); }
BENCH_SINGLE(concurrent, concurrent_t, bench_e48_t, moodycamel::ProducerToken producer(*q),
             q->try_enqueue(producer, e), moodycamel::ConsumerToken consumer(*q), q->try_dequeue(consumer, e))

// All or nothing per call, so a batch that does not fit waits whole.
BENCH_BULK(concurrent, concurrent_t, bench_e48_t, moodycamel::ProducerToken producer(*q),
           q->try_enqueue_bulk(producer, a, k) ? k : 0, moodycamel::ConsumerToken consumer(*q),
           q->try_dequeue_bulk(consumer, a, k))

void *tbb_make()
{
    auto *q = new tbb_t;
    q->set_capacity(BENCH_CAPACITY);
    return q;
}
void tbb_destroy(void *q) { destroy<tbb_t>(q); }
BENCH_SINGLE(tbb, tbb_t, bench_e48_t, BENCH_NOTHING, q->try_push(e), BENCH_NOTHING, q->try_pop(e))

const bench_queue_t spsc8[] = {BENCH_ROW_SINGLE(reader8, "readerwriterqueue"), BENCH_ROW(boost8, "boost spsc_queue")};
const bench_queue_t spsc64[] = {BENCH_ROW_SINGLE(reader64, "readerwriterqueue"), BENCH_ROW(boost64, "boost spsc_queue")};
const bench_queue_t mpmc48[] = {BENCH_ROW(concurrent, "concurrentqueue"), BENCH_ROW_SINGLE(tbb, "tbb bounded")};

// ---- measuring ------------------------------------------------------------------------------

using clock_type = std::chrono::steady_clock;

double ns_since(clock_type::time_point start)
{
    return std::chrono::duration<double, std::nano>(clock_type::now() - start).count();
}

// For one thread alone: what others take of its CPU does not count.
double cpu_ns()
{
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

void pin(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu % std::thread::hardware_concurrency(), &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

double round_trip_ns()
{
    constexpr int trips = 1000;
    alignas(128) static std::atomic<int> word;
    word = 0;
    std::thread other([] {
        pin(1);
        for (int i = 0; i < trips; i++) {
            uint32_t round = 0;
            while (word.load(std::memory_order_acquire) != 2 * i + 1)
                bench_wait(&round);
            word.store(2 * i + 2, std::memory_order_release);
        }
    });
    pin(0);
    auto start = clock_type::now();
    for (int i = 0; i < trips; i++) {
        uint32_t round = 0;
        word.store(2 * i + 1, std::memory_order_release);
        while (word.load(std::memory_order_acquire) != 2 * i + 2)
            bench_wait(&round);
        if (i == trips / 10)
            start = clock_type::now();
    }
    double ns = ns_since(start) / (trips - trips / 10);
    other.join();
    return ns;
}

struct test {
    std::string name;
    unsigned elem;
    unsigned pairs; // producers, and as many consumers; 0 = one thread does both
    bool bulk;
    const bench_queue_t *c, *cc;
    size_t cc_count;
};

double sample_threads(const bench_queue_t &b, unsigned pairs, bool bulk, uint64_t items)
{
    bool batched = bulk && b.produce_n != nullptr;
    void *q = b.make();
    uint64_t each = items / pairs;
    std::atomic<unsigned> ready{0};
    std::atomic<uint64_t> sum{0};
    std::vector<clock_type::time_point> begins(2 * pairs), ends(2 * pairs);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 2 * pairs; t++)
        threads.emplace_back([&, t] {
            uint32_t round = 0;
            pin(t);
            ready++;
            while (ready.load() != 2 * pairs)
                bench_wait(&round);
            begins[t] = clock_type::now();
            if (t % 2 == 0)
                (batched ? b.produce_n : b.produce)(q, each, t / 2 * each);
            else
                sum += (batched ? b.consume_n : b.consume)(q, each);
            ends[t] = clock_type::now();
        });
    for (auto &t : threads)
        t.join();
    b.destroy(q);
    if (sum != each * pairs * (each * pairs - 1) / 2) {
        std::fprintf(stderr, "%s lost or doubled something\n", b.name);
        std::exit(1);
    }
    auto start = *std::min_element(begins.begin(), begins.end());
    auto end = *std::max_element(ends.begin(), ends.end());
    return std::chrono::duration<double, std::nano>(end - start).count() / (double)(each * pairs);
}

double sample_pair(const bench_queue_t &b, uint64_t items)
{
    void *q = b.make();
    pin(0);
    b.pair(q, 2000);
    double start = cpu_ns();
    uint64_t sum = b.pair(q, items);
    double ns = (cpu_ns() - start) / (double)items;
    b.destroy(q);
    if (sum != items * (items - 1) / 2)
        std::exit(1);
    return ns;
}

// Takes a sample in a process of its own: a queue whose threads wait for one that lost its CPU can
// take minutes where there are more threads than CPUs.  Then the limit stands for the sample.
double sample(const test &t, const bench_queue_t &b, uint64_t items)
{
    constexpr int limit_ms = 2000;
    double ns = limit_ms * 1e6 / (double)items;
    int ends[2];
    if (pipe(ends) != 0)
        std::exit(1);
    pid_t child = fork();
    if (child == 0) {
        ns = t.pairs == 0 ? sample_pair(b, items) : sample_threads(b, t.pairs, t.bulk, items);
        _exit(write(ends[1], &ns, sizeof ns) == sizeof ns ? 0 : 1);
    }
    close(ends[1]);
    pollfd done = {ends[0], POLLIN, 0};
    int status = 0;
    bool answered = poll(&done, 1, limit_ms) == 1 && read(ends[0], &ns, sizeof ns) == sizeof ns;
    if (!answered)
        kill(child, SIGKILL);
    waitpid(child, &status, 0);
    close(ends[0]);
    if (child < 0 || (WIFEXITED(status) && WEXITSTATUS(status) != 0))
        std::exit(1);
    return ns;
}

double median(std::vector<double> v)
{
    std::sort(v.begin(), v.end());
    return (v[v.size() / 2] + v[(v.size() - 1) / 2]) / 2;
}

struct options {
    bool json = false, samples = false;
    unsigned rounds = 11;
    uint64_t items = 200000;
    std::vector<std::string> names;
};

std::string list(const std::vector<double> &v)
{
    std::string s;
    for (double d : v) {
        char text[32];
        std::snprintf(text, sizeof text, "%s%.2f", s.empty() ? "" : ",", d);
        s += text;
    }
    return s;
}

void report(const options &o, const test &t, const bench_queue_t &b, const std::vector<double> &ns,
            const std::vector<double> &trip, const std::vector<double> &ours)
{
    std::vector<double> ratio;
    double best = *std::min_element(ns.begin(), ns.end());
    for (size_t i = 0; i < ns.size(); i++)
        ratio.push_back(ns[i] / ours[i]);
    if (o.json) {
        std::printf("{\"bench\":\"ring\",\"test\":\"%s\",\"elem\":%u,\"queue\":\"%s\",\"median_ns\":%.2f,"
                    "\"best_ns\":%.2f,\"ratio\":%.3f,\"samples_ns\":[%s],\"round_trip_ns\":[%s]}\n",
                    t.name.c_str(), t.elem, b.name, median(ns), best, median(ratio), list(ns).c_str(), list(trip).c_str());
        return;
    }
    std::printf("%-16s %-18s %8.2f ns  best %8.2f  %6.2f x   round trip %4.0f ns\n", t.name.c_str(), b.name,
                median(ns), best, median(ratio), median(trip));
    for (size_t i = 0; o.samples && i < ns.size(); i++)
        std::printf("    round %2zu %9.2f ns   round trip %5.0f ns\n", i, ns[i], trip[i]);
}

void run(const options &o, const test &t)
{
    std::vector<const bench_queue_t *> queues;
    for (const bench_queue_t *b = t.c; b->name != nullptr; b++)
        queues.push_back(b);
    for (size_t i = 0; i < t.cc_count; i++)
        queues.push_back(&t.cc[i]);
    std::vector<std::vector<double>> ns(queues.size()), trip(queues.size());
    for (unsigned round = 0; round <= o.rounds; round++)
        for (size_t i = 0; i < queues.size(); i++) {
            size_t k = (i + round) % queues.size();
            double rt = round_trip_ns();
            double s = sample(t, *queues[k], o.items);
            if (round == 0)
                continue; // warms up
            trip[k].push_back(rt);
            ns[k].push_back(s);
        }
    for (size_t k = 0; k < queues.size(); k++)
        report(o, t, *queues[k], ns[k], trip[k], ns[0]);
    std::fflush(stdout);
}

} // namespace

int main(int argc, char **argv)
{
    options o;
    for (int i = 1; i < argc; i++) {
        std::string a = argv[i];
        if (a == "--json")
            o.json = true;
        else if (a == "--samples")
            o.samples = true;
        else if (a == "--rounds" && i + 1 < argc)
            o.rounds = std::max(1, std::atoi(argv[++i]));
        else if (a == "--items" && i + 1 < argc)
            o.items = std::max(1000, std::atoi(argv[++i]));
        else if (a[0] != '-')
            o.names.push_back(a);
        else {
            std::fprintf(stderr, "usage: %s [--json] [--samples] [--rounds N] [--items N] [NAME ...]\n", argv[0]);
            return 2;
        }
    }
    const test tests[] = {
        {"spsc-8", 8, 1, false, bench_c_spsc8, spsc8, std::size(spsc8)},
        {"spsc-8-bulk", 8, 1, true, bench_c_spsc8, spsc8, std::size(spsc8)},
        {"spsc-64", 64, 1, false, bench_c_spsc64, spsc64, std::size(spsc64)},
        {"spsc-64-bulk", 64, 1, true, bench_c_spsc64, spsc64, std::size(spsc64)},
        {"mpmc-pair", 48, 0, false, bench_c_mpmc48, mpmc48, std::size(mpmc48)},
        {"mpmc-1p1c", 48, 1, false, bench_c_mpmc48, mpmc48, std::size(mpmc48)},
        {"mpmc-1p1c-bulk", 48, 1, true, bench_c_mpmc48, mpmc48, std::size(mpmc48)},
        {"mpmc-2p2c", 48, 2, false, bench_c_mpmc48, mpmc48, std::size(mpmc48)},
        {"mpmc-2p2c-bulk", 48, 2, true, bench_c_mpmc48, mpmc48, std::size(mpmc48)},
    };
    for (const test &t : tests)
        if (o.names.empty() || std::find(o.names.begin(), o.names.end(), t.name) != o.names.end())
            run(o, t);
    return 0;
}
