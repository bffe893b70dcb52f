/* SPDX-License-Identifier: MIT */
/*
 * chan_kit.h — what the channel and module tests share: a booted kernel with handlers that note
 * what they are given, a port for the test's own thread, and a tear-down that closes what the
 * test opened and checks that every delivery had one outcome and that all memory is back.
 */
#ifndef GMK_TEST_CHAN_KIT_H
#define GMK_TEST_CHAN_KIT_H

#include "harness.h"

#include <pthread.h>

#define NEVER UINT64_C(3600000000000)

/* Handler types of the module "test". */
enum {
    T_A = 1,
    T_B,
    T_C,
    T_DEAD, /* for sys.dropped */
    T_ERR,  /* for sys.error */
    T_GATE,
    T_TYPES /* of the kernel: tests register their own in what follows */
};
#define T_OWN 16u
#define T_MANY 24u

#define SEEN_MAX 4096u
typedef struct seen_at {
    uint64_t meta0, meta1;
    uint32_t seq, gap, worker, channel;
    uint32_t mark; /* first word of the payload */
} seen_at_t;

/* What the handlers of one type were given.  n counts entries that are complete. */
typedef struct seen {
    atomic_uint claimed, n, inside, hold;
    atomic_int result;
    atomic_ullong count; /* dead letters: deliveries they stand for */
    seen_at_t at[SEEN_MAX];
} seen_t;
static seen_t seen[T_MANY];

/* Handler: notes the task, waits while `hold` is set, returns `result`. */
static inline int note(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    seen_t *s = &seen[t->type];
    uint32_t i = atomic_fetch_add(&s->claimed, 1);
    atomic_fetch_add(&s->inside, 1);
    if (atomic_load(&s->hold) != 0)
        KIT_HOLD((gmk_over_budget(c), atomic_load(&s->hold) == 0));
    if (i < SEEN_MAX) {
        uint32_t mark = 0;
        if (t->payload_len >= sizeof mark)
            memcpy(&mark, (void *)(uintptr_t)t->payload_ptr, sizeof mark);
        s->at[i] = (seen_at_t){t->meta0,           t->meta1,   t->seq, gmk_chan_gap(c),
                               gmk_self_worker(c), t->channel, mark};
    }
    if (t->type == T_DEAD || t->type == T_ERR)
        atomic_fetch_add(&s->count, gmk_dead_count(t));
    int rc = atomic_load(&s->result);
    atomic_fetch_sub(&s->inside, 1);
    atomic_fetch_add(&s->n, 1);
    return rc;
}

static inline int dead_code_at(const seen_t *s, uint32_t i) { return (int)(int32_t)(uint32_t)s->at[i].meta0; }

typedef struct fix {
    kit_t t;
    gmk_port_t port;
    gmk_ctx_t *c;
    gmk_chan_t chans[GMK_MAX_CHANNELS];
    uint32_t n_chans;
    gmk_sub_t ears[8];
    uint32_t n_ears;
    gmk_module_t *extra;
} fix_t;
static fix_t F;

static const gmk_handler_reg_t chan_handlers[] = {
    {.type = T_A, .fn = note, .name = "a"},       {.type = T_B, .fn = note, .name = "b"},
    {.type = T_C, .fn = note, .name = "c"},       {.type = T_DEAD, .fn = note, .name = "dead"},
    {.type = T_ERR, .fn = note, .name = "error"}, {.type = T_GATE, .fn = kit_gate_run, .name = "gate"},
};

static inline void fix_boot(gmk_boot_cfg_t cfg)
{
    for (uint32_t i = 0; i < T_MANY; i++) {
        seen_t *s = &seen[i];
        atomic_store(&s->claimed, 0);
        atomic_store(&s->n, 0);
        atomic_store(&s->inside, 0);
        atomic_store(&s->hold, 0);
        atomic_store(&s->result, GMK_OK);
        atomic_store(&s->count, 0);
    }
    memset(&F, 0, sizeof F);
    KIT_BOOT(&F.t, cfg, chan_handlers);
    assert_int_equal(gmk_attach(&F.t.k, &F.port), GMK_OK);
    F.c = gmk_port_ctx(&F.port);
}

static inline int fix_up(void **state)
{
    (void)state;
    fix_boot(kit_cfg(2));
    return 0;
}

static inline int fix_up_one(void **state)
{
    (void)state;
    fix_boot(kit_cfg(1));
    return 0;
}

static inline gmk_chan_t fix_keep(gmk_chan_t ch)
{
    F.chans[F.n_chans++] = ch;
    return ch;
}

static inline gmk_chan_t open_cfg(gmk_chan_cfg_t cfg)
{
    gmk_chan_t ch = {0};
    assert_int_equal(gmk_chan_open(F.c, &cfg, &ch), GMK_OK);
    assert_int_not_equal(ch.id, 0);
    return fix_keep(ch);
}

static inline gmk_chan_t open_chan(const char *name, uint32_t mode, uint32_t guarantee, uint32_t slots)
{
    return open_cfg((gmk_chan_cfg_t){.name = name, .mode = mode, .guarantee = guarantee, .slots = slots});
}

static inline gmk_sub_t sub_cfg(gmk_chan_t ch, gmk_sub_cfg_t cfg)
{
    gmk_sub_t sub = {0};
    assert_int_equal(gmk_chan_sub(F.c, ch, &cfg, &sub), GMK_OK);
    assert_true(sub.id != 0);
    return sub;
}

static inline gmk_sub_t sub_to(gmk_chan_t ch, uint32_t handler)
{
    return sub_cfg(ch, (gmk_sub_cfg_t){.handler = handler});
}

/* Listens to one of the kernel's own channels. */
static inline void listen_to(const char *name, uint32_t handler)
{
    gmk_chan_t ch;
    assert_int_equal(gmk_chan_find(F.c, name, &ch), GMK_OK);
    F.ears[F.n_ears++] = sub_to(ch, handler);
}

static inline int emit_meta(gmk_chan_t ch, uint64_t meta)
{
    gmk_task_t t = {.meta0 = meta};
    return gmk_chan_emit(F.c, ch, &t);
}

static inline void emit_range(gmk_chan_t ch, uint64_t from, uint64_t to)
{
    for (; from < to; from++)
        assert_int_equal(emit_meta(ch, from), GMK_OK);
}

/*
 * Subscribes a handler that will not return until its `hold` is cleared, and lets it begin a first
 * message (meta 0) before there is anything else that its worker could have taken along.
 */
static inline gmk_sub_t sub_slow(gmk_chan_t ch, uint32_t handler)
{
    atomic_store(&seen[handler].hold, 1);
    gmk_sub_t sub = sub_to(ch, handler);
    assert_int_equal(emit_meta(ch, 0), GMK_OK);
    KIT_WAIT(atomic_load(&seen[handler].inside) == 1);
    return sub;
}

/* A counted payload whose first word is `mark`. */
static inline gmk_task_t marked(gmk_ctx_t *c, uint32_t mark)
{
    uint32_t *p = gmk_payload_alloc(c, 64);
    gmk_task_t t = {.flags = GMK_TASK_PAYLOAD_RC,
                    .payload_ptr = (uint64_t)(uintptr_t)p,
                    .payload_len = 64,
                    .meta0 = mark};
    if (p != NULL)
        *p = mark;
    return t;
}

static inline gmk_chan_stats_t chan_figures_of(gmk_chan_t ch)
{
    gmk_chan_stats_t s;
    assert_int_equal(gmk_chan_stats(&F.t.k, ch, &s), GMK_OK);
    return s;
}

static inline void wait_seen(uint32_t type, uint32_t n)
{
    KIT_WAIT(atomic_load(&seen[type].n) >= n);
    assert_int_equal(atomic_load(&seen[type].n), n);
}

static inline uint64_t payloads_live(void)
{
    gmk_mem_stats_t m;
    assert_int_equal(gmk_mem_stats(&F.t.k, &m), GMK_OK);
    return m.payloads_live;
}

static inline void load_extra(gmk_module_t *m)
{
    assert_int_equal(gmk_module_load(&F.t.k, m), GMK_OK);
    F.extra = m;
}

static inline bool memory_is_back(void)
{
    gmk_mem_stats_t m;
    return gmk_mem_stats(&F.t.k, &m) == GMK_OK && m.payloads_live == F.t.begin.payloads_live &&
           m.objects_live == F.t.begin.objects_live && m.slab_reserved == F.t.begin.slab_reserved;
}

static inline void close_all(void)
{
    for (uint32_t i = 0; i < F.n_chans; i++)
        (void)gmk_chan_close(F.c, F.chans[i]);
    for (uint32_t i = 0; i < F.n_chans; i++)
        assert_int_equal(gmk_wait_closed(F.c, F.chans[i], KIT_PATIENCE), GMK_OK);
    F.n_chans = 0;
}

/* Blocks in use (debug builds) once everything that is leaving has gone. */
static inline uint64_t objects_at_rest(void)
{
    gmk_mem_stats_t m, now;
    do {
        struct timespec nap = {.tv_nsec = 10000000};
        assert_int_equal(gmk_mem_stats(&F.t.k, &m), GMK_OK);
        nanosleep(&nap, NULL);
        assert_int_equal(gmk_mem_stats(&F.t.k, &now), GMK_OK);
    } while (now.objects_live != m.objects_live || now.slab_reserved != F.t.begin.slab_reserved);
    return now.objects_live;
}

/* The first parallel subscriptions make the node slab grow for good; that is not a leak. */
static inline void grow_for_parallel(uint32_t slots)
{
    uint64_t before = objects_at_rest();
    gmk_chan_t ch = open_chan("grow", GMK_P2P, GMK_LOSSLESS, slots);
    sub_cfg(ch, (gmk_sub_cfg_t){.handler = T_A, .order = GMK_PARALLEL});
    close_all();
    F.t.begin.objects_live += objects_at_rest() - before;
}

static inline int fix_down(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < T_MANY; i++)
        atomic_store(&seen[i].hold, 0);
    close_all();
    KIT_WAIT(gmk_drain(&F.t.k, KIT_PATIENCE) == GMK_OK);
    for (uint32_t i = 0; i < F.n_ears; i++)
        assert_int_equal(gmk_chan_unsub(F.c, F.ears[i]), GMK_OK);
    if (F.extra != NULL)
        assert_int_equal(gmk_module_unload(&F.t.k, F.extra->name), GMK_OK);
    KIT_WAIT(memory_is_back());
    gmk_detach(&F.port);
    kit_end(&F.t);
    return 0;
}

/* ---- threads with a port of their own ------------------------------------------------------- */

typedef struct crew {
    pthread_t thread;
    gmk_port_t port;
    gmk_ctx_t *c;
    void (*work)(struct crew *me);
    gmk_chan_t ch;
    uint64_t n; /* how many to send, or how long to work, in ns */
    uint32_t id;
    atomic_uint *stop;
    uint64_t sent, failed;
} crew_t;

static inline void *crew_main(void *arg)
{
    crew_t *me = arg;
    if (gmk_attach(&F.t.k, &me->port) != GMK_OK) {
        me->failed++;
        return NULL;
    }
    me->c = gmk_port_ctx(&me->port);
    me->work(me);
    gmk_detach(&me->port);
    return NULL;
}

static inline void crew_start(crew_t *crew, uint32_t n, crew_t like)
{
    for (uint32_t i = 0; i < n; i++) {
        crew[i] = like;
        crew[i].id = i;
        assert_int_equal(pthread_create(&crew[i].thread, NULL, crew_main, &crew[i]), 0);
    }
}

static inline uint64_t crew_join(crew_t *crew, uint32_t n)
{
    uint64_t sent = 0;
    for (uint32_t i = 0; i < n; i++) {
        pthread_join(crew[i].thread, NULL);
        sent += crew[i].sent;
    }
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(crew[i].failed, 0);
    return sent;
}

#endif
