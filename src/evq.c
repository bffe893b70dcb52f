/* SPDX-License-Identifier: MIT */
/*
 * The event queue: tasks that become ready at a time or at a tick, fired in the exact order of
 * (key, priority, number).
 *
 * Anybody adds: a new timer goes onto an MPSC list.  Whoever holds `busy` owns the two ordered
 * queues; it moves the list into them and takes out what is due.  next_ns and next_tick are
 * only hints for those who do not hold it, refreshed before it is released.
 *
 * Nobody polls.  A parked worker, the keeper, sleeps until the earliest time it knows.  Adding an
 * earlier one wakes a worker, which moves it into the queue and becomes the keeper in its turn.
 */
#include "sched.h"

#define GMK_FIRE_MAX 256u
#define GMK_SORT_MAX 4096u

void gmk_evq_add(gmk_front_t *f, gmk_node_t *n, bool by_tick)
{
    gmk_core_t *k = f->core;
    uint64_t key = n->t.key;
    uint64_t number = gmk_add64(&k->evq.numbers, 1, GMK_RLX, GMK_KERNEL);
    n->t.order = (uint64_t)gmk_prio(&n->task) << 62 | (number & (UINT64_MAX >> 2));
    n->aux = by_tick ? 1 : 0;
    (void)gmk_add64(&k->evq.count, 1, GMK_ACQ_REL, GMK_KERNEL);
    if (n->kind == GMK_NODE_ASKED)
        (void)gmk_add64(&k->evq.asked, 1, GMK_ACQ_REL, GMK_KERNEL);
    gmk_mpsc_push(&k->evq.inbox, &n->t.link);
    gmk_fence(GMK_SEQ, GMK_KERNEL); /* pairs with those in gmk_idle_park: push, then look for a keeper */
    if (!by_tick && key < gmk_load64(&k->idle.keeper_due, GMK_ACQ, GMK_KERNEL) && gmk_idle_parked(k) != 0)
        gmk_idle_wake_one(k, f);
}

/* False: more has come in than is moved at once; what is due must wait for the rest, which may be due earlier. */
static bool evq_sort_inbox(gmk_evq_t *q)
{
    for (uint32_t i = 0; i < GMK_SORT_MAX; i++) {
        gmk_link_t *l = gmk_mpsc_pop(&q->inbox);
        if (l == NULL)
            return true;
        gmk_node_t *n = gmk_node_of(l);
        gmk_timerq_insert(n->aux != 0 ? q->ticks : q->times, &n->t);
    }
    return false;
}

static void evq_publish_next(gmk_evq_t *q)
{
    uint64_t key = UINT64_MAX;
    (void)gmk_timerq_min(q->times, &key);
    gmk_store64(&q->next_ns, key, GMK_RLX, GMK_KERNEL);
    key = UINT64_MAX;
    (void)gmk_timerq_min(q->ticks, &key);
    gmk_store64(&q->next_tick, key, GMK_RLX, GMK_KERNEL);
}

bool gmk_evq_due(const gmk_core_t *k, uint64_t now)
{
    const gmk_evq_t *q = &k->evq;
    return gmk_load64(&q->count, GMK_ACQ, GMK_KERNEL) != 0 &&
           (!gmk_mpsc_empty(&q->inbox) || gmk_load64(&q->next_ns, GMK_RLX, GMK_KERNEL) <= now ||
            gmk_load64(&q->next_tick, GMK_RLX, GMK_KERNEL) <= gmk_load64(&k->tick, GMK_ACQ, GMK_KERNEL));
}

static gmk_node_t *taken(gmk_evq_t *q, gmk_tnode_t *t)
{
    gmk_node_t *n = gmk_node_of(&t->link);
    if (n->kind == GMK_NODE_ASKED) {
        n->kind = GMK_NODE_POOL;
        (void)gmk_sub64(&q->asked, 1, GMK_ACQ_REL, GMK_KERNEL);
    }
    return n;
}

uint32_t gmk_evq_fire(gmk_worker_t *w, uint64_t now, void (*fire)(gmk_worker_t *w, gmk_node_t *n))
{
    gmk_core_t *k = w->front.core;
    gmk_evq_t *q = &k->evq;
    uint32_t fired = 0;
    if (!gmk_evq_due(k, now) || !gmk_flag_try(&q->busy))
        return 0;
    bool all = evq_sort_inbox(q);
    while (all && fired < GMK_FIRE_MAX) {
        gmk_tnode_t *t = gmk_timerq_pop_due(q->ticks, gmk_load64(&k->tick, GMK_ACQ, GMK_KERNEL));
        if (t == NULL)
            t = gmk_timerq_pop_due(q->times, now);
        if (t == NULL)
            break;
        fired++;
        fire(w, taken(q, t));
    }
    evq_publish_next(q);
    gmk_flag_release(&q->busy);
    if (fired != 0)
        (void)gmk_sub64(&q->count, fired, GMK_ACQ_REL, GMK_KERNEL);
    return fired;
}

gmk_node_t *gmk_evq_take(gmk_core_t *k)
{
    (void)evq_sort_inbox(&k->evq);
    gmk_tnode_t *t = gmk_timerq_pop(k->evq.ticks);
    if (t == NULL)
        t = gmk_timerq_pop(k->evq.times);
    if (t == NULL)
        return NULL;
    (void)gmk_sub64(&k->evq.count, 1, GMK_ACQ_REL, GMK_KERNEL);
    return taken(&k->evq, t);
}
