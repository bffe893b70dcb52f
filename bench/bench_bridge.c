/* SPDX-License-Identifier: MIT */
/*
 * bench_bridge.c — the ring between two kernels, by itself: bridge/link.h over a formatted region, the sides
 * two threads ("local") or two processes that share a memfd ("shm").
 *
 * A sample is one case in one process; bench/run alternates it with the peers' samples.  The first tenth of
 * every case warms up and is not measured.  Every message is checked for its number and its words.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_bridge.h"

/* ---- two sides ---------------------------------------------------------------------------- */

typedef struct ground {
    int fd; /* of the region and the desk behind it; -1 = memory of the process */
    uint64_t region_bytes, bytes;
    unsigned char *at;
} ground_t;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static unsigned char *map(const ground_t *g)
{
    int flags = g->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void *p = mmap(NULL, g->bytes, PROT_READ | PROT_WRITE, flags | MAP_POPULATE, g->fd, 0);

    if (p == MAP_FAILED)
        die("bench: mmap");
    return p;
}

static ground_t prepare(bool processes)
{
    const gmk_region_cfg_t cfg = {.name = {"bench.0", "bench.1"}};
    ground_t g = {.fd = -1, .region_bytes = gmk_region_bytes(&cfg)};

    g.bytes = g.region_bytes + 4096;
    if (processes && ((g.fd = memfd_create("bench", 0)) < 0 || ftruncate(g.fd, (off_t)g.bytes) != 0))
        die("bench: memfd");
    g.at = map(&g);
    bench_check(gmk_region_format(g.at, g.region_bytes, &cfg), "format");
    return g;
}

static bridge_side_t side_of(const ground_t *g, unsigned char *at, uint32_t side, uint64_t n, uint32_t commit)
{
    bridge_side_t s = {.side = side, .desk = (void *)(at + g->region_bytes), .n = n, .commit = commit};
    const char *why = "";
    int rc = gmk_region_view(&s.view, at, g->region_bytes, side, &why);

    bench_check(rc, why);
    gmk_link_out_init(&s.out, s.view.ring_out, s.view.ring_slots, &s.view.theirs->ring_head, s.view.epoch);
    gmk_link_in_init(&s.in, s.view.ring_in, s.view.ring_slots, &s.view.mine->ring_head, s.view.epoch);
    return s;
}

typedef struct start {
    void (*run)(bridge_side_t *s);
    bridge_side_t side;
} start_t;

static void *begin(void *arg)
{
    start_t *s = arg;
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(s->side.side, &set);
    (void)sched_setaffinity(0, sizeof(set), &set); /* a machine with one CPU says no: then so be it */
    s->run(&s->side);
    return NULL;
}

static void in_processes(const ground_t *g, start_t *mine, start_t *theirs)
{
    int status = 0;
    pid_t child = fork();

    if (child < 0)
        die("bench: fork");
    if (child == 0) {
        theirs->side = side_of(g, map(g), 1, theirs->side.n, theirs->side.commit); /* at another address */
        begin(theirs);
        _exit(0);
    }
    begin(mine);
    if (waitpid(child, &status, 0) != child || status != 0)
        exit(1);
}

static void in_threads(start_t *mine, start_t *theirs)
{
    pthread_t t;

    if (pthread_create(&t, NULL, begin, theirs) != 0)
        exit(1);
    begin(mine);
    pthread_join(t, NULL);
}

double bridge_run(void (*side)(bridge_side_t *s), bool processes, uint64_t n, uint32_t commit)
{
    ground_t g = prepare(processes);
    start_t a = {side, side_of(&g, g.at, 0, n, commit)}, b = {side, side_of(&g, g.at, 1, n, commit)};
    bridge_desk_t *d = a.side.desk;

    if (processes)
        in_processes(&g, &a, &b);
    else
        in_threads(&a, &b);
    if (d->wrong[0] | d->wrong[1] || a.side.in.broken) {
        fprintf(stderr, "bench: a message was lost, doubled, out of order or torn\n");
        exit(1);
    }
    double ns = d->ns[0] > d->ns[1] ? d->ns[0] : d->ns[1];
    munmap(g.at, g.bytes);
    return ns;
}

/* ---- messages, both ways at once ---------------------------------------------------------- */

/* Sends what there is room for, at most a batch, of messages up to `end`. */
static bool send_some(bridge_side_t *s, uint64_t *sent, uint64_t end)
{
    uint64_t left = end - *sent, want = left < BRIDGE_BATCH ? left : BRIDGE_BATCH;
    uint32_t room = want ? gmk_link_room(&s->out, (uint32_t)want) : 0;
    uint32_t n = room < want ? room : (uint32_t)want;

    for (uint32_t i = 0; i < n; i++) {
        bridge_write(gmk_link_fill(&s->out)->body, *sent + i);
        if (s->commit == 1)
            (void)gmk_link_publish(&s->out);
    }
    (void)gmk_link_publish(&s->out);
    *sent += n;
    return n != 0;
}

static bool take_some(bridge_side_t *s, uint64_t *got)
{
    uint32_t n = gmk_link_ready(&s->in, BRIDGE_BATCH);

    for (uint32_t i = 0; i < n; i++)
        s->desk->wrong[s->side] |= bridge_check(gmk_link_slot(&s->in, i)->body, *got + i);
    if (n != 0)
        gmk_link_took(&s->in, n);
    *got += n;
    return n != 0;
}

static void exchange(bridge_side_t *s, uint64_t *sent, uint64_t *got, uint64_t end)
{
    uint32_t round = 0;

    while (*sent < end || *got < end) {
        bool moved = send_some(s, sent, end);
        moved |= take_some(s, got);
        if (!moved)
            bridge_wait(&round);
    }
}

static void messages_side(bridge_side_t *s)
{
    uint64_t sent = 0, got = 0;

    bridge_meet(s->desk);
    exchange(s, &sent, &got, s->n / 10);
    bridge_meet(s->desk);
    double start = bench_ns();
    exchange(s, &sent, &got, s->n / 10 + s->n);
    s->desk->ns[s->side] = bench_ns() - start;
}

static void messages(uint64_t n, bool processes, uint32_t commit)
{
    bench_print("ns", bridge_run(messages_side, processes, n, commit) / (double)n);
}

static void run_local(uint32_t unused, uint64_t n) { (void)unused, messages(n, false, BRIDGE_BATCH); }
static void run_shm(uint32_t unused, uint64_t n) { (void)unused, messages(n, true, BRIDGE_BATCH); }
static void run_local_single(uint32_t unused, uint64_t n) { (void)unused, messages(n, false, 1); }
static void run_shm_single(uint32_t unused, uint64_t n) { (void)unused, messages(n, true, 1); }

/* ---- one message there and back, beside one cache line there and back ---------------------- */

static void send_one(bridge_side_t *s, uint64_t i)
{
    uint32_t round = 0;

    while (gmk_link_room(&s->out, 1) == 0)
        bridge_wait(&round);
    bridge_write(gmk_link_fill(&s->out)->body, i);
    (void)gmk_link_publish(&s->out);
}

static void take_one(bridge_side_t *s, uint64_t i)
{
    uint32_t round = 0;

    while (gmk_link_ready(&s->in, 1) == 0)
        bridge_wait(&round);
    s->desk->wrong[s->side] |= bridge_check(gmk_link_slot(&s->in, 0)->body, i);
    gmk_link_took(&s->in, 1);
}

static void link_turn(bridge_side_t *s, uint64_t i)
{
    if (s->side == 0)
        send_one(s, i);
    take_one(s, i);
    if (s->side == 1)
        send_one(s, i);
}

static void raw_turn(bridge_side_t *s, uint64_t i)
{
    uint32_t value = (uint32_t)i + 1, round = 0;

    if (s->side == 0)
        atomic_store_explicit(&s->desk->line[0][0], value, memory_order_release);
    while (atomic_load_explicit(&s->desk->line[1 - s->side][0], memory_order_acquire) != value)
        bridge_wait(&round);
    if (s->side == 1)
        atomic_store_explicit(&s->desk->line[1][0], value, memory_order_release);
}

/* Turns of 1,000 trips, so that what the host does to us meets both. */
static void trips_side(bridge_side_t *s)
{
    enum { TURN = 1000 };
    double *trip[2] = {calloc(s->n, sizeof(double)), calloc(s->n, sizeof(double))};

    for (uint64_t first = 0; first < s->n; first += TURN) {
        for (uint32_t raw = 0; raw < 2; raw++) {
            bridge_meet(s->desk);
            for (uint64_t i = first; i < first + TURN; i++) {
                double start = bench_ns();
                if (raw)
                    raw_turn(s, i);
                else
                    link_turn(s, i);
                trip[raw][i] = bench_ns() - start;
            }
        }
    }
    if (s->side == 0) {
        bench_print("p50", bench_percentile(trip[0], (uint32_t)s->n, 50));
        bench_print("p99", bench_percentile(trip[0], (uint32_t)s->n, 99));
        bench_print("line_p50", bench_percentile(trip[1], (uint32_t)s->n, 50));
        bench_print("line_p99", bench_percentile(trip[1], (uint32_t)s->n, 99));
    }
    free(trip[0]);
    free(trip[1]);
}

static void trips(uint64_t n, bool processes)
{
    (void)bridge_run(trips_side, processes, (n + 999) / 1000 * 1000, 1);
}
static void run_local_trips(uint32_t unused, uint64_t n) { (void)unused, trips(n, false); }
static void run_shm_trips(uint32_t unused, uint64_t n) { (void)unused, trips(n, true); }

/* ---- payloads: into the pool, and out of it; beside the same two copies with a bare counter each way ---- */

enum { PART_BYTES = 4 << 20, BLOCKS = 8, BLOCK_BYTES = 1 << 20 }; /* a route's part of the pool */

static struct {
    unsigned char *block[2][BLOCKS]; /* [side]: what is sent by turns, and where it goes */
    uint64_t bytes, first, end;      /* of this turn: messages [first, end) */
    bool raw;
} load;

static bool room_for(bridge_side_t *s, uint64_t i, uint64_t places)
{
    if (load.raw)
        return i - atomic_load_explicit(&s->desk->count[1][0], memory_order_acquire) < places;
    if (i - s->out.head_seen >= places)
        (void)gmk_link_room(&s->out, s->out.mask + 1); /* looks at the peer's word */
    return i - s->out.head_seen < places;
}

static void load_out(bridge_side_t *s)
{
    uint64_t places = PART_BYTES / load.bytes;

    for (uint64_t i = load.first; i < load.end; i++) {
        uint32_t round = 0;
        unsigned char *block = load.block[0][i % BLOCKS];
        memcpy(block, &i, sizeof(i));
        while (!room_for(s, i, places))
            bridge_wait(&round);
        memcpy(s->view.pool_out + i % places * load.bytes, block, load.bytes);
        if (load.raw) {
            atomic_store_explicit(&s->desk->count[0][0], i + 1, memory_order_release);
            continue;
        }
        bridge_write(gmk_link_fill(&s->out)->body, i);
        (void)gmk_link_publish(&s->out);
    }
}

static void load_in(bridge_side_t *s)
{
    uint64_t places = PART_BYTES / load.bytes, number;

    for (uint64_t i = load.first; i < load.end; i++) {
        uint32_t round = 0;
        unsigned char *block = load.block[1][i % BLOCKS];
        while (load.raw ? atomic_load_explicit(&s->desk->count[0][0], memory_order_acquire) == i
                        : gmk_link_ready(&s->in, 1) == 0)
            bridge_wait(&round);
        memcpy(block, s->view.pool_in + i % places * load.bytes, load.bytes);
        memcpy(&number, block, sizeof(number));
        s->desk->wrong[1] |= number ^ i;
        if (load.raw) {
            atomic_store_explicit(&s->desk->count[1][0], i + 1, memory_order_release);
            continue;
        }
        s->desk->wrong[1] |= bridge_check(gmk_link_slot(&s->in, 0)->body, i);
        gmk_link_took(&s->in, 1);
    }
}

/* Turns of 32 MiB, so that what the host does to us meets both; the first of each warms up. */
static void loads_side(bridge_side_t *s)
{
    double ns[2] = {0, 0};
    uint64_t turn = ((uint64_t)32 << 20) / load.bytes;

    for (uint64_t first = 0; first <= s->n; first += turn)
        for (uint32_t raw = 0; raw < 2; raw++) {
            bridge_meet(s->desk);
            if (s->side == 0) {
                load.raw = raw != 0;
                load.first = first;
                load.end = first + turn;
            }
            bridge_meet(s->desk);
            double start = bench_ns();
            if (s->side == 0)
                load_out(s);
            else
                load_in(s);
            bridge_meet(s->desk);
            ns[raw] += first != 0 ? bench_ns() - start : 0;
        }
    if (s->side == 0) {
        const char *size = load.bytes == 65536 ? "64k" : "1m";
        char key[32];
        bench_print(size, ns[0] / (double)s->n);
        snprintf(key, sizeof key, "copy_%s", size);
        bench_print(key, ns[1] / (double)s->n);
    }
}

static void run_local_loads(uint32_t unused, uint64_t bytes_each)
{
    static const uint64_t sizes[] = {65536, BLOCK_BYTES};

    (void)unused;
    for (uint32_t i = 0; i < 2 * BLOCKS; i++) {
        load.block[i / BLOCKS][i % BLOCKS] = aligned_alloc(4096, BLOCK_BYTES);
        if (load.block[i / BLOCKS][i % BLOCKS] == NULL)
            die("bench: memory");
        memset(load.block[i / BLOCKS][i % BLOCKS], 1, BLOCK_BYTES);
    }
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        load.bytes = sizes[i];
        (void)bridge_run(loads_side, false, bytes_each / sizes[i], 1);
    }
}

int main(int argc, char **argv)
{
    static const bench_case_t cases[] = {
        {"local", run_local, 20000000},
        {"shm", run_shm, 20000000},
        {"local-1", run_local_single, 10000000},
        {"shm-1", run_shm_single, 10000000},
        {"local-trips", run_local_trips, 100000},
        {"shm-trips", run_shm_trips, 100000},
        {"local-payloads", run_local_loads, (uint64_t)1 << 30},
        {"kernels", bridge_kernels_messages, 1000000},
        {"kernels-1", bridge_kernels_single, 1000000},
        {"kernels-trips", bridge_kernels_trips, 20000},
        {"kernels-load", bridge_kernels_load, 8192},
        {"kernels-payloads", bridge_kernels_payloads, (uint64_t)512 << 20},
        {NULL, NULL, 0},
    };

    return bench_main(argc, argv, cases);
}
