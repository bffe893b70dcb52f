/* SPDX-License-Identifier: MIT */
/* scn_life.c — what comes and goes under fire: channels, subscribers, modules, workers, the kernel; memory. */
#include "kernel.h"

#include <signal.h>
#include <string.h>

/* ---- channels and subscriptions that end --------------------------------------------------- */

#define ROUNDS 4u
#define FIRED 10u /* messages of each emitter */

static struct {
    scn_t s;
    uint32_t mode, guarantee;
    gmk_a64_t now;         /* round << 32 | id of its channel */
    bool gone[ROUNDS + 1]; /* the channel of this round is closed and reclaimed */
    gmk_a32_t emitted, handled;
} churn;

static uint32_t churn_round(void) { return (uint32_t)(gmk_load64(&churn.now, GMK_ACQ, GMK_KERNEL) >> 32); }
static gmk_chan_t churn_chan(void)
{
    return (gmk_chan_t){(uint32_t)gmk_load64(&churn.now, GMK_ACQ, GMK_KERNEL)};
}

/* meta1: the round in which the message was emitted. */
static int churn_run(gmk_ctx_t *c)
{
    const uint64_t *p = (const uint64_t *)(uintptr_t)c->task->payload_ptr;
    sim_check(!churn.gone[c->task->meta1], "a message of a channel that is gone");
    sim_check(*p == c->task->meta0 + 1);
    sim_yield();
    sim_check(!churn.gone[c->task->meta1]);
    if (sim_rand(8) == 0 && c->task->yield_count < 2)
        return gmk_yield(c);
    if (sim_rand(8) == 0 && c->task->retry_count < 2)
        return GMK_RETRY;
    (void)scn_inc(&churn.handled);
    return GMK_OK;
}

static void fire(void *arg)
{
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&churn.s, &port);
    (void)arg;
    for (uint32_t i = 0; i < FIRED; i++) {
        uint64_t *p = gmk_payload_alloc(c, sizeof *p);
        sim_check(p != NULL);
        *p = i + 1;
        gmk_task_t t = scn_task(0, sim_rand(4), i);
        t.flags |= GMK_TASK_PAYLOAD_RC;
        t.payload_ptr = (uint64_t)(uintptr_t)p;
        t.payload_len = sizeof *p;
        uint64_t now = gmk_load64(&churn.now, GMK_ACQ, GMK_KERNEL);
        t.meta1 = now >> 32;
        int rc = gmk_chan_emit(c, (gmk_chan_t){(uint32_t)now}, &t);
        sim_check(rc == GMK_OK || rc == GMK_CHAN_FULL || rc == GMK_CHAN_CLOSED, "emit %d", rc);
        (void)scn_add(&churn.emitted, rc == GMK_OK);
        if (rc != GMK_OK)
            sim_check(gmk_payload_release(c, p) == GMK_OK);
        scn_pause();
    }
    gmk_detach(&port);
}

static gmk_sub_cfg_t some_sub(void)
{
    return (gmk_sub_cfg_t){.handler = 1, .order = sim_rand(3) == 0 ? GMK_PARALLEL : GMK_ORDERED};
}

static void open_round(gmk_ctx_t *c)
{
    gmk_chan_cfg_t cfg = {
        .name = "t.churn", .mode = churn.mode, .guarantee = churn.guarantee, .slots = 4 + sim_rand(8)};
    if (churn.guarantee == GMK_LOSSY)
        cfg.flags = sim_rand(2) == 0 ? GMK_CHAN_DROP_OLDEST : 0;
    gmk_chan_t ch = scn_open(c, cfg);
    gmk_store64(&churn.now, (uint64_t)(churn_round() + 1) << 32 | ch.id, GMK_REL, GMK_KERNEL);
}

/* Closes and opens again, or lets subscriptions come and go. */
static void come_and_go(void *arg)
{
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&churn.s, &port);
    (void)arg;
    for (uint32_t i = 1; i < ROUNDS; i++) {
        gmk_sub_t sub = scn_sub(c, churn_chan(), some_sub()), more = {0};
        if (churn.mode == GMK_FANOUT && sim_rand(2) == 0)
            more = scn_sub(c, churn_chan(), some_sub());
        for (uint32_t j = sim_rand(12); j > 0; j--)
            scn_pause();
        if (sim_rand(2) == 0) {
            sim_check(gmk_chan_unsub(c, sub) == GMK_OK);
            sim_check(gmk_chan_unsub(c, sub) == GMK_ERR_NOTFOUND);
            if (more.id != 0)
                sim_check(gmk_chan_unsub(c, more) == GMK_OK);
        } else {
            uint32_t round = churn_round();
            scn_close(c, churn_chan());
            churn.gone[round] = true;
            open_round(c);
        }
        scn_pause();
    }
    gmk_detach(&port);
}

static void churn_role(void *arg)
{
    if (*(uint32_t *)arg == 0)
        come_and_go(arg);
    else
        fire(arg);
}

static void churn_through(uint32_t guarantee)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = churn_run}, SCN_LETTER_HANDLER};
    uint32_t roles[3] = {0, 1, 2};
    gmk_port_t port;
    memset(&churn, 0, sizeof churn);
    churn.guarantee = guarantee;
    churn.mode = sim_rand(2);
    uint32_t early = sim_rand(2) * 400; /* the reaper comes while others are in the middle of something */
    SCN_BOOT(&churn.s, scn_cfg(scn_workers()), handlers);
    gmk_ctx_t *c = scn_attach(&churn.s, &port);
    scn_hear(&churn.s, c);
    scn_warm_up(&churn.s, c, 1, 12, 2 * ROUNDS);
    open_round(c);
    sim_options()->early_timeout = early;
    scn_together(3, churn_role, roles, sizeof roles[0]);
    sim_options()->early_timeout = 0;
    scn_close(c, churn_chan());
    scn_drain(&churn.s);
    gmk_stats_t st = scn_stats(&churn.s);
    uint32_t handled = scn_get(&churn.handled), emitted = scn_get(&churn.emitted);
    sim_check(st.completed >= handled && scn_letters.closed + scn_letters.shed == st.dropped,
              "%u letters, %u dropped", scn_letters.closed + scn_letters.shed, (unsigned)st.dropped);
    if (churn.mode == GMK_P2P)
        sim_check(emitted == handled + scn_letters.closed + scn_letters.shed,
                  "%u emitted, %u handled, %u closed, %u shed", emitted, handled, scn_letters.closed,
                  scn_letters.shed);
    gmk_detach(&port);
    scn_end(&churn.s);
}

void scn_churn(void *arg)
{
    (void)arg;
    churn_through(GMK_LOSSLESS);
}

void scn_churn_lossy(void *arg)
{
    (void)arg;
    churn_through(GMK_LOSSY);
}

/* ---- one subscriber after the other -------------------------------------------------------- */

#define TAKEN_OVER 30u

static struct {
    scn_t s;
    gmk_chan_t ch;
    uint32_t next, handled, inside, by[2];
} takeover;

/* Messages come in order, whoever's turn it is; what is missing was dead-lettered. */
static int takeover_run(gmk_ctx_t *c, uint32_t who)
{
    sim_check(takeover.inside++ == 0, "two subscribers at a time");
    sim_check(c->task->meta0 == c->task->seq && c->task->seq >= takeover.next, "message %u after %u",
              c->task->seq, takeover.next - 1);
    sim_yield();
    takeover.inside--;
    if (sim_rand(8) == 0 && c->task->retry_count == 0)
        return GMK_RETRY;
    takeover.next = c->task->seq + 1;
    takeover.handled++;
    takeover.by[who]++;
    return GMK_OK;
}

static int takeover_a(gmk_ctx_t *c) { return takeover_run(c, 0); }
static int takeover_b(gmk_ctx_t *c) { return takeover_run(c, 1); }

static void take_over(void *arg)
{
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&takeover.s, &port);
    if (*(uint32_t *)arg == 0) {
        for (uint32_t i = 0; i < TAKEN_OVER; i++) {
            gmk_task_t t = scn_task(0, sim_rand(4), i);
            sim_check(gmk_chan_emit_wait(c, takeover.ch, &t, 10 * SCN_S) == GMK_OK);
            scn_pause();
        }
    } else {
        for (uint32_t i = 0; i < 5; i++) {
            gmk_sub_t sub = scn_sub(c, takeover.ch, (gmk_sub_cfg_t){.handler = 1 + i % 2});
            gmk_sub_cfg_t again = {.handler = 1};
            sim_check(gmk_chan_sub(c, takeover.ch, &again, NULL) == GMK_CHAN_ALREADY_BOUND);
            for (uint32_t j = sim_rand(20); j > 0; j--)
                scn_pause();
            if (i < 4)
                sim_check(gmk_chan_unsub(c, sub) == GMK_OK);
        }
    }
    gmk_detach(&port);
}

void scn_takeover(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = takeover_a}, {.type = 2, .fn = takeover_b}, SCN_LETTER_HANDLER};
    uint32_t roles[2] = {0, 1};
    gmk_port_t port;
    (void)arg;
    memset(&takeover, 0, sizeof takeover);
    SCN_BOOT(&takeover.s, scn_cfg(scn_workers()), handlers);
    gmk_ctx_t *c = scn_attach(&takeover.s, &port);
    scn_hear(&takeover.s, c);
    takeover.ch = scn_open(c, (gmk_chan_cfg_t){.name = "t.turn", .slots = 2 + sim_rand(6)});
    scn_together(2, take_over, roles, sizeof roles[0]);
    scn_drain(&takeover.s);
    sim_check(takeover.handled + scn_letters.closed == TAKEN_OVER, "%u handled, %u dead", takeover.handled,
              scn_letters.closed);
    scn_close(c, takeover.ch);
    gmk_detach(&port);
    scn_end(&takeover.s);
}

/* ---- modules ------------------------------------------------------------------------------- */

static struct {
    scn_t s;
    gmk_module_t visitor;
    bool there; /* from before the load until the unload has returned */
    gmk_a32_t inside, ran;
    uint32_t submitted, emitted, inits, finis;
} modules;

static int visitor_run(gmk_ctx_t *c)
{
    (void)c;
    sim_check(modules.there, "a handler of a module that is gone");
    (void)scn_inc(&modules.inside);
    for (uint32_t i = sim_rand(8) == 0 ? 200 : 1; i > 0; i--)
        sim_yield(); /* an unload may begin and end meanwhile, if it does not wait for us */
    sim_check(modules.there);
    (void)gmk_sub32(&modules.inside, 1, GMK_RLX, GMK_KERNEL);
    (void)scn_inc(&modules.ran);
    return GMK_OK;
}

static int visitor_init(gmk_ctx_t *c)
{
    (void)c;
    modules.inits++;
    return GMK_OK;
}

static void visitor_fini(gmk_ctx_t *c)
{
    (void)c;
    sim_check(scn_get(&modules.inside) == 0);
    modules.finis++;
}

static const gmk_handler_reg_t visitor_handlers[] = {{.type = 2, .fn = visitor_run}};
static const gmk_chan_decl_t visitor_channels[] = {
    {.name = "visitor.in", .direction = GMK_CONSUMES, .handler = 2, .slots = 8}};

static void load_and_unload(void)
{
    for (uint32_t i = 0; i < 3; i++) {
        modules.there = true;
        int rc = gmk_module_load(&modules.s.k, &modules.visitor);
        sim_check(rc == GMK_OK, "load %d", rc);
        sim_check(gmk_module_load(&modules.s.k, &modules.visitor) == GMK_ERR_EXISTS);
        for (uint32_t j = sim_rand(20); j > 0; j--)
            scn_pause();
        rc = gmk_module_unload(&modules.s.k, "visitor");
        sim_check(rc == GMK_OK, "unload %d", rc);
        modules.there = false;
        sim_check(modules.finis == i + 1 && modules.inits == i + 1);
        scn_pause();
    }
}

static void call_on(void)
{
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&modules.s, &port);
    for (uint32_t i = 0; i < 15; i++) {
        gmk_task_t t = scn_task(2, sim_rand(4), i);
        gmk_chan_t ch;
        if (sim_rand(2) == 0) {
            sim_check(gmk_emit(c, &t) == GMK_OK);
            modules.submitted++;
        } else if (gmk_chan_find(c, "visitor.in", &ch) == GMK_OK) {
            t.type = 0;
            int rc = gmk_chan_emit(c, ch, &t);
            sim_check(rc == GMK_OK || rc == GMK_CHAN_FULL || rc == GMK_CHAN_CLOSED, "emit %d", rc);
            modules.emitted += rc == GMK_OK;
        }
        scn_pause();
    }
    gmk_detach(&port);
}

static void module_role(void *arg)
{
    if (*(uint32_t *)arg == 0)
        load_and_unload();
    else
        call_on();
}

void scn_modules(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {SCN_LETTER_HANDLER};
    uint32_t roles[2] = {0, 1};
    gmk_port_t port;
    gmk_chan_t ch;
    (void)arg;
    memset(&modules, 0, sizeof modules);
    modules.visitor = (gmk_module_t){.name = "visitor",
                                     .handlers = visitor_handlers,
                                     .n_handlers = SCN_LEN(visitor_handlers),
                                     .channels = visitor_channels,
                                     .n_channels = SCN_LEN(visitor_channels),
                                     .init = visitor_init,
                                     .fini = visitor_fini};
    SCN_BOOT(&modules.s, scn_cfg(scn_workers()), handlers);
    gmk_ctx_t *c = scn_attach(&modules.s, &port);
    scn_hear(&modules.s, c);
    scn_together(2, module_role, roles, sizeof roles[0]);
    if (gmk_chan_find(c, "visitor.in", &ch) == GMK_OK)
        scn_close(c, ch);
    scn_drain(&modules.s);
    uint32_t dead = scn_letters.unloaded + scn_letters.no_type + scn_letters.closed;
    uint32_t ran = scn_get(&modules.ran);
    sim_check(ran + dead == modules.submitted + modules.emitted, "%u ran, %u dead, %u + %u accepted", ran,
              dead, modules.submitted, modules.emitted);
    gmk_detach(&port);
    scn_end(&modules.s);
}

/* ---- faults -------------------------------------------------------------------------------- */

static struct {
    gmk_a32_t crashed, ran;
    uint32_t next;
} faults;

static int crash_some(gmk_ctx_t *c)
{
    if ((c->task->flags & GMK_TASK_CHANNEL_MSG) != 0)
        sim_check(c->task->seq == faults.next++, "message %u", c->task->seq);
    if (sim_rand(3) != 0) {
        (void)scn_inc(&faults.ran);
        return GMK_OK;
    }
    (void)scn_inc(&faults.crashed);
    (void)gmk_bump(c, 64);
    sim_yield();
    sim_crash(SIGSEGV, 1234);
}

void scn_faults(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = crash_some}, SCN_LETTER_HANDLER};
    scn_t s;
    gmk_port_t port;
    (void)arg;
    memset(&faults, 0, sizeof faults);
    scn_one_lane();
    SCN_BOOT(&s, scn_cfg(scn_workers()), handlers);
    gmk_ctx_t *c = scn_attach(&s, &port);
    scn_hear(&s, c);
    gmk_chan_t ch = scn_open(c, (gmk_chan_cfg_t){.name = "t.fault", .slots = 16, .reserve_pct = UINT32_MAX});
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 1});
    for (uint32_t i = 0; i < 12; i++) {
        gmk_task_t t = scn_task(1, sim_rand(4), i);
        sim_check(gmk_emit(c, &t) == GMK_OK);
        sim_check(gmk_chan_emit(c, ch, &t) == GMK_OK);
    }
    scn_drain(&s);
    gmk_stats_t st = scn_stats(&s);
    uint32_t crashed = scn_get(&faults.crashed);
    sim_check(scn_get(&faults.ran) + crashed == 24 && faults.next == 12);
    sim_check(st.faults == crashed && st.failed == crashed && scn_letters.fault == crashed);
    scn_close(c, ch);
    gmk_detach(&port);
    scn_end(&s);
}

/* ---- workers that hang --------------------------------------------------------------------- */

#define BEAT_NS 20000u
#define HUNG_TASKS 24u

static struct {
    uint8_t seen[2 * HUNG_TASKS];
    gmk_a32_t ran, spawned;
    uint32_t next;
} hang;

static void hang_once(uint32_t id)
{
    sim_check(id < 2 * HUNG_TASKS && hang.seen[id]++ == 0, "task %u twice", id);
    (void)scn_inc(&hang.ran);
}

/* Some hang for a while; some leave a task in the next slot before they do. */
static int hang_run(gmk_ctx_t *c)
{
    uint32_t id = (uint32_t)c->task->meta0;
    hang_once(id);
    if (id < HUNG_TASKS && sim_rand(2) == 0) {
        gmk_task_t t = scn_task(1, sim_rand(4), HUNG_TASKS + id);
        sim_check(gmk_emit(c, &t) == GMK_OK);
        (void)scn_inc(&hang.spawned);
    }
    if (id % 8 == 0)
        sim_sleep(sim_rand(12) * BEAT_NS + sim_rand(50));
    return GMK_OK;
}

static int hang_message(gmk_ctx_t *c)
{
    sim_check(c->task->seq == hang.next++);
    if (c->task->seq % 4 == 0)
        sim_sleep(sim_rand(10) * BEAT_NS);
    return GMK_OK;
}

void scn_watchdog(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = hang_run},
                                                 {.type = 2, .fn = hang_message}};
    static const uint32_t early[] = {0, 0, 200, 2000};
    uint32_t workers = scn_workers_of(1, 2);
    gmk_boot_cfg_t cfg = scn_cfg(workers);
    scn_t s;
    gmk_port_t port;
    (void)arg;
    memset(&hang, 0, sizeof hang);
    scn_one_lane();
    cfg.flags = GMK_BOOT_QUIET;
    cfg.watchdog_ns = BEAT_NS;
    cfg.max_spares = 2;
    cfg.batch = 4 + sim_rand(8);
    SCN_BOOT(&s, cfg, handlers);
    gmk_ctx_t *c = scn_attach(&s, &port);
    gmk_chan_t ch = scn_open(c, (gmk_chan_cfg_t){.name = "t.hang", .slots = 16, .reserve_pct = UINT32_MAX});
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 2, .pinned = 1, .worker = sim_rand(workers)});
    sim_options()->early_timeout = early[sim_rand(SCN_LEN(early))];
    for (uint32_t i = 0; i < HUNG_TASKS; i++) {
        gmk_task_t t = scn_task(1, sim_rand(4), i);
        sim_check(gmk_emit(c, &t) == GMK_OK);
        if (i % 3 == 0)
            sim_check(gmk_chan_emit(c, ch, &t) == GMK_OK);
    }
    scn_drain(&s);
    sim_options()->early_timeout = 0;
    sim_check(scn_get(&hang.ran) == HUNG_TASKS + scn_get(&hang.spawned) && hang.next == HUNG_TASKS / 3,
              "%u ran, %u messages", scn_get(&hang.ran), hang.next);
    scn_close(c, ch);
    gmk_detach(&port);
    scn_end(&s);
}

/* ---- the halt ------------------------------------------------------------------------------ */

static struct {
    gmk_a32_t accepted, ended;
    uint32_t finis;
    gmk_chan_t ch;
} halting;

/* Multiplies for some generations, waits, yields and retries. */
static int halt_run(gmk_ctx_t *c)
{
    gmk_task_t t = scn_task(1, sim_rand(4), c->task->meta0 + 1);
    int rc;
    switch (c->task->meta0 < 3 ? sim_rand(6) : 6) {
    case 6: break;
    case 0: return gmk_yield(c);
    case 1: return GMK_RETRY;
    case 2:
        rc = gmk_chan_emit(c, halting.ch, &t);
        if (rc == GMK_CHAN_FULL)
            return gmk_chan_wait(c, halting.ch, 1);
        (void)scn_add(&halting.accepted, rc == GMK_OK);
        break;
    case 3: (void)scn_add(&halting.accepted, gmk_emit_after(c, &t, 100000) == GMK_OK); break;
    default:
        for (int i = 0; i < 2; i++)
            (void)scn_add(&halting.accepted, gmk_emit(c, &t) == GMK_OK);
    }
    (void)scn_inc(&halting.ended);
    return GMK_OK;
}

static int halt_message(gmk_ctx_t *c)
{
    if (sim_rand(3) == 0)
        return sim_rand(2) == 0 ? GMK_RETRY : gmk_yield(c);
    (void)scn_inc(&halting.ended);
    return GMK_OK;
}

static void halt_fini(gmk_ctx_t *c)
{
    (void)c;
    halting.finis++;
}

/* Whatever is left is dropped, and every delivery is accounted for. */
void scn_halt_loaded(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = halt_run, .max_yields = GMK_YIELDS_UNLIMITED, .max_retries = UINT16_MAX},
        {.type = 2, .fn = halt_message, .max_yields = GMK_YIELDS_UNLIMITED, .max_retries = UINT16_MAX}};
    gmk_module_t module = {.name = "halting", .handlers = handlers, .n_handlers = 2, .fini = halt_fini};
    gmk_module_t *list[1] = {&module};
    gmk_boot_cfg_t cfg = scn_cfg(scn_workers());
    gmk_kernel_t k;
    gmk_port_t port;
    gmk_halt_report_t r;
    (void)arg;
    memset(&halting, 0, sizeof halting);
    cfg.task_max = 20;
    sim_check(gmk_boot(&k, &cfg, list, 1) == GMK_OK);
    sim_check(gmk_attach(&k, &port) == GMK_OK);
    gmk_ctx_t *c = gmk_port_ctx(&port);
    halting.ch = scn_open(c, (gmk_chan_cfg_t){.name = "t.halt", .mode = sim_rand(2), .slots = 4});
    if (sim_rand(4) != 0)
        (void)scn_sub(c, halting.ch, (gmk_sub_cfg_t){.handler = 2});
    else
        (void)scn_sub(c, halting.ch, (gmk_sub_cfg_t){.handler = 2, .order = GMK_PARALLEL});
    sim_check(gmk_halt(&k) == GMK_ERR_STATE); /* a port is attached */
    gmk_detach(&port);
    for (uint32_t i = 0; i < 10; i++) {
        gmk_task_t t = scn_task(1, sim_rand(4), 0);
        int sent = gmk_submit(&k, &t);
        sim_check(sent == GMK_OK || sent == GMK_ERR_FULL, "submit %d", sent);
        (void)scn_add(&halting.accepted, sent == GMK_OK);
        scn_pause();
    }
    int rc;
    do
        rc = gmk_halt_within(&k, sim_rand(2) == 0 ? 10 * SCN_S : sim_rand(3000), &r);
    while (rc == GMK_ERR_BUSY);
    sim_check(rc == GMK_OK && r.zombies == 0, "halt %d", rc);
    sim_check(r.completed == scn_get(&halting.ended) && halting.finis == 1);
    sim_check(r.completed + r.failed + r.dropped == scn_get(&halting.accepted),
              "%u completed, %u failed, %u dropped, %u accepted", (unsigned)r.completed, (unsigned)r.failed,
              (unsigned)r.dropped, scn_get(&halting.accepted));
}

/* ---- memory that changes hands ------------------------------------------------------------- */

#define BLOCKS 12u

static struct {
    scn_t s;
    gmk_a32_t freed, sent;
} exchange;

static const uint32_t sizes[] = {1, 32, 33, 100, 1000, 5000, 20000, 70000};

#define COUNTED 0x80000000u /* in its name: the block is a payload */

/* The first and the last word of a block name it, so two owners of one show. */
static uint64_t *block_new(gmk_ctx_t *c, uint64_t name, uint64_t *words)
{
    uint32_t size = sizes[sim_rand(SCN_LEN(sizes))], counted = sim_rand(2) == 0 ? COUNTED : 0;
    *words = (size + 15) / 8;
    uint64_t *p = counted == 0 ? gmk_alloc(c, *words * 8) : gmk_payload_alloc(c, *words * 8);
    if (p != NULL)
        p[0] = p[*words - 1] = name | counted;
    return p;
}

static gmk_task_t block_task(uint32_t type, uint64_t *p, uint64_t words)
{
    gmk_task_t t = scn_task(type, sim_rand(4), (uint64_t)(uintptr_t)p);
    t.meta1 = words << 32 | (uint32_t)p[0];
    return t;
}

static void block_free(gmk_ctx_t *c, const gmk_task_t *t)
{
    uint64_t *p = (uint64_t *)(uintptr_t)t->meta0;
    uint64_t words = t->meta1 >> 32;
    sim_check((uint32_t)p[0] == (uint32_t)t->meta1 && p[words - 1] == p[0], "block %u", (uint32_t)t->meta1);
    p[0] = p[words - 1] = 0;
    if ((t->meta1 & COUNTED) == 0)
        gmk_free(c, p);
    else
        sim_check(gmk_payload_release(c, p) == GMK_OK);
    (void)scn_inc(&exchange.freed);
}

static int free_here(gmk_ctx_t *c)
{
    block_free(c, c->task);
    return GMK_OK;
}

/* Frees what came and sends on a new one. */
static int free_and_send(gmk_ctx_t *c)
{
    uint64_t words, *p;
    block_free(c, c->task);
    p = block_new(c, 1000 + c->task->seq, &words);
    if (p == NULL)
        return GMK_OK;
    gmk_task_t t = block_task(1, p, words);
    sim_check(gmk_emit(c, &t) == GMK_OK);
    (void)scn_inc(&exchange.sent);
    return GMK_OK;
}

static void send_blocks(void *arg)
{
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&exchange.s, &port);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint64_t words, *p = block_new(c, (*(uint32_t *)arg + 1) * 100 + i, &words);
        if (p == NULL)
            continue;
        gmk_task_t t = block_task(1 + sim_rand(2), p, words);
        sim_check(gmk_emit(c, &t) == GMK_OK);
        (void)scn_inc(&exchange.sent);
        scn_pause();
    }
    gmk_detach(&port);
}

void scn_exchange(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = free_here},
                                                 {.type = 2, .fn = free_and_send}};
    uint32_t roles[2] = {0, 1};
    (void)arg;
    memset(&exchange, 0, sizeof exchange);
    SCN_BOOT(&exchange.s, scn_cfg(scn_workers()), handlers);
    scn_together(2, send_blocks, roles, sizeof roles[0]);
    scn_drain(&exchange.s);
    sim_check(scn_get(&exchange.freed) == scn_get(&exchange.sent));
    scn_end(&exchange.s);
}
