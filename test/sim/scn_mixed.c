/* SPDX-License-Identifier: MIT */
/*
 * scn_mixed.c — everything at once: only what always holds is checked.
 *
 * Each run takes part of what there is: handlers that yield, retry, fail, wait, crash, hang and use up
 * the memory; channels of each kind; subscriptions, channels and a module that come and go; ports;
 * timers and ticks; messages for all of them.
 */
#include "kernel.h"

#include <signal.h>
#include <string.h>

#define CHANNELS 4u
#define ACTIONS 6u
#define MIXED_BEAT_NS 20000u

/* What a run has beside the rest. */
enum { CRASHES = 1, HANGS = 2, COMING = 4, MODULES = 8, MEMORY = 16, EARLY = 32 };

static struct {
    scn_t s;
    gmk_chan_t ch[CHANNELS];
    gmk_a32_t extra; /* id of a channel that comes and goes */
    gmk_module_t visitor;
    uint32_t with, last[CHANNELS];
    gmk_a32_t failed, crashed, visits;
} mixed;

/* With a payload or without. */
static gmk_task_t some_task(gmk_ctx_t *c, uint32_t type, uint64_t depth)
{
    gmk_task_t t = scn_task(type, sim_rand(4), depth);
    uint64_t *p = sim_rand(3) == 0 ? gmk_payload_alloc(c, 16 + sim_rand(100)) : NULL;
    if (p != NULL) {
        *p = depth;
        t.flags |= GMK_TASK_PAYLOAD_RC;
        t.payload_ptr = (uint64_t)(uintptr_t)p;
        t.payload_len = sizeof *p;
    }
    return t;
}

static void take_back(gmk_ctx_t *c, const gmk_task_t *t, int rc)
{
    if (rc != GMK_OK && t->payload_ptr != 0)
        sim_check(gmk_payload_release(c, (void *)(uintptr_t)t->payload_ptr) == GMK_OK);
}

/* A direct task, at once or later. */
static void act_direct(gmk_ctx_t *c, uint64_t depth)
{
    uint32_t visitor = (mixed.with & MODULES) != 0 && sim_rand(4) == 0;
    gmk_task_t t = some_task(c, visitor != 0 ? 9 : 1, depth);
    int rc = sim_rand(2) == 0 ? gmk_emit(c, &t) : gmk_emit_after(c, &t, sim_rand(3000));
    sim_check(rc == GMK_OK || rc == GMK_ERR_FULL, "emit %d", rc);
    take_back(c, &t, rc);
}

/* A message.  Returns 1 + the channel that was full. */
static int act_message(gmk_ctx_t *c, uint32_t which, uint64_t depth)
{
    gmk_chan_t ch = which < CHANNELS ? mixed.ch[which] : (gmk_chan_t){scn_get(&mixed.extra)};
    gmk_task_t t = some_task(c, 0, depth);
    int rc = gmk_chan_emit(c, ch, &t);
    sim_check(rc == GMK_OK || rc == GMK_CHAN_FULL || (which == CHANNELS && rc == GMK_CHAN_CLOSED),
              "channel %u: %d", which, rc);
    take_back(c, &t, rc);
    return rc == GMK_CHAN_FULL && which < CHANNELS ? (int)which + 1 : 0;
}

/* Emits something somewhere. */
static int act(gmk_ctx_t *c, uint64_t depth)
{
    uint32_t how = sim_rand(2 + CHANNELS + ((mixed.with & COMING) != 0));
    if (how >= 2)
        return act_message(c, how - 2, depth);
    act_direct(c, depth);
    return 0;
}

/* Takes blocks until there are none, and gives them back. */
static void exhaust(gmk_ctx_t *c)
{
    uint64_t *list = NULL, *p;
    while ((p = gmk_alloc(c, (size_t)1 << (12 + sim_rand(8)))) != NULL) {
        *p = (uint64_t)(uintptr_t)list;
        list = p;
    }
    for (; list != NULL; list = p) {
        p = (uint64_t *)(uintptr_t)*list;
        gmk_free(c, list);
    }
    sim_check(gmk_bump(c, (size_t)1 << 30) == NULL);
}

static void misbehave(gmk_ctx_t *c)
{
    if ((mixed.with & MEMORY) != 0 && sim_rand(32) == 0)
        exhaust(c);
    if ((mixed.with & HANGS) != 0 && sim_rand(16) == 0)
        sim_sleep(sim_rand(12) * MIXED_BEAT_NS);
    if ((mixed.with & CRASHES) != 0 && sim_rand(16) == 0) {
        (void)scn_inc(&mixed.crashed);
        sim_crash(SIGSEGV, 99);
    }
}

static int direct_run(gmk_ctx_t *c)
{
    const uint64_t *p = (const uint64_t *)(uintptr_t)c->task->payload_ptr;
    uint64_t depth = c->task->meta0;
    sim_check(p == NULL || *p == depth);
    misbehave(c);
    switch (sim_rand(12)) {
    case 0: return gmk_yield(c);
    case 1: return GMK_RETRY;
    case 2: (void)scn_inc(&mixed.failed); return GMK_FAIL(3);
    default: break;
    }
    for (uint32_t i = sim_rand(3); i > 0 && depth != 0; i--) {
        int full = act(c, depth - 1);
        if (full != 0 && (c->task->flags & GMK_TASK_CHANNEL_MSG) == 0) /* a message could wait for itself */
            return gmk_chan_wait(c, mixed.ch[full - 1], 1);
    }
    sim_check(p == NULL || *p == depth);
    return GMK_OK;
}

/* Ordered, so numbers rise: they come again after a yield or a retry. */
static int message_run(gmk_ctx_t *c, uint32_t i)
{
    bool again = c->task->yield_count != 0 || c->task->retry_count != 0;
    sim_check(c->task->seq >= mixed.last[i] + (again ? 0 : 1) || c->task->seq == 0, "message %u after %u",
              c->task->seq, mixed.last[i]);
    mixed.last[i] = c->task->seq;
    switch (sim_rand(8)) {
    case 0: return c->task->yield_count < 4 ? gmk_yield(c) : GMK_OK;
    case 1: return c->task->retry_count < 4 ? GMK_RETRY : GMK_OK;
    default:
        misbehave(c);
        if (c->task->meta0 != 0)
            (void)act(c, c->task->meta0 - 1);
        return GMK_OK;
    }
}

static int message_0(gmk_ctx_t *c) { return message_run(c, 0); }
static int message_1(gmk_ctx_t *c) { return message_run(c, 1); }
static int message_2(gmk_ctx_t *c) { return message_run(c, 2); }
static int message_3(gmk_ctx_t *c) { return message_run(c, 3); }

static int visit(gmk_ctx_t *c)
{
    (void)c;
    (void)scn_inc(&mixed.visits);
    sim_yield();
    return GMK_OK;
}

static void outsider(void)
{
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&mixed.s, &port);
    for (uint32_t i = 0; i < ACTIONS; i++) {
        (void)act(c, sim_rand(3));
        if (sim_rand(4) == 0) {
            gmk_task_t t = some_task(c, 0, 1);
            int rc = gmk_chan_emit_wait(c, mixed.ch[sim_rand(2)], &t, sim_rand(5000));
            sim_check(rc == GMK_OK || rc == GMK_ERR_TIMEOUT, "emit_wait %d", rc);
            take_back(c, &t, rc);
        }
        scn_pause();
        if (sim_rand(6) == 0)
            scn_drain(&mixed.s);
    }
    gmk_detach(&port);
}

/* A channel, and subscriptions of another, that come and go. */
static void come_and_go(gmk_ctx_t *c)
{
    gmk_chan_t ch = scn_open(c, (gmk_chan_cfg_t){.name = "t.extra", .mode = sim_rand(2), .slots = 4});
    (void)gmk_xchg32(&mixed.extra, ch.id, GMK_ACQ_REL, GMK_KERNEL);
    gmk_sub_t here = scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 1, .order = sim_rand(2)}),
              there = scn_sub(c, mixed.ch[1 + sim_rand(2)], (gmk_sub_cfg_t){.handler = 1});
    for (uint32_t i = sim_rand(10); i > 0; i--)
        scn_pause();
    sim_check(gmk_chan_unsub(c, there) == GMK_OK);
    if (sim_rand(2) == 0)
        sim_check(gmk_chan_unsub(c, here) == GMK_OK);
    scn_close(c, ch);
}

static void load_and_unload(void)
{
    int rc = gmk_module_load(&mixed.s.k, &mixed.visitor);
    sim_check(rc == GMK_OK, "load %d", rc);
    for (uint32_t i = sim_rand(10); i > 0; i--)
        scn_pause();
    do /* a handler may hang for longer than the call waits */
        rc = gmk_module_unload(&mixed.s.k, "visitor");
    while (rc == GMK_ERR_TIMEOUT);
    sim_check(rc == GMK_OK, "unload %d", rc);
}

static void administrator(void)
{
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&mixed.s, &port);
    for (uint32_t i = 0; i < 2; i++) {
        if ((mixed.with & COMING) != 0)
            come_and_go(c);
        if ((mixed.with & MODULES) != 0)
            load_and_unload();
        (void)gmk_tick_advance(&mixed.s.k);
        gmk_task_t t = scn_task(1, 1, 1);
        int rc = gmk_emit_at(c, &t, gmk_tick(c) + 1);
        sim_check(rc == GMK_OK || rc == GMK_ERR_FULL, "emit_at %d", rc);
    }
    (void)gmk_tick_advance(&mixed.s.k);
    gmk_detach(&port);
}

static void mixed_role(void *arg) { (*(void (**)(void))arg)(); }

static void open_channels(gmk_ctx_t *c)
{
    static const gmk_chan_cfg_t kind[CHANNELS] = {
        {.name = "t.p2p"},
        {.name = "t.fan", .mode = GMK_FANOUT},
        {.name = "t.lossy", .mode = GMK_FANOUT, .guarantee = GMK_LOSSY},
        {.name = "t.degrade", .mode = GMK_FANOUT, .replay = 4, .flags = GMK_CHAN_DEGRADE}};
    for (uint32_t i = 0; i < CHANNELS; i++) {
        gmk_chan_cfg_t cfg = kind[i];
        cfg.slots = 2 + sim_rand(4);
        cfg.flags |= i == 2 && sim_rand(2) == 0 ? GMK_CHAN_DROP_OLDEST : 0;
        mixed.ch[i] = scn_open(c, cfg);
        (void)scn_sub(c, mixed.ch[i], (gmk_sub_cfg_t){.handler = 2 + i});
        if (i == 1 || i == 2)
            (void)scn_sub(c, mixed.ch[i], (gmk_sub_cfg_t){.handler = 1, .order = sim_rand(2)});
    }
}

static gmk_boot_cfg_t mixed_cfg(void)
{
    static const gmk_handler_reg_t visitor[] = {{.type = 9, .fn = visit}};
    mixed.with = sim_rand(64);
    if ((mixed.with & MEMORY) != 0) /* opening, subscribing and loading need some */
        mixed.with &= ~(uint32_t)(COMING | MODULES);
    if (sim_options()->lanes > 1) /* neither is contained there */
        mixed.with &= ~(uint32_t)(CRASHES | HANGS);
    gmk_boot_cfg_t cfg = scn_cfg(scn_workers());
    cfg.task_max = 16;
    cfg.poison_failures = 4096;
    cfg.sample = 1 + sim_rand(8);
    cfg.max_ports = 6;
    if ((mixed.with & HANGS) != 0) {
        cfg.flags = GMK_BOOT_QUIET;
        cfg.watchdog_ns = MIXED_BEAT_NS;
        cfg.max_spares = 2;
    }
    mixed.visitor = (gmk_module_t){.name = "visitor", .handlers = visitor, .n_handlers = 1};
    return cfg;
}

void scn_mixed(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = direct_run, .max_retries = 20},
                                                 {.type = 2, .fn = message_0},
                                                 {.type = 3, .fn = message_1},
                                                 {.type = 4, .fn = message_2},
                                                 {.type = 5, .fn = message_3},
                                                 SCN_LETTER_HANDLER};
    void (*roles[3])(void) = {outsider, outsider, administrator};
    gmk_port_t port;
    (void)arg;
    memset(&mixed, 0, sizeof mixed);
    gmk_boot_cfg_t cfg = mixed_cfg();
    SCN_BOOT(&mixed.s, cfg, handlers);
    gmk_ctx_t *c = scn_attach(&mixed.s, &port);
    scn_hear(&mixed.s, c);
    scn_warm_up(&mixed.s, c, 1, 6, 6);
    open_channels(c);
    if ((mixed.with & EARLY) != 0)
        sim_options()->early_timeout = 100;
    scn_together(3, mixed_role, roles, sizeof roles[0]);
    sim_options()->early_timeout = 0;
    do { /* no drain waits for timers */
        sim_sleep(10000);
        scn_drain(&mixed.s);
    } while (scn_stats(&mixed.s).pending != 0);
    for (uint32_t i = 0; i < CHANNELS; i++)
        scn_close(c, mixed.ch[i]);
    scn_settle(&mixed.s);
    scn_drain(&mixed.s);
    gmk_stats_t st = scn_stats(&mixed.s);
    sim_check(scn_letters.own == scn_get(&mixed.failed) && st.timers == 0);
    sim_check(st.faults == scn_get(&mixed.crashed) && scn_letters.fault == st.faults);
    gmk_detach(&port);
    scn_end(&mixed.s);
}
