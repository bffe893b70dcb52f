/* SPDX-License-Identifier: MIT */
#include "outlet.h"

gmk_mailbox_t *gmk_outlet_find(const gmk_core_t *k, uint64_t sub)
{
    gmk_channel_t *c = sub == 0 ? NULL : gmk_chan_of(k, (uint32_t)sub);
    gmk_mailbox_t *m = c == NULL ? NULL : gmk_sub_at(c, gmk_delivery_sub((uint32_t)sub));
    return m != NULL && (m->generation & UINT32_MAX) == sub >> 32 ? m : NULL;
}

/* On a P2P channel those who subscribed before come first. */
static bool has_turn(gmk_mailbox_t *m)
{
    return m->chan->mode != GMK_P2P ||
           gmk_load64(&m->chan->p2p, GMK_ACQ, GMK_KERNEL) == (uint64_t)(uintptr_t)m;
}

static bool start(gmk_mailbox_t *m)
{
    if (GMK_LIKELY(m->running != 0))
        return true;
    uint64_t w = gmk_load64(&m->in->word, GMK_ACQ, GMK_KERNEL);
    if (gmk_w_state(w) != GMK_W_QUEUED || !has_turn(m) || !gmk_inlet_start(m->in, gmk_w_prio(w)))
        return false;
    m->running = 1;
    return true;
}

uint32_t gmk_outlet_take(gmk_front_t *f, gmk_mailbox_t *m, gmk_task_t *out, uint32_t max)
{
    uint64_t stamp, end;
    uint32_t n = 0;
    if (!start(m))
        return 0;
    end = gmk_load64(&m->cursor, GMK_ACQ, GMK_KERNEL);
    while (n < max) {
        enum gmk_take got = gmk_mailbox_take(m, &end, &out[n], &stamp);
        if (got == GMK_TAKE_NONE || got == GMK_TAKE_LATER)
            break;
        if (got == GMK_TAKE_MESSAGE) {
            n++;
            continue;
        }
        gmk_outlet_finish(f, m, &out[n], -(int)gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL));
        gmk_outlet_finished(f, m);
    }
    return n;
}

bool gmk_outlet_rest(gmk_front_t *f, gmk_mailbox_t *m)
{
    uint64_t end = gmk_load64(&m->cursor, GMK_ACQ, GMK_KERNEL);
    if (m->running == 0) {
        uint64_t w = gmk_load64(&m->in->word, GMK_ACQ, GMK_KERNEL);
        return gmk_w_state(w) != GMK_W_QUEUED || !has_turn(m);
    }
    if (!gmk_inlet_rest(m->in, end) && !gmk_mailbox_leave_to_next(f, m, end))
        return false;
    m->running = 0;
    return true;
}

/* Hands the mailbox to the workers, who find that all that is left in it is to be dropped. */
void gmk_outlet_end(gmk_front_t *f, gmk_mailbox_t *m, int reason)
{
    if (gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) == 0)
        gmk_channel_unsub(f, m, reason);
    gmk_store32(&m->own.type, 1, GMK_RLX,
                GMK_KERNEL); /* any but 0: a fan-out's record of 0 is its distributor's */
    gmk_store64(&m->port, 0, GMK_REL, GMK_KERNEL);
    if (has_turn(m))
        gmk_store64(&m->in->port, 0, GMK_REL, GMK_KERNEL);
    if (m->running != 0) {
        m->running = 0;
        gmk_inlet_requeue(f, m->in);
    } else {
        gmk_inlet_kick(f, m->in);
    }
}

static void count_completed(gmk_front_t *f, const gmk_mailbox_t *m, const gmk_task_t *t)
{
    gmk_count(f, &f->counts->completed, 1);
    gmk_count(f, &f->types[t->type].completed, 1);
    gmk_count(f, &f->tenants[t->tenant].completed, 1);
    gmk_count(f, &f->chans[m->chan->index].completed, 1);
    gmk_task_payload_done(f, t);
}

static void count_failed(gmk_front_t *f, const gmk_mailbox_t *m, const gmk_task_t *t, int code)
{
    gmk_count(f, &f->counts->failed, 1);
    gmk_count(f, &f->types[t->type].failed, 1);
    gmk_count(f, &f->tenants[t->tenant].failed, 1);
    gmk_count(f, &f->chans[m->chan->index].failed, 1);
    gmk_dead_letter(f, t, code, 1);
}

void gmk_outlet_finish(gmk_front_t *f, gmk_mailbox_t *m, gmk_task_t *t, int code)
{
    t->channel = m->delivery;
    if (code == GMK_OK)
        count_completed(f, m, t);
    else if (gmk_is_drop(code))
        gmk_drop(f, t, code);
    else
        count_failed(f, m, t, code);
    gmk_mailbox_done(m, 1);
}
