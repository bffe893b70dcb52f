/* SPDX-License-Identifier: MIT */
/*
 * harness.h — what a test needs around a kernel: boot it with a table of handlers, wait for
 * something to happen, and leave only when every delivery has its one outcome and the memory is
 * back.  Handlers must not assert (cmocka jumps); they note what they saw, and the test asserts.
 */
#ifndef GMK_TEST_HARNESS_H
#define GMK_TEST_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ggmk.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KIT_MS UINT64_C(1000000)
#define KIT_S UINT64_C(1000000000)
#define KIT_PATIENCE (60 * KIT_S) /* longer than any machine needs: only a hang gets there */

#if defined(__SANITIZE_THREAD__)
#define KIT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KIT_TSAN 1
#endif
#endif
#ifndef KIT_TSAN
#define KIT_TSAN 0
#endif
#ifdef __SANITIZE_ADDRESS__
#define KIT_ASAN 1
#else
#define KIT_ASAN 0
#endif

/* For handlers that do what a sanitizer would stop. */
#if defined(__clang__)
#define KIT_WILD __attribute__((noinline, no_sanitize("address", "thread", "undefined")))
#else
#define KIT_WILD __attribute__((noinline, no_sanitize_address, no_sanitize_undefined))
#endif

typedef struct kit {
    gmk_kernel_t k;
    gmk_module_t module;
    gmk_module_t *list[1];
    gmk_mem_stats_t begin; /* as it was right after the boot */
} kit_t;

static inline uint64_t kit_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * KIT_S + (uint64_t)t.tv_nsec;
}

static inline void kit_nap(void)
{
    struct timespec t = {.tv_nsec = 100000};
    nanosleep(&t, NULL);
}

/* Waits until cond holds; a test that would wait for ever fails instead. */
#define KIT_WAIT(cond)                                                                                       \
    do {                                                                                                     \
        uint64_t kit_until = kit_now() + KIT_PATIENCE;                                                       \
        while (!(cond)) {                                                                                    \
            if (kit_now() > kit_until)                                                                       \
                fail_msg("waited in vain for %s", #cond);                                                    \
            kit_nap();                                                                                       \
        }                                                                                                    \
    } while (0)

/* The same in a handler: gives up after a while, and what the test asserts will show it. */
#define KIT_HOLD(cond)                                                                                       \
    do {                                                                                                     \
        uint64_t kit_until = kit_now() + KIT_PATIENCE;                                                       \
        while (!(cond) && kit_now() < kit_until)                                                             \
            kit_nap();                                                                                       \
    } while (0)

static inline bool kit_env(const char *name)
{
    const char *v = getenv(name);
    return v != NULL && v[0] != '\0' && v[0] != '0';
}

static inline gmk_boot_cfg_t kit_cfg(uint32_t workers)
{
    return (gmk_boot_cfg_t){.arena_size = (uint64_t)32 << 20, .n_workers = workers, .flags = GMK_BOOT_QUIET};
}

static inline void kit_boot_module(kit_t *t, gmk_boot_cfg_t cfg, gmk_module_t module)
{
    memset(t, 0, sizeof *t);
    t->module = module;
    t->list[0] = &t->module;
    assert_int_equal(gmk_boot(&t->k, &cfg, t->list, 1), GMK_OK);
    assert_int_equal(gmk_mem_stats(&t->k, &t->begin), GMK_OK);
}

static inline void kit_boot(kit_t *t, gmk_boot_cfg_t cfg, const gmk_handler_reg_t *handlers, uint32_t n)
{
    kit_boot_module(t, cfg, (gmk_module_t){.name = "test", .handlers = handlers, .n_handlers = n});
}
#define KIT_BOOT(t, cfg, handlers) kit_boot(t, cfg, handlers, sizeof(handlers) / sizeof((handlers)[0]))

static inline gmk_stats_t kit_stats(kit_t *t)
{
    gmk_stats_t s;
    assert_int_equal(gmk_stats(&t->k, &s), GMK_OK);
    return s;
}

static inline gmk_type_stats_t kit_type(kit_t *t, uint32_t type)
{
    gmk_type_stats_t s;
    assert_int_equal(gmk_type_stats(&t->k, type, &s), GMK_OK);
    return s;
}

static inline void kit_drain(kit_t *t) { assert_int_equal(gmk_drain(&t->k, KIT_PATIENCE), GMK_OK); }

/* Every accepted delivery has exactly one outcome, but for `later` that wait for a time or a tick. */
static inline void kit_conserved(kit_t *t, uint64_t later)
{
    gmk_stats_t s = kit_stats(t);
    assert_int_equal(s.accepted, s.completed + s.failed + s.dropped + later);
    assert_int_equal(s.pending, later);
    assert_int_equal(s.waiting, 0);
}

static inline void kit_memory_back(kit_t *t)
{
    gmk_mem_stats_t m;
    assert_int_equal(gmk_mem_stats(&t->k, &m), GMK_OK);
    assert_int_equal(m.payloads_live, t->begin.payloads_live);
    assert_int_equal(m.objects_live, t->begin.objects_live);
    assert_int_equal(m.slab_reserved, t->begin.slab_reserved);
    assert_int_equal(m.bad_frees, t->begin.bad_frees);
}

/* Drains, checks and halts. */
static inline void kit_end(kit_t *t)
{
    kit_drain(t);
    kit_conserved(t, 0);
    kit_memory_back(t);
    assert_int_equal(gmk_halt(&t->k), GMK_OK);
}

static inline gmk_task_t kit_task(uint32_t type, const void *arg)
{
    return (gmk_task_t){.type = type, .meta0 = (uint64_t)(uintptr_t)arg};
}

static inline void *kit_arg(const gmk_ctx_t *c) { return (void *)(uintptr_t)c->task->meta0; }

static inline void kit_submit(kit_t *t, uint32_t type, const void *arg)
{
    gmk_task_t task = kit_task(type, arg);
    assert_int_equal(gmk_submit(&t->k, &task), GMK_OK);
}

/* ---- a worker that is kept busy until the test says so ------------------------------------ */

typedef struct kit_gate {
    atomic_uint in;   /* handlers inside */
    atomic_uint open; /* lets them go */
} kit_gate_t;

/* Handler: meta0 is the gate. */
static inline int kit_gate_run(gmk_ctx_t *c)
{
    kit_gate_t *g = kit_arg(c);
    atomic_fetch_add(&g->in, 1);
    KIT_HOLD((gmk_over_budget(c), atomic_load(&g->open) != 0)); /* asking for the budget is a sign of life */
    return GMK_OK;
}

/* Occupies n workers: type is one registered with kit_gate_run. */
static inline void kit_gate_shut(kit_t *t, kit_gate_t *g, uint32_t type, uint32_t n)
{
    atomic_store(&g->in, 0);
    atomic_store(&g->open, 0);
    for (uint32_t i = 0; i < n; i++) {
        kit_submit(t, type, g);
        KIT_WAIT(atomic_load(&g->in) == i + 1);
    }
}

static inline void kit_gate_open(kit_gate_t *g) { atomic_store(&g->open, 1); }

/* ---- what arrives on sys.dropped and sys.error -------------------------------------------- */

#define KIT_LETTERS 256u
typedef struct kit_letters {
    atomic_uint n;     /* records */
    atomic_uint count; /* deliveries they stand for */
    struct {
        int code;
        uint32_t type, count;
    } letter[KIT_LETTERS];
} kit_letters_t;

/* Handler: one list per program, since the kernel makes these records. */
static kit_letters_t kit_dead;

static inline int kit_letter_run(gmk_ctx_t *c)
{
    uint32_t i = atomic_load(&kit_dead.n);
    if (i < KIT_LETTERS) {
        kit_dead.letter[i].code = gmk_dead_code(c->task);
        kit_dead.letter[i].type = gmk_dead_type(c->task);
        kit_dead.letter[i].count = gmk_dead_count(c->task);
    }
    atomic_fetch_add(&kit_dead.count, gmk_dead_count(c->task));
    atomic_store(&kit_dead.n, i + 1); /* two ordered subscriptions share it: tests use one kind at a time */
    return GMK_OK;
}

static inline int kit_hear(gmk_ctx_t *c, const char *name, uint32_t handler)
{
    gmk_chan_t ch;
    gmk_sub_t sub;
    gmk_sub_cfg_t cfg = {.handler = handler};
    int rc = gmk_chan_find(c, name, &ch);
    return rc < 0 ? rc : gmk_chan_sub(c, ch, &cfg, &sub);
}

#endif
