// SPDX-License-Identifier: MIT
// The timer queue against std::priority_queue over a slot pool, interleaved in the same run.
//
//   bench_timer [--json] [--rounds N] [--timers N]
//
// Both keep timers with a payload of the size of a task in a pool of slots and fire in the exact order of
// (key, order); that they agree on it is checked.  Printed are medians of the CPU time per timer, and the
// median over the rounds of our time divided by the peer's; below 1 ours is faster.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "bench_timer.h"

namespace {

class peer {
public:
    explicit peer(uint32_t n) : slots_(n)
    {
        free_.reserve(n);
        for (uint32_t i = n; i-- > 0;)
            free_.push_back(i);
    }

    uint64_t fill_drain(const std::vector<uint64_t> &keys)
    {
        uint64_t sum = 0;
        fill(keys);
        while (!heap_.empty())
            sum = bench_mix(sum, pop(nullptr));
        return sum;
    }

    uint64_t hold(const std::vector<uint64_t> &keys, uint32_t steps)
    {
        uint64_t sum = 0;
        uint32_t n = (uint32_t)keys.size();
        fill(keys);
        for (uint32_t i = 0; i < steps; i++) {
            uint64_t key;
            uint64_t word = pop(&key);
            sum = bench_mix(sum, word);
            insert(key + keys[i % n], n + i, word);
        }
        while (!heap_.empty())
            pop(nullptr);
        return sum;
    }

private:
    struct entry {
        uint64_t key, order;
        uint32_t slot;
        bool operator<(const entry &o) const { return key != o.key ? key > o.key : order > o.order; }
    };

    void insert(uint64_t key, uint64_t order, uint64_t word)
    {
        uint32_t slot = free_.back();
        free_.pop_back();
        slots_[slot].word[0] = word;
        heap_.push({key, order, slot});
    }

    uint64_t pop(uint64_t *key)
    {
        entry e = heap_.top();
        heap_.pop();
        free_.push_back(e.slot);
        if (key != nullptr)
            *key = e.key;
        return slots_[e.slot].word[0];
    }

    void fill(const std::vector<uint64_t> &keys)
    {
        for (uint32_t i = 0; i < keys.size(); i++)
            insert(keys[i], i, i);
    }

    std::vector<bench_payload_t> slots_;
    std::vector<uint32_t> free_;
    std::priority_queue<entry> heap_;
};

double median(std::vector<double> v)
{
    std::sort(v.begin(), v.end());
    return (v[v.size() / 2] + v[(v.size() - 1) / 2]) / 2;
}

double cpu_ns()
{
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

template <typename F> double timed(uint32_t n, uint64_t &sum, F f)
{
    double start = cpu_ns();
    sum = f();
    return (cpu_ns() - start) / n;
}

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

struct shape {
    const char *name;
    uint64_t (*key)(uint64_t random, uint32_t i, uint32_t n);
    bool hold;
};

const shape shapes[] = {
    {"random", [](uint64_t r, uint32_t, uint32_t) { return r >> 1; }, false},
    {"random 1 s in ns", [](uint64_t r, uint32_t, uint32_t) { return 1700000000000000000u + r % 1000000000u; }, false},
    {"ascending", [](uint64_t, uint32_t i, uint32_t) { return (uint64_t)i * 1000; }, false},
    {"descending", [](uint64_t, uint32_t i, uint32_t n) { return (uint64_t)(n - i) * 1000; }, false},
    {"all equal", [](uint64_t, uint32_t, uint32_t) { return (uint64_t)5; }, false},
    {"few distinct", [](uint64_t r, uint32_t, uint32_t) { return r % 16; }, false},
    {"hold 1 s in ns", [](uint64_t r, uint32_t, uint32_t) { return r % 1000000000u; }, true},
};

void run(const shape &s, uint32_t n, unsigned rounds, bool json)
{
    std::mt19937_64 random(42);
    std::vector<uint64_t> keys(n);
    for (uint32_t i = 0; i < n; i++)
        keys[i] = s.key(random(), i, n);
    void *ours = bench_our_timers_make(n);
    peer theirs(n);
    std::vector<double> a, b, ratio;
    uint32_t steps = s.hold ? 4 * n : n;
    for (unsigned round = 0; round <= rounds; round++) {
        double t[2];
        uint64_t sum[2] = {0, 0};
        for (unsigned i = 0; i < 2; i++) {
            unsigned who = (i + round) % 2;
            t[who] = timed(steps, sum[who], [&] {
                if (who == 0)
                    return s.hold ? bench_our_timers_hold(ours, keys.data(), n, steps)
                                  : bench_our_timers_fill_drain(ours, keys.data(), n);
                return s.hold ? theirs.hold(keys, steps) : theirs.fill_drain(keys);
            });
        }
        if (sum[0] != sum[1]) {
            std::fprintf(stderr, "%s: the two fired in different orders\n", s.name);
            std::exit(1);
        }
        if (round != 0) { // the first warms up
            a.push_back(t[0]);
            b.push_back(t[1]);
            ratio.push_back(t[0] / t[1]);
        }
    }
    bench_our_timers_destroy(ours);
    if (json)
        std::printf("{\"bench\":\"timer\",\"test\":\"%s\",\"timers\":%u,\"ggmk_ns\":%.2f,\"priority_queue_ns\":%.2f,"
                    "\"ratio\":%.3f,\"ggmk_samples_ns\":[%s],\"priority_queue_samples_ns\":[%s]}\n",
                    s.name, n, median(a), median(b), median(ratio), list(a).c_str(), list(b).c_str());
    else
        std::printf("%-18s ggmk %8.2f ns   priority_queue %8.2f ns   ggmk / priority_queue %.3f\n", s.name,
                    median(a), median(b), median(ratio));
    std::fflush(stdout);
}

} // namespace

int main(int argc, char **argv)
{
    bool json = false;
    unsigned rounds = 11;
    uint32_t timers = 65536;
    for (int i = 1; i < argc; i++) {
        std::string a = argv[i];
        if (a == "--json")
            json = true;
        else if (a == "--rounds" && i + 1 < argc)
            rounds = (unsigned)std::max(1, std::atoi(argv[++i]));
        else if (a == "--timers" && i + 1 < argc)
            timers = (uint32_t)std::max(1, std::atoi(argv[++i]));
        else {
            std::fprintf(stderr, "usage: %s [--json] [--rounds N] [--timers N]\n", argv[0]);
            return 2;
        }
    }
    for (const shape &s : shapes)
        run(s, timers, rounds, json);
    return 0;
}
