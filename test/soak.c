/* SPDX-License-Identifier: MIT */
/*
 * soak SECONDS — everything at once for so long: direct work, channels of every kind, payloads,
 * retries, yields, waits, timers, faults; channels and subscriptions that come and go; a module
 * that is loaded and unloaded.  In the end every accepted delivery must have its one outcome and
 * the memory must be where it was.  Prints a line every 10 s, and TAP.
 */
#include <ggmk.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { T_WORK = 1, T_DEEP, T_ORDERED, T_PARALLEL, T_PINNED, T_SLOW, T_LETTER, T_GUEST };
enum { C_P2P, C_FAN, C_REPLAY, C_LOSSY, C_DEGRADE, C_COUNT };

#define PRODUCERS 2u
#define MS 1000000ull

static gmk_kernel_t kernel;
static gmk_chan_t chan[C_COUNT];
static gmk_sub_t sys_sub[2];
static atomic_uint stop, disorder, failed;
static atomic_ullong turns;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 * MS + (uint64_t)t.tv_nsec;
}

static void nap(uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / (1000 * MS)), .tv_nsec = (long)(ns % (1000 * MS))};
    nanosleep(&t, NULL);
}

static uint64_t mix(uint64_t x) /* the finalizer of splitmix64 (Steele, Lea, Flood 2014) */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void expect(bool ok, const char *what)
{
    if (ok)
        return;
    atomic_store(&failed, 1);
    printf("# %s\n", what);
}

/* ---- handlers ----------------------------------------------------------------------------- */

#if defined(__clang__)
#define WILD __attribute__((noinline, no_sanitize("address", "thread", "undefined")))
#else
#define WILD __attribute__((noinline, no_sanitize_address, no_sanitize_undefined))
#endif

static WILD int fault(void)
{
    *(volatile int *)NULL = 1;
    return GMK_OK;
}

/* A payload holds one value over and over. */
static void check_payload(const gmk_task_t *t)
{
    const unsigned char *p = (const unsigned char *)(uintptr_t)t->payload_ptr;
    for (uint32_t i = 0; i < t->payload_len; i++)
        if (p[i] != (unsigned char)t->meta0) {
            atomic_store(&disorder, 1);
            return;
        }
}

/* One in four messages carries a payload. */
static int send(gmk_ctx_t *c, gmk_chan_t ch, uint64_t v)
{
    gmk_task_t m = {.flags = (uint16_t)(v >> 9 & GMK_PRIO_MASK), .meta0 = v};
    if ((v >> 12 & 3) == 0) {
        m.payload_len = 1 + (uint32_t)(v >> 16 & 1023);
        void *p = gmk_payload_alloc(c, m.payload_len);
        if (p == NULL)
            return GMK_ALLOC_FAIL;
        memset(p, (int)(v & 255), m.payload_len);
        m.payload_ptr = (uint64_t)(uintptr_t)p;
        m.flags |= GMK_TASK_PAYLOAD_RC;
        int rc = gmk_chan_emit(c, ch, &m);
        if (rc != GMK_OK)
            (void)gmk_payload_release(c, p);
        return rc;
    }
    return gmk_chan_emit(c, ch, &m);
}

/* Decides by its number what it does; meta1 counts down the children. */
static int work_run(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    uint64_t v = mix(t->meta0);
    gmk_task_t child = {
        .type = v & 1 ? T_WORK : T_DEEP, .flags = (uint16_t)(v >> 1 & GMK_PRIO_MASK), .meta0 = v};
    if (t->meta1 != 0 && atomic_load(&stop) == 0) {
        child.meta1 = t->meta1 - 1;
        (void)gmk_emit(c, &child);
    }
    switch (v >> 8 & 31) {
    case 0: return t->yield_count < 3 ? gmk_yield(c) : GMK_OK;
    case 1: return t->retry_count < 2 ? GMK_RETRY : GMK_OK;
    case 2: return GMK_FAIL(v & 255);
    case 3: return (v >> 20 & 7) == 0 ? fault() : GMK_OK;
    case 4:
        child.meta1 = 0;
        (void)gmk_emit_after(c, &child, v >> 13 & 0xfffff);
        return GMK_OK;
    case 5:
        child.meta1 = 0;
        (void)gmk_emit_at(c, &child, gmk_tick(c) + 1);
        return GMK_OK;
    case 6:
        return send(c, chan[C_P2P], v) == GMK_CHAN_FULL && atomic_load(&stop) == 0
                 ? gmk_chan_wait(c, chan[C_P2P], 1)
                 : GMK_OK;
    case 7: (void)send(c, chan[v % C_COUNT], v); return GMK_OK;
    case 8: {
        char *p = gmk_alloc(c, 1 + (v >> 13 & 4095)), *q = gmk_bump(c, 100);
        if (p != NULL && q != NULL)
            p[0] = q[0] = 1;
        gmk_free(c, p);
        return GMK_OK;
    }
    default: return GMK_OK;
    }
}

/* One at a time: whoever finds somebody else inside has found a bug. */
static int ordered_run(gmk_ctx_t *c)
{
    static atomic_uint inside;
    uint64_t v = mix(c->task->meta0 ^ 1);
    if (atomic_fetch_add(&inside, 1) != 0)
        atomic_store(&disorder, 1);
    check_payload(c->task);
    atomic_fetch_sub(&inside, 1);
    if ((v & 63) == 0)
        return c->task->yield_count < 2 ? gmk_yield(c) : GMK_OK;
    if ((v & 63) == 1)
        return c->task->retry_count < 1 ? GMK_RETRY : GMK_OK;
    return (v & 255) == 2 ? fault() : (v & 63) == 3 ? GMK_FAIL(3) : GMK_OK;
}

static int parallel_run(gmk_ctx_t *c)
{
    uint64_t v = mix(c->task->meta0 ^ 2);
    check_payload(c->task);
    return (v & 63) == 0 && c->task->yield_count < 2 ? gmk_yield(c)
         : (v & 63) == 1 && c->task->retry_count < 2 ? GMK_RETRY
         : (v & 255) == 2                            ? fault()
                                                     : GMK_OK;
}

static int pinned_run(gmk_ctx_t *c)
{
    if (gmk_self_worker(c) != 1)
        atomic_store(&disorder, 1);
    return GMK_OK;
}

static int slow_run(gmk_ctx_t *c)
{
    check_payload(c->task);
    (void)gmk_chan_gap(c);
    if ((c->task->seq & 255) == 0)
        nap(200000);
    return GMK_OK;
}

static int letter_run(gmk_ctx_t *c)
{
    if (gmk_dead_count(c->task) == 0 || gmk_dead_code(c->task) >= 0)
        atomic_store(&disorder, 1);
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = T_WORK, .fn = work_run},       {.type = T_DEEP, .fn = work_run},
    {.type = T_ORDERED, .fn = ordered_run}, {.type = T_PARALLEL, .fn = parallel_run},
    {.type = T_PINNED, .fn = pinned_run},   {.type = T_SLOW, .fn = slow_run},
    {.type = T_LETTER, .fn = letter_run},
};

static int open_all(gmk_ctx_t *c)
{
    static const gmk_chan_cfg_t cfg[C_COUNT] = {
        [C_P2P] = {.name = "soak.p2p", .slots = 64},
        [C_FAN] = {.name = "soak.fan", .mode = GMK_FANOUT, .slots = 256},
        [C_REPLAY] = {.name = "soak.replay", .mode = GMK_FANOUT, .slots = 128, .replay = 64},
        [C_LOSSY] = {.name = "soak.lossy",
                     .mode = GMK_FANOUT,
                     .guarantee = GMK_LOSSY,
                     .slots = 32,
                     .flags = GMK_CHAN_DROP_OLDEST},
        [C_DEGRADE] = {.name = "soak.degrade",
                       .mode = GMK_FANOUT,
                       .slots = 32,
                       .replay = 32,
                       .flags = GMK_CHAN_DEGRADE},
    };
    static const struct {
        uint32_t chan;
        gmk_sub_cfg_t cfg;
    } sub[] = {
        {C_P2P, {.handler = T_ORDERED}},
        {C_FAN, {.handler = T_PARALLEL, .order = GMK_PARALLEL}},
        {C_FAN, {.handler = T_PINNED, .pinned = 1, .worker = 1}},
        {C_FAN, {.handler = T_SLOW}},
        {C_REPLAY, {.handler = T_PARALLEL, .order = GMK_PARALLEL}},
        {C_LOSSY, {.handler = T_SLOW}},
        {C_LOSSY, {.handler = T_PARALLEL, .order = GMK_PARALLEL}},
        {C_DEGRADE, {.handler = T_SLOW}},
    };
    static const char *const sys[] = {"sys.dropped", "sys.error"};
    gmk_sub_t s;
    gmk_chan_t ch;
    int rc = GMK_OK;
    for (uint32_t i = 0; i < C_COUNT && rc == GMK_OK; i++)
        rc = gmk_chan_open(c, &cfg[i], &chan[i]);
    for (uint32_t i = 0; i < sizeof sub / sizeof sub[0] && rc == GMK_OK; i++)
        rc = gmk_chan_sub(c, chan[sub[i].chan], &sub[i].cfg, &s);
    for (uint32_t i = 0; i < 2 && rc == GMK_OK; i++) {
        rc = gmk_chan_find(c, sys[i], &ch);
        if (rc == GMK_OK)
            rc = gmk_chan_sub(c, ch, &(gmk_sub_cfg_t){.handler = T_LETTER}, &sys_sub[i]);
    }
    return rc;
}

static void close_all(gmk_ctx_t *c)
{
    for (uint32_t i = 0; i < 2; i++)
        expect(gmk_chan_unsub(c, sys_sub[i]) == GMK_OK, "cannot leave sys.*");
    for (uint32_t i = 0; i < C_COUNT; i++)
        expect(gmk_chan_close(c, chan[i]) == GMK_OK && gmk_wait_closed(c, chan[i], 30000 * MS) == GMK_OK,
               "a channel cannot be closed");
}

/* ---- threads ------------------------------------------------------------------------------ */

static void *produce(void *arg)
{
    uint64_t v = (uint64_t)(uintptr_t)arg;
    gmk_port_t port;
    expect(gmk_attach(&kernel, &port) == GMK_OK, "no port for a producer");
    gmk_ctx_t *c = gmk_port_ctx(&port);
    while (atomic_load(&stop) == 0) {
        v = mix(v);
        gmk_task_t t[8];
        for (uint32_t i = 0; i < 8; i++)
            t[i] = (gmk_task_t){.type = (v >> i & 15) == 0 ? T_GUEST : T_WORK,
                                .flags = (uint16_t)(v >> (i + 8) & GMK_PRIO_MASK),
                                .meta0 = v + i,
                                .meta1 = v >> 50 & 7};
        switch (v >> 56 & 7) {
        case 0: (void)gmk_submit_n(&kernel, t, 8); break;
        case 1: (void)gmk_emit_n(c, t, 8); break;
        case 2: (void)gmk_submit_after(&kernel, t, v >> 30 & 0xfffff); break;
        case 3: (void)gmk_chan_emit_wait(c, chan[C_P2P], &(gmk_task_t){.meta0 = v}, MS); break;
        case 4: nap(20000); break;
        default:
            for (uint32_t i = 0; i < 4; i++)
                (void)send(c, chan[(v + i) % C_COUNT], v + i);
        }
    }
    gmk_detach(&port);
    return NULL;
}

static int guest_run(gmk_ctx_t *c)
{
    return c->task->meta0 % 7 == 0 && c->task->yield_count < 2 ? gmk_yield(c) : GMK_OK;
}

static const gmk_handler_reg_t guest_handlers[] = {{.type = T_GUEST, .fn = guest_run}};
static const gmk_chan_decl_t guest_channels[] = {
    {.name = "soak.guest", .direction = GMK_CONSUMES, .handler = T_GUEST, .slots = 32}};
static gmk_module_t guest = {.name = "guest",
                             .handlers = guest_handlers,
                             .n_handlers = 1,
                             .channels = guest_channels,
                             .n_channels = 1};

/* A channel of its own, with subscribers, messages on the way, and an end. */
static void come_and_go(gmk_ctx_t *c, uint64_t v)
{
    gmk_chan_t ch;
    gmk_sub_t sub[3];
    gmk_chan_cfg_t cfg = {.name = "soak.passing", .mode = v & 1, .guarantee = v >> 1 & 1, .slots = 16};
    if (gmk_chan_open(c, &cfg, &ch) != GMK_OK) {
        expect(false, "cannot open a channel");
        return;
    }
    uint32_t n = (v & 1) != 0 ? 3 : 1;
    for (uint32_t i = 0; i < n; i++)
        expect(gmk_chan_sub(c, ch, &(gmk_sub_cfg_t){.handler = T_PARALLEL, .order = v >> (i + 2) & 1},
                            &sub[i]) == GMK_OK,
               "cannot subscribe");
    for (uint32_t i = 0; i < 40; i++)
        (void)send(c, ch, mix(v + i));
    if ((v >> 8 & 1) != 0)
        expect(gmk_chan_unsub(c, sub[0]) == GMK_OK, "cannot unsubscribe");
    expect(gmk_chan_close(c, ch) == GMK_OK, "cannot close");
    expect(send(c, ch, v) != GMK_OK, "a closed channel took a message");
    expect(gmk_wait_closed(c, ch, 30000 * MS) == GMK_OK, "a closed channel was not reclaimed");
}

static void *control(void *arg)
{
    uint64_t v = 7;
    gmk_port_t port;
    (void)arg;
    expect(gmk_attach(&kernel, &port) == GMK_OK, "no port for control");
    gmk_ctx_t *c = gmk_port_ctx(&port);
    while (atomic_load(&stop) == 0) {
        gmk_sub_t sub;
        v = mix(v);
        expect(gmk_module_load(&kernel, &guest) == GMK_OK, "cannot load the guest");
        come_and_go(c, v);
        int rc = gmk_chan_sub(c, chan[C_REPLAY],
                              &(gmk_sub_cfg_t){.handler = T_PARALLEL, .order = v >> 20 & 1}, &sub);
        expect(rc == GMK_OK, "cannot join soak.replay");
        nap(v >> 30 & 0x3fffff);
        (void)gmk_tick_advance(&kernel);
        if (rc == GMK_OK)
            expect(gmk_chan_unsub(c, sub) == GMK_OK, "cannot leave soak.replay");
        expect(gmk_module_unload(&kernel, "guest") == GMK_OK, "cannot unload the guest");
        gmk_chan_t ch;
        if (gmk_chan_find(c, "soak.guest", &ch) == GMK_OK && gmk_chan_close(c, ch) == GMK_OK)
            expect(gmk_wait_closed(c, ch, 30000 * MS) == GMK_OK, "the guest's channel was not reclaimed");
        atomic_fetch_add(&turns, 1);
    }
    gmk_detach(&port);
    return NULL;
}

/* ---- the end ------------------------------------------------------------------------------ */

static void report(uint64_t start)
{
    gmk_stats_t s;
    (void)gmk_stats(&kernel, &s);
    printf(
        "# %4llu s: %llu accepted, %llu pending, %llu failed, %llu dropped, %llu faults, %llu steals, %llu spills, "
        "%llu modules and channels gone\n",
        (unsigned long long)((now_ns() - start) / (1000 * MS)), (unsigned long long)s.accepted,
        (unsigned long long)s.pending, (unsigned long long)s.failed, (unsigned long long)s.dropped,
        (unsigned long long)s.faults, (unsigned long long)s.steals, (unsigned long long)s.spills,
        (unsigned long long)atomic_load(&turns));
    fflush(stdout);
}

static bool settled(void)
{
    gmk_stats_t s;
    if (gmk_drain(&kernel, 1000 * MS) != GMK_OK || gmk_stats(&kernel, &s) != GMK_OK)
        return false;
    if (s.timers != 0)
        (void)gmk_tick_advance(&kernel);
    return s.pending == 0 && s.timers == 0;
}

static void check_end(const gmk_mem_stats_t *begin)
{
    gmk_stats_t s;
    gmk_mem_stats_t m;
    (void)gmk_stats(&kernel, &s);
    (void)gmk_mem_stats(&kernel, &m);
    expect(s.accepted == s.completed + s.failed + s.dropped && s.pending == 0,
           "deliveries were lost or counted twice");
    expect(s.waiting == 0, "somebody still waits");
    expect(atomic_load(&disorder) == 0, "a payload, an order or a place was wrong");
    expect(m.payloads_live == begin->payloads_live, "payloads were leaked");
    /* Node segments, of 16 nodes and more here, stay for later subscriptions. */
    uint64_t segments = (m.slab_total - begin->slab_total) / 16;
    expect(m.objects_live >= begin->objects_live && m.objects_live <= begin->objects_live + segments,
           "blocks were leaked");
    expect(m.slab_reserved == begin->slab_reserved, "task nodes were leaked");
    expect(m.bad_frees == 0, "something was freed twice");
    expect(s.completed > 1000 && s.faults > 0 && s.retries > 0 && s.yields > 0 && atomic_load(&turns) > 0,
           "there was hardly any load");
    if (atomic_load(&failed) != 0)
        printf(
            "# accepted %llu completed %llu failed %llu dropped %llu pending %llu; payloads %llu, blocks %llu of %llu, "
            "nodes %llu of %llu\n",
            (unsigned long long)s.accepted, (unsigned long long)s.completed, (unsigned long long)s.failed,
            (unsigned long long)s.dropped, (unsigned long long)s.pending, (unsigned long long)m.payloads_live,
            (unsigned long long)m.objects_live, (unsigned long long)begin->objects_live,
            (unsigned long long)m.slab_reserved, (unsigned long long)begin->slab_reserved);
}

int main(int argc, char **argv)
{
    uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 10) : 5;
    gmk_boot_cfg_t cfg = {.arena_size = (uint64_t)64 << 20,
                          .n_workers = 4,
                          .task_max = 8000,
                          .lq_slots = 64,
                          .rq_slots = 256,
                          .retry_base_ns = 20000,
                          .poison_failures = 4096,
                          .poison_ns = 1,
                          .name = "soak",
                          .flags = GMK_BOOT_QUIET};
    gmk_module_t module = {
        .name = "soak", .handlers = handlers, .n_handlers = sizeof handlers / sizeof handlers[0]};
    gmk_module_t *mods[] = {&module};
    pthread_t thread[PRODUCERS + 1];
    gmk_mem_stats_t begin;
    int rc = gmk_boot(&kernel, &cfg, mods, 1);
    printf("1..1\n");
    if (rc != GMK_OK) {
        printf("not ok 1 - soak: cannot boot: %s\n", gmk_strerror(rc));
        return 1;
    }
    (void)gmk_mem_stats(&kernel, &begin);
    gmk_port_t port;
    expect(gmk_attach(&kernel, &port) == GMK_OK && open_all(gmk_port_ctx(&port)) == GMK_OK,
           "cannot open the channels");
    uint64_t start = now_ns(), lines = 1;
    for (uintptr_t i = 0; i <= PRODUCERS; i++)
        if (pthread_create(&thread[i], NULL, i < PRODUCERS ? produce : control, (void *)(i + 1)) != 0)
            abort();
    while (now_ns() - start < seconds * 1000 * MS) {
        nap(50 * MS);
        if (now_ns() - start >= lines * 10000 * MS) {
            report(start);
            lines++;
        }
    }
    atomic_store(&stop, 1);
    for (uint32_t i = 0; i <= PRODUCERS; i++)
        (void)pthread_join(thread[i], NULL);
    bool done = false;
    for (uint32_t i = 0; i < 60 && !(done = settled()); i++)
        ;
    expect(done, "the kernel does not come to rest");
    report(start);
    close_all(gmk_port_ctx(&port));
    gmk_detach(&port);
    expect(settled(), "the kernel does not come to rest after the channels");
    check_end(&begin);
    expect(gmk_halt(&kernel) == GMK_OK, "cannot halt");
    printf("%sok 1 - soak for %llu s\n", atomic_load(&failed) != 0 ? "not " : "",
           (unsigned long long)seconds);
    return atomic_load(&failed) != 0;
}
