/* SPDX-License-Identifier: MIT */
/*
 * distribute.c — the activation of a fan-out channel: passes tickets on to the mailboxes.
 *
 * Lossless: the mailboxes read the log themselves; passing on means raising the ticket of each
 * mailbox's inlet.  Lossy: each mailbox has a ring of its own, so that a slow one sheds alone;
 * passing on means copying, in ticket order, or shedding.
 */
#include "channel.h"

/* A mailbox that has not settled from which ticket on, or up to which, it listens. */
static bool unsettled(gmk_mailbox_t *m)
{
    return gmk_load32(&m->held, GMK_ACQ, GMK_KERNEL) != 0 ||
           gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) == GMK_LEAVES_SOON;
}

/* Asked of settled mailboxes, of tickets read before: one that starts to leave only now leaves behind them. */
static uint64_t not_beyond_leave(gmk_mailbox_t *m, uint64_t to)
{
    uint32_t leaving = gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL);
    if (leaving == 0 || leaving == GMK_LEAVES_SOON)
        return to;
    uint64_t leave = gmk_load64(&m->leave, GMK_RLX, GMK_KERNEL);
    return (int64_t)(to - leave) < 0 ? to : leave;
}

static bool is_for(gmk_mailbox_t *m, uint64_t ticket)
{
    uint64_t next = ticket + GMK_TICKET;
    return (int64_t)(ticket - m->join) >= 0 && not_beyond_leave(m, next) == next;
}

/* Moves the mailbox's ticket up to `to` and queues its activation where that is needed. */
static void raise(gmk_front_t *f, gmk_mailbox_t *m, uint64_t to, uint32_t prio)
{
    uint64_t w = gmk_load64(&m->own.word, GMK_ACQ, GMK_KERNEL), next;
    uint32_t state, was;
    do {
        if ((int64_t)(to - gmk_w_ticket(w)) <= 0)
            return;
        state = gmk_w_state(w);
        was = gmk_w_prio(w);
        next = to | (w & GMK_W_FLAGS);
        next = gmk_w_with(next, state == GMK_W_IDLE ? GMK_W_QUEUED : state,
                          state == GMK_W_IDLE || prio < was ? prio : was);
    } while (!gmk_cas64(&m->own.word, &w, next, GMK_ACQ_REL, GMK_KERNEL));
    if (state == GMK_W_IDLE || (state == GMK_W_QUEUED && prio < was))
        gmk_inlet_token(f, &m->own, prio);
}

/* True: somebody was left out who is about to settle. */
static bool pass_lossless(gmk_front_t *f, gmk_channel_t *c, uint64_t to, uint32_t prio)
{
    bool again = false;
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++) {
        gmk_mailbox_t *m = gmk_sub_at(c, i);
        if (m == NULL)
            continue;
        if (unsettled(m)) {
            again = true;
            continue;
        }
        raise(f, m, not_beyond_leave(m, to), prio);
    }
    return again;
}

static void shed_new(gmk_front_t *f, gmk_mailbox_t *m, const gmk_task_t *t)
{
    gmk_task_t lost = *t;
    lost.type = m->handler;
    lost.channel = m->delivery;
    lost.flags |= GMK_TASK_CHANNEL_MSG;
    gmk_drop(f, &lost, GMK_DROP_SHED);
}

/*
 * Makes room for the message at ticket `at` of the mailbox's own ring as the channel allows.  Nothing is left
 * to shed when the runner has just claimed it: what it finished before that claim is then seen in `done`.
 */
static bool has_room(gmk_front_t *f, gmk_channel_t *c, gmk_mailbox_t *m, uint64_t at)
{
    uint64_t done = gmk_load64(&m->done, GMK_ACQ, GMK_KERNEL);
    while (gmk_ticket_diff(at, done) >= (int64_t)c->slots) {
        bool shed = (c->flags & GMK_CHAN_DROP_OLDEST) != 0 && gmk_mailbox_shed_oldest(f, m);
        uint64_t seen = done;
        done = gmk_load64(&m->done, GMK_ACQ, GMK_KERNEL);
        if (!shed && done == seen)
            return false;
    }
    return true;
}

/* Copies one message into a mailbox's own ring, or sheds one. */
static void pass_copy(gmk_front_t *f, gmk_channel_t *c, gmk_mailbox_t *m, const gmk_msg_t *msg,
                      const gmk_task_t *t)
{
    uint64_t at = gmk_w_ticket(gmk_load64(&m->own.word, GMK_RLX, GMK_KERNEL));
    if (!has_room(f, c, m, at)) {
        shed_new(f, m, t);
        return;
    }
    gmk_msg_t *slot = &m->own_ring[(at / GMK_TICKET) & m->mask];
    for (uint32_t i = 0; i < 6; i++)
        gmk_store64(&slot->task[i], gmk_load64(&msg->task[i], GMK_RLX, GMK_KERNEL), GMK_RLX, GMK_KERNEL);
    gmk_store64(&slot->stamp, gmk_load64(&msg->stamp, GMK_RLX, GMK_KERNEL), GMK_RLX, GMK_KERNEL);
    gmk_store64(&slot->seq, at + GMK_TICKET, GMK_REL, GMK_KERNEL);
    raise(f, m, at + GMK_TICKET, gmk_prio(t));
}

/*
 * False: the ticket is claimed and not published yet, or a subscriber is just joining or leaving.  The
 * mailboxes are looked up once: one that appears only afterwards joins behind this ticket, and may still be
 * being set up.
 */
static bool pass_lossy(gmk_front_t *f, gmk_channel_t *c, uint64_t ticket)
{
    gmk_mailbox_t *sub[GMK_MAX_SUBS];
    const gmk_msg_t *msg = &c->log[(ticket / GMK_TICKET) & c->mask];
    gmk_task_t t;
    if (gmk_load64(&msg->seq, GMK_ACQ, GMK_KERNEL) != ticket + GMK_TICKET)
        return false;
    gmk_msg_load(msg, &t);
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++) {
        sub[i] = gmk_sub_at(c, i);
        if (sub[i] != NULL && unsettled(sub[i]))
            return false;
    }
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++)
        if (sub[i] != NULL && is_for(sub[i], ticket))
            pass_copy(f, c, sub[i], msg, &t);
    return true;
}

bool gmk_distribute(gmk_front_t *f, gmk_channel_t *c, uint32_t most)
{
    uint64_t w = gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL);
    uint64_t at = gmk_load64(&c->passed, GMK_RLX, GMK_KERNEL), to = gmk_w_ticket(w);
    if (c->guarantee == GMK_LOSSLESS) {
        bool again = pass_lossless(f, c, to, gmk_w_prio(w));
        gmk_store64(&c->passed, to, GMK_REL, GMK_KERNEL);
        return again || !gmk_inlet_rest_unchanged(&c->in, w);
    }
    for (; at != to && most != 0; most--, at += GMK_TICKET) {
        if (!pass_lossy(f, c, at))
            break;
        gmk_store64(&c->passed, at + GMK_TICKET, GMK_REL, GMK_KERNEL);
    }
    return at != to || !gmk_inlet_rest_unchanged(&c->in, w);
}
