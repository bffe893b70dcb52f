/* SPDX-License-Identifier: MIT */
#include "lq.h"
#include "sched.h"

/* One in `sample` tasks carries the time at which it was queued; the kernel's own records never do. */
static inline uint64_t stamp_of(gmk_front_t *f, const gmk_task_t *t)
{
    if (f->shared || (t->flags & GMK_TASK_INTERNAL) != 0 || !gmk_once_in(&f->sample_left, f->core->sample))
        return 0;
    return gmk_hal_cycles();
}

/*
 * An embedded node that is linked already holds a record of the same mailbox and priority, which
 * will be looked at after this: it stands for this one too.
 */
static void spill(gmk_front_t *f, const gmk_task_t *t, gmk_node_t *node)
{
    if (node == NULL) {
        node = gmk_node_new(f, t);
    } else if (node->kind == GMK_NODE_EMBEDDED) {
        if (gmk_xchg32(&node->busy, 1, GMK_ACQ_REL, GMK_KERNEL) != 0)
            return;
        node->task = *t;
    }
    gmk_mpsc_push(&f->core->overflow[gmk_prio(t)].list, &node->t.link);
    gmk_count(f, &f->counts->spills, 1);
}

/* The task was copied into a ring: a pool node that carried it so far is free. */
static void carried(gmk_front_t *f, gmk_node_t *node)
{
    if (node != NULL && node->kind == GMK_NODE_POOL)
        gmk_node_done(f, node);
}

static void to_shared(gmk_front_t *f, const gmk_task_t *t, uint64_t stamp, gmk_node_t *node)
{
    if (gmk_rq_push(gmk_bucket_of(f->core, t), t, 1, stamp) == 0)
        spill(f, t, node);
    else
        carried(f, node);
}

/*
 * The next slot takes the first task that a short handler spawns: it runs right after this one,
 * hot in the cache.  A rescuer may empty the slot of a stalled worker: hence the look at
 * `condemned` before it is filled, for the rescuer may be copying it, and after (the rescuer's heavy
 * fence pairs with the light one).
 */
static inline bool to_next(gmk_worker_t *w, const gmk_task_t *t, uint64_t stamp)
{
    if (w->use_next == 0 || gmk_load32(&w->has_next, GMK_ACQ, GMK_KERNEL) != 0 ||
        GMK_UNLIKELY(gmk_load32(&w->condemned, GMK_RLX, GMK_KERNEL) != 0))
        return false;
    gmk_slot_t *next = &w->next[w->flip];
    gmk_task_move(&next->task, t);
    next->stamp = stamp;
    gmk_store32(&w->has_next, 1, GMK_REL, GMK_KERNEL);
    gmk_hal_asym_light();
    if (GMK_LIKELY(gmk_load32(&w->condemned, GMK_RLX, GMK_KERNEL) == 0))
        return true;
    w->use_next = 0;
    return gmk_xchg32(&w->has_next, 0, GMK_ACQ_REL, GMK_KERNEL) == 0; /* 0: the rescuer has it */
}

/*
 * A task more urgent than what waits in the local queue goes to the ready queue instead, where
 * its priority counts.
 */
static bool to_local(gmk_worker_t *w, const gmk_task_t *t, uint64_t stamp, bool reserve)
{
    gmk_lq_t *q = &w->lq;
    uint32_t prio = gmk_prio(t);
    if (prio != q->low) {
        if (gmk_lq_count(q) == 0)
            q->low = prio;
        else if (prio < q->low)
            return false;
        else
            q->low = prio;
    }
    return gmk_lq_push(q, t, stamp, reserve);
}

void gmk_enqueue_one(gmk_front_t *f, const gmk_task_t *t, uint32_t how, gmk_node_t *node)
{
    gmk_worker_t *w = f->worker;
    uint64_t stamp = stamp_of(f, t);
    if ((how & GMK_ENQ_YIELD) == 0) /* what comes back was traced when it left */
        gmk_trace_enqueue(f, t);
    if (w == NULL || gmk_hal_lanes() != 1 || (how & GMK_ENQ_SHARED) != 0) {
        to_shared(f, t, stamp, node);
    } else if ((how & GMK_ENQ_YIELD) == 0 && to_next(w, t, stamp)) {
        carried(f, node);
        return; /* nobody else could take it: nobody is woken */
    } else if (to_local(w, t, stamp, (how & GMK_ENQ_YIELD) != 0)) {
        carried(f, node);
    } else {
        to_shared(f, t, stamp, node);
    }
    if ((how & GMK_ENQ_NO_WAKE) == 0)
        gmk_wake_for_work(f);
}

/* From outside a worker a batch goes to its ring with one claim. */
static void place_shared_batch(gmk_front_t *f, const gmk_task_t *t, uint32_t n)
{
    while (n != 0) {
        gmk_bucket_t *b = gmk_bucket_of(f->core, t);
        uint32_t run = 1;
        while (run < n && gmk_bucket_of(f->core, &t[run]) == b)
            run++;
        for (uint32_t i = 0; i < run; i++)
            gmk_trace_enqueue(f, &t[i]);
        uint32_t done = 0;
        while (done < run) {
            uint32_t got = gmk_rq_push(b, t + done, run - done, done == 0 ? stamp_of(f, t) : 0);
            if (got == 0)
                break;
            done += got;
        }
        for (; done < run; done++)
            spill(f, &t[done], NULL);
        t += run;
        n -= run;
    }
}

void gmk_enqueue_core(gmk_front_t *f, const gmk_task_t *t, uint32_t n, uint32_t how, gmk_node_t *node)
{
    if (n > 1 && (f->worker == NULL || (how & GMK_ENQ_SHARED) != 0))
        place_shared_batch(f, t, n);
    else
        for (uint32_t i = 0; i < n; i++)
            gmk_enqueue_one(f, &t[i], how | GMK_ENQ_NO_WAKE, node);
    if ((how & GMK_ENQ_NO_WAKE) == 0)
        gmk_wake_for_work(f);
}

void gmk_enqueue_inbox(gmk_front_t *f, uint32_t index, gmk_node_t *n)
{
    gmk_core_t *k = f->core;
    gmk_mpsc_push(&k->inboxes[index], &n->t.link);
    gmk_hal_asym_light(); /* pairs with the heavy one in gmk_idle_park */
    gmk_idle_wake_worker(k, gmk_load32(&k->worker_of[index], GMK_ACQ, GMK_KERNEL));
}

uint32_t gmk_accept(gmk_front_t *f, gmk_task_t *t, uint32_t n)
{
    uint32_t got = gmk_credit_take(f, n);
    if (got == 0)
        return 0;
    uint64_t number = gmk_count_old(f, &f->counts->accepted, got);
    for (uint32_t i = 0; i < got; i++)
        gmk_task_born(f, &t[i], number + i);
    if (got == 1)
        gmk_enqueue_one(f, t, 0, NULL);
    else
        gmk_enqueue_core(f, t, got, 0, NULL);
    return got;
}
