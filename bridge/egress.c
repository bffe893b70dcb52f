/* SPDX-License-Identifier: MIT */
/*
 * egress.c — messages that leave: outlet, ledger, pool, ring; and what the peer says became of them.
 *
 * A message is sent only with the peer's credit for it (granted) and its payload in the route's part of the pool.
 * Both come back with the acknowledgement, in order, so the part of the pool is a ring of bytes.  A large
 * payload is copied a chunk a round: what is small and on another route goes by.
 */
#include "bridge_int.h"

#define TAKE 32u        /* messages taken from an outlet at once */
#define PLENTY_UNITS 4u /* a route's part of the pool, where there is as much */

static gmk_ledger_t *entry(const gmk_bridge_t *b, const gmk_route_out_t *r, uint64_t n)
{
    return &r->ledger[n & (b->cfg.window - 1)];
}

/* ---- the pool ------------------------------------------------------------------------------ */

static uint64_t unit_bytes(const gmk_bridge_t *b) { return b->v.pool_bytes / GMK_POOL_UNITS; }

static uint64_t run_of(uint32_t unit, uint32_t n)
{
    return (n == GMK_POOL_UNITS ? UINT64_MAX : ((uint64_t)1 << n) - 1) << unit;
}

static void give_units(gmk_bridge_t *b, gmk_route_out_t *r)
{
    if (r->n_units != 0)
        b->pool_used &= ~run_of(r->unit, r->n_units);
    r->n_units = 0;
    r->pool_head = r->pool_tail = 0;
}

static bool take_units(gmk_bridge_t *b, gmk_route_out_t *r, uint32_t n)
{
    for (uint32_t at = 0; at + n <= GMK_POOL_UNITS; at++)
        if ((b->pool_used & run_of(at, n)) == 0) {
            b->pool_used |= run_of(at, n);
            r->unit = at;
            r->n_units = n;
            r->pool_head = r->pool_tail = 0;
            return true;
        }
    return false;
}

/*
 * A part of at least `least` units; a larger one where there is plenty, so that one payload is copied while the peer
 * has another, but not more than half of the pool for that.
 */
static bool take_part(gmk_bridge_t *b, gmk_route_out_t *r, uint32_t least)
{
    uint32_t n = 2 * least <= GMK_POOL_UNITS / 2 ? 2 * least : least;
    for (n = n < PLENTY_UNITS ? PLENTY_UNITS : n; n >= least; n--)
        if (take_units(b, r, n))
            return true;
    return false;
}

/* Routes that have nothing under way can do without theirs. */
static void reclaim(gmk_bridge_t *b)
{
    for (uint32_t i = 0; i < b->n_out; i++) {
        gmk_route_out_t *r = &b->route_out[b->active_out[i]];
        if (r->staged == r->acked && !r->placed)
            give_units(b, r);
    }
}

enum room { ROOM, ROOM_LATER, ROOM_NEVER };

/*
 * Where a payload of `bytes` may be put: *at, an offset in the pool.  A route with nothing under way may have its
 * part made anew when it is too small; one that has something under way must not lose its part, or routes would wait for
 * each other.
 */
static enum room pool_room(gmk_bridge_t *b, gmk_route_out_t *r, uint64_t bytes, uint64_t *at)
{
    uint64_t need = (bytes + GMK_POOL_ALIGN - 1) & ~(uint64_t)(GMK_POOL_ALIGN - 1), unit = unit_bytes(b);
    uint64_t units = need == 0 ? 1 : (need + unit - 1) / unit;
    if (need > b->v.pool_bytes)
        return ROOM_NEVER;
    if (units > r->n_units) {
        if (r->staged != r->acked)
            return ROOM_LATER;
        give_units(b, r);
        if (!take_part(b, r, (uint32_t)units)) {
            reclaim(b);
            if (!take_part(b, r, (uint32_t)units))
                return ROOM_LATER;
        }
    }
    uint64_t size = unit * r->n_units, offset = r->pool_head % size;
    uint64_t skip = offset + need > size ? size - offset : 0; /* a payload lies in one piece */
    if (r->pool_head + skip + need - r->pool_tail > size) {
        if (r->staged != r->acked)
            return ROOM_LATER;
        r->pool_tail = r->pool_head + skip;
    }
    r->pool_head += skip;
    *at = r->unit * unit + r->pool_head % size;
    return ROOM;
}

enum staged { STAGED, STAGE_LATER, STAGE_NEVER };

/* A place in the pool for the payload of the message at `staged`. */
static enum staged place(gmk_bridge_t *b, gmk_route_out_t *r, gmk_ledger_t *e)
{
    if (r->placed)
        return STAGED;
    enum room room = pool_room(b, r, e->task.payload_len, &e->at);
    if (room != ROOM)
        return room == ROOM_LATER ? STAGE_LATER : STAGE_NEVER;
    r->placed = true;
    return STAGED;
}

/* Brings it there: the engine's business, or a chunk by this thread.  False: there is more to do. */
static bool copy_payload(gmk_bridge_t *b, gmk_route_out_t *r, gmk_ledger_t *e)
{
    unsigned char *to = b->v.pool_out + e->at;
    const char *from = (const char *)(uintptr_t)e->task.payload_ptr;
    uint32_t bytes = e->task.payload_len, left = bytes - r->copied;
    if (gmk_bulk_takes(&b->bulk_out, bytes)) {
        e->ticket = gmk_bulk_order(&b->bulk_out, to, from, bytes);
        if (e->ticket != 0)
            r->ordered = e->ticket;
        return e->ticket != 0;
    }
    uint32_t n = left < GMK_BRIDGE_CHUNK ? left : GMK_BRIDGE_CHUNK;
    gmk_crew_copy(b->crew, to + r->copied, from + r->copied, n);
    r->copied += n;
    return n == left;
}

static enum staged stage_payload(gmk_bridge_t *b, gmk_route_out_t *r, gmk_ledger_t *e)
{
    enum staged placed = place(b, r, e);
    if (placed != STAGED)
        return placed;
    if (!copy_payload(b, r, e))
        return STAGE_LATER;
    r->placed = false;
    r->copied = 0;
    r->pool_head += ((uint64_t)e->task.payload_len + GMK_POOL_ALIGN - 1) & ~(uint64_t)(GMK_POOL_ALIGN - 1);
    gmk_bridge_count(&b->fig.payloads_out, 1);
    gmk_bridge_count(&b->fig.payload_bytes_out, e->task.payload_len);
    return STAGED;
}

/* The message at `staged`. */
static enum staged stage(gmk_bridge_t *b, gmk_route_out_t *r)
{
    gmk_ledger_t *e = entry(b, r, r->staged);
    e->ticket = 0;
    if (e->task.payload_ptr != 0) {
        enum staged done = stage_payload(b, r, e);
        if (done != STAGED)
            return done;
    }
    e->pool_end = r->pool_head;
    r->staged++;
    return STAGED;
}

/* Those behind the one that waits for the engine. */
static bool stage_ahead(gmk_bridge_t *b, gmk_route_out_t *r)
{
    uint64_t was = r->staged, most = r->sent + GMK_BULK_AHEAD;
    if (b->bulk_out.engine.ring == NULL || r->staged == r->sent)
        return false;
    while (r->staged != r->taken && (int64_t)(r->staged - most) < 0 && r->staged - r->acked < r->granted &&
           stage(b, r) == STAGED)
        ;
    return r->staged != was;
}

/* ---- sending ------------------------------------------------------------------------------- */

static gmk_mailbox_t *outlet(const gmk_bridge_t *b, const gmk_route_out_t *r)
{
    return gmk_outlet_find(b->k, r->sub);
}

static bool is_det(const gmk_task_t *t) { return (t->flags & GMK_TASK_DETERMINISTIC) != 0; }

/* The outcome of one message that was taken. */
static void finish(gmk_bridge_t *b, gmk_mailbox_t *m, gmk_task_t *t, int code)
{
    if (code == GMK_DROP_BRIDGE)
        gmk_bridge_count(&b->fig.dropped, 1);
    else if (code == GMK_ERR_KERNEL_RESET)
        gmk_bridge_count(&b->fig.reset, 1);
    if (is_det(t)) {
        gmk_det_left(b->f, t, code);
        return;
    }
    gmk_outlet_finish(b->f, m, t, code);
}

/* Messages that may be in the ledger: where the channel sheds its oldest, most are left for it to shed. */
static uint64_t ledger_most(const gmk_bridge_t *b, const gmk_mailbox_t *m)
{
    uint64_t quarter = m->chan->slots / 4 + 1;
    return m->sheddable != 0 && quarter < b->cfg.window ? quarter : b->cfg.window;
}

/*
 * Fills the ledger.  Messages that came from the peer do not go back to it: on a fan-out channel they have been there,
 * and on a P2P channel whose consumer has gone from both sides they would pass to and fro for ever.
 */
static bool take(gmk_bridge_t *b, gmk_route_out_t *r, gmk_mailbox_t *m)
{
    bool any = false;
    for (uint64_t most = ledger_most(b, m); r->taken - r->acked < most;) {
        gmk_task_t t[TAKE];
        uint64_t room = most - (r->taken - r->acked);
        uint32_t n = gmk_outlet_take(b->f, m, t, room < TAKE ? (uint32_t)room : TAKE);
        for (uint32_t i = 0; i < n; i++) {
            if (t[i].channel == b->f->origin) {
                finish(b, m, &t[i], m->chan->mode == GMK_FANOUT ? GMK_OK : GMK_DROP_BRIDGE);
                continue;
            }
            *entry(b, r, r->taken++) = (gmk_ledger_t){.task = t[i]};
        }
        any |= n != 0;
        if (n < TAKE)
            break;
    }
    if (any)
        gmk_outlet_finished(b->f, m);
    return any;
}

/* One that is not of the outlet: it comes when a tick ends, see fence.c. */
int gmk_egress_put(gmk_bridge_t *b, const gmk_det_msg_t *m)
{
    gmk_route_out_t *r = &b->route_out[gmk_delivery_chan(m->chan)];
    if (r->handle != m->chan || r->state == GMK_ROUTE_NONE || r->state == GMK_ROUTE_REFUSED)
        return GMK_CHAN_CLOSED;
    if (r->state != GMK_ROUTE_OPEN || r->taken - r->acked == b->cfg.window)
        return GMK_ERR_BUSY;
    *entry(b, r, r->taken++) = (gmk_ledger_t){.task = m->task, .major = m->major, .minor = m->minor};
    return GMK_OK;
}

/*
 * A payload that will never fit: the message is taken out of the ledger.  Those before it may still be
 * under way, so it is told to wait until it is first.
 */
static bool drop_oversized(gmk_bridge_t *b, gmk_route_out_t *r, gmk_mailbox_t *m)
{
    if (r->staged != r->acked)
        return false;
    if (is_det(&entry(b, r, r->sent)->task))
        gmk_fence_sent(b, false);
    finish(b, m, &entry(b, r, r->sent)->task, GMK_DROP_BRIDGE);
    gmk_outlet_finished(b->f, m);
    for (uint64_t i = r->sent; i + 1 < r->taken; i++)
        *entry(b, r, i) = *entry(b, r, i + 1);
    r->taken--;
    return true;
}

/* Is the message to be seen on its way?  Said to the peer, too, by the slot's stamp. */
static GMK_COLD uint64_t trace_send(gmk_bridge_t *b, const gmk_route_out_t *r, const gmk_task_t *t,
                                    uint32_t route)
{
    if (route == GMK_CHAN_SYS_TRACE ||
        ((t->flags & GMK_TASK_EMIT_TRACE) == 0 && !gmk_trace_sampled(b->k, t->seq)))
        return 0;
    gmk_trace_now(b->f, GMK_EV_BRIDGE_SEND, t->type,
                  route | gmk_hop(b, (uint32_t)(r->sent - r->base), b->v.side) << 8, t->seq);
    return b->now;
}

static void fill_slot(gmk_bridge_t *b, gmk_route_out_t *r, gmk_ledger_t *e, uint32_t route)
{
    gmk_region_slot_t *s = gmk_link_fill(&b->out);
    gmk_task_t t = e->task;
    bool payload = t.payload_ptr != 0;
    uint64_t stamp = 0;
    if (GMK_UNLIKELY(b->tracing || (t.flags & GMK_TASK_EMIT_TRACE) != 0))
        stamp = trace_send(b, r, &t, route);
    t.flags = (uint16_t)(t.flags & GMK_TASK_USER_FLAGS);
    t.channel = route;
    t.seq = (uint32_t)(r->sent - r->base);
    t.payload_ptr = payload ? 1 + e->at : 0; /* an offset may be 0 */
    gmk_hal_memcpy(s->body, &t, sizeof t);
    s->stamp = stamp;
    if (GMK_UNLIKELY(is_det(&t))) {
        gmk_fence_pack(s, e->major, e->minor);
        gmk_fence_sent(b, true);
    }
    if (GMK_UNLIKELY(e->again))
        gmk_bridge_count(&b->fig.resent, 1);
    if (b->out.filled == 1)
        b->flush_from = b->now;
}

void gmk_egress_publish(gmk_bridge_t *b)
{
    uint32_t n = gmk_link_publish(&b->out);
    if (n == 0)
        return;
    gmk_bridge_count(&b->fig.publications, 1);
    gmk_bridge_count(&b->fig.sent, n - b->fence.filled);
    b->fence.filled = 0;
    b->signal = true;
}

/* Is the payload of the message at `sent` in the pool?  NEVER: the message is out of the ledger. */
static enum staged bring(gmk_bridge_t *b, gmk_route_out_t *r, gmk_mailbox_t *m)
{
    enum staged done = r->staged != r->sent ? STAGED : stage(b, r);
    if (done == STAGED)
        return gmk_bulk_is_done(&b->bulk_out, entry(b, r, r->sent)->ticket) ? STAGED : STAGE_LATER;
    return done == STAGE_NEVER && drop_oversized(b, r, m) ? STAGE_NEVER : STAGE_LATER;
}

/* Sends what the ledger holds, as far as credit, ring and pool allow, and at most a batch: others have their turn. */
static bool send_some(gmk_bridge_t *b, gmk_route_out_t *r, gmk_mailbox_t *m, uint32_t route)
{
    bool any = false;
    for (uint32_t n = 0; r->sent != r->taken && n < b->cfg.batch; n++) {
        if (r->sent - r->acked >= r->granted || gmk_link_room(&b->out, 1) == 0) {
            gmk_bridge_count(&b->fig.stalls, 1);
            break;
        }
        enum staged here = bring(b, r, m);
        if (here == STAGE_LATER) {
            gmk_bridge_count(&b->fig.stalls, r->staged == r->sent && !r->placed); /* for want of a place */
            break;
        }
        any = true;
        if (here == STAGE_NEVER)
            continue;
        fill_slot(b, r, entry(b, r, r->sent), route);
        r->sent++;
        if (b->out.filled >= b->cfg.batch)
            gmk_egress_publish(b);
    }
    return any;
}

static bool send(gmk_bridge_t *b, gmk_route_out_t *r, gmk_mailbox_t *m, uint32_t route)
{
    uint64_t staged = r->staged;
    uint32_t copied = r->copied;
    bool any = send_some(b, r, m, route);
    any |= stage_ahead(b, r);
    return any || r->staged != staged || r->copied != copied;
}

/*
 * Publishes what is filled: at once when the peer has taken all that was published before, else when the batch is
 * full or has waited for flush_ns.
 */
static void flush(gmk_bridge_t *b)
{
    if (b->out.filled == 0)
        return;
    if (b->cfg.flush_ns == 1 || b->now - b->flush_from >= b->cfg.flush_ns || gmk_link_is_idle(&b->out))
        gmk_egress_publish(b);
}

/* Its outlet ends with its channel: what is in it is only to be dropped. */
static bool closing(gmk_mailbox_t *m)
{
    uint32_t leaving = gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL);
    return leaving != 0 && leaving != GMK_LEAVES_SOON;
}

/* In this epoch, or in one before. */
static bool was_sent(const gmk_route_out_t *r, uint64_t n, const gmk_ledger_t *e)
{
    return (int64_t)(n - r->sent) < 0 || e->again;
}

/* A route that is not open, and whose channel is being closed: what was kept for the peer goes with it. */
static bool drop_kept(gmk_bridge_t *b, gmk_route_out_t *r, gmk_mailbox_t *m)
{
    if (r->taken == r->acked || !gmk_bulk_is_done(&b->bulk_out, r->ordered))
        return false;
    for (; r->taken != r->acked; r->acked++) {
        gmk_task_t *t = &entry(b, r, r->acked)->task;
        if (is_det(t) && (int64_t)(r->acked - r->sent) >= 0)
            gmk_fence_sent(b, false);
        finish(b, m, t,
               was_sent(r, r->acked, entry(b, r, r->acked)) ? GMK_ERR_KERNEL_RESET : GMK_DROP_CLOSED);
    }
    r->staged = r->sent = r->acked;
    r->placed = false;
    r->copied = 0;
    gmk_outlet_finished(b->f, m);
    return true;
}

/* Of a channel that is being closed nothing more is sent on a route that is not open. */
static bool close_route(gmk_bridge_t *b, gmk_route_out_t *r, gmk_mailbox_t *m)
{
    bool any = drop_kept(b, r, m);
    return take(b, r, m) || any;
}

static bool send_route(gmk_bridge_t *b, uint32_t route)
{
    gmk_route_out_t *r = &b->route_out[route];
    gmk_mailbox_t *m = outlet(b, r);
    if (m == NULL)
        return false;
    if (r->state != GMK_ROUTE_OPEN)
        return closing(m) && close_route(b, r, m);
    bool any = take(b, r, m);
    if (r->sent == r->taken)
        return any;
    b->tracing = gmk_load32(&b->k->trace_mask, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_ALL;
    return send(b, r, m, route) || any;
}

/* Another route is the first one in each round: the ring may be full for those that come later. */
bool gmk_egress_round(gmk_bridge_t *b)
{
    bool any = false;
    b->turn++;
    for (uint32_t i = 0; i < b->n_out; i++)
        any |= send_route(b, b->active_out[(b->turn + i) % b->n_out]);
    flush(b);
    return any || b->out.filled != 0;
}

bool gmk_egress_closing(gmk_bridge_t *b)
{
    bool any = false;
    for (uint32_t i = 0; i < b->n_out; i++) {
        gmk_route_out_t *r = &b->route_out[b->active_out[i]];
        gmk_mailbox_t *m = outlet(b, r);
        if (m != NULL && closing(m))
            any |= close_route(b, r, m);
    }
    return any;
}

/* ---- acknowledgements ---------------------------------------------------------------------- */

static bool acks_of(gmk_bridge_t *b, uint32_t route)
{
    gmk_route_out_t *r = &b->route_out[route];
    const gmk_region_ack_t *a = &b->v.theirs->ack[route];
    uint64_t delivered = r->base + gmk_load64(&a->delivered, GMK_ACQ, GMK_SYSTEM);
    if (delivered == r->acked)
        return false;
    uint64_t completed = r->base + gmk_load64(&a->completed, GMK_ACQ, GMK_SYSTEM);
    if (delivered - r->acked > r->sent - r->acked) {
        gmk_bridge_fail(b, GMK_ERR_INVAL, "the peer acknowledges messages that were never sent", NULL);
        return false;
    }
    gmk_mailbox_t *m = outlet(b, r);
    uint64_t was = r->acked;
    if (m == NULL)
        return false;
    while (r->acked != delivered) {
        gmk_ledger_t *e = entry(b, r, r->acked);
        if ((e->task.flags & GMK_TASK_IDEMPOTENT) != 0 && (int64_t)(completed - r->acked) <= 0)
            break;
        r->pool_tail = e->pool_end;
        finish(b, m, &e->task, GMK_OK);
        r->acked++;
    }
    if (r->acked == was)
        return false;
    gmk_bridge_count(&b->fig.acknowledged, r->acked - was);
    gmk_outlet_finished(b->f, m);
    return true;
}

bool gmk_egress_acks(gmk_bridge_t *b)
{
    bool any = false;
    for (uint32_t i = 0; i < b->n_out; i++) {
        uint32_t route = b->active_out[i];
        const gmk_route_out_t *r = &b->route_out[route];
        if (r->state == GMK_ROUTE_OPEN && r->sent != r->acked)
            any |= acks_of(b, route);
    }
    return any;
}

/*
 * The ring was full, and is not any more: nobody wakes the pump for that, nor for a copy that is done.  Payloads that
 * have no place yet wait for acknowledgements.
 */
static bool may_send(gmk_bridge_t *b, gmk_route_out_t *r)
{
    if (r->state != GMK_ROUTE_OPEN || r->sent == r->taken || r->sent - r->acked >= r->granted)
        return false;
    const gmk_ledger_t *e = entry(b, r, r->sent);
    bool staged = r->staged != r->sent;
    if (staged ? !gmk_bulk_is_done(&b->bulk_out, e->ticket) : r->placed) {
        b->poll = true;
        return false;
    }
    return (staged || e->task.payload_ptr == 0) && gmk_link_room(&b->out, 1) != 0;
}

bool gmk_egress_rest(gmk_bridge_t *b)
{
    for (uint32_t i = 0; i < b->n_out; i++) {
        gmk_route_out_t *r = &b->route_out[b->active_out[i]];
        gmk_mailbox_t *m = outlet(b, r);
        if (m == NULL || (r->state != GMK_ROUTE_OPEN && !closing(m)))
            continue;
        if (r->taken - r->acked < ledger_most(b, m) && !gmk_outlet_rest(b->f, m))
            return false;
        if (may_send(b, r))
            return false;
    }
    return b->out.filled == 0;
}

/* Nothing that was emitted on its channel is left, not where its distributor has not been yet, either. */
static bool is_done(gmk_mailbox_t *m)
{
    uint64_t emitted = gmk_w_ticket(gmk_load64(&m->chan->in.word, GMK_ACQ, GMK_KERNEL));
    if (gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) != 0)
        emitted = gmk_w_ticket(gmk_load64(&m->in->word, GMK_ACQ, GMK_KERNEL));
    if (m->own_ring != NULL) {
        if ((int64_t)(gmk_load64(&m->chan->passed, GMK_ACQ, GMK_KERNEL) - emitted) < 0)
            return false;
        emitted = gmk_w_ticket(gmk_load64(&m->in->word, GMK_ACQ, GMK_KERNEL));
    }
    return gmk_load64(&m->done, GMK_ACQ, GMK_KERNEL) == emitted;
}

bool gmk_egress_empty(gmk_bridge_t *b)
{
    for (uint32_t i = 0; i < b->n_out; i++) {
        gmk_route_out_t *r = &b->route_out[b->active_out[i]];
        gmk_mailbox_t *m = r->sub != 0 ? outlet(b, r) : NULL;
        if (r->taken != r->acked)
            return false;
        if (m != NULL && !is_done(m))
            return false;
    }
    return true;
}

/* ---- the peer is gone ---------------------------------------------------------------------- */

/*
 * What had been sent and not acknowledged: the idempotent ones are kept, in order and before those that had
 * not been sent; the others fail.  Without keep all of them have their outcome.
 */
static void part(gmk_bridge_t *b, gmk_route_out_t *r, gmk_mailbox_t *m, bool keep)
{
    uint64_t kept = 0;
    for (uint64_t i = r->acked; i != r->taken; i++) {
        gmk_ledger_t e = *entry(b, r, i);
        bool sent = was_sent(r, i, &e);
        if (keep && (!sent || (e.task.flags & GMK_TASK_IDEMPOTENT) != 0) && !is_det(&e.task)) {
            e.again = sent;
            *entry(b, r, r->acked + kept++) = e;
            continue;
        }
        finish(b, m, &e.task, sent ? GMK_ERR_KERNEL_RESET : GMK_DROP_BRIDGE);
    }
    r->staged = r->sent = r->acked;
    r->placed = false;
    r->copied = 0;
    r->taken = r->acked + kept;
    gmk_outlet_finished(b->f, m);
}

void gmk_egress_part(gmk_bridge_t *b, bool keep)
{
    gmk_bridge_count(&b->fig.sent,
                     b->out.filled - b->fence.filled); /* as if they had left: they fare alike */
    b->out.filled = b->fence.filled = 0;
    for (uint32_t i = 0; i < b->n_out; i++) {
        gmk_route_out_t *r = &b->route_out[b->active_out[i]];
        gmk_mailbox_t *m = r->sub != 0 ? outlet(b, r) : NULL;
        /* A subscription that others share does not wait for a peer: see gmk_wiring_part. */
        if (m != NULL)
            part(b, r, m, keep && m->chan->mode == GMK_P2P);
        give_units(b, r);
    }
    b->pool_used = 0;
}

void gmk_egress_leave(gmk_bridge_t *b, gmk_route_out_t *r, gmk_mailbox_t *m) { part(b, r, m, false); }

void gmk_route_out_end(gmk_bridge_t *b, uint32_t route)
{
    gmk_route_out_t *r = &b->route_out[route];
    give_units(b, r);
    for (uint64_t i = r->acked; i != r->taken;
         i++) { /* none of the outlet's: those are finished, or its mailbox would be there */
        if ((int64_t)(i - r->sent) >= 0)
            gmk_fence_sent(b, false);
        gmk_det_left(b->f, &entry(b, r, i)->task, GMK_DROP_CLOSED);
    }
    gmk_heap_free(&b->k->heap, &b->f->heap, r->ledger);
    *r = (gmk_route_out_t){.state = GMK_ROUTE_NONE};
    for (uint32_t i = 0; i < b->n_out; i++)
        if (b->active_out[i] == route) {
            b->active_out[i] = b->active_out[--b->n_out];
            break;
        }
}
