/* SPDX-License-Identifier: MIT */
/* scn_tasks.c — direct tasks: queues, credits, parking, yields, retries, timers, ports. */
#include "kernel.h"

#include <string.h>

/* ---- queues -------------------------------------------------------------------------------- */

#define QUEUE_TASKS 120u

static struct {
    uint8_t seen[QUEUE_TASKS];
    gmk_a32_t ran;
} queues;

static void once(uint8_t *seen, uint32_t id, uint32_t n)
{
    sim_check(id < n, "task %u", id);
    sim_check(seen[id]++ == 0, "task %u twice", id);
}

/* Yields keep the local queues turning: their rings wrap while a thief may still be copying. */
static int leaf(gmk_ctx_t *c)
{
    if (c->task->yield_count < c->task->meta0 % 6)
        return gmk_yield(c);
    once(queues.seen, (uint32_t)c->task->meta0, QUEUE_TASKS);
    (void)scn_inc(&queues.ran);
    return GMK_OK;
}

/* Emits the tasks meta0 .. meta1 - 1, in one call or in many. */
static int burst(gmk_ctx_t *c)
{
    gmk_task_t t[QUEUE_TASKS];
    uint32_t n = 0;
    for (uint64_t id = c->task->meta0; id < c->task->meta1; id++)
        t[n++] = scn_task(1, 1 + sim_rand(2), id);
    if (sim_rand(2) == 0) {
        sim_check(gmk_emit_n(c, t, n) == (int)n);
        return GMK_OK;
    }
    for (uint32_t i = 0; i < n; i++)
        sim_check(gmk_emit(c, &t[i]) == GMK_OK);
    return GMK_OK;
}

/* One worker floods its local queue, the ready queue and the overflow list; the others steal. */
void scn_queues(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = leaf}, {.type = 2, .fn = burst}};
    scn_t s;
    (void)arg;
    memset(&queues, 0, sizeof queues);
    gmk_boot_cfg_t cfg = scn_cfg(scn_workers_of(2, 3));
    sim_options()->stall = 300;
    SCN_BOOT(&s, cfg, handlers);
    uint32_t cut = QUEUE_TASKS - sim_rand(40);
    gmk_task_t t[2] = {scn_task(2, 0, 0), scn_task(2, 2, cut)};
    t[0].meta1 = cut;
    t[1].meta1 = QUEUE_TASKS;
    sim_check(gmk_submit_n(&s.k, t, 2) == 2);
    scn_drain(&s);
    sim_check(scn_get(&queues.ran) == QUEUE_TASKS, "%u ran", scn_get(&queues.ran));
    scn_end(&s);
}

/* ---- credits ------------------------------------------------------------------------------- */

#define CREDITS 8u

static struct {
    scn_t s;
    gmk_a32_t open, inside, accepted, ran;
} credits;

/* Spends what is left of meta0 on more of its kind, as far as there are credits. */
static int spend(gmk_ctx_t *c)
{
    (void)scn_inc(&credits.ran);
    for (uint32_t i = 0; i < 2 && c->task->meta0 != 0; i++) {
        gmk_task_t t = scn_task(1, sim_rand(4), c->task->meta0 - 1);
        int rc = gmk_emit(c, &t);
        sim_check(rc == GMK_OK || rc == GMK_ERR_FULL, "emit %d", rc);
        (void)scn_add(&credits.accepted, rc == GMK_OK);
    }
    return GMK_OK;
}

static int stay(gmk_ctx_t *c)
{
    (void)c;
    (void)scn_inc(&credits.ran);
    (void)gmk_add32(&credits.inside, 1, GMK_ACQ_REL, GMK_KERNEL);
    scn_await(&credits.open, 1);
    return GMK_OK;
}

static void spender(void *arg)
{
    gmk_task_t t[4];
    gmk_port_t port;
    gmk_ctx_t *c = *(uint32_t *)arg == 0 ? NULL : scn_attach(&credits.s, &port);
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t n = 1 + sim_rand(SCN_LEN(t));
        for (uint32_t j = 0; j < n; j++)
            t[j] = scn_task(1, sim_rand(4), sim_rand(3));
        int rc = c == NULL ? gmk_submit_n(&credits.s.k, t, n) : gmk_emit_n(c, t, n);
        sim_check(rc >= 0 && rc <= (int)n, "%d accepted", rc);
        (void)scn_add(&credits.accepted, (uint32_t)rc);
        scn_pause();
    }
    if (c != NULL)
        gmk_detach(&port);
}

/* Fills the kernel while all workers are held: exactly task_max tasks fit, then none. */
static void fill(uint32_t workers)
{
    gmk_task_t t[CREDITS + 1], hold = scn_task(2, 0, 0);
    for (uint32_t i = 0; i < workers; i++) {
        sim_check(gmk_submit(&credits.s.k, &hold) == GMK_OK);
        scn_await(&credits.inside, i + 1);
    }
    for (uint32_t i = 0; i <= CREDITS; i++)
        t[i] = scn_task(1, 0, 0);
    int n = gmk_submit_n(&credits.s.k, t, CREDITS + 1);
    sim_check(n == (int)(CREDITS - workers), "%d fitted", n);
    sim_check(gmk_submit(&credits.s.k, t) == GMK_ERR_FULL);
    (void)scn_add(&credits.accepted, workers + (uint32_t)n);
    scn_set(&credits.open, 1);
}

void scn_credits(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = spend}, {.type = 2, .fn = stay}};
    uint32_t roles[3] = {0, 0, 1}, workers = scn_workers();
    gmk_boot_cfg_t cfg = scn_cfg(workers);
    (void)arg;
    memset(&credits, 0, sizeof credits);
    cfg.task_max = CREDITS;
    SCN_BOOT(&credits.s, cfg, handlers);
    scn_together(3, spender, roles, sizeof roles[0]);
    scn_drain(&credits.s);
    fill(workers);
    scn_drain(&credits.s);
    uint32_t accepted = scn_get(&credits.accepted);
    sim_check(scn_get(&credits.ran) == accepted, "%u ran of %u", scn_get(&credits.ran), accepted);
    sim_check(scn_stats(&credits.s).accepted == accepted);
    scn_end(&credits.s);
}

/* ---- parking ------------------------------------------------------------------------------- */

static struct {
    scn_t s;
    gmk_a32_t ran, submitted;
} parking;

static int count_park(gmk_ctx_t *c)
{
    (void)c;
    (void)scn_inc(&parking.ran);
    return GMK_OK;
}

static void submit_and_drain(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < 8; i++) {
        scn_submit(&parking.s, 1, 0);
        (void)scn_inc(&parking.submitted);
        if (sim_rand(3) == 0)
            scn_drain(&parking.s);
        else if (sim_rand(2) == 0)
            sim_sleep(1 + sim_rand(3000)); /* all workers go to sleep meanwhile */
    }
    scn_drain(&parking.s);
}

/* A lost wake-up shows as a drain that times out. */
void scn_parking(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = count_park}};
    uint32_t roles[2] = {0, 1};
    (void)arg;
    memset(&parking, 0, sizeof parking);
    SCN_BOOT(&parking.s, scn_cfg(scn_workers()), handlers);
    scn_together(2, submit_and_drain, roles, sizeof roles[0]);
    sim_check(scn_get(&parking.ran) == scn_get(&parking.submitted));
    sim_check(scn_stats(&parking.s).parks > 0);
    scn_end(&parking.s);
}

/* ---- yields -------------------------------------------------------------------------------- */

static struct {
    uint32_t endless, phases[4], unlimited;
} yields;

static int yield_always(gmk_ctx_t *c)
{
    sim_check(c->task->yield_count == (uint16_t)yields.endless++);
    return gmk_yield(c);
}

static int yield_phases(gmk_ctx_t *c)
{
    uint64_t phase = c->task->meta0;
    sim_check(c->task->meta1 < 4 && yields.phases[c->task->meta1]++ == phase);
    return phase == 3 ? GMK_OK : gmk_yield_at(c, phase + 1);
}

static int yield_unlimited(gmk_ctx_t *c)
{
    yields.unlimited++;
    return c->task->yield_count == 20 ? GMK_OK : gmk_yield(c);
}

/* A result that is not OK wins over a yield. */
static int yield_and_fail(gmk_ctx_t *c)
{
    (void)gmk_yield(c);
    return GMK_FAIL(7);
}

void scn_yields(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = yield_always, .max_yields = 3},
        {.type = 2, .fn = yield_phases},
        {.type = 3, .fn = yield_unlimited, .max_yields = GMK_YIELDS_UNLIMITED},
        {.type = 4, .fn = yield_and_fail},
        SCN_LETTER_HANDLER,
    };
    scn_t s;
    gmk_port_t port;
    (void)arg;
    memset(&yields, 0, sizeof yields);
    SCN_BOOT(&s, scn_cfg(scn_workers()), handlers);
    scn_hear(&s, scn_attach(&s, &port));
    gmk_detach(&port);
    scn_submit(&s, 1, 0);
    for (uint32_t i = 0; i < 4; i++) {
        gmk_task_t t = scn_task(2, sim_rand(4), 0);
        t.meta1 = i;
        sim_check(gmk_submit(&s.k, &t) == GMK_OK);
    }
    scn_submit(&s, 3, 0);
    scn_submit(&s, 4, 0);
    scn_drain(&s);
    sim_check(yields.endless == 4 && yields.unlimited == 21);
    sim_check(scn_letters.yield_limit == 1 && scn_letters.own == 1);
    gmk_stats_t st = scn_stats(&s);
    sim_check(st.yields == 3 + 4 * 3 + 20 && st.failed == 2 && st.dead_letters == 2);
    scn_end(&s);
}

/* ---- retries and poison -------------------------------------------------------------------- */

static struct {
    gmk_a32_t tries, poison_runs;
    uint64_t last;
} retries;

/* Succeeds at the attempt meta0. */
static int retry_until(gmk_ctx_t *c)
{
    (void)scn_inc(&retries.tries);
    return c->task->retry_count == c->task->meta0 ? GMK_OK : GMK_RETRY;
}

static int retry_spaced(gmk_ctx_t *c)
{
    uint64_t base = 1000u << (c->task->retry_count > 1 ? c->task->retry_count - 1 : 0);
    if (c->task->retry_count != 0)
        sim_check(sim_time() - retries.last >= base - base / 4, "after %u ns",
                  (unsigned)(sim_time() - retries.last));
    retries.last = sim_time();
    return GMK_RETRY;
}

static int fail_always(gmk_ctx_t *c)
{
    (void)c;
    (void)scn_inc(&retries.poison_runs);
    return GMK_FAIL(1);
}

#define POISON 4u

static void poisoned(scn_t *s, uint32_t workers)
{
    gmk_type_stats_t ts;
    for (uint32_t i = 0; i < 10; i++)
        scn_submit(s, 3, 0);
    scn_drain(s);
    if (sim_rand(8) == 0)
        sim_check(gmk_type_stats(&s->k, 3, &ts) == GMK_OK && ts.poisoned == 1 && ts.failed == 10);
    uint32_t runs = scn_get(&retries.poison_runs), hands = workers * sim_options()->lanes;
    sim_check(runs >= POISON && runs < POISON + 2 * hands, "%u runs, %u at a time", runs, hands);
    sim_check(scn_letters.own == runs && scn_letters.poisoned == 10 - runs);
    sim_check(gmk_type_reset(&s->k, 3) == GMK_OK);
    scn_submit(s, 3, 0);
    scn_drain(s);
    sim_check(scn_get(&retries.poison_runs) == runs + 1 && scn_stats(s).failed == 1 + 11);
}

void scn_retries(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = retry_until, .max_retries = 4},
        {.type = 2, .fn = retry_spaced, .max_retries = 3},
        {.type = 3, .fn = fail_always},
        SCN_LETTER_HANDLER,
    };
    uint32_t workers = scn_workers();
    gmk_boot_cfg_t cfg = scn_cfg(workers);
    scn_t s;
    gmk_port_t port;
    (void)arg;
    memset(&retries, 0, sizeof retries);
    cfg.poison_failures = POISON;
    SCN_BOOT(&s, cfg, handlers);
    scn_hear(&s, scn_attach(&s, &port));
    gmk_detach(&port);
    for (uint32_t i = 0; i < 5; i++)
        scn_submit(&s, 1, i);
    scn_submit(&s, 2, 0);
    scn_drain(&s);
    sim_check(scn_get(&retries.tries) == 1 + 2 + 3 + 4 + 5);
    sim_check(scn_letters.retry_limit == 1 && scn_stats(&s).retries == 10 + 3);
    poisoned(&s, workers);
    scn_end(&s);
}

/* ---- timers -------------------------------------------------------------------------------- */

#define TIMERS 6u
#define TICKS 4u

static struct {
    scn_t s;
    struct {
        uint64_t from, to, ran; /* due not before and not after; when it ran, 0 = not yet */
        uint32_t rank;
    } timer[2][TIMERS];
    gmk_a32_t ran;
    uint32_t ticked, last_tick; /* one worker of one lane */
} timers;

static int timer_run(gmk_ctx_t *c)
{
    uint32_t who = (uint32_t)c->task->meta1, i = (uint32_t)c->task->meta0;
    sim_check(timers.timer[who][i].ran == 0, "timer %u.%u twice", who, i);
    timers.timer[who][i].ran = sim_time();
    timers.timer[who][i].rank = scn_inc(&timers.ran);
    return GMK_OK;
}

/* With one worker of one lane: by tick, then in the order of submission. */
static int tick_run(gmk_ctx_t *c)
{
    uint32_t key = (uint32_t)(c->task->meta0 << 8 | c->task->meta1);
    sim_check(gmk_tick(c) >= c->task->meta0);
    sim_check(key > timers.last_tick || timers.ticked == 0, "%u after %u", key, timers.last_tick);
    timers.last_tick = key;
    timers.ticked++;
    return GMK_OK;
}

static void set_timers(void *arg)
{
    uint32_t who = *(uint32_t *)arg;
    for (uint32_t i = 0; i < TIMERS; i++) {
        uint64_t in = sim_rand(4) == 0 ? 0 : sim_rand(50) * 40000;
        gmk_task_t t = scn_task(1, 1, i);
        t.meta1 = who;
        timers.timer[who][i].from = sim_time() + in;
        timers.timer[who][i].to = UINT64_MAX;
        sim_check(gmk_submit_after(&timers.s.k, &t, in) == GMK_OK);
        timers.timer[who][i].to = sim_time() + in;
        if (sim_rand(3) == 0)
            sim_sleep(sim_rand(600000));
    }
}

#define LATE_NS 20000u /* what the worker may take until it gets to it, in virtual time */

static void check_timers(bool serial)
{
    for (uint32_t i = 0; i < 2 * TIMERS; i++) {
        uint32_t a = i / TIMERS, b = i % TIMERS;
        sim_check(timers.timer[a][b].ran >= timers.timer[a][b].from, "timer %u.%u early", a, b);
        sim_check(timers.timer[a][b].ran <= timers.timer[a][b].to + LATE_NS, "timer %u.%u is %u ns late", a,
                  b, (unsigned)(timers.timer[a][b].ran - timers.timer[a][b].to));
        for (uint32_t j = 0; j < 2 * TIMERS && serial; j++)
            if (timers.timer[a][b].to < timers.timer[j / TIMERS][j % TIMERS].from)
                sim_check(timers.timer[a][b].rank < timers.timer[j / TIMERS][j % TIMERS].rank, "order");
    }
}

static void check_ticks(void)
{
    uint32_t tick = scn_stats(&timers.s).tick;
    for (uint32_t i = 0; i < 2 * TICKS; i++) {
        gmk_task_t t = scn_task(2, 1, tick + 1 + i % TICKS);
        t.meta1 = i;
        sim_check(gmk_submit_at(&timers.s.k, &t, tick + 1 + i % TICKS) == GMK_OK);
    }
    scn_drain(&timers.s);
    scn_conserved(&timers.s, 2 * TICKS);
    for (uint32_t i = 1; i <= TICKS; i++) {
        sim_check(gmk_tick_advance(&timers.s.k) == tick + i);
        if (sim_rand(2) == 0) {
            scn_drain(&timers.s);
            sim_check(timers.ticked == 2 * i, "%u", timers.ticked);
        }
    }
    scn_drain(&timers.s);
    sim_check(timers.ticked == 2 * TICKS);
}

void scn_timers(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = timer_run}, {.type = 2, .fn = tick_run}};
    uint32_t roles[2] = {0, 1}, workers = scn_workers();
    gmk_boot_cfg_t cfg = scn_cfg(workers);
    (void)arg;
    memset(&timers, 0, sizeof timers);
    cfg.spin_ns = 1; /* while all others sleep, a spinner passes time in leaps */
    SCN_BOOT(&timers.s, cfg, handlers);
    scn_together(2, set_timers, roles, sizeof roles[0]);
    sim_sleep(3000000);
    sim_check(scn_stats(&timers.s).timers == 0);
    scn_drain(&timers.s);
    bool serial = workers * sim_options()->lanes == 1;
    sim_check(scn_get(&timers.ran) == 2 * TIMERS, "%u ran", scn_get(&timers.ran));
    check_timers(serial);
    if (serial)
        check_ticks();
    scn_end(&timers.s);
}
