/* SPDX-License-Identifier: MIT */
/*
 * bench_sched.c — the scheduler by its public calls.
 *
 * A sample is one case in one process; bench/run alternates it with the peers' samples.  The first
 * tenth of every case warms up and is not measured.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench_sched.h"

enum { COUNT = 1, CHAIN = 2, FAN = 3, STAMP = 4 };

#define WAIT_NS ((uint64_t)60000000000)

static bench_counter_t counted[GMK_MAX_WORKERS];
static uint64_t chain_left, fan_left; /* touched by one task at a time */
static uint32_t fan_batch;
static gmk_task_t leaves[32];
static _Atomic double stamp;

static int on_count(gmk_ctx_t *c)
{
    counted[gmk_self_worker(c)].n++;
    return GMK_OK;
}

static int on_chain(gmk_ctx_t *c)
{
    const gmk_task_t next = {.type = CHAIN};

    return --chain_left ? gmk_emit(c, &next) : GMK_OK;
}

/* Spawns until there is no credit, then gives the spawned a chance to run. */
static int on_fan(gmk_ctx_t *c)
{
    while (fan_left) {
        uint32_t n = fan_left < fan_batch ? (uint32_t)fan_left : fan_batch;
        int got = n == 1 ? gmk_emit(c, leaves) : gmk_emit_n(c, leaves, n);
        if (got == GMK_ERR_FULL || (n > 1 && got == 0))
            return gmk_yield(c);
        if (got < 0)
            return got;
        fan_left -= n == 1 ? 1 : (uint32_t)got;
    }
    return GMK_OK;
}

static int on_stamp(gmk_ctx_t *c)
{
    (void)c;
    atomic_store_explicit(&stamp, bench_ns(), memory_order_release);
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = COUNT, .fn = on_count, .name = "count"},
    {.type = CHAIN, .fn = on_chain, .name = "chain"},
    {.type = FAN, .fn = on_fan, .name = "fan", .max_yields = GMK_YIELDS_UNLIMITED},
    {.type = STAMP, .fn = on_stamp, .name = "stamp"},
};
static gmk_module_t module = {.name = "bench", .handlers = handlers, .n_handlers = 4};
static gmk_kernel_t kernel;

static uint64_t total(void)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < GMK_MAX_WORKERS; i++)
        n += counted[i].n;
    return n;
}

static void expect(uint64_t n)
{
    if (total() != n) {
        fprintf(stderr, "bench: %llu tasks of %llu ran\n", (unsigned long long)total(),
                (unsigned long long)n);
        exit(1);
    }
}

/* ---- throughput --------------------------------------------------------------------------- */

static void submit(uint64_t n, uint32_t batch)
{
    gmk_task_t t[32];

    for (uint32_t i = 0; i < 32; i++)
        t[i] = (gmk_task_t){.type = COUNT};
    while (n) {
        uint32_t want = n < batch ? (uint32_t)n : batch;
        int got = want == 1 ? gmk_submit(&kernel, t) : gmk_submit_n(&kernel, t, want);
        if (got == GMK_ERR_FULL || (want > 1 && got == 0)) {
            BENCH_RELAX();
            continue;
        }
        bench_check(got, "submit");
        n -= want == 1 ? 1 : (uint32_t)got;
    }
    bench_check(gmk_drain(&kernel, WAIT_NS), "drain");
}

static void run_submit(uint32_t workers, uint64_t n, uint32_t batch)
{
    bench_boot(&kernel, workers, &module);
    submit(n / 10, batch);
    double start = bench_ns();
    submit(n, batch);
    bench_print("ns", (bench_ns() - start) / (double)n);
    expect(n / 10 + n);
    bench_check(gmk_halt(&kernel), "halt");
}

static void run_submit_1(uint32_t workers, uint64_t n) { run_submit(workers, n, 1); }
static void run_submit_32(uint32_t workers, uint64_t n) { run_submit(workers, n, 32); }

static double one_task(uint32_t type)
{
    const gmk_task_t first = {.type = type};
    double start = bench_ns();

    bench_check(gmk_submit(&kernel, &first), "submit");
    bench_check(gmk_drain(&kernel, WAIT_NS), "drain");
    return bench_ns() - start;
}

static double chain_of(uint64_t n)
{
    chain_left = n;
    return one_task(CHAIN) / (double)n;
}

static void run_chain(uint32_t workers, uint64_t n)
{
    bench_boot(&kernel, workers, &module);
    (void)chain_of(n / 10);
    bench_print("ns", chain_of(n));
    bench_check(gmk_halt(&kernel), "halt");
}

static void run_fan(uint32_t workers, uint64_t n, uint32_t batch)
{
    bench_boot(&kernel, workers, &module);
    fan_batch = batch;
    for (uint32_t i = 0; i < 32; i++)
        leaves[i] = (gmk_task_t){.type = COUNT};
    fan_left = n / 10;
    (void)one_task(FAN);
    fan_left = n;
    bench_print("ns", one_task(FAN) / (double)n);
    expect(n / 10 + n);
    bench_check(gmk_halt(&kernel), "halt");
}

static void run_fan_1(uint32_t workers, uint64_t n) { run_fan(workers, n, 1); }
static void run_fan_32(uint32_t workers, uint64_t n) { run_fan(workers, n, 32); }

/* ---- tracing: the same chain by turns without and with; a record, less its cycle read ------- */

enum { TRACE_TURNS = 9, RECORDS_PER_LINK = 3 }; /* enqueue, begin, end */

static double cycle_read(void)
{
    enum { READS = 100000 };
    volatile uint64_t last = 0;
    double start = bench_ns();

    for (uint32_t i = 0; i < READS; i++)
        last = __builtin_ia32_rdtsc();
    (void)last;
    return (bench_ns() - start) / READS;
}

static void run_trace(uint32_t workers, uint64_t n)
{
    double off[TRACE_TURNS], all[TRACE_TURNS], record[TRACE_TURNS], read[TRACE_TURNS];

    bench_boot(&kernel, workers, &module);
    (void)chain_of(n);
    for (uint32_t i = 0; i < TRACE_TURNS; i++) {
        bench_check(gmk_trace_level(&kernel, NULL, GMK_TRACE_OFF), "trace level");
        off[i] = chain_of(n);
        bench_check(gmk_trace_level(&kernel, NULL, GMK_TRACE_ALL), "trace level");
        all[i] = chain_of(n);
        read[i] = cycle_read();
        record[i] = (all[i] - off[i]) / RECORDS_PER_LINK - read[i];
    }
    bench_print("off", bench_percentile(off, TRACE_TURNS, 50));
    bench_print("all", bench_percentile(all, TRACE_TURNS, 50));
    bench_print("cycle-read", bench_percentile(read, TRACE_TURNS, 50));
    bench_print("record", bench_percentile(record, TRACE_TURNS, 50));
    bench_check(gmk_halt(&kernel), "halt");
}

/* ---- waking: our idle pool and a thread that waits on a futex, sample by sample ----------- */

static _Atomic uint32_t word; /* of the raw threads: 0 = wait, 1 = go, 2 = end */

static long futex(int op, uint32_t value)
{
    return syscall(SYS_futex, &word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void *raw_thread(void *spins)
{
    for (;;) {
        uint32_t now;
        while ((now = atomic_load_explicit(&word, memory_order_acquire)) == 0) {
            if (spins)
                BENCH_RELAX();
            else
                futex(FUTEX_WAIT, 0);
        }
        if (now == 2)
            return NULL;
        atomic_store_explicit(&word, 0, memory_order_relaxed);
        atomic_store_explicit(&stamp, bench_ns(), memory_order_release);
    }
}

/* From `start` to the stamp of whoever was woken. */
static double stamped_since(double start)
{
    double end;

    while ((end = atomic_load_explicit(&stamp, memory_order_acquire)) == 0)
        BENCH_RELAX();
    return end - start;
}

static double raw_sample(bool spins, double gap_ns)
{
    bench_spin(gap_ns);
    atomic_store(&stamp, 0);
    double start = bench_ns();
    atomic_store_explicit(&word, 1, memory_order_release);
    if (!spins)
        futex(FUTEX_WAKE, 1);
    return stamped_since(start);
}

static double our_sample(double gap_ns)
{
    const gmk_task_t t = {.type = STAMP};

    bench_spin(gap_ns);
    atomic_store(&stamp, 0);
    double start = bench_ns();
    bench_check(gmk_submit(&kernel, &t), "submit");
    return stamped_since(start);
}

static pthread_t start_raw(bool spins)
{
    static bool yes = true;
    pthread_t t;

    atomic_store(&word, 0);
    if (pthread_create(&t, NULL, raw_thread, spins ? &yes : NULL) != 0)
        exit(1);
    return t;
}

static void end_raw(pthread_t t)
{
    atomic_store(&word, 2);
    futex(FUTEX_WAKE, 1);
    pthread_join(t, NULL);
}

/* An idle pool: far longer between samples than a worker spins. */
static void run_wake(uint32_t workers, uint64_t n)
{
    double *ours = calloc(n, sizeof(*ours)), *raw = calloc(n, sizeof(*raw));
    pthread_t t = start_raw(false);

    bench_boot(&kernel, workers, &module);
    for (uint64_t i = 0; i < n; i++) {
        raw[i] = raw_sample(false, 200e3);
        ours[i] = our_sample(200e3);
    }
    end_raw(t);
    bench_check(gmk_halt(&kernel), "halt");
    bench_print("p50", bench_percentile(ours, (uint32_t)n, 50));
    bench_print("p99", bench_percentile(ours, (uint32_t)n, 99));
    bench_print("futex_p50", bench_percentile(raw, (uint32_t)n, 50));
    bench_print("futex_p99", bench_percentile(raw, (uint32_t)n, 99));
    free(ours);
    free(raw);
}

/* Within the spin window: turns of 100 samples, because a spinning thread takes a CPU. */
static void run_spin(uint32_t workers, uint64_t n)
{
    double *ours = calloc(n, sizeof(*ours)), *raw = calloc(n, sizeof(*raw));

    bench_boot(&kernel, workers, &module);
    for (uint64_t i = 0; i < n;) {
        pthread_t t = start_raw(true);
        uint64_t end = i + 100 < n ? i + 100 : n, first = i;
        (void)raw_sample(true, 200e3);
        for (; i < end; i++)
            raw[i] = raw_sample(true, 3e3);
        end_raw(t);
        (void)our_sample(200e3);
        for (i = first; i < end; i++)
            ours[i] = our_sample(3e3);
    }
    bench_check(gmk_halt(&kernel), "halt");
    bench_print("p50", bench_percentile(ours, (uint32_t)n, 50));
    bench_print("spinner_p50", bench_percentile(raw, (uint32_t)n, 50));
    free(ours);
    free(raw);
}

/* ---- the machine -------------------------------------------------------------------------- */

static void pin(uint32_t cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set); /* a machine with one CPU says no: then so be it */
}

static void *echo(void *arg)
{
    pin(1);
    for (uint32_t i = 1; i < (uint32_t)(uintptr_t)arg; i += 2) {
        while (atomic_load_explicit(&word, memory_order_acquire) != i)
            BENCH_RELAX();
        atomic_store_explicit(&word, i + 1, memory_order_release);
    }
    return NULL;
}

/* The round trip of a cache line between two threads: what the host gives us at the moment. */
static void run_round_trip(uint32_t workers, uint64_t n)
{
    pthread_t t;
    double start = 0;

    (void)workers;
    pin(0);
    atomic_store(&word, 0);
    if (pthread_create(&t, NULL, echo, (void *)(uintptr_t)(2 * n)) != 0)
        exit(1);
    for (uint32_t i = 0; i < 2 * n; i += 2) {
        if (i == n / 5 * 2)
            start = bench_ns();
        atomic_store_explicit(&word, i + 1, memory_order_release);
        while (atomic_load_explicit(&word, memory_order_acquire) != i + 2)
            BENCH_RELAX();
    }
    bench_print("ns", (bench_ns() - start) / (double)(n - n / 5));
    pthread_join(t, NULL);
}

int main(int argc, char **argv)
{
    static const bench_case_t cases[] = {
        {"submit", run_submit_1, 1000000},
        {"submit32", run_submit_32, 2000000},
        {"chain", run_chain, 3000000},
        {"fan", run_fan_1, 1000000},
        {"fan32", run_fan_32, 1000000},
        {"trace", run_trace, 300000},
        {"wake", run_wake, 500},
        {"spin", run_spin, 2000},
        {"round-trip", run_round_trip, 3000},
        {NULL, NULL, 0},
    };

    return bench_main(argc, argv, cases);
}
