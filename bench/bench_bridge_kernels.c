/* SPDX-License-Identifier: MIT */
/*
 * bench_bridge_kernels.c — two kernels of one worker each, joined within one process: what a message costs through
 * both kernels' channels, schedulers and pumps.  The modules are those that measure a GPU (bench/gpu).
 */
#include <ggmk/bridge.h>
#include <pthread.h>

#include "bench_bridge.h"
#include "gpu/near.h"

extern gmk_module_t bench_far;

static gmk_kernel_t kernels[2];
static gmk_bridge_t *ends[2];
static gmk_bridge_pair_t pair;

/* batch: messages a publication. */
static void open_pair(uint32_t batch)
{
    const gmk_region_cfg_t region = {.epoch = 1};
    const gmk_bridge_cfg_t bridge = {.batch = batch};

    bench_boot(&kernels[0], 1, &bench_near);
    bench_boot(&kernels[1], 1, &bench_far);
    for (uint32_t i = 0; i < 2; i++)
        bench_check(gmk_bridge_create(&kernels[i], &bridge, &ends[i]), "bridge");
    bench_check(gmk_bridge_join(&pair, ends[0], ends[1], &region), "join");
    for (uint32_t i = 0; i < 2; i++)
        bench_check(gmk_bridge_wait_ready(ends[i], (uint64_t)10000000000), "ready");
    near_open(&kernels[0]);
}

static void close_pair(void)
{
    gmk_bridge_part(&pair, false);
    for (uint32_t i = 0; i < 2; i++) {
        gmk_bridge_destroy(ends[i]);
        bench_check(gmk_halt(&kernels[i]), "halt");
    }
}

static gmk_bridge_stats_t stats(void)
{
    gmk_bridge_stats_t s;

    bench_check(gmk_bridge_stats(ends[0], &s), "stats");
    return s;
}

static void messages(uint64_t n, uint32_t batch)
{
    open_pair(batch);
    (void)near_messages(n / 10, n / 10, 0);
    gmk_bridge_stats_t before = stats();
    bench_print("ns", near_messages(n, n, 0) / (double)n);
    gmk_bridge_stats_t after = stats();
    bench_print("batch",
                (double)(after.sent - before.sent) / (double)(after.publications - before.publications));
    close_pair();
}

void bridge_kernels_messages(uint32_t unused, uint64_t n) { (void)unused, messages(n, BRIDGE_BATCH); }
void bridge_kernels_single(uint32_t unused, uint64_t n) { (void)unused, messages(n, 1); }

void bridge_kernels_trips(uint32_t unused, uint64_t n)
{
    double *ns = calloc(n, sizeof(double));

    (void)unused;
    open_pair(0);
    near_trips(ns, (uint32_t)n / 10);
    near_trips(ns, (uint32_t)n);
    bench_print("p50", bench_percentile(ns, (uint32_t)n, 50));
    bench_print("p99", bench_percentile(ns, (uint32_t)n, 99));
    close_pair();
    free(ns);
}

/* Messages a publication, when so many are emitted at a time and the next ones once those are there. */
void bridge_kernels_load(uint32_t unused, uint64_t n)
{
    (void)unused;
    open_pair(0);
    for (uint32_t burst = 1; burst <= 4096; burst *= 8) {
        char key[32];
        gmk_bridge_stats_t before = stats();
        uint64_t orders = 0;
        for (uint64_t sent = 0; sent < n; sent += burst, orders++)
            (void)near_messages(burst, 0, 0);
        gmk_bridge_stats_t after = stats();
        /* An order goes out before each burst, in a publication of its own. */
        uint64_t messages = after.sent - before.sent - orders;
        snprintf(key, sizeof key, "batch_of_%u", burst);
        bench_print(key, (double)messages / (double)(after.publications - before.publications - orders));
    }
    close_pair();
}

/* ---- payloads, beside two threads that copy into shared memory and out of it -------------------- */

enum {
    RING_BYTES = 4 << 20,
    BLOCKS = 8
}; /* a route's part of the pool, and what the modules send by turns */

static struct {
    _Alignas(128) _Atomic uint64_t filled;
    _Alignas(128) _Atomic uint64_t taken;
    unsigned char *ring, *from[BLOCKS], *to[BLOCKS];
    uint64_t n, bytes;
} copy;

static void *copy_out(void *unused)
{
    uint64_t slots = RING_BYTES / copy.bytes;
    uint32_t round = 0;

    for (uint64_t i = 0; i < copy.n; i++) {
        while (atomic_load_explicit(&copy.filled, memory_order_acquire) == i)
            bridge_wait(&round);
        memcpy(copy.to[i % BLOCKS], copy.ring + i % slots * copy.bytes, copy.bytes);
        atomic_store_explicit(&copy.taken, i + 1, memory_order_release);
    }
    return unused;
}

static double copy_twice(uint64_t n, uint64_t bytes)
{
    uint64_t slots = RING_BYTES / bytes;
    uint32_t round = 0;
    pthread_t t;

    copy.n = n;
    copy.bytes = bytes;
    atomic_store(&copy.filled, 0);
    atomic_store(&copy.taken, 0);
    double start = bench_ns();
    if (pthread_create(&t, NULL, copy_out, NULL) != 0)
        exit(1);
    for (uint64_t i = 0; i < n; i++) {
        while (i - atomic_load_explicit(&copy.taken, memory_order_acquire) == slots)
            bridge_wait(&round);
        memcpy(copy.ring + i % slots * bytes, copy.from[i % BLOCKS], bytes);
        atomic_store_explicit(&copy.filled, i + 1, memory_order_release);
    }
    pthread_join(t, NULL);
    return bench_ns() - start;
}

static unsigned char *touched(size_t bytes)
{
    unsigned char *p = aligned_alloc(4096, bytes);

    if (p == NULL)
        exit(1);
    return memset(p, 1, bytes);
}

void bridge_kernels_payloads(uint32_t unused, uint64_t bytes_each)
{
    static const struct {
        uint32_t bytes;
        const char *key, *copy_key;
    } sizes[] = {{4096, "4k", "copy_4k"}, {65536, "64k", "copy_64k"}, {1048576, "1m", "copy_1m"}};

    (void)unused;
    open_pair(0);
    copy.ring = touched(RING_BYTES);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        copy.from[i] = touched(1048576);
        copy.to[i] = touched(1048576);
    }
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t n = bytes_each / sizes[i].bytes;
        (void)near_messages(n / 10, 0, sizes[i].bytes);
        (void)copy_twice(n / 10, sizes[i].bytes);
        bench_print(sizes[i].key, near_messages(n, 0, sizes[i].bytes) / (double)n);
        bench_print(sizes[i].copy_key, copy_twice(n, sizes[i].bytes) / (double)n);
    }
    close_pair();
}
