/* SPDX-License-Identifier: MIT */
/* run.c — running one task: look the handler up, call it, measure what is sampled. */
#include "det.h"
#include "worker.h"

/* Types that run longer than this keep the next slot empty, so that others can help. */
#define GMK_SHORT_NS 20000u
/* A batch should not take much longer than this. */
#define GMK_BATCH_NS 200000u

static uint32_t shard(const gmk_front_t *f) { return f->index % f->core->hist_shards; }

/* The moving mean of sampled runs; with one lane it decides how many tasks of the type a batch takes. */
static void learn(gmk_type_t *ty, uint64_t ns)
{
    uint32_t mean = gmk_load32(&ty->mean_ns, GMK_RLX, GMK_KERNEL);
    uint32_t now = ns > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)ns;
    mean = mean == 0 ? now : (uint32_t)(((uint64_t)mean * 7 + now) / 8);
    gmk_store32(&ty->mean_ns, mean != 0 ? mean : 1, GMK_RLX, GMK_KERNEL);
}

static void overrun(gmk_lane_t *l, const gmk_task_t *t, uint64_t ns)
{
    gmk_front_t *f = l->ctx.front;
    gmk_count(f, &f->counts->overruns, 1);
    gmk_count(f, &f->types[t->type].overruns, 1);
    if (gmk_load32(&f->core->trace_mask, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_WARN)
        gmk_trace_now(f, GMK_EV_OVERRUN, t->type, t->type, (uint32_t)(ns / 1000));
}

static bool task_traced(const gmk_lane_t *l, const gmk_task_t *t)
{
    if ((t->flags & GMK_TASK_CHANNEL_MSG) != 0 && gmk_delivery_chan(t->channel) < GMK_CHAN_SYS_COUNT)
        return (t->flags & GMK_TASK_EMIT_TRACE) != 0;
    return gmk_traced(l->ctx.front, t);
}

/* The handler itself.  A fault inside comes back to the batch, not to here. */
static inline int call(gmk_lane_t *l, gmk_task_t *t, gmk_handler_fn fn)
{
    gmk_worker_t *w = gmk_lane_worker(l);
    gmk_store32(&w->cur_type, t->type, GMK_RLX, GMK_KERNEL);
    l->current = t;
    l->ctx.verdict = GMK_VERDICT_NONE;
    l->ctx.task = t;
    gmk_leave(&w->front);
    int rc = gmk_hal_call(t->type, fn, &l->ctx);
    gmk_enter(&w->front);
    l->ctx.task = &gmk_no_task;
    if (gmk_hal_lanes() == 1)
        gmk_bump_clear(&w->bump);
    return rc;
}

/* Cycle counters of two CPUs may differ by a little: never less than nothing. */
static void record_delay(const gmk_front_t *f, const gmk_type_t *ty, uint64_t stamp)
{
    uint64_t delay = gmk_hal_cycles() - stamp;
    gmk_hist_record(&ty->delay[shard(f)], (int64_t)delay < 0 ? 0 : delay, f->core->sample);
}

static void begin_timed(gmk_lane_t *l, const gmk_type_t *ty)
{
    l->budget = ty->budget_ns;
    l->started = gmk_hal_now_ns();
}

/* weight: how many runs this one stands for, 0 = it is only learnt from. */
static void end_timed(gmk_lane_t *l, gmk_type_t *ty, const gmk_task_t *t, uint32_t weight)
{
    gmk_front_t *f = l->ctx.front;
    uint64_t now = gmk_hal_now_ns(), ns = now - l->started;
    learn(ty, ns);
    if (gmk_hal_lanes() == 1) {
        f->worker->now = now;
        f->worker->since_clock = 0;
        f->worker->shaped = 0;
    }
    if (weight != 0)
        gmk_hist_record(&ty->run[shard(f)], ns, weight);
    if (l->budget != 0 && ns > l->budget)
        overrun(l, t, ns);
    l->budget = 0;
    if ((gmk_load32(&ty->special, GMK_RLX, GMK_KERNEL) & GMK_TYPE_UNTIMED) != 0)
        (void)gmk_and32(&ty->special, ~(uint32_t)GMK_TYPE_UNTIMED, GMK_RLX, GMK_KERNEL);
}

static void begin_traced(gmk_lane_t *l, const gmk_task_t *t)
{
    bool msg = (t->flags & GMK_TASK_CHANNEL_MSG) != 0;
    gmk_trace_now(l->ctx.front, msg ? GMK_EV_CHAN_BEGIN : GMK_EV_BEGIN, t->type,
                  msg ? gmk_delivery_chan(t->channel) : t->type, t->seq);
}

/*
 * A run that is timed (sampled, budgeted, the first of its type), was stamped when it was queued, is
 * traced, or is not to happen at all.
 */
static GMK_COLD void run_observed(gmk_lane_t *l, gmk_task_t *t, gmk_handler_fn fn, gmk_type_t *ty,
                                  uint64_t stamp)
{
    uint32_t special = gmk_load32(&ty->special, GMK_RLX, GMK_KERNEL);
    l->current = t;
    l->ctx.verdict = GMK_VERDICT_NONE;
    if (fn == NULL) {
        gmk_drop_running(l, gmk_load32(&ty->unloaded, GMK_RLX, GMK_KERNEL) != 0 ? GMK_DROP_UNLOADED
                                                                                : GMK_DROP_NO_TYPE);
        return;
    }
    if ((special & GMK_TYPE_POISONED) != 0) {
        gmk_outcome(l, GMK_ERR_POISONED);
        return;
    }
    uint32_t sample = l->ctx.front->core->sample, weight = l->run_left == sample ? sample : 0;
    bool timed = special != 0 || weight != 0, traced = task_traced(l, t);
    if ((special & GMK_TYPE_BUDGET) != 0)
        weight = 1;
    if (stamp != 0)
        record_delay(l->ctx.front, ty, stamp);
    if (timed)
        begin_timed(l, ty);
    if (GMK_UNLIKELY(traced))
        begin_traced(l, t);
    int rc = call(l, t, fn);
    if (GMK_UNLIKELY(traced))
        gmk_trace_now(l->ctx.front, GMK_EV_END, t->type, t->type, (uint32_t)rc);
    if (timed)
        end_timed(l, ty, t, weight);
    if (rc != GMK_OK || l->ctx.verdict != GMK_VERDICT_NONE || !gmk_tally(l, t))
        gmk_outcome(l, rc);
}

/* Is there more to do about this run than to call the handler?  A run that is sampled sets run_left anew. */
static inline bool is_observed(gmk_lane_t *l, const gmk_type_t *ty, const gmk_task_t *t, uint64_t stamp)
{
    gmk_core_t *k = l->ctx.front->core;
    if (GMK_UNLIKELY(--l->run_left == 0)) {
        l->run_left = k->sample;
        return true;
    }
    return GMK_UNLIKELY((gmk_load32(&ty->special, GMK_RLX, GMK_KERNEL) | (t->flags & GMK_TASK_EMIT_TRACE)) !=
                            0 ||
                        stamp != 0 || gmk_load32(&k->trace_mask, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_ALL);
}

void gmk_run_task(gmk_lane_t *l, gmk_task_t *t, uint64_t stamp)
{
    gmk_type_t *ty = &l->ctx.front->core->types[t->type];
    gmk_handler_fn fn = (gmk_handler_fn)(uintptr_t)gmk_load64(&ty->fn, GMK_ACQ, GMK_KERNEL);
    if (GMK_UNLIKELY(fn == NULL) || is_observed(l, ty, t, stamp)) {
        run_observed(l, t, fn, ty, stamp);
        return;
    }
    int rc = call(l, t, fn);
    if (GMK_LIKELY(rc == GMK_OK && l->ctx.verdict == GMK_VERDICT_NONE) && gmk_tally(l, t))
        return;
    gmk_outcome(l, rc);
}

static GMK_COLD void internal_task(gmk_lane_t *l, const gmk_task_t *t)
{
    gmk_front_t *f = l->ctx.front;
    gmk_count(f, &f->counts->internal, 1);
    if ((t->flags & GMK_TASK_CHANNEL_MSG) != 0)
        gmk_run_activation(l, t);
    else if (t->meta0 == GMK_INTERNAL_REAP) {
        gmk_hal_lock_acquire(&f->core->control);
        (void)gmk_chan_reap(f);
        gmk_hal_lock_release(&f->core->control);
    } else
        gmk_det_run(l, t);
}

/* How the running type shapes the batch: short ones may use the next slot, long ones come few at a time. */
static GMK_COLD void shape(gmk_worker_t *w, uint32_t type)
{
    if (type == 0)
        return; /* the kernel's own work is short, whatever came before it */
    uint32_t mean = gmk_load32(&w->front.core->types[type].mean_ns, GMK_RLX, GMK_KERNEL);
    uint32_t fit = mean == 0 ? 1 : GMK_BATCH_NS / mean;
    w->use_next = mean != 0 && mean < GMK_SHORT_NS;
    w->limit = fit < 1 ? 1 : fit < w->front.core->batch ? fit : w->front.core->batch;
    w->shaped = mean != 0 ? type : 0;
}

void gmk_run_slot(gmk_lane_t *l, gmk_slot_t *s)
{
    gmk_worker_t *w = gmk_lane_worker(l);
    if (gmk_hal_lanes() == 1 && GMK_UNLIKELY(w->shaped != s->task.type))
        shape(w, s->task.type);
    if (GMK_LIKELY((s->task.flags & (GMK_TASK_INTERNAL | GMK_TASK_CHANNEL_MSG)) == 0))
        gmk_run_task(l, &s->task, s->stamp);
    else if ((s->task.flags & GMK_TASK_INTERNAL) != 0)
        internal_task(l, &s->task);
    else
        gmk_run_parallel(l, s);
}

/* ---- WARP and BLOCK tasks ----------------------------------------------------------------- */

static void meet(const gmk_lane_t *l)
{
    if (l->ctx.lanes == gmk_hal_lanes())
        gmk_hal_block_barrier();
    else
        gmk_hal_warp_barrier(UINT32_MAX);
}

/*
 * The first lane looks the handler up and leaves it in the slot for the others, so that all
 * decide alike; it also decides the outcome.  ALL lanes of the warp or block.
 */
void gmk_run_wide(gmk_lane_t *l, gmk_slot_t *s)
{
    gmk_type_t *ty = &l->ctx.front->core->types[s->task.type];
    if (l->ctx.lane == 0)
        s->stamp = (gmk_load32(&ty->special, GMK_RLX, GMK_KERNEL) & GMK_TYPE_POISONED) != 0
                     ? 0
                     : gmk_load64(&ty->fn, GMK_ACQ, GMK_KERNEL);
    meet(l);
    gmk_handler_fn fn = (gmk_handler_fn)(uintptr_t)s->stamp;
    l->current = &s->task;
    l->ctx.task = &s->task;
    l->ctx.verdict = GMK_VERDICT_NONE;
    int rc = fn != NULL ? gmk_hal_call(s->task.type, fn, &l->ctx) : GMK_ERR_POISONED;
    l->ctx.task = &gmk_no_task;
    meet(l);
    if (l->ctx.lane == 0)
        gmk_outcome(l, rc);
    l->current = NULL;
}
