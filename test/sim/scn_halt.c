/* SPDX-License-Identifier: MIT */
/* scn_halt.c — ports, calls that come while the kernel halts, workers that do not come back. */
#include "kernel.h"

#include <string.h>

/* ---- ports --------------------------------------------------------------------------------- */

#define VISITORS 4u
#define VISITS 4u

static struct {
    scn_t s;
    gmk_a32_t ran, sent, attached;
} ports;

/* Frees what the visitor allocated. */
static int port_run(gmk_ctx_t *c)
{
    uint64_t *p = (uint64_t *)(uintptr_t)c->task->meta0;
    sim_check(*p == c->task->meta1);
    gmk_free(c, p);
    (void)scn_inc(&ports.ran);
    return GMK_OK;
}

static void send_one(gmk_ctx_t *c, uint64_t name)
{
    uint64_t *p = gmk_alloc(c, 64);
    sim_check(p != NULL);
    *p = name;
    gmk_task_t t = scn_task(1, sim_rand(4), (uint64_t)(uintptr_t)p);
    t.meta1 = name;
    int rc = sim_rand(2) == 0 ? gmk_emit(c, &t) : gmk_emit_after(c, &t, sim_rand(2000)); /* takes a node */
    sim_check(rc == GMK_OK || rc == GMK_ERR_FULL, "emit %d", rc);
    if (rc == GMK_OK)
        (void)scn_inc(&ports.sent);
    else
        gmk_free(c, p);
}

static void visit(void *arg)
{
    for (uint32_t i = 0; i < VISITS;) {
        gmk_port_t port;
        int rc = gmk_attach(&ports.s.k, &port);
        sim_check(rc == GMK_OK || rc == GMK_ERR_LIMIT, "attach %d", rc);
        if (rc != GMK_OK) {
            sim_sleep(1 + sim_rand(2000));
            continue;
        }
        sim_check(scn_inc(&ports.attached) < 2, "more ports than there are");
        for (uint32_t n = sim_rand(4); n > 0; n--)
            send_one(gmk_port_ctx(&port), *(uint32_t *)arg * VISITS + i);
        scn_pause();
        (void)gmk_sub32(&ports.attached, 1, GMK_RLX, GMK_KERNEL);
        gmk_detach(&port);
        i++;
    }
}

/* More threads than ports, fewer credits than tasks: what a port kept comes back with it. */
void scn_ports(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = port_run}};
    uint32_t names[VISITORS] = {0, 1, 2, 3};
    gmk_boot_cfg_t cfg = scn_cfg(scn_workers());
    (void)arg;
    memset(&ports, 0, sizeof ports);
    cfg.max_ports = 2;
    cfg.task_max = 16;
    SCN_BOOT(&ports.s, cfg, handlers);
    scn_together(VISITORS, visit, names, sizeof names[0]);
    for (uint32_t left = 1; left != 0; left = (uint32_t)scn_stats(&ports.s).timers)
        sim_sleep(5000);
    scn_drain(&ports.s);
    sim_check(scn_get(&ports.ran) == scn_get(&ports.sent));
    sim_check(scn_stats(&ports.s).ports == 0);
    scn_end(&ports.s);
}

/* ---- calls while the kernel halts ---------------------------------------------------------- */

static struct {
    gmk_kernel_t k;
    gmk_chan_t ch;
    gmk_a32_t open, inside, accepted, ended, gone;
} late;

/* Keeps the kernel from being halted for a while. */
static int late_hold(gmk_ctx_t *c)
{
    gmk_task_t t = scn_task(2, 0, 0);
    scn_set(&late.inside, 1);
    scn_await(&late.open, 1);
    (void)scn_add(&late.accepted, gmk_emit(c, &t) == GMK_OK); /* a handler may still emit */
    (void)scn_inc(&late.ended);
    return GMK_OK;
}

static int late_run(gmk_ctx_t *c)
{
    (void)c;
    (void)scn_inc(&late.ended);
    return GMK_OK;
}

/* A port that waits in vain on a full channel: it keeps the halt away. */
static void wait_in_vain(void)
{
    gmk_port_t port;
    int rc = gmk_attach(&late.k, &port);
    sim_check(rc == GMK_OK || rc == GMK_ERR_STATE, "attach %d", rc);
    if (rc != GMK_OK)
        return;
    gmk_task_t t = scn_task(0, 3, 0);
    for (uint32_t i = 0; i < 4; i++) {
        rc = gmk_chan_emit_wait(gmk_port_ctx(&port), late.ch, &t, sim_rand(3000));
        sim_check(rc == GMK_OK || rc == GMK_ERR_TIMEOUT || rc == GMK_ERR_STATE, "emit_wait %d", rc);
        (void)scn_add(&late.accepted, rc == GMK_OK);
    }
    gmk_detach(&port);
}

/* Calls on and on while the kernel halts, until it is there no longer. */
static void call_late(void *arg)
{
    int rc = GMK_OK;
    scn_await(&late.inside, 1);
    if (*(uint32_t *)arg == 0)
        wait_in_vain();
    for (uint32_t i = 0; rc != GMK_ERR_INVAL; i++) {
        gmk_task_t t = scn_task(2, sim_rand(4), 0);
        gmk_stats_t st;
        bool gone = gmk_load32(&late.gone, GMK_ACQ, GMK_KERNEL) != 0;
        gmk_port_t port;
        switch (i % 4) {
        case 2: rc = gmk_stats(&late.k, &st); break;
        case 3:
            rc = gmk_attach(&late.k, &port);
            if (rc == GMK_OK)
                gmk_detach(&port);
            break;
        default: rc = gmk_submit(&late.k, &t);
        }
        sim_check(rc == GMK_OK || rc == GMK_ERR_STATE || rc == GMK_ERR_FULL || rc == GMK_ERR_INVAL, "call %d",
                  rc);
        sim_check(!gone || rc == GMK_ERR_INVAL, "the kernel is gone, and a call answers %d", rc);
        (void)scn_add(&late.accepted, rc == GMK_OK && i % 4 < 2);
        if (i == 8)
            scn_set(&late.open, 1);
        sim_sleep(200 + sim_rand(1000));
    }
}

void scn_halt_calls(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = late_hold}, {.type = 2, .fn = late_run}};
    gmk_module_t module = {.name = "late", .handlers = handlers, .n_handlers = 2};
    gmk_module_t *list[1] = {&module};
    gmk_boot_cfg_t cfg = scn_cfg(scn_workers());
    uint32_t roles[2] = {0, 1};
    gmk_hal_thread_t thread[2];
    gmk_halt_report_t r;
    gmk_port_t port;
    int rc;
    (void)arg;
    memset(&late, 0, sizeof late);
    cfg.task_max = 32;
    sim_check(gmk_boot(&late.k, &cfg, list, 1) == GMK_OK);
    sim_check(gmk_attach(&late.k, &port) == GMK_OK);
    late.ch = scn_open(gmk_port_ctx(&port), (gmk_chan_cfg_t){.name = "t.vain", .slots = 2});
    gmk_detach(&port);
    gmk_task_t t = scn_task(1, 0, 0);
    sim_check(gmk_submit(&late.k, &t) == GMK_OK);
    (void)scn_inc(&late.accepted);
    for (uint32_t i = 0; i < 2; i++)
        sim_check(sim_thread_create(&thread[i], "caller", 1, call_late, &roles[i]) == 0);
    scn_await(&late.inside, 1);
    do {
        rc = gmk_halt_within(&late.k, sim_rand(4) == 0 ? 10 * SCN_S : sim_rand(5000), &r);
        sim_check(rc == GMK_OK || rc == GMK_ERR_BUSY || rc == GMK_ERR_STATE, "halt %d", rc);
        sim_sleep(1000);
    } while (rc != GMK_OK);
    scn_set(&late.gone, 1);
    for (uint32_t i = 0; i < 2; i++)
        gmk_hal_thread_join(&thread[i]);
    sim_check(r.completed == scn_get(&late.ended) &&
                  r.completed + r.failed + r.dropped == scn_get(&late.accepted),
              "%u completed, %u dropped, %u accepted", (unsigned)r.completed, (unsigned)r.dropped,
              scn_get(&late.accepted));
}

/* ---- a worker that does not come back ------------------------------------------------------ */

#define ZOMBIE_BEAT_NS 20000u
#define ZOMBIE_TASKS 20u

static struct {
    uint8_t seen[2 * ZOMBIE_TASKS];
    gmk_a32_t open, stuck, ran, spawned, heard;
    uint32_t next; /* message */
} zombie;

static void zombie_once(uint32_t id)
{
    sim_check(id < 2 * ZOMBIE_TASKS && zombie.seen[id]++ == 0, "task %u twice", id);
    (void)scn_inc(&zombie.ran);
}

static int zombie_run(gmk_ctx_t *c)
{
    uint32_t id = (uint32_t)c->task->meta0;
    if (id < ZOMBIE_TASKS && sim_rand(2) == 0) {
        gmk_task_t t = scn_task(1, sim_rand(4), ZOMBIE_TASKS + id);
        (void)scn_inc(&zombie.spawned);
        sim_check(gmk_emit(c, &t) == GMK_OK);
    }
    zombie_once(id);
    return GMK_OK;
}

/* Leaves tasks behind, in its batch, in its queue and in the next slot, and stays. */
static int zombie_stay(gmk_ctx_t *c)
{
    (void)c;
    scn_set(&zombie.stuck, 1);
    while (gmk_load32(&zombie.open, GMK_ACQ, GMK_KERNEL) == 0)
        sim_sleep(ZOMBIE_BEAT_NS);
    return GMK_OK;
}

static int zombie_message(gmk_ctx_t *c)
{
    sim_check(c->task->seq == zombie.next++);
    (void)scn_inc(&zombie.heard);
    return GMK_OK;
}

/* All but the stuck task runs while it is stuck; when it comes back it is accounted once. */
void scn_zombie(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = zombie_run}, {.type = 2, .fn = zombie_message}, {.type = 3, .fn = zombie_stay}};
    uint32_t messages = 0, stay_at = sim_rand(ZOMBIE_TASKS), workers;
    gmk_halt_report_t r = {0};
    scn_t s;
    gmk_port_t port;
    (void)arg;
    memset(&zombie, 0, sizeof zombie);
    scn_one_lane();
    workers = scn_workers_of(1, 2);
    gmk_boot_cfg_t cfg = scn_cfg(workers);
    cfg.flags = GMK_BOOT_QUIET;
    cfg.watchdog_ns = ZOMBIE_BEAT_NS;
    cfg.max_spares = 2;
    SCN_BOOT(&s, cfg, handlers);
    gmk_ctx_t *c = scn_attach(&s, &port);
    gmk_chan_t ch = scn_open(c, (gmk_chan_cfg_t){.name = "t.zombie", .slots = 16, .reserve_pct = UINT32_MAX});
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 2, .pinned = 1, .worker = sim_rand(workers)});
    for (uint32_t i = 0; i < ZOMBIE_TASKS; i++) {
        gmk_task_t t = scn_task(i == stay_at ? 3 : 1, sim_rand(4), i);
        sim_check(gmk_emit(c, &t) == GMK_OK);
        if (i % 4 == 0) {
            sim_check(gmk_chan_emit(c, ch, &t) == GMK_OK);
            messages++;
        }
    }
    gmk_detach(&port);
    uint64_t began = sim_time();
    while (scn_get(&zombie.stuck) == 0 || scn_stats(&s).zombies == 0 ||
           scn_get(&zombie.ran) != ZOMBIE_TASKS - 1 + scn_get(&zombie.spawned) ||
           scn_get(&zombie.heard) != messages) {
        sim_sleep(ZOMBIE_BEAT_NS);
        sim_check(sim_time() - began < 2000 * ZOMBIE_BEAT_NS, "%u and %u ran, %u zombies",
                  scn_get(&zombie.ran), scn_get(&zombie.heard), scn_stats(&s).zombies);
    }
    bool halted = sim_rand(2) == 0;
    if (halted) {
        sim_check(gmk_halt_within(&s.k, 5000, &r) == GMK_ERR_BUSY && r.zombies >= 1);
        sim_check(r.stuck_type == 3 || r.zombies > 1);
    }
    scn_set(&zombie.open, 1);
    if (!halted) {
        scn_drain(&s);
        scn_conserved(&s, 0);
        scn_halt(&s);
        return;
    }
    while (gmk_halt_within(&s.k, SCN_S, &r) == GMK_ERR_BUSY)
        ;
    sim_check(r.zombies == 0 && r.dropped == 0 && r.completed == scn_get(&zombie.ran) + messages + 1);
}

/* ---- a fault inside the core --------------------------------------------------------------- */

#define NO_CHANNEL 200u

static int break_core(gmk_ctx_t *c)
{
    gmk_task_t t = scn_task(0, 0, 0);
    return gmk_chan_emit(c, (gmk_chan_t){NO_CHANNEL}, &t);
}

/* A handler that has broken the kernel's own tables: nothing can be trusted any more. */
void scn_crash_inside(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = break_core}};
    scn_t s;
    (void)arg;
    scn_one_lane();
    SCN_BOOT(&s, scn_cfg(scn_workers()), handlers);
    gmk_store64(&s.k.core->chans->slot[NO_CHANNEL], 8, GMK_RLX, GMK_KERNEL);
    scn_submit(&s, 1, 0);
    scn_drain(&s);
}
