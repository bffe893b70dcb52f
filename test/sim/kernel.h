/* SPDX-License-Identifier: MIT */
/*
 * kernel.h — what a scenario needs around a kernel: boot a small one with a table of handlers,
 * wait until it is drained, and leave only when every delivery has its one outcome and the memory is back.
 *
 * What handlers note down is plain memory where the kernel orders it: within an ordered subscription,
 * from who hands over to who gets, from what ran to who drained.  Everything else is counted with
 * scn_add and its like.  So whoever breaks the kernel's order makes a race here.
 *
 * LANES.  scn_cfg gives every worker as many lanes as the run was asked for.  What cannot be had with
 * more than one (containment of faults, the watchdog) calls scn_one_lane first.
 */
#ifndef GGMK_SIM_KERNEL_H
#define GGMK_SIM_KERNEL_H

#include "scenarios.h"

#include <ggmk.h>

#include "boot.h"
#include "channel.h"

#define SCN_S UINT64_C(1000000000)
#define SCN_LEN(a) ((uint32_t)(sizeof(a) / sizeof((a)[0])))

typedef struct scn {
    gmk_kernel_t k;
    gmk_module_t module;
    gmk_module_t *list[1];
    gmk_mem_stats_t begin; /* see scn_mark */
} scn_t;

/* As many workers as the run was asked for, or least to most. */
static inline uint32_t scn_workers_of(uint32_t least, uint32_t most)
{
    uint32_t any = least + sim_rand(most - least + 1);
    return sim_setup()->workers != 0 ? sim_setup()->workers : any;
}

static inline uint32_t scn_workers(void) { return scn_workers_of(1, 3); }

/* Before scn_cfg: this scenario needs workers of one lane. */
static inline void scn_one_lane(void) { sim_options()->lanes = 1; }

/* Small queues, so that they fill; no watchdog; workers spin before they park with some seeds only. */
static inline gmk_boot_cfg_t scn_cfg(uint32_t workers)
{
    static const uint32_t stalls[] = {0, 32, 500};
    uint32_t lanes = sim_options()->lanes;
    sim_options()->max_steps = 300000u + 50000u * lanes;
    sim_options()->stall = stalls[sim_rand(SCN_LEN(stalls))];
    return (gmk_boot_cfg_t){.arena_size = (uint64_t)3 << 20,
                            .n_workers = workers,
                            .n_types = 16,
                            .task_max = 256,
                            .lq_slots = 16,
                            .rq_slots = 64,
                            .batch = sim_rand(2) == 0 ? 32 : 4,
                            .max_ports = 4,
                            .max_spares = 1,
                            .stat_metrics = 1,
                            .retry_base_ns = 1000,
                            .spin_ns = sim_rand(2) == 0 ? 1 : 1000,
                            .flags = GMK_BOOT_QUIET | GMK_BOOT_NO_WATCHDOG};
}

/* Waits until nothing is left to reap: a mailbox goes a little later than gmk_wait_closed says. */
static inline void scn_settle(scn_t *s)
{
    gmk_core_t *k = s->k.core;
    for (bool left = true; left;) {
        gmk_hal_lock_acquire(&k->control);
        left = k->chans->leaving != NULL || k->chans->dying != NULL;
        gmk_hal_lock_release(&k->control);
        if (left)
            sim_sleep(GMK_REAP_NS);
    }
}

/* What is in use now is what has to be in use in the end. */
static inline void scn_mark(scn_t *s)
{
    scn_settle(s);
    sim_check(gmk_mem_stats(&s->k, &s->begin) == GMK_OK);
}

static inline void scn_boot(scn_t *s, gmk_boot_cfg_t cfg, const gmk_handler_reg_t *handlers, uint32_t n)
{
    *s = (scn_t){.module = {.name = "scenario", .handlers = handlers, .n_handlers = n}};
    s->list[0] = &s->module;
    sim_check(gmk_boot(&s->k, &cfg, s->list, 1) == GMK_OK);
    scn_mark(s);
}
#define SCN_BOOT(s, cfg, handlers) scn_boot(s, cfg, handlers, SCN_LEN(handlers))

static inline gmk_stats_t scn_stats(scn_t *s)
{
    gmk_stats_t st;
    sim_check(gmk_stats(&s->k, &st) == GMK_OK);
    return st;
}

static inline void scn_drain(scn_t *s)
{
    int rc = gmk_drain(&s->k, 10 * SCN_S);
    gmk_stats_t st = scn_stats(s);
    sim_check(rc == GMK_OK, "drain %d, %u pending, %u waiting, %u of %u parked", rc, (unsigned)st.pending,
              (unsigned)st.waiting, st.parked, st.workers);
}

/* Every accepted delivery has exactly one outcome, but for `later` that wait for a time or a tick. */
static inline void scn_conserved(scn_t *s, uint64_t later)
{
    gmk_stats_t st = scn_stats(s);
    sim_check(st.accepted == st.completed + st.failed + st.dropped + later && st.pending == later &&
                  st.waiting == 0,
              "accepted %u, completed %u, failed %u, dropped %u, pending %u, waiting %u",
              (unsigned)st.accepted, (unsigned)st.completed, (unsigned)st.failed, (unsigned)st.dropped,
              (unsigned)st.pending, (unsigned)st.waiting);
}

/*
 * Nobody holds a task credit or a task node: workers gave back what they had before they parked or ended,
 * ports when they were detached.  Only the kernel's own ports keep some.
 */
static inline void scn_credits_back(scn_t *s)
{
    gmk_core_t *k = s->k.core;
    uint64_t credits = gmk_load64(&k->credits, GMK_RLX, GMK_KERNEL);
    uint32_t nodes = gmk_slab_free_count(&k->nodes), own = k->n_fronts - 1 - GMK_PORTS_OWN;
    for (uint32_t i = 0; i < k->n_fronts; i++) {
        uint64_t kept = gmk_load64(&k->fronts[i]->credits, GMK_RLX, GMK_WORKER);
        uint32_t cached = gmk_slab_cache_count(&k->fronts[i]->nodes);
        sim_check((kept == 0 && cached == 0) || i >= own, "front %u kept %u credits and %u nodes", i,
                  (unsigned)kept, cached);
        credits += kept;
        nodes += cached;
    }
    sim_check(credits == k->task_max, "%u of %u task credits", (unsigned)credits, k->task_max);
    sim_check(nodes == gmk_slab_capacity(&k->nodes), "%u of %u task nodes", nodes,
              gmk_slab_capacity(&k->nodes));
}

static inline void scn_memory_back(scn_t *s)
{
    gmk_mem_stats_t m;
    sim_check(gmk_mem_stats(&s->k, &m) == GMK_OK);
    sim_check(m.payloads_live == s->begin.payloads_live, "%u payloads more",
              (unsigned)(m.payloads_live - s->begin.payloads_live));
    sim_check(m.objects_live == s->begin.objects_live, "%d blocks more",
              (int)(m.objects_live - s->begin.objects_live));
    sim_check(m.slab_reserved == s->begin.slab_reserved);
    sim_check(m.bad_frees == s->begin.bad_frees);
    sim_check(!sim_console_has("heap: "));
}

static inline void scn_halt(scn_t *s)
{
    int rc = gmk_halt(&s->k);
    sim_check(rc == GMK_OK, "halt %d", rc);
}

/* Drains, checks and halts. */
static inline void scn_end(scn_t *s)
{
    scn_settle(s);
    scn_drain(s);
    scn_conserved(s, 0);
    scn_credits_back(s);
    scn_memory_back(s);
    scn_halt(s);
}

static inline gmk_task_t scn_task(uint32_t type, uint32_t prio, uint64_t meta0)
{
    return (gmk_task_t){.type = type, .flags = (uint16_t)prio, .meta0 = meta0};
}

static inline void scn_submit(scn_t *s, uint32_t type, uint64_t meta0)
{
    gmk_task_t t = scn_task(type, sim_rand(4), meta0);
    sim_check(gmk_submit(&s->k, &t) == GMK_OK);
}

/* Lets others run for a while: now and then long enough that every worker parks. */
static inline void scn_pause(void)
{
    uint32_t how = sim_rand(8);
    if (how == 0)
        sim_sleep(1 + sim_rand(5000));
    else if (how < 4)
        sim_yield();
}

/* ---- a port of the calling fiber ----------------------------------------------------------- */

static inline gmk_ctx_t *scn_attach(scn_t *s, gmk_port_t *port)
{
    int rc = gmk_attach(&s->k, port);
    sim_check(rc == GMK_OK, "attach %d", rc);
    return gmk_port_ctx(port);
}

static inline gmk_chan_t scn_open(gmk_ctx_t *c, gmk_chan_cfg_t cfg)
{
    gmk_chan_t ch = {0};
    int rc = gmk_chan_open(c, &cfg, &ch);
    sim_check(rc == GMK_OK, "open %d", rc);
    return ch;
}

static inline gmk_sub_t scn_sub(gmk_ctx_t *c, gmk_chan_t ch, gmk_sub_cfg_t cfg)
{
    gmk_sub_t sub = {0};
    int rc = gmk_chan_sub(c, ch, &cfg, &sub);
    sim_check(rc == GMK_OK, "sub %d", rc);
    return sub;
}

static inline void scn_close(gmk_ctx_t *c, gmk_chan_t ch)
{
    int rc = gmk_chan_close(c, ch);
    sim_check(rc == GMK_OK, "close %d", rc);
    rc = gmk_wait_closed(c, ch, GMK_HAL_FOREVER);
    sim_check(rc == GMK_OK, "wait_closed %d", rc);
}

/*
 * Parallel subscriptions add to the pool of task nodes, which keeps what it has: whoever looks at the
 * memory in the end makes it grow before.
 */
static inline void scn_warm_up(scn_t *s, gmk_ctx_t *c, uint32_t handler, uint32_t slots, uint32_t subs)
{
    gmk_chan_t ch = scn_open(c, (gmk_chan_cfg_t){.name = "t.warm", .slots = slots, .mode = GMK_FANOUT});
    for (uint32_t i = 0; i < subs; i++)
        (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = handler, .order = GMK_PARALLEL});
    scn_close(c, ch);
    scn_mark(s);
    int rc = gmk_drain(&s->k, 10 * SCN_S);
    sim_check(rc == GMK_OK, "drain %d", rc);
}

/* ---- a gate that handlers wait at ---------------------------------------------------------- */

static inline void scn_await(const gmk_a32_t *word, uint32_t value)
{
    for (uint32_t round = 0; gmk_load32(word, GMK_ACQ, GMK_KERNEL) != value; round++)
        gmk_hal_relax(round);
}

static inline void scn_set(gmk_a32_t *word, uint32_t value) { gmk_store32(word, value, GMK_REL, GMK_KERNEL); }

/* ---- dead letters -------------------------------------------------------------------------- */

/* How many deliveries were reported, by code, since scn_hear. */
typedef struct scn_letters {
    uint32_t shed, closed, unloaded, halted, no_type, bridge;              /* sys.dropped */
    uint32_t reset, own, yield_limit, retry_limit, poisoned, fault, other; /* sys.error */
} scn_letters_t;

extern scn_letters_t scn_letters;
int scn_letter(gmk_ctx_t *c); /* a handler */
#define SCN_LETTER 15u        /* the type it is registered as */
#define SCN_LETTER_HANDLER                                                                                   \
    {                                                                                                        \
        .type = SCN_LETTER, .fn = scn_letter, .name = "letter"                                               \
    }

/* Subscribes SCN_LETTER to sys.dropped and sys.error, for good. */
static inline void scn_hear(scn_t *s, gmk_ctx_t *c)
{
    gmk_chan_t ch = {0};
    scn_letters = (scn_letters_t){0};
    sim_check(gmk_chan_find(c, "sys.dropped", &ch) == GMK_OK);
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = SCN_LETTER});
    sim_check(gmk_chan_find(c, "sys.error", &ch) == GMK_OK);
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = SCN_LETTER});
    scn_mark(s);
}

#endif
