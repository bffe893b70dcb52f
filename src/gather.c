/* SPDX-License-Identifier: MIT */
/*
 * gather.c — filling a batch.
 *
 * Every non-empty source is visited in each gather with a bounded share: the worker's own queue,
 * its inbox, spilled tasks, the ready queue, timers; what room is left goes round once more; with
 * nothing found, another worker is robbed of half of its queue.  So a task of priority 0 starts
 * within two gathers of any worker, whatever floods the other sources.
 */
#include "worker.h"

/* Tasks between two readings of the clock while timers are pending and tasks are short. */
#define GMK_CLOCK_TASKS 64u

void gmk_read_clock(gmk_worker_t *w)
{
    w->now = gmk_hal_now_ns();
    w->since_clock = 0;
}

void gmk_timer_fired(gmk_worker_t *w, gmk_node_t *n)
{
    gmk_front_t *f = &w->front;
    if (n != &f->core->chans->reaper) {
        gmk_resume(f, n);
        return;
    }
    gmk_task_t reap = {.flags = GMK_TASK_INTERNAL, .meta0 = GMK_INTERNAL_REAP};
    (void)gmk_xchg32(&n->busy, 0, GMK_ACQ_REL, GMK_KERNEL);
    gmk_enqueue_core(f, &reap, 1, GMK_ENQ_YIELD, n);
}

static uint32_t at_most(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint32_t from_inbox(gmk_worker_t *w, gmk_slot_t *out, uint32_t max)
{
    gmk_mpsc_t *inbox = &w->front.core->inboxes[w->index];
    uint32_t n = 0;
    while (n < max) {
        gmk_link_t *l = gmk_mpsc_pop(inbox);
        if (l == NULL)
            break;
        gmk_node_t *node = gmk_node_of(l);
        out[n].task = node->task;
        out[n++].stamp = 0;
        gmk_node_done(&w->front, node);
    }
    return n;
}

static uint32_t from_lq(gmk_worker_t *w, gmk_slot_t *out, uint32_t max, bool share)
{
    uint32_t there = gmk_lq_count(&w->lq);
    if (there == 0)
        return 0;
    return gmk_lq_pop(&w->lq, out, share && there > 1 ? at_most(max, there - there / 2) : max);
}

static uint32_t from_rq(gmk_worker_t *w, gmk_slot_t *out, uint32_t max, bool share)
{
    if (share) {
        uint64_t there = gmk_rq_count(w->front.core);
        uint64_t half = there - there / 2;
        max = there > 1 && half < max ? (uint32_t)half : max;
    }
    return gmk_rq_pop(w, out, max);
}

/* A timer that fires just now, or a dead letter after the last batch, may have filled the next slot. */
static uint32_t from_next(gmk_worker_t *w, gmk_slot_t *out)
{
    gmk_slot_t *s = gmk_take_next(w);
    if (s == NULL)
        return 0;
    *out = *s;
    return 1;
}

/* Robs the others in turn, from a random one on. */
static uint32_t from_others(gmk_worker_t *w, gmk_slot_t *out, uint32_t max)
{
    gmk_core_t *k = w->front.core;
    w->rng = w->rng * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
    uint32_t start = (uint32_t)(w->rng >> 33) % k->n_all;
    for (uint32_t i = 0; i < k->n_all; i++) {
        gmk_worker_t *victim = &k->workers[(start + i) % k->n_all];
        if (victim == w || gmk_lq_empty(&victim->lq))
            continue;
        uint32_t n = gmk_lq_steal_half(&victim->lq, out, max);
        if (n == 0)
            continue;
        gmk_count(&w->front, &w->front.counts->steals, 1);
        gmk_count(&w->front, &w->front.counts->stolen, n);
        if (gmk_load32(&k->trace_mask, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_INFO)
            gmk_trace_now(&w->front, GMK_EV_STEAL, 0, victim->self, n);
        return n;
    }
    return 0;
}

static void fire_timers(gmk_worker_t *w)
{
    gmk_core_t *k = w->front.core;
    if (GMK_LIKELY(gmk_load64(&k->evq.count, GMK_RLX, GMK_KERNEL) == 0))
        return;
    if (w->since_clock >= GMK_CLOCK_TASKS || w->limit < k->batch || w->n == 0)
        gmk_read_clock(w);
    (void)gmk_evq_fire(w, w->now, gmk_timer_fired);
}

/*
 * Groups the batch by type, stable, and puts WARP tasks behind the SCALAR ones and BLOCK tasks
 * last.  A type may be registered meanwhile: each task's kind is looked up once.
 */
static uint8_t kind_of(const gmk_core_t *k, const gmk_task_t *t)
{
    uint32_t flags = (t->flags & GMK_TASK_INTERNAL) != 0
                       ? 0
                       : gmk_load32(&k->types[t->type].flags, GMK_RLX, GMK_KERNEL);
    return (flags & GMK_HANDLER_BLOCK) != 0 ? 2 : (flags & GMK_HANDLER_WARP) != 0 ? 1 : 0;
}

#define KIND_TAKEN 3u /* it has its place */

static uint32_t append_kind(gmk_worker_t *w, uint8_t *kinds, uint32_t kind, uint32_t at)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (kinds[i] != kind)
            continue;
        uint32_t type = w->batch[i].task.type;
        for (uint32_t j = i; j < w->n; j++)
            if (kinds[j] == kind && w->batch[j].task.type == type) {
                w->order[at++] = (uint8_t)j;
                kinds[j] = KIND_TAKEN;
            }
    }
    return at;
}

static void group(gmk_worker_t *w)
{
    uint32_t type = w->batch[0].task.type, same = 1;
    while (same < w->n && w->batch[same].task.type == type &&
           ((w->batch[same].task.flags ^ w->batch[0].task.flags) & GMK_TASK_INTERNAL) == 0)
        same++;
    if (GMK_LIKELY(same == w->n && kind_of(w->front.core, &w->batch[0].task) == 0)) {
        for (uint32_t i = 0; i < w->n; i++)
            w->order[i] = (uint8_t)i;
        w->n_scalar = w->n;
        w->n_warp = 0;
        return;
    }
    uint8_t kinds[GMK_BATCH_MAX];
    for (uint32_t i = 0; i < w->n; i++)
        kinds[i] = kind_of(w->front.core, &w->batch[i].task);
    w->n_scalar = append_kind(w, kinds, 0, 0);
    w->n_warp = append_kind(w, kinds, 1, w->n_scalar) - w->n_scalar;
    (void)append_kind(w, kinds, 2, w->n_scalar + w->n_warp);
}

uint32_t gmk_gather(gmk_worker_t *w)
{
    gmk_front_t *f = &w->front;
    gmk_core_t *k = f->core;
    gmk_slot_t *out = w->batch;
    uint32_t max = w->limit, half = max - max / 2, quarter = max - max / 4 * 3, n = 0;
    bool share = gmk_idle_parked(k) != 0;
    n += from_lq(w, out, half, share);
    if (!gmk_mpsc_empty(&k->inboxes[w->index]))
        n += from_inbox(w, out + n, quarter);
    if (!gmk_overflow_empty(k))
        gmk_overflow_refill(f);
    n += from_rq(w, out + n, at_most(half, GMK_BATCH_MAX - n), share);
    w->n = n;
    fire_timers(w);
    if (n < max) {
        n += from_lq(w, out + n, max - n, share);
        if (n < max)
            n += from_rq(w, out + n, max - n, share);
    }
    if (n == 0)
        n = from_next(w, out);
    if (n == 0)
        n = from_others(w, out, max);
    w->n = n;
    if (n == 0)
        return 0;
    group(w);
    gmk_count(f, &f->counts->batches, 1);
    if (share && (!gmk_lq_empty(&w->lq) || !gmk_rq_empty(k)))
        gmk_wake_for_work(f);
    return n;
}

bool gmk_work_visible(gmk_worker_t *w)
{
    gmk_core_t *k = w->front.core;
    if (!gmk_rq_empty(k) || !gmk_mpsc_empty(&k->inboxes[w->index]) || !gmk_overflow_empty(k))
        return true;
    if (gmk_load32(&k->state, GMK_ACQ, GMK_KERNEL) == GMK_CORE_STOPPING)
        return true;
    if (gmk_load64(&k->evq.count, GMK_ACQ, GMK_KERNEL) != 0) {
        gmk_read_clock(w);
        if (gmk_evq_due(k, w->now))
            return true;
    }
    for (uint32_t i = 0; i < k->n_all; i++)
        if (&k->workers[i] != w && !gmk_lq_empty(&k->workers[i].lq))
            return true;
    return !gmk_lq_empty(&w->lq);
}
