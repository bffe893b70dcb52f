/* SPDX-License-Identifier: MIT */
/*
 * scn_grace.c — memory that was unlinked is not used again while somebody may still hold it.
 *
 * One fiber takes whatever memory becomes free and writes over it what a queued inlet looks like, so
 * that a worker or port that still acts on an old mailbox or channel changes it, or follows a wild
 * pointer.  Fibers stall for long, and time passes while they do: the reaper is quick.
 */
#include "kernel.h"

#include "channel.h"

#include <string.h>

#define SCRIBBLES 40u
/* Ticket -1, QUEUED at priority 0; a pointer that nothing may follow. */
#define SCRIBBLE UINT64_C(0xffffffffff000001)
#define ROUNDS 6u

static struct {
    scn_t s;
    gmk_a32_t ch; /* id; 0 = over */
    uint32_t mode, replay;
    gmk_a32_t left; /* fibers at work beside the scribbler */
    uint64_t *block[SCRIBBLES];
    uint32_t words, n;
} grace;

static int heard(gmk_ctx_t *c)
{
    sim_yield();
    return sim_rand(8) == 0 && c->task->yield_count == 0 ? gmk_yield(c) : GMK_OK;
}

/* Past all caches, as the kernel allocates and frees: what was freed last comes first. */
static void scribble(void)
{
    uint64_t *p = gmk_heap_alloc(&grace.s.k.core->heap, NULL, grace.words * 8);
    sim_check(p != NULL);
    for (uint32_t i = 0; i < grace.words; i++)
        p[i] = SCRIBBLE;
    grace.block[grace.n++] = p;
}

static void scribbler(void)
{
    while (scn_get(&grace.left) != 0) {
        if (grace.n < SCRIBBLES)
            scribble();
        sim_sleep(30000 + sim_rand(60000));
    }
}

static void wipe(void)
{
    for (uint32_t b = 0; b < grace.n; b++) {
        for (uint32_t i = 0; i < grace.words; i++)
            sim_check(grace.block[b][i] == SCRIBBLE, "word %u of a block that is ours", i);
        sim_check(gmk_heap_free(&grace.s.k.core->heap, NULL, grace.block[b]));
    }
}

static void emit_somewhere(void)
{
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&grace.s, &port);
    for (uint32_t i = 0; i < 8 * ROUNDS; i++) {
        gmk_task_t t = scn_task(0, sim_rand(4), i);
        int rc = gmk_chan_emit(c, (gmk_chan_t){scn_get(&grace.ch)}, &t);
        sim_check(rc == GMK_OK || rc == GMK_CHAN_FULL || rc == GMK_CHAN_CLOSED, "emit %d", rc);
        if (sim_rand(3) == 0)
            sim_sleep(sim_rand(60000));
    }
    gmk_detach(&port);
}

static void sub_and_unsub(void)
{
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&grace.s, &port);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        gmk_sub_t sub = {0};
        gmk_sub_cfg_t cfg = {.handler = 1};
        int rc = gmk_chan_sub(c, (gmk_chan_t){scn_get(&grace.ch)}, &cfg, &sub);
        sim_check(rc == GMK_OK, "sub %d", rc);
        sim_sleep(sim_rand(50000));
        sim_check(gmk_chan_unsub(c, sub) == GMK_OK);
        sim_sleep(sim_rand(300000));
    }
    gmk_detach(&port);
}

static gmk_chan_t open_one(gmk_ctx_t *c)
{
    gmk_chan_t ch = scn_open(
        c, (gmk_chan_cfg_t){.name = "t.grace", .mode = grace.mode, .slots = 8, .replay = grace.replay});
    (void)gmk_xchg32(&grace.ch, ch.id, GMK_RLX, GMK_KERNEL);
    return ch;
}

static void open_and_close(void)
{
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&grace.s, &port);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        gmk_chan_t ch = {scn_get(&grace.ch)};
        (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 1});
        sim_sleep(sim_rand(100000));
        scn_close(c, ch);
        (void)open_one(c);
    }
    gmk_detach(&port);
}

static void grace_role(void *arg)
{
    void (*const role)(void) = *(void (**)(void))arg;
    role();
    if (role != scribbler)
        (void)gmk_sub32(&grace.left, 1, GMK_RLX, GMK_KERNEL);
}

static void run_grace(void (*changes)(void), uint32_t bytes)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = heard}, SCN_LETTER_HANDLER};
    void (*roles[4])(void) = {scribbler, changes, emit_somewhere, emit_somewhere};
    gmk_boot_cfg_t cfg = scn_cfg(scn_workers_of(2, 3));
    gmk_port_t port;
    grace.words = (bytes + 7) / 8;
    grace.left.v = 3;
    cfg.max_ports = 6;
    cfg.flags |= GMK_BOOT_NO_CONTAINMENT; /* a fault is the end of the run, and tells where */
    sim_options()->stall = 1500;
    SCN_BOOT(&grace.s, cfg, handlers);
    gmk_ctx_t *c = scn_attach(&grace.s, &port);
    scn_hear(&grace.s, c);
    (void)open_one(c);
    sim_options()->early_timeout = 8000;
    scn_together(4, grace_role, roles, sizeof roles[0]);
    sim_options()->early_timeout = 0;
    wipe();
    scn_close(c, (gmk_chan_t){scn_get(&grace.ch)});
    gmk_detach(&port);
    scn_end(&grace.s);
}

void scn_grace_sub(void *arg)
{
    (void)arg;
    memset(&grace, 0, sizeof grace);
    grace.mode = sim_rand(4) == 0 ? GMK_P2P : GMK_FANOUT;
    run_grace(sub_and_unsub, sizeof(gmk_mailbox_t));
}

void scn_grace_chan(void *arg)
{
    (void)arg;
    memset(&grace, 0, sizeof grace);
    grace.mode = sim_rand(2);
    grace.replay = grace.mode == GMK_FANOUT && sim_rand(2) == 0 ? 2 : 0;
    run_grace(open_and_close, sim_rand(4) == 0 ? 16 * sizeof(gmk_msg_t) : sizeof(gmk_channel_t));
}
