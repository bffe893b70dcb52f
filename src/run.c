/* SPDX-License-Identifier: MIT */
/* run.c — running one task: look the handler up, call it, measure what is sampled. */
#include "det.h"
#include "worker.h"

/* Types that run longer than this keep the next slot empty, so that others can help. */
#define GMK_SHORT_NS 20000u
/* A batch should not take much longer than this. */
#define GMK_BATCH_NS 200000u

static uint32_t shard(const gmk_front_t *f)
{
    return f->index % f->core->hist_shards;
}

/* The moving mean of sampled runs; it decides how many tasks of the type a batch takes. */
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

/* Is this run to be timed?  The first of a type, one in `sample`, and all that have a budget. */
static inline bool timed(gmk_lane_t *l, const gmk_type_t *ty)
{
    if (GMK_UNLIKELY(--l->run_left == 0)) {
        l->run_left = l->ctx.front->core->sample;
        return true;
    }
    return GMK_UNLIKELY(ty->budget_ns != 0 || gmk_load32(&ty->mean_ns, GMK_RLX, GMK_KERNEL) == 0);
}

static void begin(gmk_lane_t *l, gmk_type_t *ty, const gmk_task_t *t, uint64_t stamp)
{
    gmk_front_t *f = l->ctx.front;
    gmk_worker_t *w = f->worker;
    l->started = 0;
    if (stamp != 0)
        gmk_hist_record(&ty->delay[shard(f)], gmk_hal_cycles() - stamp, f->core->sample);
    if (timed(l, ty) || l->traced) {
        l->started = gmk_hal_now_ns();
        w->now = l->started;
        w->since_clock = 0;
    }
    l->budget = ty->budget_ns;
    if (GMK_UNLIKELY(l->traced)) {
        bool msg = (t->flags & GMK_TASK_CHANNEL_MSG) != 0;
        gmk_trace_now(f, msg ? GMK_EV_CHAN_BEGIN : GMK_EV_BEGIN, t->type,
                      msg ? gmk_delivery_chan(t->channel) : t->type, t->seq);
    }
}

static void end(gmk_lane_t *l, gmk_type_t *ty, const gmk_task_t *t, int rc)
{
    gmk_front_t *f = l->ctx.front;
    if (l->started != 0) {
        uint64_t now = gmk_hal_now_ns(), ns = now - l->started;
        f->worker->now = now;
        learn(ty, ns);
        gmk_hist_record(&ty->run[shard(f)], ns, l->budget != 0 || l->traced ? 1 : f->core->sample);
        if (l->budget != 0 && ns > l->budget)
            overrun(l, t, ns);
    }
    if (GMK_UNLIKELY(l->traced))
        gmk_trace_now(f, GMK_EV_END, t->type, t->type, (uint32_t)rc);
}

static bool task_traced(gmk_lane_t *l, const gmk_type_t *ty, const gmk_task_t *t)
{
    gmk_front_t *f = l->ctx.front;
    gmk_core_t *k = f->core;
    if (GMK_LIKELY(gmk_load32(&k->trace_mask, GMK_RLX, GMK_KERNEL) < GMK_TRACE_ALL))
        return GMK_UNLIKELY((t->flags & GMK_TASK_EMIT_TRACE) != 0);
    if ((t->flags & GMK_TASK_EMIT_TRACE) != 0)
        return true;
    if (gmk_load32(&ty->level, GMK_RLX, GMK_KERNEL) < GMK_TRACE_ALL ||
        ((t->flags & GMK_TASK_CHANNEL_MSG) != 0 && gmk_delivery_chan(t->channel) < GMK_CHAN_SYS_COUNT))
        return false;
    if (f->trace_left-- > 1)
        return false;
    f->trace_left = gmk_load32(&k->trace_one_in, GMK_RLX, GMK_KERNEL);
    return true;
}

void gmk_run_task(gmk_lane_t *l, gmk_task_t *t, uint64_t stamp)
{
    gmk_worker_t *w = gmk_lane_worker(l);
    gmk_core_t *k = w->front.core;
    gmk_type_t *ty = &k->types[t->type];
    gmk_handler_fn fn = (gmk_handler_fn)(uintptr_t)gmk_load64(&ty->fn, GMK_ACQ, GMK_KERNEL);
    l->current = t;
    l->ctx.verdict = GMK_VERDICT_NONE;
    if (GMK_UNLIKELY(fn == NULL)) {
        gmk_drop_running(l, gmk_load32(&ty->unloaded, GMK_RLX, GMK_KERNEL) != 0 ? GMK_DROP_UNLOADED
                                                                               : GMK_DROP_NO_TYPE);
        return;
    }
    if (GMK_UNLIKELY(gmk_load32(&ty->poisoned, GMK_RLX, GMK_KERNEL) != 0)) {
        gmk_outcome(l, GMK_ERR_POISONED);
        return;
    }
    gmk_store32(&w->cur_type, t->type, GMK_RLX, GMK_KERNEL);
    l->traced = task_traced(l, ty, t);
    begin(l, ty, t, stamp);
    l->ctx.task = t;
    gmk_leave(&w->front);
    int rc = fn(&l->ctx);
    gmk_enter(&w->front);
    l->ctx.task = &gmk_no_task;
    end(l, ty, t, rc);
    w->since_clock++;
    if (gmk_hal_lanes() == 1)
        gmk_bump_clear(&w->bump);
    gmk_outcome(l, rc);
}

static void internal_task(gmk_lane_t *l, const gmk_task_t *t)
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
static void adapt(gmk_worker_t *w, uint32_t type)
{
    uint32_t mean = gmk_load32(&w->front.core->types[type].mean_ns, GMK_RLX, GMK_KERNEL);
    uint32_t fit = mean == 0 ? 1 : GMK_BATCH_NS / mean;
    w->use_next = mean != 0 && mean < GMK_SHORT_NS;
    w->limit = fit < 1 ? 1 : fit < w->front.core->batch ? fit : w->front.core->batch;
}

void gmk_run_slot(gmk_lane_t *l, gmk_slot_t *s)
{
    gmk_worker_t *w = gmk_lane_worker(l);
    adapt(w, s->task.type);
    if (GMK_UNLIKELY((s->task.flags & GMK_TASK_INTERNAL) != 0))
        internal_task(l, &s->task);
    else
        gmk_run_task(l, &s->task, s->stamp);
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
        s->stamp = gmk_load32(&ty->poisoned, GMK_RLX, GMK_KERNEL) != 0 ? 0 : gmk_load64(&ty->fn, GMK_ACQ, GMK_KERNEL);
    meet(l);
    gmk_handler_fn fn = (gmk_handler_fn)(uintptr_t)s->stamp;
    l->current = &s->task;
    l->ctx.task = &s->task;
    l->ctx.verdict = GMK_VERDICT_NONE;
    int rc = fn != NULL ? fn(&l->ctx) : GMK_ERR_POISONED;
    l->ctx.task = &gmk_no_task;
    meet(l);
    if (l->ctx.lane == 0)
        gmk_outcome(l, rc);
    l->current = NULL;
}
