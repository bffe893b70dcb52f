/* SPDX-License-Identifier: MIT */
/* deliver.c — running an activation: a mailbox's messages, or a channel's distributor. */
#include "worker.h"

#define GMK_MAILBOX_RUN 32u
#define GMK_DISTRIBUTE_RUN 256u

/* Deliveries of a parallel subscription become tasks like any other, for whichever worker takes them. */
static void hand_out(gmk_lane_t *l, const gmk_task_t *t)
{
    gmk_enqueue_core(l->ctx.front, t, 1, GMK_ENQ_YIELD | GMK_ENQ_NO_WAKE, NULL);
}

static void drop_message(gmk_lane_t *l, gmk_mailbox_t *m, gmk_task_t *t)
{
    t->channel = m->delivery; /* what was an outlet's carries its origin there */
    gmk_drop(l->ctx.front, t, -(int)gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL));
    gmk_mailbox_done(m, 1);
}

/* Runs the message at the head.  True: it has its outcome, the next may follow. */
static bool run_head(gmk_lane_t *l, gmk_mailbox_t *m, uint64_t stamp)
{
    l->mailbox = m;
    gmk_run_task(l, &m->head, stamp);
    l->mailbox = NULL;
    return !l->suspended;
}

/* The message that waited at the head of a subscription which has ended since does not run again. */
static bool drop_head(gmk_lane_t *l, gmk_mailbox_t *m)
{
    uint32_t leaving = gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL);
    if (GMK_LIKELY(leaving == 0 || leaving == GMK_LEAVES_SOON))
        return false;
    m->has_head = 0;
    drop_message(l, m, &m->head);
    return true;
}

static void note_gap(gmk_mailbox_t *m)
{
    uint32_t seq = m->head.seq;
    m->head_gap = seq - m->expected;
    m->expected = seq + 1;
}

enum after { AFTER_SUSPENDED, AFTER_EMPTY, AFTER_MORE };

static enum after run_messages(gmk_lane_t *l, gmk_mailbox_t *m, uint64_t *end)
{
    gmk_worker_t *w = gmk_lane_worker(l);
    bool parallel = m->order == GMK_PARALLEL;
    uint32_t most = parallel || w->limit > GMK_MAILBOX_RUN ? GMK_MAILBOX_RUN : w->limit;
    for (uint32_t i = 0; i < most; i++) {
        uint64_t stamp = 0;
        if (GMK_LIKELY(!m->has_head)) {
            switch (gmk_mailbox_take(m, end, &m->head, &stamp)) {
            case GMK_TAKE_NONE: return AFTER_EMPTY;
            case GMK_TAKE_LATER: gmk_hal_relax(i); return AFTER_MORE;
            case GMK_TAKE_DEAD: drop_message(l, m, &m->head); continue;
            case GMK_TAKE_MESSAGE: break;
            }
            if (parallel) {
                hand_out(l, &m->head);
                continue;
            }
            note_gap(m);
        } else if (drop_head(l, m)) {
            continue;
        }
        if (!run_head(l, m, stamp))
            return AFTER_SUSPENDED;
        if (gmk_condemned(w))
            return AFTER_MORE;
    }
    return AFTER_MORE;
}

static void run_mailbox(gmk_lane_t *l, gmk_mailbox_t *m)
{
    gmk_front_t *f = l->ctx.front;
    gmk_channel_t *c = m->chan;
    if (GMK_UNLIKELY((m->pinned != 0 && m->pinned - 1 != gmk_lane_worker(l)->index) ||
                     gmk_load64(&m->port, GMK_ACQ, GMK_KERNEL) != 0)) {
        gmk_inlet_requeue(f, m->in); /* the record is older than the pin or the port, or was rescued */
        return;
    }
    uint64_t end = gmk_load64(&m->cursor, GMK_ACQ, GMK_KERNEL);
    enum after after = run_messages(l, m, &end);
    if (after == AFTER_EMPTY && !gmk_inlet_rest(m->in, end) && !gmk_mailbox_leave_to_next(f, m, end))
        after = AFTER_MORE;
    if (after == AFTER_MORE)
        gmk_inlet_requeue(f, m->in);
    if (m->order == GMK_PARALLEL)
        gmk_wake_for_work(f);
    else
        gmk_waiter_check(f, c);
}

static void run_p2p(gmk_lane_t *l, gmk_channel_t *c)
{
    gmk_mailbox_t *m = (gmk_mailbox_t *)(uintptr_t)gmk_load64(&c->p2p, GMK_ACQ, GMK_KERNEL);
    if (m != NULL) {
        run_mailbox(l, m);
        return;
    }
    gmk_inlet_stop(&c->in); /* messages wait for a subscriber to come */
    if (gmk_load64(&c->p2p, GMK_ACQ, GMK_KERNEL) != 0)
        gmk_inlet_kick(l->ctx.front, &c->in);
}

static void run_distributor(gmk_lane_t *l, gmk_channel_t *c)
{
    gmk_front_t *f = l->ctx.front;
    if (gmk_distribute(f, c, GMK_DISTRIBUTE_RUN))
        gmk_inlet_requeue(f, &c->in);
    if (c->guarantee == GMK_LOSSY)
        gmk_waiter_check(f, c);
}

/* One whose subscription has ended since it was handed out does not start; its mailbox waits for it. */
void gmk_run_parallel(gmk_lane_t *l, gmk_slot_t *s)
{
    gmk_channel_t *c = gmk_chan_of(l->ctx.front->core, s->task.channel);
    gmk_mailbox_t *m = gmk_sub_at(c, gmk_delivery_sub(s->task.channel));
    uint32_t leaving = gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL);
    if (GMK_LIKELY(leaving == 0 || leaving == GMK_LEAVES_SOON)) {
        gmk_run_task(l, &s->task, s->stamp);
        return;
    }
    l->current = &s->task;
    gmk_drop_running(l, -(int)leaving);
}

void gmk_run_activation(gmk_lane_t *l, const gmk_task_t *record)
{
    gmk_channel_t *c = gmk_chan_of(l->ctx.front->core, record->channel);
    if (c == NULL)
        return;
    uint32_t prio = (uint32_t)record->meta0;
    if (c->mode == GMK_P2P) {
        if (gmk_inlet_start(&c->in, prio))
            run_p2p(l, c);
    } else if (record->type == 0) {
        if (gmk_inlet_start(&c->in, prio))
            run_distributor(l, c);
    } else {
        gmk_mailbox_t *m = gmk_sub_at(c, gmk_delivery_sub(record->channel));
        if (m != NULL && gmk_inlet_start(&m->own, prio))
            run_mailbox(l, m);
    }
}
