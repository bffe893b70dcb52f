/* SPDX-License-Identifier: MIT */
/* scn_refs.c — references on payloads across subscribers; messages to pinned mailboxes. */
#include "kernel.h"

#include <string.h>

/* ---- references ---------------------------------------------------------------------------- */

#define SUBS 3u
#define SHARED 12u /* messages of each emitter */
#define SENDERS 2u

static struct {
    scn_t s;
    gmk_chan_t ch;
    gmk_a32_t made, heard[SUBS], kept; /* kept: references that handlers passed on */
} refs;

static uint64_t fill(uint64_t id) { return id * 0x9e3779b97f4a7c15u + 3; }

static void check_words(const gmk_task_t *t)
{
    const uint64_t *p = (const uint64_t *)(uintptr_t)t->payload_ptr;
    for (uint32_t i = 0; i < t->payload_len / 8; i++)
        sim_check(p[i] == fill(t->meta0), "word %u of payload %u", i, (unsigned)t->meta0);
}

/* A direct task that holds a reference of its own. */
static int keep_run(gmk_ctx_t *c)
{
    check_words(c->task);
    return GMK_OK;
}

static void pass_on(gmk_ctx_t *c)
{
    void *p = (void *)(uintptr_t)c->task->payload_ptr;
    gmk_task_t t = *c->task;
    t.type = 4;
    t.flags = GMK_TASK_PAYLOAD_RC;
    sim_check(gmk_payload_retain(c, p) == GMK_OK);
    int rc = gmk_emit(c, &t);
    sim_check(rc == GMK_OK || rc == GMK_ERR_FULL, "emit %d", rc);
    if (rc == GMK_OK)
        (void)scn_inc(&refs.kept);
    else
        sim_check(gmk_payload_release(c, p) == GMK_OK);
}

static int ref_run(gmk_ctx_t *c, uint32_t who)
{
    check_words(c->task);
    sim_yield();
    switch (sim_rand(8)) {
    case 0: pass_on(c); break;
    case 1: return c->task->yield_count == 0 ? gmk_yield(c) : GMK_OK;
    case 2: return c->task->retry_count == 0 ? GMK_RETRY : GMK_OK;
    case 3: return GMK_FAIL(1);
    case 4: sim_sleep(who * sim_rand(3000)); break;
    default: break;
    }
    check_words(c->task);
    (void)scn_inc(&refs.heard[who]);
    return GMK_OK;
}

static int ref_0(gmk_ctx_t *c) { return ref_run(c, 0); }
static int ref_1(gmk_ctx_t *c) { return ref_run(c, 1); }
static int ref_2(gmk_ctx_t *c) { return ref_run(c, 2); }

static gmk_task_t filled(gmk_ctx_t *c, uint64_t id)
{
    uint32_t words = 1 + sim_rand(20);
    uint64_t *p = gmk_payload_alloc(c, words * 8);
    sim_check(p != NULL);
    for (uint32_t i = 0; i < words; i++)
        p[i] = fill(id);
    gmk_task_t t = scn_task(0, 1, id);
    t.flags |= GMK_TASK_PAYLOAD_RC;
    t.payload_ptr = (uint64_t)(uintptr_t)p;
    t.payload_len = words * 8;
    (void)scn_inc(&refs.made);
    return t;
}

/* What was not accepted still belongs to the sender, who tries again or gives it up. */
static void send_filled(void *arg)
{
    gmk_port_t port;
    gmk_task_t t[4];
    gmk_ctx_t *c = scn_attach(&refs.s, &port);
    for (uint32_t i = 0; i < SHARED;) {
        uint32_t n = 1 + sim_rand(3);
        for (uint32_t j = 0; j < n; j++)
            t[j] = filled(c, *(uint32_t *)arg * 100 + i++);
        int rc = n == 1 ? gmk_chan_emit(c, refs.ch, t) : gmk_chan_emit_n(c, refs.ch, t, n);
        sim_check(rc >= 0 || rc == GMK_CHAN_FULL, "emit %d", rc);
        for (uint32_t j = rc < 0 ? 0 : n == 1 ? 1 : (uint32_t)rc; j < n; j++) {
            check_words(&t[j]);
            sim_check(gmk_payload_release(c, (void *)(uintptr_t)t[j].payload_ptr) == GMK_OK);
        }
        scn_pause();
    }
    gmk_detach(&port);
}

/* Three subscribers, slow ones and one that fails; lossless or lossy; nothing of a payload is left. */
void scn_refs(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = ref_0},
                                                 {.type = 2, .fn = ref_1},
                                                 {.type = 3, .fn = ref_2},
                                                 {.type = 4, .fn = keep_run}};
    uint32_t roles[SENDERS] = {0, 1};
    gmk_boot_cfg_t cfg = scn_cfg(scn_workers());
    gmk_port_t port;
    (void)arg;
    memset(&refs, 0, sizeof refs);
    cfg.poison_failures = 4096;
    SCN_BOOT(&refs.s, cfg, handlers);
    gmk_ctx_t *c = scn_attach(&refs.s, &port);
    uint32_t lossy = sim_rand(2);
    refs.ch = scn_open(c,
                       (gmk_chan_cfg_t){.name = "t.refs",
                                        .mode = GMK_FANOUT,
                                        .guarantee = lossy != 0 ? GMK_LOSSY : GMK_LOSSLESS,
                                        .slots = 2 + sim_rand(4),
                                        .replay = lossy == 0 && sim_rand(2) == 0 ? 2 : 0,
                                        .flags = lossy != 0 && sim_rand(2) == 0 ? GMK_CHAN_DROP_OLDEST : 0});
    for (uint32_t i = 0; i < SUBS; i++)
        (void)scn_sub(c, refs.ch, (gmk_sub_cfg_t){.handler = 1 + i});
    scn_together(SENDERS, send_filled, roles, sizeof roles[0]);
    scn_drain(&refs.s);
    gmk_stats_t st = scn_stats(&refs.s);
    uint32_t heard = scn_get(&refs.heard[0]) + scn_get(&refs.heard[1]) + scn_get(&refs.heard[2]);
    sim_check(st.completed >= heard && (lossy != 0 || st.dropped == 0), "%u dropped", (unsigned)st.dropped);
    scn_close(c, refs.ch);
    gmk_detach(&port);
    scn_end(&refs.s);
}

/* ---- pinned mailboxes ---------------------------------------------------------------------- */

#define PINNED 3u
#define SENT 10u

static struct {
    scn_t s;
    gmk_chan_t ch[PINNED];
    uint32_t next[PINNED], workers;
    gmk_a32_t ran;
} pinned;

static int pinned_run(gmk_ctx_t *c)
{
    uint32_t i = (uint32_t)c->task->meta0;
    sim_check(gmk_self_worker(c) == i % pinned.workers, "on worker %u", gmk_self_worker(c));
    sim_check(c->task->seq == pinned.next[i]++);
    (void)scn_inc(&pinned.ran);
    return sim_rand(8) == 0 ? gmk_yield(c) : GMK_OK;
}

static int pinned_once(gmk_ctx_t *c)
{
    if (c->task->yield_count != 0)
        return GMK_OK;
    return pinned_run(c);
}

/* One message at a time for a worker that may just go to sleep: only it may run it, so it must wake. */
static void send_pinned(void *arg)
{
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&pinned.s, &port);
    (void)arg;
    for (uint32_t n = 0; n < SENT; n++) {
        uint32_t i = sim_rand(PINNED);
        gmk_task_t t = scn_task(0, sim_rand(4), i);
        sim_check(gmk_chan_emit_wait(c, pinned.ch[i], &t, 10 * SCN_S) == GMK_OK);
        if (sim_rand(3) == 0)
            scn_drain(&pinned.s);
        else
            scn_pause();
    }
    gmk_detach(&port);
}

void scn_pinned(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = pinned_once}};
    static const char *const name[PINNED] = {"t.p0", "t.p1", "t.p2"};
    uint32_t roles[2] = {0, 1};
    gmk_port_t port;
    (void)arg;
    memset(&pinned, 0, sizeof pinned);
    pinned.workers = scn_workers_of(2, 3);
    SCN_BOOT(&pinned.s, scn_cfg(pinned.workers), handlers);
    gmk_ctx_t *c = scn_attach(&pinned.s, &port);
    for (uint32_t i = 0; i < PINNED; i++) {
        gmk_chan_cfg_t cfg = {.name = name[i], .mode = sim_rand(2), .slots = 4, .reserve_pct = UINT32_MAX};
        pinned.ch[i] = scn_open(c, cfg);
        (void)scn_sub(c, pinned.ch[i],
                      (gmk_sub_cfg_t){.handler = 1, .pinned = 1, .worker = i % pinned.workers});
    }
    scn_together(2, send_pinned, roles, sizeof roles[0]);
    scn_drain(&pinned.s);
    sim_check(scn_get(&pinned.ran) == 2 * SENT, "%u ran", scn_get(&pinned.ran));
    for (uint32_t i = 0; i < PINNED; i++)
        scn_close(c, pinned.ch[i]);
    gmk_detach(&port);
    scn_end(&pinned.s);
}
