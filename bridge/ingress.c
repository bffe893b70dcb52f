/* SPDX-License-Identifier: MIT */
/*
 * ingress.c — messages that arrive: ring, stash, payload, channel; and what the peer is told of them.
 *
 * Each slot is copied to private memory once, and then checked: whatever the peer writes meanwhile changes
 * nothing.  The ring is always emptied, because the stash of a route has room for all that the peer may send on it;
 * the channel behind it may be full for as long as it likes.
 *
 * DELIVERED counts messages that the channel has accepted, or that were refused for good and dropped here.
 * COMPLETED counts those that have all their outcomes, and is exact only at marks: when an idempotent message has
 * been delivered, the ticket the channel then stands on is remembered, with `delivered`.  Once every mailbox has
 * finished everything before that ticket, all messages up to the mark are completed.  An ordered mailbox has when its
 * `done` has come there.  A parallel one counts, and so do one that may be shed from and an outlet: there it is when
 * everything claimed is finished: done is read
 * first, then the cursor; as done never passes the cursor and both only grow, equal values mean that at the
 * time done was read nothing claimed was open.
 */
#include "bridge_int.h"

#define RUN 32u

static gmk_stashed_t *stashed(const gmk_bridge_t *b, const gmk_route_in_t *r, uint64_t n)
{
    return &r->stash[n & (b->cfg.window - 1)];
}

/* ---- off the ring -------------------------------------------------------------------------- */

static bool wild(gmk_bridge_t *b, const char *what)
{
    gmk_bridge_fail(b, GMK_ERR_INVAL, what, NULL);
    return false;
}

/* Checks a private copy and makes it fit for this kernel.  traced: the sender did.  False: the bridge has failed. */
static bool check(gmk_bridge_t *b, gmk_task_t *t, bool traced)
{
    gmk_route_in_t *r = t->channel < GMK_REGION_ROUTES ? &b->route_in[t->channel] : NULL;
    if (r == NULL || !r->open)
        return wild(b, "the peer sent on a route that it has not asked for");
    if (t->seq != (uint32_t)r->received)
        return wild(b, "the peer sent a message out of order");
    if (r->received - r->delivered >= b->cfg.window)
        return wild(b, "the peer sent more messages than it was granted");
    if (t->payload_ptr == 0 ? t->payload_len != 0
                            : t->payload_ptr - 1 >= b->v.pool_bytes ||
                                  t->payload_len > b->v.pool_bytes - (t->payload_ptr - 1))
        return wild(b, "the peer sent a payload that lies outside the pool");
    if (t->tenant >= b->k->n_tenants)
        t->tenant = 0; /* a label of the peer's that this kernel does not have */
    if (t->type >= b->k->n_types)
        t->type = 0;
    t->flags = (uint16_t)(t->flags & (GMK_TASK_USER_FLAGS & ~GMK_TASK_DETERMINISTIC));
    t->seq = gmk_hop(b, t->seq, 1 - b->v.side); /* for the trace, see emit.c: the channel gives it a number */
    t->retry_count = traced;
    return true;
}

/* One slot, which is copied once.  False: the bridge has failed. */
static bool take_slot(gmk_bridge_t *b, const gmk_region_slot_t *slot, uint32_t *messages)
{
    gmk_task_t t;
    uint64_t stamp = gmk_hal_once64(&slot->stamp);
    gmk_link_copy(&t, slot);
    if (GMK_UNLIKELY(t.channel == GMK_REGION_TICK))
        return gmk_fence_take(b, &t);
    const gmk_task_t raw = t;
    const uint32_t route = t.channel;
    bool det = (raw.flags & GMK_TASK_DETERMINISTIC) != 0;
    if (!check(b, &t, !det && stamp != 0))
        return false;
    if (GMK_UNLIKELY(det))
        gmk_fence_unpack(&t, &raw, stamp);
    gmk_route_in_t *r = &b->route_in[route];
    *stashed(b, r, r->received++) = (gmk_stashed_t){.task = t};
    ++*messages;
    return true;
}

/* Takes what there is in one piece of the ring; returns how many slots, 0 also when the bridge has failed. */
static uint32_t receive_some(gmk_bridge_t *b, uint32_t *messages)
{
    const gmk_region_slot_t *slots;
    uint32_t n = gmk_crew_ready(b->crew, &b->in, &slots);
    for (uint32_t i = 0; i < n; i++)
        if (!take_slot(b, &slots[i], messages))
            return 0;
    if (b->in.broken) {
        (void)wild(b, "the peer's ring is damaged");
        return 0;
    }
    if (n != 0)
        gmk_link_took(&b->in, n);
    return n;
}

static bool receive(gmk_bridge_t *b)
{
    uint32_t n, slots = 0, messages = 0;
    while (slots <= b->in.mask && (n = receive_some(b, &messages)) != 0)
        slots += n;
    if (slots == 0)
        return false;
    gmk_bridge_count(&b->fig.received, messages);
    b->signal = true;
    return true;
}

/* ---- into the channel ---------------------------------------------------------------------- */

/* The first n messages are gone from the stash, and their payloads are somebody's. */
static void advance(gmk_bridge_t *b, gmk_route_in_t *r, uint32_t n)
{
    r->delivered += n;
    if (b->starving == r)
        b->starving = NULL;
    if ((int64_t)(r->fetched - r->delivered) < 0) {
        r->fetched = r->delivered;
        r->copied = 0;
    }
}

/* The task of the first message, with the payload that is here. */
static gmk_task_t first_task(const gmk_bridge_t *b, const gmk_route_in_t *r)
{
    const gmk_stashed_t *s = stashed(b, r, r->delivered);
    gmk_task_t t = s->task;
    t.payload_ptr = (uint64_t)(uintptr_t)s->payload;
    t.flags = (uint16_t)(t.flags & ~GMK_TASK_PAYLOAD_RC);
    if (s->payload != NULL)
        t.flags |= GMK_TASK_PAYLOAD_RC;
    return t;
}

/* The message was refused for good: it is accepted and dropped here, with its payload. */
static void drop(gmk_bridge_t *b, gmk_route_in_t *r, int code)
{
    gmk_stashed_t *s = stashed(b, r, r->delivered);
    if (r->fetched == r->delivered && s->payload != NULL) { /* not all of it is here */
        (void)gmk_payload_drop(&b->k->heap, &b->f->heap, s->payload);
        s->payload = NULL;
    }
    gmk_task_t t = first_task(b, r);
    t.payload_len = t.payload_ptr != 0 ? t.payload_len : 0;
    t.channel = 0;
    if ((t.flags & GMK_TASK_DETERMINISTIC) != 0)
        gmk_fence_arrived(b);
    gmk_count(b->f, &b->f->counts->accepted, 1);
    gmk_drop(b->f, &t, code);
    if (code == GMK_DROP_BRIDGE)
        gmk_bridge_count(&b->fig.dropped, 1);
    advance(b, r, 1);
}

enum fetched { FETCHED, FETCH_MORE, FETCH_NO_MEMORY, FETCH_NEVER };

/*
 * Both kernels may be full of messages for each other, each of which waits for memory in the other: what arrives has a
 * reserve that emitters cannot take.  It is for the message whose turn it is.  A large one that waits there is not
 * overtaken by small ones, but for deterministic ones, whose run would end.
 */
static void *reserved_payload(gmk_bridge_t *b, gmk_route_in_t *r, uint32_t bytes, bool det)
{
    if (r->fetched != r->delivered || (b->starving != NULL && b->starving != r && !det))
        return NULL;
    void *p = gmk_payload_new_reserved(&b->k->heap, &b->f->heap, bytes);
    if (p == NULL && bytes <= gmk_heap_reserved(&b->k->heap) * GMK_SPAN_BYTES)
        b->starving = r;
    return p;
}

static enum fetched make_payload(gmk_bridge_t *b, gmk_route_in_t *r, gmk_stashed_t *s)
{
    const gmk_heap_t *h = &b->k->heap;
    uint32_t bytes = s->task.payload_len != 0 ? s->task.payload_len : 1;
    if (s->payload != NULL)
        return FETCHED;
    if (bytes > (h->spans - gmk_heap_reserved(h)) * GMK_SPAN_BYTES)
        return FETCH_NEVER;
    s->payload = gmk_payload_new(&b->k->heap, &b->f->heap, bytes);
    if (s->payload == NULL)
        s->payload = reserved_payload(b, r, bytes, (s->task.flags & GMK_TASK_DETERMINISTIC) != 0);
    if (s->payload == NULL)
        return FETCH_NO_MEMORY;
    if (b->starving == r)
        b->starving = NULL;
    return FETCHED;
}

/* Fills it: the engine's business, or a chunk by this thread.  False: there is more to do. */
static bool copy_payload(gmk_bridge_t *b, gmk_route_in_t *r, gmk_stashed_t *s)
{
    char *to = s->payload;
    const unsigned char *from = b->v.pool_in + (s->task.payload_ptr - 1);
    uint32_t bytes = s->task.payload_len, left = bytes - r->copied;
    if (gmk_bulk_takes(&b->bulk_in, bytes)) {
        s->ticket = gmk_bulk_order(&b->bulk_in, to, from, bytes);
        return s->ticket != 0;
    }
    uint32_t n = left < GMK_BRIDGE_CHUNK ? left : GMK_BRIDGE_CHUNK;
    gmk_crew_copy(b->crew, to + r->copied, from + r->copied, n);
    r->copied += n;
    return n == left;
}

/* Brings the payload of the message at `fetched` into this kernel's memory, if it has one. */
static enum fetched fetch(gmk_bridge_t *b, gmk_route_in_t *r)
{
    gmk_stashed_t *s = stashed(b, r, r->fetched);
    if (s->task.payload_ptr != 0) {
        enum fetched made = make_payload(b, r, s);
        if (made != FETCHED)
            return made;
        if (!copy_payload(b, r, s))
            return FETCH_MORE;
    }
    r->fetched++;
    r->copied = 0;
    return FETCHED;
}

/* Those behind the one that waits for the engine, or for its channel. */
static void fetch_ahead(gmk_bridge_t *b, gmk_route_in_t *r)
{
    uint64_t most = r->delivered + GMK_BULK_AHEAD;
    if (b->bulk_in.engine.ring == NULL || r->fetched == r->delivered)
        return;
    while (r->fetched != r->received && (int64_t)(r->fetched - most) < 0 && fetch(b, r) == FETCHED)
        ;
}

static void note_idempotent(gmk_route_in_t *r, const gmk_task_t *t, uint64_t number)
{
    if ((t->flags & GMK_TASK_IDEMPOTENT) != 0)
        r->last_idempotent = number + 1;
}

/* Emits the first message, whose payload is here.  A code < 0: not now, or (not FULL) never. */
static int emit_payload(gmk_bridge_t *b, gmk_route_in_t *r, gmk_channel_t *c)
{
    gmk_task_t t = first_task(b, r);
    int rc = gmk_chan_put(b->f, c, &t, 1);
    if (rc != 1)
        return rc;
    gmk_bridge_count(&b->fig.payloads_in, 1);
    gmk_bridge_count(&b->fig.payload_bytes_in, t.payload_len);
    note_idempotent(r, &t, r->delivered);
    advance(b, r, 1);
    return 1;
}

/* What the peer tells of its traces.  A subscriber here that is slow does without. */
static int take_trace(gmk_bridge_t *b, gmk_route_in_t *r, gmk_channel_t *c)
{
    const gmk_stashed_t *s = stashed(b, r, r->delivered);
    gmk_trace_arrived(b, s->payload, s->task.payload_len);
    int rc = emit_payload(b, r, c);
    if (rc == 1)
        return rc;
    (void)gmk_payload_drop(&b->k->heap, &b->f->heap, s->payload);
    advance(b, r, 1);
    return 1;
}

/* A deterministic message waits for its tick, which has no use for one without memory: the run ends then. */
static void arrive(gmk_bridge_t *b, gmk_route_in_t *r, bool no_memory)
{
    gmk_task_t t = first_task(b, r);
    int rc = no_memory ? gmk_det_out_of_memory(b->k) : GMK_OK;
    if (rc == GMK_OK)
        rc = gmk_fence_arrive(b, r->handle, &t);
    if (rc < 0) {
        drop(b, r, GMK_DROP_BRIDGE);
        return;
    }
    gmk_fence_arrived(b);
    if (t.payload_ptr != 0) {
        gmk_bridge_count(&b->fig.payloads_in, 1);
        gmk_bridge_count(&b->fig.payload_bytes_in, t.payload_len);
    }
    advance(b, r, 1);
}

/* Emits messages without payloads and of one priority, as many as come one after the other. */
static int emit_run(gmk_bridge_t *b, gmk_route_in_t *r, gmk_channel_t *c)
{
    gmk_task_t t[RUN];
    uint32_t n = 0;
    while (n < RUN && r->delivered + n != r->received) {
        t[n] = stashed(b, r, r->delivered + n)->task;
        t[n].flags = (uint16_t)(t[n].flags & ~GMK_TASK_PAYLOAD_RC);
        if (t[n].payload_ptr != 0 ||
            ((t[n].flags ^ t[0].flags) & (GMK_PRIO_MASK | GMK_TASK_EMIT_TRACE | GMK_TASK_DETERMINISTIC)) != 0)
            break;
        n++;
    }
    int rc = gmk_chan_put(b->f, c, t, n);
    for (int i = 0; i < rc; i++)
        note_idempotent(r, &stashed(b, r, r->delivered + (uint32_t)i)->task, r->delivered + (uint32_t)i);
    if (rc > 0)
        advance(b, r, (uint32_t)rc);
    return rc;
}

/* One step of the delivery of a route.  False: no more in this round. */
static bool deliver_some(gmk_bridge_t *b, gmk_route_in_t *r, gmk_channel_t *c)
{
    const gmk_stashed_t *s = stashed(b, r, r->delivered);
    bool payload = s->task.payload_ptr != 0, det = (s->task.flags & GMK_TASK_DETERMINISTIC) != 0;
    if (payload && r->fetched == r->delivered) {
        switch (fetch(b, r)) {
        case FETCHED: break;
        case FETCH_MORE: return false;
        case FETCH_NO_MEMORY:
            if (!det)
                return false;
            arrive(b, r, true);
            return true;
        case FETCH_NEVER: drop(b, r, GMK_DROP_BRIDGE); return true;
        }
    }
    if (!gmk_bulk_is_done(&b->bulk_in, s->ticket))
        return false;
    if (GMK_UNLIKELY(det)) {
        arrive(b, r, false);
        return true;
    }
    int rc = !payload ? emit_run(b, r, c) : c->sys ? take_trace(b, r, c) : emit_payload(b, r, c);
    if (rc > 0)
        return true;
    if (rc == GMK_CHAN_FULL)
        return false;
    drop(b, r, rc == GMK_CHAN_CLOSED ? GMK_DROP_CLOSED : GMK_DROP_BRIDGE);
    return true;
}

/* The channel has gone.  What the engine writes to is dropped when it has. */
static bool drop_first(gmk_bridge_t *b, gmk_route_in_t *r)
{
    if (!gmk_bulk_is_done(&b->bulk_in, stashed(b, r, r->delivered)->ticket))
        return false;
    drop(b, r, GMK_DROP_CLOSED);
    return true;
}

static bool deliver(gmk_bridge_t *b, gmk_route_in_t *r)
{
    uint64_t was = r->delivered, fetched = r->fetched;
    uint32_t copied = r->copied;
    gmk_channel_t *c = gmk_chan_of(b->k, r->handle);
    while (r->delivered != r->received)
        if (c != NULL ? !deliver_some(b, r, c) : !drop_first(b, r))
            break;
    if (c != NULL)
        fetch_ahead(b, r);
    return r->delivered != was || r->fetched != fetched || r->copied != copied;
}

/* ---- acknowledging ------------------------------------------------------------------------- */

static bool mailbox_passed(gmk_mailbox_t *m, uint64_t ticket)
{
    uint64_t done = gmk_load64(&m->done, GMK_ACQ, GMK_KERNEL);
    if (m->order == GMK_ORDERED && m->own_ring == NULL && m->sheddable == 0 &&
        gmk_load64(&m->port, GMK_ACQ, GMK_KERNEL) == 0)
        return (int64_t)(done - ticket) >= 0 || (int64_t)(m->join - ticket) >= 0;
    if (m->own_ring != NULL && (int64_t)(gmk_load64(&m->chan->passed, GMK_ACQ, GMK_KERNEL) - ticket) < 0)
        return false;
    return done == gmk_load64(&m->cursor, GMK_ACQ, GMK_KERNEL) &&
           (m->own_ring == NULL ? (int64_t)(done - ticket) >= 0
                                : done == gmk_w_ticket(gmk_load64(&m->own.word, GMK_ACQ, GMK_KERNEL)));
}

/* But for the way back: what came from the peer does not go there, and what goes there waits for the peer. */
static bool all_passed(const gmk_bridge_t *b, gmk_channel_t *c, uint64_t ticket)
{
    if (c->mode == GMK_P2P && gmk_load64(&c->p2p, GMK_ACQ, GMK_KERNEL) == 0)
        return false; /* it waits for a subscriber */
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++) {
        gmk_mailbox_t *m = gmk_sub_at(c, i);
        if (m != NULL && gmk_load64(&m->port, GMK_ACQ, GMK_KERNEL) != (uint64_t)(uintptr_t)b->f &&
            !mailbox_passed(m, ticket))
            return false;
    }
    return true;
}

static void mark(gmk_route_in_t *r, gmk_channel_t *c)
{
    r->marked = true;
    r->mark_count = r->delivered;
    r->mark_ticket = gmk_w_ticket(gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL));
}

/* Moves `completed` on as far as is known; see the head of this file. */
static void complete(gmk_bridge_t *b, gmk_route_in_t *r)
{
    gmk_channel_t *c = gmk_chan_of(b->k, r->handle);
    if (c == NULL || (int64_t)(r->last_idempotent - r->completed) <= 0) {
        r->completed = r->delivered; /* nobody waits for more than the delivery */
        r->marked = false;
        return;
    }
    if (r->marked && all_passed(b, c, r->mark_ticket)) {
        r->completed = r->mark_count;
        r->marked = false;
    }
    if (!r->marked && r->completed != r->delivered)
        mark(r, c);
}

/* Completed first: it is never seen to be ahead of what is delivered. */
static bool acknowledge(gmk_bridge_t *b, uint32_t route)
{
    gmk_route_in_t *r = &b->route_in[route];
    gmk_region_ack_t *a = &b->v.mine->ack[route];
    uint64_t delivered = gmk_load64(&a->delivered, GMK_RLX, GMK_SYSTEM), completed = r->completed;
    if (r->completed != r->delivered)
        complete(b, r);
    if (delivered == r->delivered && completed == r->completed)
        return false;
    gmk_store64(&a->completed, r->completed, GMK_REL, GMK_SYSTEM);
    gmk_store64(&a->delivered, r->delivered, GMK_REL, GMK_SYSTEM);
    b->signal = true;
    return true;
}

bool gmk_ingress_round(gmk_bridge_t *b)
{
    bool any = receive(b);
    for (uint32_t i = 0; i < b->n_in; i++) {
        uint32_t route = b->active_in[i];
        gmk_route_in_t *r = &b->route_in[route];
        if (r->delivered != r->received)
            any |= deliver(b, r);
        if (r->completed != r->received)
            any |= acknowledge(b, route);
    }
    return any;
}

/*
 * A full channel wakes the port when credits come back: its bit is set before the credits are looked at once more.
 * For memory, for completions, and for a copy that is done, nobody is told.
 */
static bool can_rest(gmk_bridge_t *b, gmk_route_in_t *r)
{
    gmk_channel_t *c = gmk_chan_of(b->k, r->handle);
    if (r->completed != r->delivered)
        b->poll = true;
    if (r->delivered == r->received)
        return true;
    const gmk_stashed_t *s = stashed(b, r, r->delivered);
    if (s->task.payload_ptr != 0)
        b->poll = true;
    if (c == NULL)
        return !gmk_bulk_is_done(&b->bulk_in, s->ticket);
    (void)gmk_or64(&c->port_waiters, (uint64_t)1 << (b->f - b->k->ports), GMK_ACQ_REL, GMK_KERNEL);
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    if (c->inbound != 0)
        b->poll = true; /* who gives credits back looks at the others' limit */
    return gmk_chan_free(c, gmk_prio(&s->task)) == 0 || b->poll;
}

bool gmk_ingress_rest(gmk_bridge_t *b)
{
    if (gmk_link_ready(&b->in, 1) != 0)
        return false;
    for (uint32_t i = 0; i < b->n_in; i++)
        if (!can_rest(b, &b->route_in[b->active_in[i]]))
            return false;
    return true;
}

/* ---- routes -------------------------------------------------------------------------------- */

int gmk_route_in_open(gmk_bridge_t *b, uint32_t route, uint32_t handle)
{
    gmk_route_in_t *r = &b->route_in[route];
    gmk_stashed_t *stash = gmk_heap_alloc(&b->k->heap, &b->f->heap, b->cfg.window * sizeof *stash);
    if (stash == NULL)
        return GMK_ALLOC_FAIL;
    *r = (gmk_route_in_t){.open = true, .handle = handle, .stash = stash};
    gmk_store64(&b->v.mine->ack[route].completed, 0, GMK_REL, GMK_SYSTEM);
    gmk_store64(&b->v.mine->ack[route].delivered, 0, GMK_REL, GMK_SYSTEM);
    b->active_in[b->n_in++] = (uint8_t)route;
    return GMK_OK;
}

void gmk_route_in_end(gmk_bridge_t *b, uint32_t route)
{
    gmk_route_in_t *r = &b->route_in[route];
    if (!r->open)
        return;
    for (uint64_t i = r->delivered; i != r->received; i++)
        if (stashed(b, r, i)->payload != NULL)
            (void)gmk_payload_drop(&b->k->heap, &b->f->heap, stashed(b, r, i)->payload);
    gmk_heap_free(&b->k->heap, &b->f->heap, r->stash);
    if (b->starving == r)
        b->starving = NULL;
    *r = (gmk_route_in_t){.open = false};
    for (uint32_t i = 0; i < b->n_in; i++)
        if (b->active_in[i] == route) {
            b->active_in[i] = b->active_in[--b->n_in];
            break;
        }
}

/* What had arrived and was not delivered is the peer's, and lost with it. */
void gmk_ingress_part(gmk_bridge_t *b)
{
    while (b->n_in != 0)
        gmk_route_in_end(b, b->active_in[b->n_in - 1]);
}
