/* SPDX-License-Identifier: MIT */
/* worker.c — the loop; worker.h says what it guarantees. */
#include "det.h"
#include "watchdog.h"
#include "worker.h"

/* A chain of tasks in the next slot gives way to a gather after so many. */
#define GMK_NEXT_RUNS 64u

/* ---- running a batch ---------------------------------------------------------------------- */

static void run_scalars(gmk_worker_t *w, uint32_t lane, uint32_t lanes)
{
    for (uint32_t i = lane; i < w->n_scalar; i += lanes)
        gmk_run_slot(&w->lanes[lane], &w->batch[w->order[i]]);
}

/* WARP and BLOCK tasks: `width` lanes run each together; lane 0 of them decides the outcome. */
static void run_wide(gmk_worker_t *w, uint32_t first, uint32_t n, uint32_t lane, uint32_t width)
{
    uint32_t groups = gmk_hal_lanes() / width, group = lane / width;
    gmk_lane_t *l = &w->lanes[lane];
    l->ctx.lane = lane % width;
    l->ctx.lanes = width;
    for (uint32_t i = group; i < n; i += groups)
        gmk_run_wide(l, &w->batch[w->order[first + i]]);
    l->ctx.lane = 0;
    l->ctx.lanes = 1;
}

/* ALL, more than one lane. */
static void run_batch_wide(gmk_worker_t *w)
{
    uint32_t lane = gmk_hal_lane(), lanes = gmk_hal_lanes();
    uint32_t warp = lanes < GMK_WARP ? lanes : GMK_WARP;
    run_scalars(w, lane, lanes);
    gmk_tally_flush(&w->lanes[lane]);
    gmk_hal_block_barrier();
    run_wide(w, w->n_scalar, w->n_warp, lane, warp);
    gmk_hal_block_barrier();
    run_wide(w, w->n_scalar + w->n_warp, w->n - w->n_scalar - w->n_warp, lane, lanes);
    gmk_tally_flush(&w->lanes[lane]);
    if (lane == 0)
        gmk_bump_clear(&w->bump);
}

/*
 * Announces the task at `pos`, then looks whether a rescuer has taken the rest: it sets
 * `condemned`, fences heavily and reads `cur`.  Should both happen at once, the rescuer's
 * published decision settles whose the task is.
 */
static bool may_run(gmk_worker_t *w, uint32_t pos)
{
    gmk_store32(&w->cur, pos + 1, GMK_REL, GMK_KERNEL);
    return GMK_LIKELY(!gmk_condemned(w)) || (gmk_rescued(w) & GMK_RESCUED_AT) - 1 > pos;
}

/* One lane; runs under the fault guard, which may cut it off at any handler. */
static void run_batch(void *arg)
{
    gmk_worker_t *w = arg;
    gmk_lane_t *l = &w->lanes[0];
    gmk_store32(&w->batched, w->n, GMK_RLX, GMK_KERNEL); /* before a position of it is announced */
    while (w->pos < w->n) {
        if (!may_run(w, w->pos))
            return;
        gmk_run_slot(l, &w->batch[w->order[w->pos]]);
        w->pos++;
    }
    gmk_slot_t *s;
    while (may_run(w, w->n) && w->next_runs < GMK_NEXT_RUNS && (s = gmk_take_next(w)) != NULL) {
        w->next_runs++;
        gmk_run_slot(l, s);
    }
}

/* The task at the fault fails; whoever it belonged to goes on. */
static void after_fault(gmk_worker_t *w, const gmk_fault_info_t *info)
{
    gmk_front_t *f = &w->front;
    gmk_lane_t *l = &w->lanes[0];
    gmk_task_t *t = l->current;
    gmk_mailbox_t *m = l->mailbox;
    gmk_store32(&f->depth, 1, GMK_RLX, GMK_KERNEL);
    l->ctx.task = &gmk_no_task;
    l->budget = 0;
    gmk_bump_clear(&w->bump);
    gmk_count(f, &f->counts->faults, 1);
    gmk_count(f, &f->types[t->type].faults, 1);
    if (gmk_load32(&f->core->trace_mask, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_ERROR)
        gmk_trace_now(f, GMK_EV_FAULT, t->type, t->type, info->kind);
    gmk_outcome(l, GMK_ERR_FAULT);
    l->mailbox = NULL;
    if (m != NULL)
        gmk_inlet_requeue(f, m->in);
    else if (l->det_run != 0)
        gmk_det_after_fault(l);
    if (w->pos < w->n)
        w->pos++;
}

static void run_guarded(gmk_worker_t *w)
{
    gmk_fault_info_t info;
    if ((w->front.core->flags & GMK_BOOT_NO_CONTAINMENT) != 0) {
        run_batch(w);
        return;
    }
    while (!gmk_hal_guarded(run_batch, w, &w->front.depth.v, &info))
        after_fault(w, &info);
}

/* ---- the loop ----------------------------------------------------------------------------- */

/* What the next slot still holds when its chain was cut goes to the others. */
static void spill_next(gmk_worker_t *w)
{
    gmk_slot_t *s = w->next_runs < GMK_NEXT_RUNS ? NULL : gmk_take_next(w);
    if (s != NULL)
        gmk_enqueue_core(&w->front, &s->task, 1, GMK_ENQ_YIELD, NULL);
}

static void account(gmk_worker_t *w)
{
    gmk_store64(&w->beats, gmk_load64(&w->beats, GMK_RLX, GMK_KERNEL) + 1, GMK_RLX, GMK_KERNEL);
    gmk_store32(&w->cur, 0, GMK_RLX, GMK_KERNEL);
    gmk_store32(&w->cur_type, 0, GMK_RLX, GMK_KERNEL);
    if (gmk_hal_lanes() == 1)
        gmk_tally_flush(&w->lanes[0]);
    spill_next(w);
    w->since_clock += w->n + w->next_runs;
    w->pos = 0;
    w->n = 0;
    w->next_runs = 0;
    if (GMK_UNLIKELY(gmk_dead_pending(w->front.core)))
        gmk_dead_flush(&w->front);
}

static void rest(gmk_worker_t *w)
{
    gmk_front_t *f = &w->front;
    gmk_read_clock(w);
    w->limit = f->core->batch;
    if (gmk_work_visible(w))
        return;
    gmk_credit_flush(f);
    gmk_slab_cache_flush(&f->core->nodes, &f->nodes);
    if (gmk_load32(&f->core->trace_mask, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_INFO)
        gmk_trace_now(f, GMK_EV_PARK, 0, 0, 0);
    gmk_idle_park(w, gmk_work_visible);
    gmk_watchdog_rouse(f->core);
    if (gmk_load32(&f->core->trace_mask, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_INFO)
        gmk_trace_now(f, GMK_EV_WAKE, 0, 0, 0);
}

/* Condemned, and the rescuer did not change its mind: from 2 on it cannot. */
static bool leaves_condemned(gmk_worker_t *w)
{
    uint32_t one = 1;
    return GMK_UNLIKELY(gmk_load32(&w->condemned, GMK_ACQ, GMK_KERNEL) != 0) &&
           gmk_cas32(&w->condemned, &one, 2, GMK_ACQ_REL, GMK_KERNEL);
}

/* ONE: fills the batch, or decides to leave. */
static void prepare(gmk_worker_t *w)
{
    gmk_quiet(&w->front);
    w->leave = leaves_condemned(w) ||
               gmk_load32(&w->front.core->state, GMK_ACQ, GMK_KERNEL) == GMK_CORE_STOPPING;
    if (w->leave == 0 && gmk_gather(w) == 0)
        rest(w);
}

void gmk_worker_loop(gmk_worker_t *w)
{
    gmk_rq_team_t *team = gmk_hal_scratch(&w->team_space);
    bool one = gmk_hal_lane() == 0;
    if (one)
        w->team = team;
    for (;;) {
        if (one) {
            prepare(w);
            gmk_team_dismiss(&team->team);
        } else {
            gmk_rq_serve(team);
        }
        if (w->leave != 0)
            break;
        if (w->n != 0) {
            if (gmk_hal_lanes() == 1)
                run_guarded(w);
            else
                run_batch_wide(w);
        }
        gmk_hal_block_barrier(); /* what one lane has decided all have read, before it decides anew */
        if (one && w->n != 0)
            account(w);
    }
}

void gmk_worker_main(void *arg)
{
    gmk_worker_t *w = arg;
    (void)gmk_hal_guard_enter();
    gmk_store32(&w->front.depth, 1, GMK_RLX, GMK_KERNEL);
    gmk_worker_loop(w);
    if (gmk_load32(&w->condemned, GMK_ACQ, GMK_KERNEL) != 0)
        gmk_zombie_exit(w);
    gmk_hal_guard_leave();
    gmk_hal_park_wake(&w->front.core->drain_park); /* the halt may be waiting for us */
    gmk_store32(&w->state, GMK_WORKER_GONE, GMK_REL, GMK_KERNEL);
}
