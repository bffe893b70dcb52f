/* SPDX-License-Identifier: MIT */
/*
 * api_task.c — the public calls that accept tasks, and what a handler may ask of its kernel.
 *
 * Every call copies what it reads from the caller before it enters the core: a wild pointer then
 * faults in the handler's name, not in the kernel's.
 */
#include "api.h"
#include "boot.h"
#include "det.h"

#define CHUNK 32u

int gmk_check_task(gmk_core_t *k, const gmk_task_t *t)
{
    if (t->type >= k->n_types || t->tenant >= k->n_tenants)
        return GMK_ERR_RANGE;
    if (t->payload_ptr == 0)
        return (t->flags & GMK_TASK_PAYLOAD_RC) != 0 || t->payload_len != 0 ? GMK_ERR_INVAL : GMK_OK;
    uint64_t base = (uint64_t)(uintptr_t)k->kernel->arena, size = k->kernel->arena_size;
    if (t->payload_ptr < base || t->payload_ptr - base >= size ||
        t->payload_len > size - (t->payload_ptr - base))
        return GMK_ERR_INVAL;
    if ((t->flags & GMK_TASK_PAYLOAD_RC) == 0)
        return GMK_OK;
    void *p = (void *)(uintptr_t)t->payload_ptr;
    return gmk_payload_count(&k->heap, p) != 0 && gmk_heap_contains(&k->heap, p, t->payload_len)
             ? GMK_OK
             : GMK_ERR_INVAL;
}

int gmk_refuse(gmk_front_t *f, int rc)
{
    gmk_count(f, &f->counts->refused, 1);
    return rc;
}

/* The tick a caller lives in: a deterministic task's own, the kernel's otherwise. */
static uint64_t tick_of(gmk_core_t *k, const gmk_lane_t *l)
{
    return l != NULL && l->det_run != 0 ? gmk_det_now(k) : gmk_load64(&k->tick, GMK_ACQ, GMK_KERNEL);
}

/* A deterministic task: from a deterministic handler into the next tick, else as input for `tick`. */
static int accept_det(gmk_front_t *f, gmk_lane_t *l, const gmk_task_t *t, uint32_t tick)
{
    uint32_t now = (uint32_t)tick_of(f->core, l);
    if (l == NULL || l->det_run == 0)
        return gmk_det_input(f, t, 0, tick);
    return gmk_det_emit(l, t, 0, (int32_t)(tick - now) > 1 ? tick - now : 1);
}

/* The callee's own copies; n <= CHUNK.  Returns how many, or an error when none. */
static int accept_some(gmk_front_t *f, gmk_lane_t *l, gmk_task_t *t, uint32_t n)
{
    gmk_core_t *k = f->core;
    uint32_t plain = 0, i = 0;
    int rc = gmk_check_up(f);
    for (; i < n && rc == GMK_OK; i++) {
        rc = t[i].type == 0 ? GMK_ERR_RANGE : gmk_check_task(k, &t[i]);
        if (rc == GMK_OK && GMK_LIKELY((t[i].flags & GMK_TASK_DETERMINISTIC) == 0)) {
            plain++;
            continue;
        }
        break;
    }
    if (plain != 0)
        return (int)gmk_accept(f, t, plain);
    if (rc < 0)
        return gmk_refuse(f, rc);
    rc = accept_det(f, l, t, (uint32_t)tick_of(k, l) + 1);
    return rc < 0 ? gmk_refuse(f, rc) : 1;
}

/* One chunk, which the caller has copied. */
static int accept_chunk(gmk_front_t *f, gmk_lane_t *l, gmk_task_t *copy, uint32_t n)
{
    gmk_enter(f);
    int got = accept_some(f, l, copy, n);
    gmk_leave(f);
    return got;
}

/* What a call that hands in several answers: how many were accepted, or why none was. */
static int answer_n(gmk_front_t *f, uint32_t done, uint32_t n, int got)
{
    if (done == 0 && n != 0 && got == 0)
        (void)gmk_refuse(f, GMK_ERR_FULL);
    return done != 0 ? (int)done : got;
}

/* Without payload and not deterministic: then ranges are all there is to check. */
static inline bool is_plain(const gmk_core_t *k, const gmk_task_t *t)
{
    return t->type - 1 < k->n_types - 1 && t->tenant < k->n_tenants &&
           (t->payload_ptr | t->payload_len) == 0 &&
           (t->flags & (GMK_TASK_DETERMINISTIC | GMK_TASK_PAYLOAD_RC)) == 0;
}

/* The callee's own copy. */
static int accept_one(gmk_front_t *f, gmk_lane_t *l, gmk_task_t *copy)
{
    gmk_enter(f);
    int got = GMK_LIKELY(is_plain(f->core, copy) && gmk_check_up(f) == GMK_OK) ? (int)gmk_accept(f, copy, 1)
                                                                               : accept_some(f, l, copy, 1);
    if (got == 0)
        got = gmk_refuse(f, GMK_ERR_FULL);
    gmk_leave(f);
    return got < 0 ? got : GMK_OK;
}

static uint64_t later(uint64_t now, uint64_t ns)
{
    return ns > UINT64_MAX - 1 - now ? UINT64_MAX - 1 : now + ns;
}

static int accept_timed(gmk_front_t *f, const gmk_task_t *t, uint64_t key, bool by_tick)
{
    gmk_task_t copy = *t;
    gmk_enter(f);
    gmk_core_t *k = f->core;
    int rc = gmk_check_up(f);
    if (rc == GMK_OK)
        rc = copy.type == 0 ? GMK_ERR_RANGE : gmk_check_task(k, &copy);
    if (rc == GMK_OK && gmk_credit_take(f, 1) == 0)
        rc = GMK_ERR_FULL;
    if (rc == GMK_OK) {
        gmk_task_born(f, &copy, gmk_count_old(f, &f->counts->accepted, 1));
        gmk_trace_enqueue(f, &copy);
        gmk_node_t *n = gmk_node_new(f, &copy);
        n->kind = GMK_NODE_ASKED;
        n->t.key = key;
        gmk_evq_add(f, n, by_tick);
    } else {
        (void)gmk_refuse(f, rc);
    }
    gmk_leave(f);
    return rc;
}

/* tick in serial order, as the 64-bit count that the event queue sorts by. */
static uint64_t tick_key(gmk_core_t *k, uint32_t tick)
{
    uint64_t now = gmk_load64(&k->tick, GMK_ACQ, GMK_KERNEL);
    int32_t ahead = (int32_t)(tick - (uint32_t)now);
    return ahead > 0 ? now + (uint32_t)ahead : now;
}

static int accept_at(gmk_front_t *f, gmk_lane_t *l, const gmk_task_t *t, uint32_t tick)
{
    gmk_core_t *k = f->core;
    if ((t->flags & GMK_TASK_DETERMINISTIC) == 0) {
        int rc = accept_timed(f, t, tick_key(k, tick), true);
        if (rc == GMK_OK && tick_key(k, tick) <= gmk_load64(&k->tick, GMK_ACQ, GMK_KERNEL))
            gmk_wake_for_work(f);
        return rc;
    }
    gmk_task_t copy = *t;
    gmk_enter(f);
    int rc = gmk_check_up(f);
    if (rc == GMK_OK)
        rc = copy.type == 0 ? GMK_ERR_RANGE : gmk_check_task(k, &copy);
    if (rc == GMK_OK)
        rc = accept_det(f, l, &copy, tick);
    if (rc < 0)
        (void)gmk_refuse(f, rc);
    gmk_leave(f);
    return rc;
}

static int accept_after(gmk_front_t *f, const gmk_task_t *t, uint64_t ns)
{
    if ((t->flags & GMK_TASK_DETERMINISTIC) != 0)
        return gmk_refuse(f, GMK_ERR_UNSUPPORTED);
    return accept_timed(f, t, later(gmk_hal_now_ns(), ns), false);
}

/* ---- from outside ------------------------------------------------------------------------- */

enum when { WHEN_NOW, WHEN_TICK, WHEN_AFTER };

static inline int submit(gmk_kernel_t *kernel, const gmk_task_t *t, enum when when, uint64_t at)
{
    gmk_task_t copy;
    int rc;
    if (t == NULL)
        return GMK_ERR_INVAL;
    gmk_task_copy(&copy, t);
    gmk_core_t *k = gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    if (when == WHEN_NOW)
        rc = accept_one(k->outside, NULL, &copy);
    else if (when == WHEN_TICK)
        rc = accept_at(k->outside, NULL, &copy, (uint32_t)at);
    else
        rc = accept_after(k->outside, &copy, at);
    gmk_outside_end(kernel);
    return rc;
}

int gmk_submit(gmk_kernel_t *kernel, const gmk_task_t *t) { return submit(kernel, t, WHEN_NOW, 0); }

int gmk_submit_at(gmk_kernel_t *kernel, const gmk_task_t *t, uint32_t tick)
{
    return submit(kernel, t, WHEN_TICK, tick);
}

int gmk_submit_after(gmk_kernel_t *kernel, const gmk_task_t *t, uint64_t ns)
{
    return submit(kernel, t, WHEN_AFTER, ns);
}

/* One chunk from outside, of which `done` went before.  0 or an error: there is no use in another. */
static int submit_chunk(gmk_kernel_t *kernel, gmk_task_t *copy, uint32_t want, uint32_t done)
{
    gmk_core_t *k = gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    int got = want == 0 ? 0 : accept_chunk(k->outside, NULL, copy, want);
    if (got <= 0)
        (void)answer_n(k->outside, done, want, got);
    gmk_outside_end(kernel);
    return got;
}

int gmk_submit_n(gmk_kernel_t *kernel, const gmk_task_t *t, uint32_t n)
{
    gmk_task_t copy[CHUNK];
    uint32_t done = 0;
    int got = 0;
    if (n == 0)
        return submit_chunk(kernel, copy, 0, 0);
    if (t == NULL)
        return GMK_ERR_INVAL;
    n = n < INT32_MAX ? n : INT32_MAX;
    do {
        uint32_t want = n - done < CHUNK ? n - done : CHUNK;
        gmk_hal_memcpy(copy, t + done, want * sizeof *t);
        got = submit_chunk(kernel, copy, want, done);
        done += got > 0 ? (uint32_t)got : 0;
    } while (got > 0 && done < n);
    return done != 0 ? (int)done : got;
}

uint32_t gmk_tick_advance(gmk_kernel_t *kernel)
{
    gmk_core_t *k = gmk_outside_begin(kernel);
    uint32_t tick = 0;
    if (k == NULL)
        return 0;
    if (gmk_check_up(k->outside) == GMK_OK) {
        gmk_det_tick(k->outside);
        gmk_wake_for_work(k->outside); /* timers of the tick */
        tick = (uint32_t)gmk_load64(&k->tick, GMK_ACQ, GMK_KERNEL);
    }
    gmk_outside_end(kernel);
    return tick;
}

/* ---- with a context ----------------------------------------------------------------------- */

int gmk_emit(gmk_ctx_t *c, const gmk_task_t *t)
{
    if (GMK_UNLIKELY(!gmk_ctx_ok(c) || t == NULL))
        return GMK_ERR_INVAL;
    gmk_task_t copy;
    gmk_task_copy(&copy, t);
    return accept_one(c->front, gmk_ctx_lane(c), &copy);
}

int gmk_emit_n(gmk_ctx_t *c, const gmk_task_t *t, uint32_t n)
{
    gmk_task_t copy[CHUNK];
    uint32_t done = 0;
    int got = 0;
    if (!gmk_ctx_ok(c) || (t == NULL && n != 0))
        return GMK_ERR_INVAL;
    n = n < INT32_MAX ? n : INT32_MAX;
    while (done < n) {
        uint32_t want = n - done < CHUNK ? n - done : CHUNK;
        gmk_hal_memcpy(copy, t + done, want * sizeof *t);
        got = accept_chunk(c->front, gmk_ctx_lane(c), copy, want);
        if (got <= 0)
            break;
        done += (uint32_t)got;
    }
    return answer_n(c->front, done, n, got);
}

int gmk_emit_after(gmk_ctx_t *c, const gmk_task_t *t, uint64_t ns)
{
    return !gmk_ctx_ok(c) || t == NULL ? GMK_ERR_INVAL : accept_after(c->front, t, ns);
}

int gmk_emit_at(gmk_ctx_t *c, const gmk_task_t *t, uint32_t tick)
{
    return !gmk_ctx_ok(c) || t == NULL ? GMK_ERR_INVAL : accept_at(c->front, gmk_ctx_lane(c), t, tick);
}

int gmk_yield(gmk_ctx_t *c)
{
    if (!gmk_ctx_ok(c))
        return GMK_ERR_INVAL;
    if (gmk_ctx_lane(c) == NULL)
        return gmk_refuse(c->front, GMK_ERR_STATE);
    c->verdict = GMK_VERDICT_YIELD;
    c->phase_set = 0;
    return GMK_OK;
}

int gmk_yield_at(gmk_ctx_t *c, uint64_t phase)
{
    int rc = gmk_yield(c);
    if (rc == GMK_OK) {
        c->phase = phase;
        c->phase_set = 1;
    }
    return rc;
}

bool gmk_over_budget(gmk_ctx_t *c)
{
    gmk_lane_t *l = gmk_ctx_ok(c) ? gmk_ctx_lane(c) : NULL;
    if (l == NULL)
        return false;
    gmk_worker_t *w = gmk_lane_worker(l);
    (void)gmk_add64(&w->beats, 1, GMK_RLX, GMK_KERNEL);
    return l->budget != 0 && gmk_hal_now_ns() - l->started > l->budget;
}

uint32_t gmk_self_worker(gmk_ctx_t *c)
{
    return gmk_ctx_ok(c) && c->front->worker != NULL ? c->front->worker->index : UINT32_MAX;
}

uint32_t gmk_self_tenant(gmk_ctx_t *c) { return gmk_ctx_ok(c) ? c->task->tenant : 0; }

uint32_t gmk_tick(gmk_ctx_t *c)
{
    return gmk_ctx_ok(c) ? (uint32_t)tick_of(c->front->core, gmk_ctx_lane(c)) : 0;
}

uint64_t gmk_now_ns(gmk_ctx_t *c)
{
    (void)c;
    return gmk_hal_now_ns();
}

/* ---- lanes -------------------------------------------------------------------------------- */

uint32_t gmk_lane(gmk_ctx_t *c) { return gmk_ctx_ok(c) ? c->lane : 0; }
uint32_t gmk_lanes(gmk_ctx_t *c) { return gmk_ctx_ok(c) ? c->lanes : 1; }

void gmk_barrier(gmk_ctx_t *c)
{
    if (!gmk_ctx_ok(c) || c->lanes == 1)
        return;
    if (c->lanes == gmk_hal_lanes())
        gmk_hal_block_barrier();
    else
        gmk_hal_warp_barrier(UINT32_MAX);
}

/* Every lane adds to a word of the worker; meetings before, between and after keep rounds apart. */
uint64_t gmk_reduce_sum(gmk_ctx_t *c, uint64_t v)
{
    if (!gmk_ctx_ok(c) || c->lanes == 1)
        return v;
    gmk_lane_t *l = gmk_ctx_lane(c);
    gmk_a64_t *sum = &gmk_lane_worker(l)->sums[gmk_hal_lane() / (c->lanes < GMK_WARP ? GMK_WARP : c->lanes)];
    if (c->lane == 0)
        gmk_store64(sum, 0, GMK_RLX, GMK_WORKER);
    gmk_barrier(c);
    (void)gmk_add64(sum, v, GMK_ACQ_REL, GMK_WORKER);
    gmk_barrier(c);
    v = gmk_load64(sum, GMK_ACQ, GMK_WORKER);
    gmk_barrier(c);
    return v;
}
