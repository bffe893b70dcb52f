/* SPDX-License-Identifier: MIT */
/*
 * emit.c — putting messages into a channel.
 *
 * The common path: read the word and the gate (one line), one compare-and-swap for the tickets,
 * write the slots, publish each; queue an activation only when the word was idle.
 */
#include "channel.h"

/* The message as it will be delivered, but for what depends on the subscriber. */
static inline void msg_store(gmk_msg_t *m, const gmk_channel_t *c, const gmk_task_t *t, uint64_t ticket,
                             uint32_t origin, uint64_t stamp)
{
    uint64_t w0 = gmk_task_word(t, 0) & GMK_TASK_GIVEN_0;
    if ((uint32_t)w0 == 0)
        w0 |= c->msg_type;
    gmk_store64(&m->task[0], w0, GMK_RLX, GMK_KERNEL);
    gmk_store64(&m->task[1], (uint64_t)gmk_ticket_number(ticket) << 32 | origin, GMK_RLX, GMK_KERNEL);
    gmk_store64(&m->task[2], gmk_task_word(t, 2), GMK_RLX, GMK_KERNEL);
    gmk_store64(&m->task[3], gmk_task_word(t, 3) & GMK_TASK_GIVEN_3, GMK_RLX, GMK_KERNEL);
    gmk_store64(&m->task[4], gmk_task_word(t, 4), GMK_RLX, GMK_KERNEL);
    gmk_store64(&m->task[5], gmk_task_word(t, 5), GMK_RLX, GMK_KERNEL);
    gmk_store64(&m->stamp, stamp, GMK_RLX, GMK_KERNEL);
}

static inline uint32_t credit_limit(const gmk_channel_t *c, uint32_t prio)
{
    return prio == 0 ? c->slots : c->slots_low;
}

/*
 * The smallest `done` of all mailboxes, tagged with the generation of `w`.  Where nobody listens,
 * a P2P channel keeps what it has, and a fan-out channel is always free.  A lossy fan-out copies
 * messages out of the log, so there the distributor is what counts.
 */
static uint64_t gate_refresh(gmk_channel_t *c, uint64_t w)
{
    uint64_t gate = gmk_w_ticket(w);
    bool any = false;
    if (c->mode == GMK_FANOUT && c->guarantee == GMK_LOSSY) {
        gate = gmk_load64(&c->passed, GMK_ACQ, GMK_KERNEL);
        any = true;
    } else {
        for (uint32_t i = 0; i < GMK_MAX_SUBS; i++) {
            gmk_mailbox_t *m = gmk_sub_at(c, i);
            if (m == NULL)
                continue;
            uint64_t done = gmk_load64(&m->done, GMK_ACQ, GMK_KERNEL);
            any = true;
            if ((int64_t)(done - gate) < 0)
                gate = done;
        }
    }
    if (!any && c->mode == GMK_P2P)
        gate = gmk_load64(&c->base, GMK_ACQ, GMK_KERNEL);
    gmk_store64(&c->in.gate, gate | (w & GMK_W_GEN), GMK_REL, GMK_KERNEL);
    return gate;
}

/* Credits free by the cached gate, or fewer than there are, when it was computed for other subscribers. */
static inline int64_t credits_known(const gmk_channel_t *c, uint64_t w, uint32_t prio)
{
    uint64_t gate = gmk_load64(&c->in.gate, GMK_ACQ, GMK_KERNEL);
    if (GMK_UNLIKELY(((gate ^ w) & GMK_W_GEN) != 0))
        return 0;
    return (int64_t)credit_limit(c, prio) - gmk_ticket_diff(gmk_w_ticket(w), gate & ~GMK_W_FLAGS);
}

static GMK_COLD int64_t credits_now(gmk_channel_t *c, uint64_t w, uint32_t prio)
{
    return (int64_t)credit_limit(c, prio) - gmk_ticket_diff(gmk_w_ticket(w), gate_refresh(c, w));
}

uint32_t gmk_chan_free(gmk_channel_t *c, uint32_t prio)
{
    int64_t left = credits_now(c, gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL), prio);
    return left > 0 ? (uint32_t)left : 0;
}

/* Adds `extra` references to each payload; on a failure those added are taken back. */
static GMK_COLD int payloads_add(gmk_front_t *f, const gmk_task_t *t, uint32_t n, uint32_t extra)
{
    for (uint32_t i = 0; i < n; i++)
        if ((t[i].flags & GMK_TASK_PAYLOAD_RC) != 0 && t[i].payload_ptr != 0) {
            int rc = gmk_payload_add(&f->core->heap, (void *)(uintptr_t)t[i].payload_ptr, extra);
            if (rc < 0) {
                for (uint32_t j = 0; j < i; j++)
                    for (uint32_t x = 0; x < extra; x++)
                        gmk_task_payload_done(f, &t[j]);
                return rc;
            }
        }
    return GMK_OK;
}

static GMK_COLD void payloads_drop(gmk_front_t *f, const gmk_task_t *t, uint32_t n, uint32_t times)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t x = 0; x < times; x++)
            gmk_task_payload_done(f, &t[i]);
}

/*
 * With replay the log holds a reference of its own: the message that is overwritten gives it up.
 * While nobody listens no gate holds the emitters apart: the one a lap ahead waits here for the one
 * that is still writing.
 */
static GMK_COLD void release_overwritten(gmk_front_t *f, const gmk_channel_t *c, gmk_msg_t *slot,
                                         uint64_t ticket)
{
    uint64_t before = ticket + GMK_TICKET - (c->mask + 1) * GMK_TICKET;
    for (uint32_t round = 0; gmk_load64(&slot->seq, GMK_ACQ, GMK_KERNEL) != before; round++)
        gmk_hal_relax(round);
    gmk_task_t t;
    gmk_msg_load(slot, &t);
    gmk_task_payload_done(f, &t);
}

/*
 * A message that comes from another kernel: seq is its hop, and retry_count is 1 when that kernel has recorded it.  So
 * its whole way is recorded, or none of it.
 */
static void trace_arrival(gmk_front_t *f, const gmk_channel_t *c, gmk_task_t *t, uint32_t number)
{
    if (t->retry_count == 0 && (t->flags & GMK_TASK_EMIT_TRACE) == 0)
        return;
    if (!gmk_trace_sampled(f->core, number))
        t->flags |= GMK_TASK_EMIT_TRACE; /* its run here is to be recorded too */
    gmk_trace_now(f, GMK_EV_BRIDGE_RECV, t->type != 0 ? t->type : c->msg_type,
                  gmk_delivery_chan(c->handle) | t->seq << 8, number);
}

/* A message has no module of its own: it is recorded where any is at ALL, and sampled by its number. */
static GMK_COLD void trace_emits(gmk_front_t *f, const gmk_channel_t *c, gmk_task_t *t, uint32_t n,
                                 uint64_t ticket)
{
    for (uint32_t i = 0; i < n && !c->sys; i++) {
        if (f->origin != 0) {
            trace_arrival(f, c, &t[i], gmk_ticket_number(ticket) + i);
            continue;
        }
        uint32_t number = gmk_ticket_number(ticket) + i;
        if ((t[i].flags & GMK_TASK_EMIT_TRACE) != 0 || gmk_trace_sampled(f->core, number))
            gmk_trace_now(f, GMK_EV_CHAN_EMIT, t[i].type != 0 ? t[i].type : c->msg_type,
                          gmk_delivery_chan(c->handle), number);
    }
}

static inline void publish(gmk_front_t *f, const gmk_channel_t *c, gmk_task_t *t, uint32_t n, uint64_t ticket)
{
    gmk_msg_t *log = c->log;
    uint64_t mask = c->mask, stamp = 0;
    bool replay = c->replay != 0;
    if (gmk_maybe_traced(f, t))
        trace_emits(f, c, t, n, ticket);
    if (GMK_LIKELY(!f->shared) && gmk_once_in(&f->sample_left, f->core->sample))
        stamp = gmk_hal_cycles();
    for (uint32_t i = 0; i < n; i++, ticket += GMK_TICKET) {
        gmk_msg_t *slot = &log[(ticket / GMK_TICKET) & mask];
        if (GMK_UNLIKELY(replay))
            release_overwritten(f, c, slot, ticket);
        msg_store(slot, c, &t[i], ticket, f->origin, stamp);
        gmk_store64(&slot->seq, ticket + GMK_TICKET, GMK_REL, GMK_KERNEL);
    }
}

static void chan_count(gmk_front_t *f, gmk_channel_t *c, size_t offset, uint64_t n)
{
    gmk_count(f, (gmk_a64_t *)(void *)((char *)&f->chans[c->index] + offset), n);
}

/* Nobody listens and nothing is kept: the message is counted, its payload released. */
static GMK_COLD int unheard(gmk_front_t *f, gmk_channel_t *c, const gmk_task_t *t, uint32_t n)
{
    chan_count(f, c, offsetof(gmk_chan_counts_t, unheard), n);
    gmk_count(f, &f->counts->unheard, n);
    payloads_drop(f, t, n, 1);
    return (int)n;
}

/* A lossy P2P channel without room sheds its newest messages: the ones at hand. */
static GMK_COLD int shed_newest(gmk_front_t *f, gmk_channel_t *c, gmk_task_t *t, uint32_t n)
{
    gmk_count(f, &f->counts->accepted, n);
    for (uint32_t i = 0; i < n; i++) {
        gmk_task_born(f, &t[i], 0);
        t[i].type = t[i].type != 0 ? t[i].type : c->msg_type;
        t[i].channel = c->handle;
        t[i].flags |= GMK_TASK_CHANNEL_MSG;
        gmk_drop(f, &t[i], GMK_DROP_SHED);
    }
    return (int)n;
}

/*
 * Passes tickets on in the distributor's place, which may wait for a worker that is busy.  Nothing
 * to do for it while the next message is still being written, or while it runs.
 */
static void pass_on(gmk_front_t *f, gmk_channel_t *c, uint64_t w, uint32_t round)
{
    uint64_t passed = gmk_load64(&c->passed, GMK_ACQ, GMK_KERNEL);
    const gmk_msg_t *next = &c->log[(passed / GMK_TICKET) & c->mask];
    if (gmk_w_state(w) != GMK_W_QUEUED ||
        gmk_load64(&next->seq, GMK_ACQ, GMK_KERNEL) != passed + GMK_TICKET ||
        !gmk_inlet_start(&c->in, gmk_w_prio(w))) {
        gmk_hal_relax(round);
        return;
    }
    if (gmk_distribute(f, c, c->slots))
        gmk_inlet_requeue(f, &c->in);
    gmk_waiter_check(f, c);
}

/* How often an emitter tries to make room by shedding before it is refused. */
#define GMK_ROOM_ROUNDS 1024u

/* Sheds from those that hold the emitter. */
static bool shed_laggards(gmk_front_t *f, gmk_channel_t *c, uint64_t w, uint32_t prio)
{
    bool any = false;
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++) {
        gmk_mailbox_t *m = gmk_sub_at(c, i);
        if (m != NULL && gmk_ticket_diff(gmk_w_ticket(w), gmk_load64(&m->done, GMK_ACQ, GMK_KERNEL)) >=
                             (int64_t)credit_limit(c, prio))
            any |= gmk_mailbox_shed_oldest(f, m);
    }
    return any;
}

/*
 * Makes room by what the channel allows.  True: look again.  A lossy fan-out has room as soon as its
 * distributor has passed on what was published, and that waits for nobody but those at work on it.
 */
static GMK_COLD bool make_room(gmk_front_t *f, gmk_channel_t *c, uint64_t w, uint32_t prio, uint32_t round)
{
    if (c->mode == GMK_FANOUT && c->guarantee == GMK_LOSSY) {
        pass_on(f, c, w, round);
        return true;
    }
    if (round >= GMK_ROOM_ROUNDS)
        return false;
    if (c->guarantee == GMK_LOSSY && (c->flags & GMK_CHAN_DROP_OLDEST) != 0) {
        gmk_mailbox_t *m = (gmk_mailbox_t *)(uintptr_t)gmk_load64(&c->p2p, GMK_ACQ, GMK_KERNEL);
        return (m != NULL && gmk_mailbox_shed_oldest(f, m)) || gmk_chan_free(c, prio) != 0;
    }
    if ((c->flags & GMK_CHAN_DEGRADE) == 0)
        return false;
    if (shed_laggards(f, c, w, prio))
        return true;
    bool behind = gmk_load64(&c->passed, GMK_ACQ, GMK_KERNEL) != gmk_w_ticket(w);
    if (behind)
        pass_on(f, c, w, round);
    return behind;
}

/* No credit for even one message. */
static GMK_COLD int refused(gmk_front_t *f, gmk_channel_t *c, gmk_task_t *t, uint32_t n)
{
    if (c->guarantee == GMK_LOSSY)
        return shed_newest(f, c, t, n);
    return GMK_CHAN_FULL;
}

/* The word once so many tickets are claimed from it. */
static inline uint64_t claimed(uint64_t w, uint32_t prio, uint32_t take)
{
    uint32_t state = gmk_w_state(w), was = gmk_w_prio(w);
    w += take * GMK_TICKET;
    if (state == GMK_W_IDLE)
        return gmk_w_with(w, GMK_W_QUEUED, prio);
    return GMK_LIKELY(prio >= was) ? w : gmk_w_with(w, state, prio);
}

int gmk_chan_put(gmk_front_t *f, gmk_channel_t *c, gmk_task_t *t, uint32_t n)
{
    uint32_t prio = gmk_prio(t), round = 0;
    int64_t more = f->origin != 0 ? c->inbound : 0;
    uint64_t w = gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL);
    for (;;) {
        if (GMK_UNLIKELY((w & GMK_W_CLOSED) != 0))
            return GMK_CHAN_CLOSED;
        uint32_t hearers = c->mode == GMK_P2P ? 1 : gmk_w_hearers(w), take = n;
        if (GMK_UNLIKELY(hearers == 0 && c->replay == 0))
            return unheard(f, c, t, n);
        if (GMK_UNLIKELY(credits_known(c, w, prio) < (int64_t)n)) {
            int64_t left = credits_now(c, w, prio) + more;
            if (left <= 0) {
                if (!make_room(f, c, w, prio, round++))
                    return refused(f, c, t, n);
                w = gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL);
                continue;
            }
            take = left < (int64_t)n ? (uint32_t)left : n;
        }
        uint32_t refs = hearers + (c->replay != 0 ? 1 : 0) - 1;
        int rc = GMK_LIKELY(refs == 0) ? GMK_OK : payloads_add(f, t, take, refs);
        if (GMK_UNLIKELY(rc < 0))
            return rc;
        uint64_t seen = w, next = claimed(w, prio, take);
        if (GMK_UNLIKELY(!gmk_cas64(&c->in.word, &w, next, GMK_ACQ_REL, GMK_KERNEL))) {
            payloads_drop(f, t, take, refs);
            continue;
        }
        gmk_count(f, &f->counts->accepted, (uint64_t)take * hearers);
        publish(f, c, t, take, gmk_w_ticket(seen));
        if (gmk_w_state(seen) == GMK_W_IDLE || (gmk_w_state(seen) == GMK_W_QUEUED && prio < gmk_w_prio(seen)))
            gmk_inlet_token(f, &c->in, prio);
        return (int)take;
    }
}
