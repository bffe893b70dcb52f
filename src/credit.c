/* SPDX-License-Identifier: MIT */
/*
 * Task credits.  The kernel's word holds what nobody has; every worker and port keeps a block
 * at hand, so that accepting and finishing a task touch no shared line.  A front that keeps
 * more than two blocks gives one back; a worker gives everything back before it parks, so an
 * idle kernel admits exactly task_max tasks.
 */
#include "sched.h"

static uint32_t from_kernel(gmk_core_t *k, uint32_t want, uint32_t block)
{
    uint64_t have = gmk_load64(&k->credits, GMK_RLX, GMK_KERNEL);
    uint64_t take;
    do {
        take = have < want + block ? have : want + block;
        if (take == 0)
            return 0;
    } while (!gmk_cas64(&k->credits, &have, have - take, GMK_ACQ_REL, GMK_KERNEL));
    return (uint32_t)take;
}

static uint32_t from_hand(gmk_front_t *f, uint32_t want)
{
    uint64_t have = gmk_load64(&f->credits, GMK_RLX, GMK_WORKER);
    uint64_t take;
    do
        take = have < want ? have : want;
    while (take != 0 && !gmk_cas64(&f->credits, &have, have - take, GMK_RLX, GMK_WORKER));
    return (uint32_t)take;
}

uint32_t gmk_credit_take_slow(gmk_front_t *f, uint32_t n)
{
    if (GMK_UNLIKELY(f->shared))
        return from_kernel(f->core, n, 0);
    uint32_t got = from_hand(f, n);
    uint32_t fresh = from_kernel(f->core, n - got, f->core->credit_block);
    uint32_t used = fresh < n - got ? fresh : n - got;
    if (fresh > used)
        (void)gmk_add64(&f->credits, fresh - used, GMK_RLX, GMK_WORKER);
    return got + used;
}

void gmk_credit_give_back(gmk_front_t *f, uint64_t have)
{
    uint32_t back = from_hand(f, (uint32_t)(have - f->core->credit_block));
    (void)gmk_add64(&f->core->credits, back, GMK_ACQ_REL, GMK_KERNEL);
}

void gmk_credit_flush(gmk_front_t *f)
{
    uint32_t back = from_hand(f, UINT32_MAX);
    if (back != 0)
        (void)gmk_add64(&f->core->credits, back, GMK_ACQ_REL, GMK_KERNEL);
}

gmk_node_t *gmk_node_new(gmk_front_t *f, const gmk_task_t *t)
{
    gmk_node_t *n = gmk_slab_alloc(&f->core->nodes, f->shared ? NULL : &f->nodes);
    for (uint32_t round = 0; GMK_UNLIKELY(n == NULL); round++) { /* reserved, so it lies in somebody's hand */
        gmk_hal_relax(round);
        n = gmk_slab_alloc(&f->core->nodes, f->shared ? NULL : &f->nodes);
    }
    n->kind = GMK_NODE_POOL;
    n->aux = 0;
    n->task = *t;
    return n;
}

void gmk_node_done(gmk_front_t *f, gmk_node_t *n)
{
    if (n->kind == GMK_NODE_POOL)
        gmk_slab_free(&f->core->nodes, f->shared ? NULL : &f->nodes, n);
    else
        (void)gmk_xchg32(&n->busy, 0, GMK_ACQ_REL, GMK_KERNEL);
}
