/* SPDX-License-Identifier: MIT */
/*
 * The ready queue: tasks for whichever worker comes first.  One bounded MPMC ring per bucket;
 * on CPUs a bucket is a priority, on GPUs a (type, priority) pair, so that tasks of one type
 * come together.  A ring that is full spills to a list per priority.
 *
 * The policy: each gather gives every priority its weighted share of the batch (8:4:2:1), then
 * hands out what is left in order of priority; within a priority the types take turns, starting
 * one further each time.  So every non-empty priority gives something in every gather: the most
 * urgent task starts first, and none starves, however long the others have waited.
 */
#include "sched.h"

static const uint32_t weight[GMK_PRIOS] = {8, 4, 2, 1};
#define GMK_WEIGHTS 15u

static uint32_t pop_bucket(gmk_bucket_t *b, gmk_slot_t *out, uint32_t max)
{
    return max == 0 || gmk_mpmc_empty(&b->ring) ? 0 : gmk_mpmc_pop_n(&b->ring, out, GMK_SLOT_BYTES, max);
}

static uint32_t pop_prio(gmk_core_t *k, uint32_t prio, uint32_t turn, gmk_slot_t *out, uint32_t max)
{
    uint32_t kinds = k->n_buckets / GMK_PRIOS, got = 0;
    for (uint32_t i = 0; i < kinds && got < max; i++) {
        uint32_t kind = kinds == 1 ? 0 : (turn + i) % kinds;
        got += pop_bucket(&k->buckets[kind * GMK_PRIOS + prio], out + got, max - got);
    }
    return got;
}

uint32_t gmk_rq_pop(gmk_core_t *k, gmk_worker_t *w, gmk_slot_t *out, uint32_t max)
{
    uint32_t got = 0;
    for (uint32_t p = 0; p < GMK_PRIOS && got < max; p++) {
        uint32_t share = (max * weight[p] + GMK_WEIGHTS - 1) / GMK_WEIGHTS;
        got += pop_prio(k, p, w->gathers, out + got, share < max - got ? share : max - got);
    }
    for (uint32_t p = 0; p < GMK_PRIOS && got < max && got != 0; p++)
        got += pop_prio(k, p, w->gathers, out + got, max - got);
    return got;
}

bool gmk_rq_empty(const gmk_core_t *k)
{
    for (uint32_t i = 0; i < k->n_buckets; i++)
        if (!gmk_mpmc_empty(&k->buckets[i].ring))
            return false;
    return true;
}

bool gmk_overflow_empty(const gmk_core_t *k)
{
    for (uint32_t p = 0; p < GMK_PRIOS; p++)
        if (!gmk_mpsc_empty(&k->overflow[p].list))
            return false;
    return true;
}

/* Pushes n tasks into their ring; returns how many fitted. */
uint32_t gmk_rq_push(gmk_bucket_t *b, const gmk_task_t *t, uint32_t n, uint64_t stamp)
{
    uint64_t pos = 0;
    uint32_t got = gmk_mpmc_claim(&b->ring, &b->ring.tail, 0, GMK_SLOT_BYTES, n, &pos);
    for (uint32_t i = 0; i < got; i++, pos++) {
        unsigned char *slot = gmk_mpmc_slot(&b->ring, pos, GMK_SLOT_BYTES);
        gmk_slot_t *s = (gmk_slot_t *)(void *)slot;
        gmk_task_move(&s->task, &t[i]);
        s->stamp = stamp;
        gmk_store64(gmk_mpmc_seq(slot, GMK_SLOT_BYTES), pos + 1, GMK_REL, GMK_KERNEL);
    }
    return got;
}

#define GMK_REFILL_MAX 64u

/* Back to the end of the list; an embedded node that is linked again already stands for this one too. */
static void spill_again(gmk_overflow_t *o, gmk_node_t *n, const gmk_task_t *t)
{
    if (n->kind == GMK_NODE_EMBEDDED) {
        if (gmk_xchg32(&n->busy, 1, GMK_ACQ_REL, GMK_KERNEL) != 0)
            return;
        n->task = *t;
    }
    gmk_mpsc_push(&o->list, &n->t.link);
}

static void refill_prio(gmk_front_t *f, gmk_overflow_t *o)
{
    if (gmk_mpsc_empty(&o->list) || !gmk_flag_try(&o->busy))
        return;
    for (uint32_t i = 0; i < GMK_REFILL_MAX; i++) {
        gmk_link_t *l = gmk_mpsc_pop(&o->list);
        if (l == NULL)
            break;
        gmk_node_t *n = gmk_node_of(l);
        gmk_task_t t = n->task;
        bool embedded = n->kind == GMK_NODE_EMBEDDED;
        if (embedded)
            gmk_node_done(f, n); /* before its record can be looked at: from then on it needs another */
        if (gmk_rq_push(gmk_bucket_of(f->core, &t), &t, 1, 0) == 0) {
            spill_again(o, n, &t); /* the ring filled up meanwhile */
            break;
        }
        if (!embedded)
            gmk_node_done(f, n);
    }
    gmk_flag_release(&o->busy);
}

void gmk_overflow_refill(gmk_front_t *f)
{
    for (uint32_t p = 0; p < GMK_PRIOS; p++)
        refill_prio(f, &f->core->overflow[p]);
}
