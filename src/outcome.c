/* SPDX-License-Identifier: MIT */
/*
 * outcome.c — every accepted delivery ends here, once: completed, failed or dropped; or it goes
 * back to wait for something (yield, retry, credits) and comes here again.
 *
 * A message of an ordered mailbox that is not finished stays at the mailbox's head and the
 * mailbox is suspended; once it is handed to a timer, a waiter list or the inlet, another worker
 * may run it, so nothing of it is touched afterwards.
 */
#include "det.h"
#include "worker.h"

#define GMK_BACKOFF_MAX_SHIFT 14u

static void trace_at(gmk_front_t *f, uint32_t level, uint32_t ev, uint32_t type, uint32_t a0, uint32_t a1)
{
    if (GMK_UNLIKELY(gmk_load32(&f->core->trace_mask, GMK_RLX, GMK_KERNEL) >= level))
        gmk_trace_now(f, ev, type, a0, a1);
}

static uint64_t mix64(uint64_t x) /* the finalizer of splitmix64 (Steele, Lea, Flood 2014) */
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* The delivery holds its credit, or its place in a mailbox, no longer. */
static void release_place(gmk_lane_t *l, const gmk_task_t *t)
{
    gmk_front_t *f = l->ctx.front;
    gmk_mailbox_t *m = l->mailbox;
    if (l->det_run != 0)
        return;
    if ((t->flags & GMK_TASK_CHANNEL_MSG) == 0) {
        gmk_credit_give(f, 1);
        return;
    }
    if (m == NULL) {
        gmk_channel_t *c = gmk_chan_of(f->core, t->channel);
        m = gmk_sub_at(c, gmk_delivery_sub(t->channel));
    }
    gmk_mailbox_done(m, 1);
    if (l->mailbox == NULL)
        gmk_waiter_check(f, m->chan);
}

/* ---- completed ---------------------------------------------------------------------------- */

static void count_completed(gmk_front_t *f, uint32_t type, uint32_t tenant, uint32_t channel, uint32_t n)
{
    gmk_count(f, &f->counts->completed, n);
    gmk_count(f, &f->types[type].completed, n);
    gmk_count(f, &f->tenants[tenant].completed, n);
    if (channel != 0)
        gmk_count(f, &f->chans[gmk_delivery_chan(channel)].completed, n);
}

void gmk_tally_flush(gmk_lane_t *l)
{
    gmk_front_t *f = l->ctx.front;
    uint64_t kind = l->tally_kind;
    uint32_t n = l->tally;
    if (kind == GMK_TALLY_NOTHING)
        return;
    l->tally = 0;
    l->tally_kind = GMK_TALLY_NOTHING;
    count_completed(f, (uint32_t)kind, (uint16_t)(kind >> 32), l->tally_channel, n);
    if (l->tally_channel == 0) {
        gmk_credit_give(f, n);
        return;
    }
    if ((kind & GMK_TALLY_ORDERED) != 0)
        return; /* the mailbox may be gone, and another in its place */
    gmk_channel_t *c = gmk_chan_of(f->core, l->tally_channel);
    gmk_mailbox_done(gmk_sub_at(c, gmk_delivery_sub(l->tally_channel)), n);
    gmk_waiter_check(f, c);
}

static void complete(gmk_lane_t *l, gmk_task_t *t)
{
    if (GMK_UNLIKELY((t->flags & GMK_TASK_PAYLOAD_RC) != 0))
        gmk_task_payload_done(l->ctx.front, t);
    if (GMK_UNLIKELY(l->det_run != 0)) {
        count_completed(l->ctx.front, t->type, t->tenant, t->channel, 1);
        return;
    }
    uint64_t kind = gmk_tally_kind(l, t);
    if (l->tally_kind != kind || l->tally_channel != t->channel) {
        gmk_tally_flush(l);
        l->tally_kind = kind;
        l->tally_channel = t->channel;
    }
    l->tally++;
    if (l->mailbox != NULL)
        gmk_mailbox_done(l->mailbox, 1);
}

/* ---- failed ------------------------------------------------------------------------------- */

/*
 * Poison: the type fails unrun once poison_failures failures lie within the window.  fail_at is a
 * ring of the latest failures' times (plus one: 0 is none); the entry after the newest is the oldest.
 * A deterministic run looks between two ticks, so that all tasks of one tick fare alike.
 */
void gmk_poison(gmk_front_t *f, gmk_type_t *ty)
{
    if ((gmk_or32(&ty->special, GMK_TYPE_POISONED, GMK_ACQ_REL, GMK_KERNEL) & GMK_TYPE_POISONED) == 0)
        trace_at(f, GMK_TRACE_ERROR, GMK_EV_POISON, (uint32_t)(ty - f->core->types),
                 (uint32_t)(ty - f->core->types), 0);
}

static void note_failure(gmk_front_t *f, gmk_type_t *ty, bool det)
{
    gmk_core_t *k = f->core;
    uint64_t now = det ? gmk_det_now(k) : gmk_hal_now_ns();
    uint32_t i = gmk_add32(&ty->fails, 1, GMK_ACQ_REL, GMK_KERNEL);
    gmk_store64(&ty->fail_at[i % k->poison_failures], now + 1, GMK_REL, GMK_KERNEL);
    if (det) {
        gmk_det_failed(k, (uint32_t)(ty - k->types));
        return;
    }
    uint64_t first = gmk_load64(&ty->fail_at[(i + 1) % k->poison_failures], GMK_ACQ, GMK_KERNEL);
    if (first == 0 || now + 1 - first > k->poison_ns || gmk_load32(&ty->fails, GMK_RLX, GMK_KERNEL) != i + 1)
        return; /* the last: a failure since may have overwritten the entry, and looks itself */
    gmk_poison(f, ty);
}

void gmk_fail(gmk_lane_t *l, gmk_task_t *t, int code)
{
    gmk_front_t *f = l->ctx.front;
    gmk_type_t *ty = &f->core->types[t->type];
    if (code != GMK_ERR_POISONED)
        note_failure(f, ty, l->det_run != 0);
    gmk_count(f, &f->counts->failed, 1);
    gmk_count(f, &f->types[t->type].failed, 1);
    gmk_count(f, &f->tenants[t->tenant].failed, 1);
    if ((t->flags & GMK_TASK_CHANNEL_MSG) != 0)
        gmk_count(f, &f->chans[gmk_delivery_chan(t->channel)].failed, 1);
    gmk_dead_letter(f, t, code, 1);
    release_place(l, t);
}

void gmk_drop_running(gmk_lane_t *l, int code)
{
    gmk_task_t *t = l->current;
    l->current = NULL;
    l->suspended = 0;
    if (l->mailbox != NULL)
        l->mailbox->has_head = 0;
    gmk_drop(l->ctx.front, t, code);
    release_place(l, t);
}

/* ---- not finished ------------------------------------------------------------------------- */

static void suspend(gmk_lane_t *l)
{
    l->mailbox->has_head = 1;
    l->suspended = 1;
}

/* The node a task waits in: one of the slab's, or its suspended mailbox's own. */
static gmk_node_t *pause_node(gmk_lane_t *l, const gmk_task_t *t)
{
    if (l->mailbox == NULL)
        return gmk_node_new(l->ctx.front, t);
    gmk_node_t *n = &l->mailbox->pause;
    suspend(l);
    n->task = *t;
    gmk_store32(&n->busy, 1, GMK_REL, GMK_KERNEL);
    return n;
}

static void yield(gmk_lane_t *l, gmk_task_t *t)
{
    gmk_front_t *f = l->ctx.front;
    const gmk_type_t *ty = &f->core->types[t->type];
    if (ty->max_yields != GMK_YIELDS_UNLIMITED && t->yield_count >= ty->max_yields) {
        gmk_fail(l, t, GMK_ERR_YIELD_LIMIT);
        return;
    }
    t->yield_count = (uint16_t)(t->yield_count + (t->yield_count != UINT16_MAX));
    gmk_count(f, &f->counts->yields, 1);
    gmk_count(f, &f->types[t->type].yields, 1);
    trace_at(f, GMK_TRACE_INFO, GMK_EV_YIELD, t->type, t->type, t->seq);
    if (l->det_run != 0) {
        gmk_det_again(l, t, 1);
        return;
    }
    if (l->mailbox == NULL) {
        gmk_enqueue_core(f, t, 1, GMK_ENQ_YIELD, NULL);
        return;
    }
    suspend(l);
    gmk_inlet_requeue(f, l->mailbox->in);
}

/* Exponential, with a quarter of jitter either way. */
static uint64_t backoff(const gmk_core_t *k, const gmk_task_t *t)
{
    uint32_t shift = t->retry_count < GMK_BACKOFF_MAX_SHIFT ? t->retry_count : GMK_BACKOFF_MAX_SHIFT;
    uint64_t base = k->retry_base_ns << (shift - (shift != 0));
    uint64_t jitter = mix64(k->seed ^ (uint64_t)t->seq << 20 ^ t->retry_count) % (base / 2 + 1);
    return base - base / 4 + jitter;
}

/* In a deterministic run: the jitter is a hash of (seed, rank, retry). */
static uint32_t backoff_ticks(const gmk_lane_t *l, const gmk_task_t *t)
{
    uint32_t base = 1u << (t->retry_count < 8 ? t->retry_count - 1 : 7);
    uint64_t hash = mix64(l->ctx.front->core->seed ^ l->det_rank << 16 ^ t->retry_count);
    return base + (uint32_t)(hash % (base / 2 + 1));
}

static void retry(gmk_lane_t *l, gmk_task_t *t)
{
    gmk_front_t *f = l->ctx.front;
    if (t->retry_count >= f->core->types[t->type].max_retries) {
        gmk_fail(l, t, GMK_ERR_RETRY_LIMIT);
        return;
    }
    t->retry_count++;
    gmk_count(f, &f->counts->retries, 1);
    gmk_count(f, &f->types[t->type].retries, 1);
    trace_at(f, GMK_TRACE_INFO, GMK_EV_RETRY, t->type, t->type, t->retry_count);
    if (l->det_run != 0) {
        gmk_det_again(l, t, backoff_ticks(l, t));
        return;
    }
    gmk_node_t *n = pause_node(l, t);
    n->t.key = gmk_hal_now_ns() + backoff(f->core, t);
    gmk_evq_add(f, n, false);
}

static void wait_for_credits(gmk_lane_t *l, gmk_task_t *t)
{
    gmk_front_t *f = l->ctx.front;
    gmk_channel_t *c = l->det_run != 0 ? NULL : gmk_chan_of(f->core, l->ctx.wait_chan);
    if (c ==
        NULL) { /* gone since the handler asked: it runs again and learns that; or never full, in a tick */
        yield(l, t);
        return;
    }
    gmk_count(f, &f->counts->waits, 1);
    trace_at(f, GMK_TRACE_INFO, GMK_EV_WAIT, t->type, t->type, gmk_delivery_chan(c->handle));
    gmk_node_t *n = pause_node(l, t);
    n->aux = l->ctx.wait_credits;
    gmk_waiter_add(f, c, n);
}

void gmk_outcome(gmk_lane_t *l, int rc)
{
    gmk_task_t *t = l->current;
    uint32_t verdict = l->ctx.verdict;
    l->current = NULL;
    l->suspended = 0;
    if (l->mailbox != NULL)
        l->mailbox->has_head = 0;
    if (GMK_UNLIKELY(l->det_run != 0))
        gmk_det_result(l, rc == GMK_OK ? verdict << 16 : (uint32_t)rc);
    if (GMK_LIKELY(rc == GMK_OK && verdict == GMK_VERDICT_NONE))
        complete(l, t);
    else if (rc == GMK_RETRY)
        retry(l, t);
    else if (rc != GMK_OK)
        gmk_fail(l, t, rc < 0 ? rc : GMK_ERR_INVAL);
    else {
        if (l->ctx.phase_set)
            t->meta0 = l->ctx.phase;
        if (verdict == GMK_VERDICT_YIELD)
            yield(l, t);
        else
            wait_for_credits(l, t);
    }
}
