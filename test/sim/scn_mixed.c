/* SPDX-License-Identifier: MIT */
/* scn_mixed.c — a bit of everything at once: only what always holds is checked. */
#include "kernel.h"

#include <string.h>

#define CHANNELS 3u
#define ACTIONS 6u

static struct {
    scn_t s;
    gmk_chan_t ch[CHANNELS];
    uint32_t last[CHANNELS], ran, failed;
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

/* Emits something somewhere. */
static int act(gmk_ctx_t *c, uint64_t depth)
{
    uint32_t how = sim_rand(2 + CHANNELS);
    gmk_task_t t = some_task(c, how < 2 ? 1 : 0, depth);
    int rc = how == 0 ? gmk_emit(c, &t)
           : how == 1 ? gmk_emit_after(c, &t, sim_rand(3000))
                      : gmk_chan_emit(c, mixed.ch[how - 2], &t);
    sim_check(rc == GMK_OK || rc == GMK_ERR_FULL || rc == GMK_CHAN_FULL, "%u: %d", how, rc);
    take_back(c, &t, rc);
    return rc == GMK_CHAN_FULL ? (int)how - 1 : 0; /* 1 + channel that was full */
}

static int direct_run(gmk_ctx_t *c)
{
    const uint64_t *p = (const uint64_t *)(uintptr_t)c->task->payload_ptr;
    uint64_t depth = c->task->meta0;
    mixed.ran++;
    sim_check(p == NULL || *p == depth);
    switch (sim_rand(12)) {
    case 0: return gmk_yield(c);
    case 1: return GMK_RETRY;
    case 2: mixed.failed++; return GMK_FAIL(3);
    default: break;
    }
    for (uint32_t i = sim_rand(3); i > 0 && depth != 0; i--) {
        int full = act(c, depth - 1);
        if (full != 0 && (c->task->flags & GMK_TASK_CHANNEL_MSG) == 0) /* a message could wait for itself */
            return gmk_chan_wait(c, mixed.ch[full - 1], 1);
    }
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
        if (c->task->meta0 != 0)
            (void)act(c, c->task->meta0 - 1);
        return GMK_OK;
    }
}

static int message_0(gmk_ctx_t *c) { return message_run(c, 0); }
static int message_1(gmk_ctx_t *c) { return message_run(c, 1); }
static int message_2(gmk_ctx_t *c) { return message_run(c, 2); }

static void outsider(void *arg)
{
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&mixed.s, &port);
    (void)arg;
    for (uint32_t i = 0; i < ACTIONS; i++) {
        (void)act(c, sim_rand(3));
        scn_pause();
        if (sim_rand(6) == 0)
            scn_drain(&mixed.s);
    }
    gmk_detach(&port);
}

static void open_channels(gmk_ctx_t *c)
{
    static const char *const name[CHANNELS] = {"t.p2p", "t.fan", "t.lossy"};
    for (uint32_t i = 0; i < CHANNELS; i++) {
        mixed.ch[i] = scn_open(c, (gmk_chan_cfg_t){.name = name[i],
                                                   .mode = i == 0 ? GMK_P2P : GMK_FANOUT,
                                                   .guarantee = i == 2 ? GMK_LOSSY : GMK_LOSSLESS,
                                                   .slots = 2 + sim_rand(4)});
        (void)scn_sub(c, mixed.ch[i], (gmk_sub_cfg_t){.handler = 2 + i});
        if (i != 0)
            (void)scn_sub(c, mixed.ch[i], (gmk_sub_cfg_t){.handler = 1});
    }
}

void scn_mixed(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = direct_run, .max_retries = 20},
                                                 {.type = 2, .fn = message_0},
                                                 {.type = 3, .fn = message_1},
                                                 {.type = 4, .fn = message_2},
                                                 SCN_LETTER_HANDLER};
    uint32_t roles[2] = {0, 1};
    gmk_boot_cfg_t cfg = scn_cfg(scn_workers());
    gmk_port_t port;
    (void)arg;
    memset(&mixed, 0, sizeof mixed);
    cfg.task_max = 16;
    cfg.poison_failures = 4096;
    cfg.sample = 1 + sim_rand(8);
    SCN_BOOT(&mixed.s, cfg, handlers);
    gmk_ctx_t *c = scn_attach(&mixed.s, &port);
    scn_hear(&mixed.s, c);
    open_channels(c);
    scn_together(2, outsider, roles, sizeof roles[0]);
    sim_sleep(10000); /* timers that no drain waits for */
    scn_drain(&mixed.s);
    for (uint32_t i = 0; i < CHANNELS; i++)
        scn_close(c, mixed.ch[i]);
    scn_drain(&mixed.s);
    gmk_stats_t st = scn_stats(&mixed.s);
    sim_check(scn_letters.own == mixed.failed && st.timers == 0);
    gmk_detach(&port);
    scn_end(&mixed.s);
}
