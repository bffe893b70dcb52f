/* SPDX-License-Identifier: MIT */
#include "bridge_int.h"

/* ---- records ------------------------------------------------------------------------------- */

/* False: the ring is full. */
static bool tell(gmk_bridge_t *b, const gmk_region_tick_t *r)
{
    if (gmk_link_room(&b->out, 1) == 0)
        return false;
    gmk_region_slot_t *s = gmk_link_fill(&b->out);
    gmk_hal_memcpy(s->body, r, sizeof *r);
    ((gmk_region_tick_t *)(void *)s->body)->route = GMK_REGION_TICK;
    s->stamp = 0;
    b->fence.filled++;
    if (b->out.filled >= b->cfg.batch)
        gmk_egress_publish(b);
    return true;
}

static bool tell_now(gmk_bridge_t *b, const gmk_region_tick_t *r)
{
    bool told = tell(b, r);
    if (told)
        gmk_egress_publish(b);
    return told;
}

void gmk_fence_pack(gmk_region_slot_t *s, uint64_t major, uint64_t minor)
{
    gmk_task_t *t = (gmk_task_t *)(void *)s->body;
    t->yield_count = (uint16_t)major;
    t->retry_count = (uint16_t)(major >> 16);
    s->stamp = minor;
}

void gmk_fence_unpack(gmk_task_t *t, const gmk_task_t *raw, uint64_t stamp)
{
    t->flags |= GMK_TASK_DETERMINISTIC;
    t->yield_count = raw->yield_count;
    t->retry_count = raw->retry_count;
    t->channel = (uint32_t)stamp;
    t->seq = (uint32_t)(stamp >> 32);
}

/* ---- messages ------------------------------------------------------------------------------ */

void gmk_fence_sent(gmk_bridge_t *b, bool sent)
{
    if (b->fence.phase != GMK_FENCE_SEND)
        return;
    b->fence.unsent--;
    b->fence.sent -= !sent;
}

void gmk_fence_arrived(gmk_bridge_t *b) { b->fence.arrived++; }

int gmk_fence_arrive(gmk_bridge_t *b, uint32_t handle, const gmk_task_t *t)
{
    gmk_det_msg_t m = {.task = *t,
                       .chan = handle,
                       .major = t->yield_count | (uint32_t)t->retry_count << 16,
                       .minor = t->channel | (uint64_t)t->seq << 32};
    if (b->fence.phase == GMK_FENCE_OFF || b->fence.phase == GMK_FENCE_ENDED)
        return GMK_ERR_STATE;
    m.task.yield_count = m.task.retry_count = 0;
    m.task.channel = 0;
    return gmk_det_arrive(b->f, &m);
}

/* Moves what leaves into the ledgers of its routes.  False: some are not sent yet, and a later round goes on. */
static bool send_off(gmk_bridge_t *b)
{
    gmk_fence_t *f = &b->fence;
    while (f->holding || gmk_det_leave(b->f, &f->held)) {
        int rc = gmk_egress_put(b, &f->held);
        f->holding = rc == GMK_ERR_BUSY;
        if (f->holding)
            return false;
        if (rc < 0) {
            gmk_det_left(b->f, &f->held.task, GMK_DROP_BRIDGE);
            continue;
        }
        f->sent++;
        f->unsent++;
    }
    return f->unsent == 0;
}

/* ---- what the peer tells ------------------------------------------------------------------- */

static bool wild(gmk_bridge_t *b, const char *what)
{
    gmk_bridge_fail(b, GMK_ERR_INVAL, what, NULL);
    return false;
}

static bool hear_open(gmk_bridge_t *b, const gmk_region_tick_t *r)
{
    gmk_fence_t *f = &b->fence;
    bool awaited = b->v.side == 0
                     ? r->tick == f->tick && f->phase == GMK_FENCE_OPEN
                     : r->tick > f->tick && (f->phase == GMK_FENCE_BETWEEN || f->phase == GMK_FENCE_RUN);
    if (!awaited || f->open.seen)
        return wild(b, "the peer opens a tick that is not the next");
    f->open = (gmk_fence_mark_t){true, r->minor};
    f->offered = r->tick;
    return true;
}

/* A task or a failure of the peer: it tells of them when it has this side's OPEN. */
static bool hear_order(gmk_bridge_t *b, const gmk_region_tick_t *r)
{
    gmk_fence_t *f = &b->fence;
    if (f->phase < GMK_FENCE_OPEN || f->phase > GMK_FENCE_ORDER || !f->open.seen || f->order.seen)
        return wild(b, "the peer orders a tick that it has not opened");
    if (r->op == GMK_TICK_ORDER) {
        if (r->tick != f->tick || r->minor != f->far_n)
            return wild(b, "the peer told another number of tasks than it says");
        f->order.seen = true;
        return true;
    }
    f->far_n++;
    if (r->op == GMK_TICK_FAILED) {
        gmk_det_far_failed(b->f, r->type, r->minor < UINT32_MAX ? (uint32_t)r->minor : UINT32_MAX);
        return true;
    }
    const gmk_det_place_t p = {.tick = r->tick,
                               .born = r->born,
                               .major = r->major,
                               .minor = r->minor,
                               .type = r->type,
                               .prio = r->prio,
                               .sub = r->sub};
    gmk_det_far(b->f, &p);
    return true;
}

static void hear_end(gmk_bridge_t *b, const gmk_region_tick_t *r)
{
    int code = (int)(int32_t)(uint32_t)r->minor;
    b->fence.end_due = false; /* it knows */
    gmk_det_end(b->k, code < 0 ? code : GMK_ERR_KERNEL_RESET, "it has ended on the peer");
}

bool gmk_fence_take(gmk_bridge_t *b, const gmk_task_t *body)
{
    gmk_fence_t *f = &b->fence;
    gmk_region_tick_t r;
    gmk_hal_memcpy(&r, body, sizeof r);
    f->due = true;
    f->alone |= r.op == GMK_TICK_ALONE;
    if (f->phase == GMK_FENCE_ENDED ||
        (f->phase == GMK_FENCE_OFF && r.op != GMK_TICK_WISH && r.op != GMK_TICK_END))
        return true; /* it does not know yet, or is early */
    switch (r.op) {
    case GMK_TICK_WISH:
        f->heard = true;
        f->peer = (gmk_det_wish_t){r.tick, r.born, r.major, r.flags & 1};
        return true;
    case GMK_TICK_OPEN: return hear_open(b, &r);
    case GMK_TICK_TASK:
    case GMK_TICK_FAILED:
    case GMK_TICK_ORDER: return hear_order(b, &r);
    case GMK_TICK_ALONE: gmk_fence_part(b); return true;
    case GMK_TICK_END: hear_end(b, &r); return true;
    default: return wild(b, "the peer sent a record of a tick that is none");
    }
}

/* ---- between two ticks --------------------------------------------------------------------- */

static bool same(const gmk_det_wish_t *a, const gmk_det_wish_t *b)
{
    return a->done == b->done && a->tick == b->tick && a->work == b->work && a->automatic == b->automatic;
}

static bool tell_wish(gmk_bridge_t *b, const gmk_det_wish_t *w)
{
    gmk_fence_t *f = &b->fence;
    const gmk_region_tick_t r = {
        .op = GMK_TICK_WISH, .flags = w->automatic, .tick = w->done, .born = w->tick, .major = w->work};
    if (f->wished && same(w, &f->told))
        return false;
    if (!tell_now(b, &r)) {
        f->due = true;
        return false;
    }
    f->wished = true;
    f->told = *w;
    return true;
}

static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Side 0: the tick to begin, 0 = none. */
static uint64_t choose(const gmk_fence_t *f, const gmk_det_wish_t *mine)
{
    const gmk_det_wish_t *peer = &f->peer;
    if (!f->heard || peer->done < f->tick)
        return 0; /* it is not done with the last one */
    uint64_t done = later(mine->done, peer->done), next = UINT64_MAX;
    if (later(mine->tick, peer->tick) > done)
        return done + 1;
    if ((mine->automatic | peer->automatic) == 0)
        return 0;
    next = mine->work != 0 ? later(mine->work, done + 1) : next;
    if (peer->work != 0 && later(peer->work, done + 1) < next)
        next = later(peer->work, done + 1);
    return next != UINT64_MAX ? next : 0;
}

/* No tick is under way or will come by itself, as far as this side knows. */
static bool at_rest(const gmk_bridge_t *b, const gmk_det_wish_t *mine)
{
    const gmk_fence_t *f = &b->fence;
    bool automatic = (mine->automatic | f->peer.automatic) != 0;
    if (mine->tick > mine->done || (automatic && mine->work != 0))
        return false;
    return b->v.side == 0 ? f->peer.done >= f->tick : !f->open.seen;
}

static void begin(gmk_bridge_t *b, uint64_t tick)
{
    gmk_fence_t *f = &b->fence;
    f->tick = tick;
    f->sent = f->unsent = f->told_n = 0;
    f->type = 0;
    f->phase = GMK_FENCE_SEND;
    gmk_det_begin(b->f, b->v.side, tick);
}

/* With the right to begin a tick, which is given back when none begins. */
static bool between(gmk_bridge_t *b)
{
    gmk_fence_t *f = &b->fence;
    gmk_det_wish_t mine = gmk_det_wish(b->k);
    uint64_t tick = b->v.side == 0 ? choose(f, &mine) : f->open.seen ? f->offered : 0;
    bool told = false;
    if (tick > mine.done) {
        begin(b, tick);
        return true;
    }
    if (tick != 0) {
        gmk_det_release(b->k);
        return wild(b, "the peer opens a tick that is over");
    }
    if (b->v.side == 1 || !f->wished)
        told = tell_wish(b, &mine);
    gmk_det_release(b->k);
    if (at_rest(b, &mine))
        gmk_det_settle(b->k);
    return told;
}

/* ---- the steps of a tick ------------------------------------------------------------------- */

static bool send(gmk_bridge_t *b)
{
    gmk_fence_t *f = &b->fence;
    if (!send_off(b))
        return false;
    const gmk_region_tick_t r = {.op = GMK_TICK_OPEN, .tick = f->tick, .minor = f->sent};
    if (!tell_now(b, &r))
        return false;
    f->phase = GMK_FENCE_OPEN;
    return true;
}

static bool open(gmk_bridge_t *b)
{
    gmk_fence_t *f = &b->fence;
    if (!f->open.seen || f->arrived < f->open.n)
        return false;
    if (f->arrived != f->open.n)
        return wild(b, "the peer sent more messages for a tick than it says");
    gmk_det_expand_tick(b->f);
    f->phase = GMK_FENCE_TELL;
    return true;
}

/* Tells of all tasks, as far as the ring has room; what was begun goes on in the next round. */
static bool tell_order(gmk_bridge_t *b)
{
    gmk_fence_t *f = &b->fence;
    gmk_det_place_t p;
    uint64_t was = f->told_n;
    uint32_t n;
    while (gmk_link_room(&b->out, 1) != 0) {
        gmk_region_tick_t r = {.op = GMK_TICK_ORDER, .tick = f->tick, .minor = f->told_n};
        if (gmk_det_tell(b->k, &p))
            r = (gmk_region_tick_t){.op = GMK_TICK_TASK,
                                    .type = p.type,
                                    .prio = (uint8_t)p.prio,
                                    .sub = (uint16_t)p.sub,
                                    .tick = p.tick,
                                    .born = p.born,
                                    .major = p.major,
                                    .minor = p.minor};
        else if (gmk_det_tell_failed(b->k, &f->type, &n))
            r = (gmk_region_tick_t){.op = GMK_TICK_FAILED, .type = f->type++, .minor = n};
        (void)tell(b, &r);
        if (r.op == GMK_TICK_ORDER) {
            f->phase = GMK_FENCE_ORDER;
            gmk_egress_publish(b);
            return true;
        }
        f->told_n++;
    }
    gmk_egress_publish(b);
    return f->told_n != was;
}

static bool order(gmk_bridge_t *b)
{
    gmk_fence_t *f = &b->fence;
    if (!f->order.seen)
        return false;
    f->open = f->order = (gmk_fence_mark_t){false, 0};
    f->arrived = f->far_n = 0;
    f->phase = GMK_FENCE_RUN;
    f->due = true;
    if (!gmk_det_start(b->f))
        gmk_det_release(b->k);
    return true;
}

/* ---- the end ------------------------------------------------------------------------------- */

/* The bridge has the right to begin a tick in these. */
static bool preparing(const gmk_fence_t *f)
{
    return f->phase >= GMK_FENCE_SEND && f->phase <= GMK_FENCE_ORDER;
}

/* What waits is dropped by whoever begins the next tick alone, if the run has ended. */
static void leave(gmk_bridge_t *b, enum gmk_fence_phase phase, bool held)
{
    gmk_fence_t *f = &b->fence;
    if (f->holding)
        gmk_det_left(b->f, &f->held.task, GMK_DROP_BRIDGE);
    f->holding = false;
    f->phase = phase;
    gmk_det_abandon(b->f);
    if (held)
        gmk_det_release(b->k);
    gmk_det_part(b->f);
}

/* The run has ended: when no tick is running, what waits is dropped.  False: it is. */
static bool end(gmk_bridge_t *b)
{
    if (!preparing(&b->fence) && !gmk_det_hold(b->k))
        return false;
    leave(b, GMK_FENCE_ENDED, true);
    return true;
}

static bool tell_end(gmk_bridge_t *b)
{
    gmk_fence_t *f = &b->fence;
    gmk_region_tick_t r = {.op = GMK_TICK_ALONE};
    if (f->end_due)
        r = (gmk_region_tick_t){.op = GMK_TICK_END, .minor = (uint32_t)gmk_det_over(b->k)};
    if (!(f->end_due || f->alone_due) || !tell_now(b, &r))
        return false;
    f->end_due = f->alone_due = false;
    return true;
}

static bool has_work(const gmk_core_t *k)
{
    gmk_det_wish_t w = gmk_det_wish(k);
    return w.work != 0 || w.tick > w.done;
}

/* A tick that is running is finished, and what it emits is dropped. */
void gmk_fence_part(gmk_bridge_t *b)
{
    gmk_fence_t *f = &b->fence;
    bool held = preparing(f);
    f->alone_due = f->end_due = false;
    if (f->phase == GMK_FENCE_OFF)
        return;
    if (f->phase == GMK_FENCE_ENDED) {
        f->phase = GMK_FENCE_OFF;
        return;
    }
    bool running = !held && !gmk_det_hold(b->k);
    if (held || running || f->arrived != 0 || f->open.seen || has_work(b->k))
        gmk_det_end(b->k, GMK_ERR_KERNEL_RESET, "the bridge to its peer went down");
    leave(b, GMK_FENCE_OFF, !running);
}

void gmk_fence_join(gmk_bridge_t *b)
{
    gmk_fence_t *f = &b->fence;
    f->due = true;
    if (f->alone)
        return;
    if (gmk_det_join(b->f) == GMK_OK) {
        f->phase = GMK_FENCE_BETWEEN;
        f->end_due = true; /* once it has ended */
        return;
    }
    f->end_due = gmk_det_over(b->k) < 0;
    f->alone_due = !f->end_due;
    f->phase = f->end_due ? GMK_FENCE_ENDED : GMK_FENCE_OFF;
}

/* ---- a round ------------------------------------------------------------------------------- */

static bool step(gmk_bridge_t *b)
{
    gmk_fence_t *f = &b->fence;
    switch (f->phase) {
    case GMK_FENCE_BETWEEN:
    case GMK_FENCE_RUN:
        if (!gmk_det_hold(b->k))
            return false; /* who has it will poke */
        f->phase = GMK_FENCE_BETWEEN;
        return between(b);
    case GMK_FENCE_SEND: return send(b);
    case GMK_FENCE_OPEN: return open(b);
    case GMK_FENCE_TELL: return tell_order(b);
    case GMK_FENCE_ORDER: return order(b);
    default: return false;
    }
}

bool gmk_fence_round(gmk_bridge_t *b)
{
    gmk_fence_t *f = &b->fence;
    bool any = false, ended = f->phase == GMK_FENCE_ENDED || f->phase == GMK_FENCE_OFF;
    if (GMK_UNLIKELY(ended))
        return (f->end_due || f->alone_due) && tell_end(b);
    if (!preparing(f)) {
        bool poked = gmk_det_poked(b->k);
        if (GMK_LIKELY(!poked && !f->due))
            return false;
    }
    f->due = false;
    for (;;) {
        if (GMK_UNLIKELY(gmk_det_over(b->k) < 0))
            return end(b) | any;
        if (!step(b))
            return any;
        any = true;
    }
}
