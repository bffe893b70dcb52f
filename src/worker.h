/* SPDX-License-Identifier: MIT */
/*
 * worker.h — the loop that every worker runs, and what happens to a task in it.
 *
 * One loop serves a thread and a thread block.  Between two meetings one lane gathers; then all
 * lanes run the batch: SCALAR tasks one per lane, WARP tasks one per warp, BLOCK tasks with all
 * lanes together; then one lane accounts.  With one lane the meetings are nothing.
 */
#ifndef GMK_WORKER_H
#define GMK_WORKER_H

#include "channel.h"
#include "grace.h"
#include "lq.h"

/* What a handler asked for besides its result. */
enum gmk_verdict { GMK_VERDICT_NONE, GMK_VERDICT_YIELD, GMK_VERDICT_WAIT };

/* The kernel's own tasks (GMK_TASK_INTERNAL without CHANNEL_MSG): meta0 says which. */
enum gmk_internal { GMK_INTERNAL_REAP = 1, GMK_INTERNAL_DET = 2 };

/* Runs until the kernel halts or the worker is condemned.  ALL. */
void gmk_worker_loop(gmk_worker_t *w);
/* Thread entry: arg is the worker. */
void gmk_worker_main(void *arg);

/* ---- gather (gather.c): ONE --------------------------------------------------------------- */
/* Fills the batch from every source; 0 = found nothing. */
uint32_t gmk_gather(gmk_worker_t *w);
/* Is there anything to do? */
bool gmk_work_visible(gmk_worker_t *w);
/* A timer fired: queues its task. */
void gmk_timer_fired(gmk_worker_t *w, gmk_node_t *n);
void gmk_read_clock(gmk_worker_t *w);

/* ---- run (run.c): ANY --------------------------------------------------------------------- */
void gmk_run_slot(gmk_lane_t *l, gmk_slot_t *s);
/* Runs one task to its outcome. */
void gmk_run_task(gmk_lane_t *l, gmk_task_t *t, uint64_t stamp);
/* A WARP or BLOCK task, on all lanes that run it together. */
void gmk_run_wide(gmk_lane_t *l, gmk_slot_t *s);
/* An activation record: a mailbox or a distributor (deliver.c). */
void gmk_run_activation(gmk_lane_t *l, const gmk_task_t *record);
/* A delivery of a parallel subscription (deliver.c). */
void gmk_run_parallel(gmk_lane_t *l, gmk_slot_t *s);
/* The handler has returned rc, or faulted: decides what becomes of the task (outcome.c). */
void gmk_outcome(gmk_lane_t *l, int rc);
/* The current task cannot be run: it is dropped with this code. */
void gmk_drop_running(gmk_lane_t *l, int code);
void gmk_fail(gmk_lane_t *l, gmk_task_t *t, int code);
/* The type's tasks fail unrun from now on. */
void gmk_poison(gmk_front_t *f, gmk_type_t *ty);
/*
 * Completions are tallied by kind: handler type, tenant, and whether an ordered mailbox is their
 * place, which has counted them itself; and by channel.
 */
#define GMK_TALLY_ORDERED ((uint64_t)1 << 63)
#define GMK_TALLY_NOTHING UINT64_MAX
static inline uint64_t gmk_tally_kind(const gmk_lane_t *l, const gmk_task_t *t)
{
    return t->type | (uint64_t)t->tenant << 32 | (l->mailbox != NULL ? GMK_TALLY_ORDERED : 0);
}

/* The common end of a task: one more completion of the kind being tallied.  False: it needs gmk_outcome. */
static inline bool gmk_tally(gmk_lane_t *l, const gmk_task_t *t)
{
    if (GMK_UNLIKELY(l->tally_kind != gmk_tally_kind(l, t) || l->tally_channel != t->channel ||
                     (t->flags & GMK_TASK_PAYLOAD_RC) != 0 || l->det_run != 0))
        return false;
    l->tally++;
    l->current = NULL;
    if (l->mailbox != NULL) {
        l->suspended = 0;
        l->mailbox->has_head = 0;
        gmk_mailbox_done(l->mailbox, 1);
    }
    return true;
}
/* Adds what the lane has tallied to the counters. */
void gmk_tally_flush(gmk_lane_t *l);

static inline gmk_worker_t *gmk_lane_worker(gmk_lane_t *l) { return l->ctx.front->worker; }
static inline bool gmk_condemned(gmk_worker_t *w)
{
    gmk_hal_asym_light(); /* pairs with the rescuer's heavy one */
    return GMK_UNLIKELY(gmk_load32(&w->condemned, GMK_RLX, GMK_KERNEL) != 0);
}

#define GMK_RESCUED_AT 0xffffu               /* mask of 1 + position; all ones = none */
#define GMK_RESCUED_NEXT ((uint32_t)1 << 16) /* and the task in the next slot */

/* A condemned worker waits until its rescuer has decided what it takes. */
static inline uint32_t gmk_rescued(gmk_worker_t *w)
{
    uint32_t taken;
    (void)gmk_load32(&w->condemned, GMK_ACQ, GMK_KERNEL); /* not what was decided another time */
    for (uint32_t round = 0; (taken = gmk_load32(&w->rescued, GMK_ACQ, GMK_KERNEL)) == 0; round++)
        gmk_hal_relax(round);
    return taken;
}

/*
 * The task in the next slot, NULL = none.  What it spawns goes into the other one of the pair.  A
 * rescuer may be taking it at the same time; its decision settles that.
 */
static inline gmk_slot_t *gmk_take_next(gmk_worker_t *w)
{
    if (gmk_load32(&w->has_next, GMK_RLX, GMK_KERNEL) == 0)
        return NULL;
    gmk_store32(&w->has_next, 0, GMK_RLX, GMK_KERNEL);
    if (gmk_condemned(w) && (gmk_rescued(w) & GMK_RESCUED_NEXT) != 0)
        return NULL;
    gmk_slot_t *s = &w->next[w->flip];
    w->flip ^= 1;
    return s;
}

#endif
