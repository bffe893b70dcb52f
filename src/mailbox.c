/* SPDX-License-Identifier: MIT */
/* mailbox.c — taking messages out of a channel; the rules are in channel.h. */
#include "channel.h"

/* The message as it is delivered by this mailbox: its handler's type, its channel word. */
static inline void load_delivery(const gmk_mailbox_t *m, const gmk_msg_t *msg, gmk_task_t *t)
{
    uint64_t w0 = gmk_load64(&msg->task[0], GMK_RLX, GMK_KERNEL);
    uint64_t w1 = gmk_load64(&msg->task[1], GMK_RLX, GMK_KERNEL);
    w0 = (w0 & ~(uint64_t)UINT32_MAX) | (uint64_t)GMK_TASK_CHANNEL_MSG << 32 | m->handler;
    gmk_task_set_word(t, 0, w0);
    gmk_task_set_word(t, 1, (w1 & m->keep) | m->label);
    gmk_task_set_word(t, 2, gmk_load64(&msg->task[2], GMK_RLX, GMK_KERNEL));
    gmk_task_set_word(t, 3, gmk_load64(&msg->task[3], GMK_RLX, GMK_KERNEL));
    gmk_task_set_word(t, 4, gmk_load64(&msg->task[4], GMK_RLX, GMK_KERNEL));
    gmk_task_set_word(t, 5, gmk_load64(&msg->task[5], GMK_RLX, GMK_KERNEL));
}

/* Moves the cursor past a message that was copied.  False: it was shed meanwhile. */
static bool claim(gmk_mailbox_t *m, uint64_t cursor)
{
    if (!m->sheddable) {
        gmk_store64(&m->cursor, cursor + GMK_TICKET, GMK_REL, GMK_KERNEL);
        return true;
    }
    return gmk_cas64(&m->cursor, &cursor, cursor + GMK_TICKET, GMK_ACQ_REL, GMK_KERNEL);
}

/* The first ticket that is not for this mailbox, as far as is known.  The word first: see GMK_LEAVES_SOON. */
static uint64_t mailbox_end(gmk_mailbox_t *m, uint32_t *leaving)
{
    uint64_t w = gmk_load64(&m->in->word, GMK_ACQ, GMK_KERNEL);
    *leaving = gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL);
    if (GMK_UNLIKELY(*leaving != 0 && *leaving != GMK_LEAVES_SOON && m->own_ring == NULL))
        return gmk_load64(&m->leave, GMK_RLX, GMK_KERNEL);
    return gmk_w_ticket(w);
}

enum gmk_take gmk_mailbox_take(gmk_mailbox_t *m, uint64_t *end, gmk_task_t *out, uint64_t *stamp)
{
    for (;;) {
        uint64_t at = gmk_load64(&m->cursor, GMK_ACQ, GMK_KERNEL);
        uint32_t leaving = gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL);
        if (GMK_UNLIKELY((int64_t)(at - *end) >= 0)) {
            *end = mailbox_end(m, &leaving);
            if (at == *end)
                return GMK_TAKE_NONE;
            if (leaving == GMK_LEAVES_SOON)
                return GMK_TAKE_LATER;
        }
        const gmk_msg_t *slot = &m->ring[(at / GMK_TICKET) & m->mask];
        if (GMK_UNLIKELY(gmk_load64(&slot->seq, GMK_ACQ, GMK_KERNEL) != at + GMK_TICKET)) {
            if (gmk_load64(&m->cursor, GMK_ACQ, GMK_KERNEL) != at)
                continue; /* shed under our hands, and the slot used again */
            return GMK_TAKE_LATER;
        }
        load_delivery(m, slot, out);
        *stamp = gmk_load64(&slot->stamp, GMK_RLX, GMK_KERNEL);
        if (claim(m, at))
            return leaving == 0 || leaving == GMK_LEAVES_SOON ? GMK_TAKE_MESSAGE : GMK_TAKE_DEAD;
    }
}

bool gmk_mailbox_leave_to_next(gmk_front_t *f, gmk_mailbox_t *m, uint64_t cursor)
{
    gmk_channel_t *c = m->chan;
    uint32_t leaving = gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL);
    if (c->mode != GMK_P2P || leaving == 0 || leaving == GMK_LEAVES_SOON ||
        gmk_load64(&m->leave, GMK_RLX, GMK_KERNEL) != cursor)
        return false;
    gmk_inlet_stop(m->in);
    if (gmk_load64(&c->p2p, GMK_ACQ, GMK_KERNEL) != (uint64_t)(uintptr_t)m)
        gmk_inlet_kick(f, m->in); /* the reaper has unlinked it already, and its kick met a runner */
    return true;
}

bool gmk_mailbox_shed_oldest(gmk_front_t *f, gmk_mailbox_t *m)
{
    gmk_task_t t;
    uint64_t stamp, end = gmk_load64(&m->cursor, GMK_ACQ, GMK_KERNEL);
    if (gmk_load32(&m->held, GMK_ACQ, GMK_KERNEL) != 0)
        return false;
    enum gmk_take got = gmk_mailbox_take(m, &end, &t, &stamp);
    if (got != GMK_TAKE_MESSAGE && got != GMK_TAKE_DEAD)
        return false;
    t.channel = m->delivery; /* an outlet's messages carry their origin there */
    gmk_drop(f, &t, GMK_DROP_SHED);
    gmk_mailbox_done(m, 1);
    return true;
}
