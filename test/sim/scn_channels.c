/* SPDX-License-Identifier: MIT */
/* scn_channels.c — channels that stay: order, priority, fan-out, shedding, waiting, replay. */
#include "kernel.h"

#include <string.h>

#define EMITTERS 3u
#define MESSAGES 10u /* of each emitter */

struct emitter {
    scn_t *s;
    gmk_chan_t ch;
    uint32_t number;
    gmk_ctx_t *c; /* while attached */
};

static uint64_t message_id(uint32_t emitter, uint32_t i) { return (uint64_t)emitter << 32 | i; }

/* Emits one message, however long it takes. */
static void emit_sure(gmk_ctx_t *c, gmk_chan_t ch, const gmk_task_t *t)
{
    int rc;
    if (sim_rand(2) == 0) {
        rc = gmk_chan_emit_wait(c, ch, t, 10 * SCN_S);
    } else {
        while ((rc = gmk_chan_emit(c, ch, t)) == GMK_CHAN_FULL)
            sim_sleep(1 + sim_rand(500));
    }
    sim_check(rc == GMK_OK, "emit %d", rc);
}

/* One by one, or some at a time. */
static void emit_messages(void *arg)
{
    struct emitter *e = arg;
    gmk_port_t port;
    gmk_task_t t[MESSAGES];
    e->c = scn_attach(e->s, &port);
    for (uint32_t i = 0; i < MESSAGES;) {
        uint32_t n = 1 + sim_rand(4), prio = sim_rand(4);
        for (uint32_t j = i; j < MESSAGES; j++)
            t[j] = scn_task(0, prio, message_id(e->number, j));
        n = n < MESSAGES - i ? n : MESSAGES - i;
        if (n == 1) {
            emit_sure(e->c, e->ch, &t[i++]);
        } else {
            int rc = gmk_chan_emit_n(e->c, e->ch, &t[i], n);
            sim_check(rc == GMK_CHAN_FULL || (rc > 0 && rc <= (int)n), "emit_n %d", rc);
            i += rc > 0 ? (uint32_t)rc : 0;
            if (rc < 0)
                sim_sleep(1 + sim_rand(500));
        }
        scn_pause();
    }
    gmk_detach(&port);
}

static void emit_all(scn_t *s, gmk_chan_t ch, uint32_t emitters)
{
    struct emitter e[EMITTERS];
    for (uint32_t i = 0; i < emitters; i++)
        e[i] = (struct emitter){.s = s, .ch = ch, .number = i};
    scn_together(emitters, emit_messages, e, sizeof e[0]);
}

/* ---- one ordered mailbox ------------------------------------------------------------------- */

/* What an ordered subscription sees. */
struct order {
    uint32_t next[EMITTERS]; /* of each emitter */
    uint32_t seq, ran, inside;
    bool begun; /* the message `seq` is not finished */
};

static struct order p2p;

/* One message at a time, in the order of the channel and of each emitter; one not finished comes again. */
static void in_order(struct order *o, gmk_ctx_t *c)
{
    uint32_t emitter = (uint32_t)(c->task->meta0 >> 32);
    sim_check(o->inside++ == 0, "two messages at a time");
    if (o->begun) {
        sim_check(c->task->seq == o->seq, "message %u before %u was finished", c->task->seq, o->seq);
    } else {
        sim_check(o->ran == 0 || c->task->seq == o->seq + 1, "message %u after %u", c->task->seq, o->seq);
        o->seq = c->task->seq;
        o->begun = true;
    }
    sim_check(emitter < EMITTERS && (uint32_t)c->task->meta0 == o->next[emitter]);
    for (uint32_t i = sim_rand(8) == 0 ? 60 : 1; i > 0; i--)
        sim_yield(); /* a second runner has time to come */
}

static int finish(struct order *o, const gmk_ctx_t *c)
{
    o->next[c->task->meta0 >> 32]++;
    o->ran++;
    o->begun = false;
    o->inside--;
    return GMK_OK;
}

static int p2p_run(gmk_ctx_t *c)
{
    in_order(&p2p, c);
    uint32_t how = sim_rand(8);
    if (how == 0 && c->task->yield_count < 3) {
        p2p.inside--;
        return gmk_yield(c);
    }
    if (how == 1 && c->task->retry_count < 2) {
        p2p.inside--;
        return GMK_RETRY;
    }
    return finish(&p2p, c);
}

void scn_mailbox(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = p2p_run}};
    uint32_t workers = scn_workers();
    scn_t s;
    gmk_port_t port;
    (void)arg;
    memset(&p2p, 0, sizeof p2p);
    SCN_BOOT(&s, scn_cfg(workers), handlers);
    gmk_ctx_t *c = scn_attach(&s, &port);
    gmk_chan_t ch = scn_open(
        c, (gmk_chan_cfg_t){.name = "t.p2p", .slots = 1 + sim_rand(8), .reserve_pct = UINT32_MAX});
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 1, .pinned = sim_rand(2), .worker = sim_rand(workers)});
    emit_all(&s, ch, EMITTERS);
    scn_drain(&s);
    sim_check(p2p.ran == EMITTERS * MESSAGES, "%u arrived", p2p.ran);
    scn_close(c, ch);
    gmk_detach(&port);
    scn_end(&s);
}

/* ---- priority ------------------------------------------------------------------------------ */

static struct {
    gmk_a32_t open, inside, direct; /* direct: tasks run */
    uint32_t messages, before;      /* before: direct tasks before the message of priority 0 */
} boost;

static int boost_hold(gmk_ctx_t *c)
{
    (void)c;
    (void)gmk_add32(&boost.inside, 1, GMK_ACQ_REL, GMK_KERNEL);
    scn_await(&boost.open, 1);
    return GMK_OK;
}

static int boost_direct(gmk_ctx_t *c)
{
    (void)c;
    (void)scn_inc(&boost.direct);
    return GMK_OK;
}

static int boost_message(gmk_ctx_t *c)
{
    sim_check(c->task->meta0 == boost.messages++);
    boost.before = scn_get(&boost.direct);
    return GMK_OK;
}

/* A message of priority 0 behind one of priority 3 hurries the mailbox on. */
void scn_boost(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = boost_hold}, {.type = 2, .fn = boost_direct}, {.type = 3, .fn = boost_message}};
    gmk_boot_cfg_t cfg = scn_cfg(1);
    scn_t s;
    gmk_port_t port;
    (void)arg;
    memset(&boost, 0, sizeof boost);
    cfg.batch = 4;
    SCN_BOOT(&s, cfg, handlers);
    gmk_ctx_t *c = scn_attach(&s, &port);
    gmk_chan_t ch = scn_open(c, (gmk_chan_cfg_t){.name = "t.boost", .slots = 8});
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 3});
    scn_drain(&s);
    gmk_task_t t = scn_task(1, 0, 0);
    sim_check(gmk_emit(c, &t) == GMK_OK);
    scn_await(&boost.inside, 1);
    for (uint32_t i = 0; i < 60; i++) {
        t = scn_task(2, 3, i);
        sim_check(gmk_emit(c, &t) == GMK_OK);
    }
    for (uint32_t i = 0; i < 3; i++) {
        t = scn_task(0, i < 2 ? 3 : 0, i);
        sim_check(gmk_chan_emit(c, ch, &t) == GMK_OK);
    }
    scn_set(&boost.open, 1);
    scn_drain(&s);
    sim_check(boost.messages == 3 && boost.before <= 3 * cfg.batch, "%u before", boost.before);
    scn_close(c, ch);
    gmk_detach(&port);
    scn_end(&s);
}

/* ---- lossless fan-out ---------------------------------------------------------------------- */

static struct {
    struct order ordered, pinned;
    uint32_t pin;
    uint64_t log[2][EMITTERS * MESSAGES]; /* what the two ordered ones saw */
    uint8_t seen[EMITTERS * MESSAGES];    /* by the parallel one */
    gmk_a32_t parallel;
} fan;

static int fan_ordered(gmk_ctx_t *c)
{
    in_order(&fan.ordered, c);
    fan.log[0][fan.ordered.ran] = c->task->meta0;
    return finish(&fan.ordered, c);
}

static int fan_pinned(gmk_ctx_t *c)
{
    sim_check(gmk_self_worker(c) == fan.pin);
    in_order(&fan.pinned, c);
    fan.log[1][fan.pinned.ran] = c->task->meta0;
    return finish(&fan.pinned, c);
}

static int fan_parallel(gmk_ctx_t *c)
{
    if (sim_rand(8) == 0 && c->task->yield_count == 0)
        return gmk_yield(c);
    if (sim_rand(8) == 0 && c->task->retry_count == 0)
        return GMK_RETRY;
    uint32_t i = (uint32_t)(c->task->meta0 >> 32) * MESSAGES + (uint32_t)c->task->meta0;
    sim_check(i < EMITTERS * MESSAGES && fan.seen[i]++ == 0, "message %u twice", i);
    (void)scn_inc(&fan.parallel);
    return GMK_OK;
}

void scn_fanout(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = fan_ordered}, {.type = 2, .fn = fan_pinned}, {.type = 3, .fn = fan_parallel}};
    uint32_t workers = scn_workers();
    scn_t s;
    gmk_port_t port;
    (void)arg;
    memset(&fan, 0, sizeof fan);
    fan.pin = sim_rand(workers);
    SCN_BOOT(&s, scn_cfg(workers), handlers);
    gmk_ctx_t *c = scn_attach(&s, &port);
    scn_warm_up(&s, c, 3, 10, 1);
    gmk_chan_t ch = scn_open(c,
                             (gmk_chan_cfg_t){.name = "t.fan", .mode = GMK_FANOUT, .slots = 2 + sim_rand(8)});
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 1});
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 2, .pinned = 1, .worker = fan.pin});
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 3, .order = GMK_PARALLEL});
    emit_all(&s, ch, 2);
    scn_drain(&s);
    sim_check(fan.ordered.ran == 2 * MESSAGES && fan.pinned.ran == 2 * MESSAGES &&
                  scn_get(&fan.parallel) == 2 * MESSAGES,
              "%u %u %u", fan.ordered.ran, fan.pinned.ran, scn_get(&fan.parallel));
    sim_check(memcmp(fan.log[0], fan.log[1], sizeof fan.log[0]) == 0, "two orders");
    sim_check(scn_stats(&s).accepted == 3 * 2 * MESSAGES);
    scn_close(c, ch);
    gmk_detach(&port);
    scn_end(&s);
}

/* ---- shedding ------------------------------------------------------------------------------ */

struct lossy {
    uint32_t next, handled, gaps, inside; /* next: number that comes if nothing is lost */
    bool first_came;
};

static struct lossy lossy[2];

static int lossy_run(struct lossy *l, gmk_ctx_t *c)
{
    sim_check(l->inside++ == 0);
    sim_check((int32_t)(c->task->seq - l->next) >= 0, "message %u after %u", c->task->seq, l->next - 1);
    sim_check(gmk_chan_gap(c) == c->task->seq - l->next, "gap %u before %u after %u", gmk_chan_gap(c),
              c->task->seq, l->next - 1);
    l->first_came |= c->task->seq == 0;
    l->gaps += c->task->seq - l->next;
    l->next = c->task->seq + 1;
    l->handled++;
    if (l == &lossy[1] && sim_rand(2) == 0)
        sim_sleep(sim_rand(4000)); /* the slow one */
    l->inside--;
    return GMK_OK;
}

static int lossy_fast(gmk_ctx_t *c) { return lossy_run(&lossy[0], c); }
static int lossy_slow(gmk_ctx_t *c) { return lossy_run(&lossy[1], c); }

static void check_lossy(scn_t *s, gmk_chan_t ch, uint32_t subs, bool oldest)
{
    gmk_chan_stats_t cs;
    sim_check(gmk_chan_stats(&s->k, ch, &cs) == GMK_OK);
    if (subs == 2) /* a mailbox sheds what finds no room before it has a number */
        sim_check(cs.emitted == 2 * MESSAGES, "%u emitted", (unsigned)cs.emitted);
    uint32_t handled = lossy[0].handled + lossy[1].handled;
    sim_check(cs.completed == handled && cs.shed == subs * 2 * MESSAGES - handled,
              "%u completed, %u shed, %u handled", (unsigned)cs.completed, (unsigned)cs.shed, handled);
    sim_check(scn_letters.shed == cs.shed, "%u letters", scn_letters.shed);
    for (uint32_t i = 2 - subs; i < 2 && subs == 2; i++)
        sim_check(oldest ? lossy[i].next == 2 * MESSAGES : lossy[i].first_came, "subscriber %u", i);
}

void scn_lossy(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = lossy_fast}, {.type = 2, .fn = lossy_slow}, SCN_LETTER_HANDLER};
    uint32_t fanout = sim_rand(2), oldest = sim_rand(2);
    gmk_boot_cfg_t cfg = scn_cfg(scn_workers());
    scn_t s;
    gmk_port_t port;
    (void)arg;
    memset(&lossy, 0, sizeof lossy);
    SCN_BOOT(&s, cfg, handlers);
    gmk_ctx_t *c = scn_attach(&s, &port);
    scn_hear(&s, c);
    gmk_chan_t ch = scn_open(c, (gmk_chan_cfg_t){.name = "t.lossy",
                                                 .mode = fanout != 0 ? GMK_FANOUT : GMK_P2P,
                                                 .guarantee = GMK_LOSSY,
                                                 .slots = 2 + sim_rand(4),
                                                 .flags = oldest != 0 ? GMK_CHAN_DROP_OLDEST : 0});
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 2});
    if (fanout != 0)
        (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 1});
    emit_all(&s, ch, 2);
    scn_drain(&s);
    check_lossy(&s, ch, 1 + fanout, oldest != 0);
    scn_close(c, ch);
    gmk_detach(&port);
    scn_end(&s);
}

/* ---- waiting for credits ------------------------------------------------------------------- */

#define PRODUCERS 4u
#define EACH 5u

static struct {
    gmk_chan_t a, b;
    uint32_t sent[PRODUCERS], passed[PRODUCERS], arrived[PRODUCERS], total;
} wait;

/* Emits EACH messages on the first channel; without credit it waits and goes on where it was. */
static int wait_produce(gmk_ctx_t *c)
{
    uint32_t me = (uint32_t)c->task->meta0;
    while (wait.sent[me] < EACH) {
        gmk_task_t t = scn_task(0, c->task->flags & GMK_PRIO_MASK, message_id(me, wait.sent[me]));
        int rc = gmk_chan_emit(c, wait.a, &t);
        sim_check(rc == GMK_OK || rc == GMK_CHAN_FULL, "emit %d", rc);
        if (rc == GMK_CHAN_FULL)
            return gmk_chan_wait(c, wait.a, 1 + sim_rand(2));
        wait.sent[me]++;
    }
    return GMK_OK;
}

/* An ordered stage: passes on to the second channel, whose waiters are mailboxes. */
static int wait_pass(gmk_ctx_t *c)
{
    uint32_t from = (uint32_t)(c->task->meta0 >> 32);
    gmk_task_t t = scn_task(0, sim_rand(4), c->task->meta0);
    int rc = gmk_chan_emit(c, wait.b, &t);
    sim_check(rc == GMK_OK || rc == GMK_CHAN_FULL, "emit %d", rc);
    if (rc == GMK_CHAN_FULL)
        return gmk_chan_wait(c, wait.b, 1);
    sim_check((uint32_t)c->task->meta0 == wait.passed[from]++);
    return GMK_OK;
}

static int wait_arrive(gmk_ctx_t *c)
{
    uint32_t from = (uint32_t)(c->task->meta0 >> 32);
    sim_check((uint32_t)c->task->meta0 == wait.arrived[from]++);
    wait.total++;
    if (sim_rand(4) == 0)
        sim_sleep(sim_rand(2000));
    return GMK_OK;
}

void scn_waiters(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = wait_produce}, {.type = 2, .fn = wait_pass}, {.type = 3, .fn = wait_arrive}};
    scn_t s;
    gmk_port_t port;
    (void)arg;
    memset(&wait, 0, sizeof wait);
    SCN_BOOT(&s, scn_cfg(scn_workers()), handlers);
    gmk_ctx_t *c = scn_attach(&s, &port);
    wait.a = scn_open(c, (gmk_chan_cfg_t){.name = "t.a", .slots = 2 + sim_rand(2)});
    wait.b = scn_open(c,
                      (gmk_chan_cfg_t){.name = "t.b", .slots = 1 + sim_rand(2), .reserve_pct = UINT32_MAX});
    (void)scn_sub(c, wait.a, (gmk_sub_cfg_t){.handler = 2});
    (void)scn_sub(c, wait.b, (gmk_sub_cfg_t){.handler = 3});
    for (uint32_t i = 0; i < PRODUCERS; i++)
        scn_submit(&s, 1, i);
    scn_drain(&s);
    sim_check(wait.total == PRODUCERS * EACH, "%u arrived", wait.total);
    scn_close(c, wait.a);
    scn_close(c, wait.b);
    gmk_detach(&port);
    scn_end(&s);
}

/* ---- waiting from outside ------------------------------------------------------------------ */

static struct order outside;

static int outside_run(gmk_ctx_t *c)
{
    in_order(&outside, c);
    return finish(&outside, c);
}

static void subscribe_late(void *arg)
{
    struct emitter *e = arg;
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(e->s, &port);
    sim_sleep(sim_rand(3000));
    (void)scn_sub(c, e->ch, (gmk_sub_cfg_t){.handler = 1});
    gmk_detach(&port);
}

static void emit_outside(void *arg)
{
    struct emitter *e = arg;
    gmk_port_t port;
    if (e->number == EMITTERS) {
        subscribe_late(arg);
        return;
    }
    gmk_ctx_t *c = scn_attach(e->s, &port);
    for (uint32_t i = 0; i < MESSAGES / 2;) {
        gmk_task_t t = scn_task(0, sim_rand(4), message_id(e->number, i));
        uint64_t patience = sim_rand(3) == 0 ? sim_rand(1500) : 10 * SCN_S, start = sim_time();
        int rc = gmk_chan_emit_wait(c, e->ch, &t, patience);
        sim_check(rc == GMK_OK ||
                      (rc == GMK_ERR_TIMEOUT && sim_time() - start >= patience && patience < SCN_S),
                  "emit_wait %d after %u ns", rc, (unsigned)(sim_time() - start));
        i += rc == GMK_OK;
    }
    gmk_detach(&port);
}

void scn_emit_wait(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = outside_run}};
    struct emitter e[EMITTERS + 1];
    scn_t s;
    gmk_port_t port;
    gmk_boot_cfg_t cfg = scn_cfg(scn_workers());
    (void)arg;
    memset(&outside, 0, sizeof outside);
    cfg.max_ports = 5;
    SCN_BOOT(&s, cfg, handlers);
    gmk_ctx_t *c = scn_attach(&s, &port);
    gmk_chan_t ch = scn_open(c, (gmk_chan_cfg_t){.name = "t.wait", .slots = 2});
    for (uint32_t i = 0; i <= EMITTERS; i++)
        e[i] = (struct emitter){.s = &s, .ch = ch, .number = i};
    scn_together(EMITTERS + 1, emit_outside, e, sizeof e[0]);
    scn_drain(&s);
    sim_check(outside.ran == EMITTERS * (MESSAGES / 2), "%u arrived", outside.ran);
    scn_close(c, ch);
    gmk_detach(&port);
    scn_end(&s);
}

/* ---- replay and payloads ------------------------------------------------------------------- */

#define REPLAYED 24u

static struct {
    scn_t s;
    gmk_chan_t ch;
    struct {
        uint32_t from, next, ran;
        bool begun;
    } sub[3];
    gmk_a32_t emitted;
} replay;

/* The payload of message i is this, for as long as somebody may read it. */
static uint64_t content(uint64_t i) { return i * 0x9e3779b97f4a7c15u + 1; }

static gmk_task_t with_payload(gmk_ctx_t *c, uint64_t i)
{
    uint64_t *p = gmk_payload_alloc(c, 2 * sizeof *p);
    sim_check(p != NULL);
    p[0] = p[1] = content(i);
    gmk_task_t t = scn_task(0, sim_rand(4), i);
    t.flags |= GMK_TASK_PAYLOAD_RC;
    t.payload_ptr = (uint64_t)(uintptr_t)p;
    t.payload_len = 2 * sizeof *p;
    return t;
}

static void check_payload(const gmk_ctx_t *c)
{
    const uint64_t *p = (const uint64_t *)(uintptr_t)c->task->payload_ptr;
    sim_check(p[0] == content(c->task->meta0) && p[1] == p[0], "payload of message %u",
              (unsigned)c->task->meta0);
}

static int replay_run(gmk_ctx_t *c, uint32_t who)
{
    sim_check(c->task->seq == c->task->meta0 && c->task->seq == replay.sub[who].next,
              "message %u in place of %u", c->task->seq, replay.sub[who].next);
    check_payload(c);
    sim_yield();
    check_payload(c);
    replay.sub[who].next++;
    replay.sub[who].ran++;
    if (who == 0 && sim_rand(4) == 0)
        sim_sleep(sim_rand(1000));
    return GMK_OK;
}

static int replay_0(gmk_ctx_t *c) { return replay_run(c, 0); }
static int replay_1(gmk_ctx_t *c) { return replay_run(c, 1); }
static int replay_2(gmk_ctx_t *c) { return replay_run(c, 2); }

/* Joins somewhere in what is readable: what is refused is not. */
static void join_replay(void *arg)
{
    uint32_t who = *(uint32_t *)arg;
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&replay.s, &port);
    for (uint32_t i = sim_rand(10); i > 0; i--)
        scn_pause();
    for (bool late = sim_rand(3) == 0; late && scn_get(&replay.emitted) != REPLAYED;)
        sim_sleep(200); /* the last message may just be on its way */
    for (int rc = GMK_ERR_RANGE; rc != GMK_OK;) {
        uint32_t back = sim_rand(6), now = scn_get(&replay.emitted);
        gmk_sub_cfg_t cfg = {.handler = 1 + who, .replay_from = 1, .from = now > back ? now - back : 0};
        gmk_sub_t sub;
        replay.sub[who].from = replay.sub[who].next = cfg.from;
        rc = gmk_chan_sub(c, replay.ch, &cfg, &sub);
        sim_check(rc == GMK_OK || rc == GMK_ERR_RANGE, "sub %d", rc);
    }
    gmk_detach(&port);
}

static void emit_replay(void *arg)
{
    gmk_port_t port;
    gmk_ctx_t *c;
    if (*(uint32_t *)arg != 0) {
        join_replay(arg);
        return;
    }
    c = scn_attach(&replay.s, &port);
    for (uint32_t i = 0; i < REPLAYED; i++) {
        gmk_task_t t = with_payload(c, i);
        emit_sure(c, replay.ch, &t);
        (void)scn_inc(&replay.emitted);
        scn_pause();
    }
    gmk_detach(&port);
}

void scn_replay(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = replay_0}, {.type = 2, .fn = replay_1}, {.type = 3, .fn = replay_2}};
    uint32_t roles[3] = {0, 1, 2};
    gmk_port_t port;
    (void)arg;
    memset(&replay, 0, sizeof replay);
    SCN_BOOT(&replay.s, scn_cfg(scn_workers()), handlers);
    gmk_ctx_t *c = scn_attach(&replay.s, &port);
    replay.ch = scn_open(
        c, (gmk_chan_cfg_t){
               .name = "t.replay", .mode = GMK_FANOUT, .slots = 4, .replay = 4, .reserve_pct = UINT32_MAX});
    if (sim_rand(4) != 0)
        (void)scn_sub(c, replay.ch, (gmk_sub_cfg_t){.handler = 1});
    else
        replay.sub[0].next = REPLAYED; /* nobody hears it yet: it is kept all the same */
    scn_together(3, emit_replay, roles, sizeof roles[0]);
    scn_drain(&replay.s);
    for (uint32_t i = 0; i < 3; i++)
        sim_check(replay.sub[i].next == REPLAYED &&
                      (i == 0 || replay.sub[i].ran == REPLAYED - replay.sub[i].from),
                  "subscriber %u: from %u to %u", i, replay.sub[i].from, replay.sub[i].next);
    scn_close(c, replay.ch);
    gmk_detach(&port);
    scn_end(&replay.s);
}

/* ---- degrade ------------------------------------------------------------------------------- */

static struct {
    uint32_t next, ran, lost;
} degrade[2];

static int degrade_run(gmk_ctx_t *c, uint32_t who)
{
    sim_check(c->task->seq == degrade[who].next + gmk_chan_gap(c), "message %u after %u, gap %u",
              c->task->seq, degrade[who].next - 1, gmk_chan_gap(c));
    check_payload(c);
    degrade[who].lost += gmk_chan_gap(c);
    degrade[who].next = c->task->seq + 1;
    degrade[who].ran++;
    if (who == 1)
        sim_sleep(sim_rand(8000));
    return GMK_OK;
}

static int degrade_fast(gmk_ctx_t *c) { return degrade_run(c, 0); }
static int degrade_slow(gmk_ctx_t *c) { return degrade_run(c, 1); }

void scn_degrade(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = degrade_fast}, {.type = 2, .fn = degrade_slow}, SCN_LETTER_HANDLER};
    scn_t s;
    gmk_port_t port;
    (void)arg;
    memset(&degrade, 0, sizeof degrade);
    SCN_BOOT(&s, scn_cfg(scn_workers()), handlers);
    gmk_ctx_t *c = scn_attach(&s, &port);
    scn_hear(&s, c);
    gmk_chan_t ch = scn_open(c, (gmk_chan_cfg_t){.name = "t.degrade",
                                                 .mode = GMK_FANOUT,
                                                 .slots = 4,
                                                 .replay = 4,
                                                 .flags = GMK_CHAN_DEGRADE,
                                                 .reserve_pct = UINT32_MAX});
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 1});
    (void)scn_sub(c, ch, (gmk_sub_cfg_t){.handler = 2});
    for (uint32_t i = 0; i < REPLAYED; i++) {
        gmk_task_t t = with_payload(c, i);
        emit_sure(c, ch, &t);
        scn_pause();
    }
    scn_drain(&s);
    for (uint32_t i = 0; i < 2; i++) /* what is lost at the very end no message tells of */
        sim_check(degrade[i].ran + degrade[i].lost == degrade[i].next && degrade[i].next <= REPLAYED);
    sim_check(scn_letters.shed == 2 * REPLAYED - degrade[0].ran - degrade[1].ran);
    scn_close(c, ch);
    gmk_detach(&port);
    scn_end(&s);
}
