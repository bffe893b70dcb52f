/* SPDX-License-Identifier: MIT */
/* inlet.c — the activation protocol of channel.h, one function per transition. */
#include "channel.h"

void gmk_inlet_token(gmk_front_t *f, gmk_inlet_t *in, uint32_t prio)
{
    gmk_node_t *node = &in->nodes[prio];
    uint32_t pinned = gmk_load32(&in->pinned, GMK_ACQ, GMK_KERNEL);
    gmk_front_t *port = (gmk_front_t *)(uintptr_t)gmk_load64(&in->port, GMK_ACQ, GMK_KERNEL);
    if (GMK_UNLIKELY(port != NULL)) {
        gmk_hal_park_wake(&port->park);
        return;
    }
    gmk_task_t record = {.type = gmk_load32(&in->type, GMK_RLX, GMK_KERNEL),
                         .flags = (uint16_t)(prio | GMK_TASK_CHANNEL_MSG | GMK_TASK_INTERNAL),
                         .channel = in->delivery,
                         .meta0 = prio};
    if (pinned == 0) {
        gmk_enqueue_core(f, &record, 1, 0, node);
    } else if (gmk_xchg32(&node->busy, 1, GMK_ACQ_REL, GMK_KERNEL) == 0) {
        node->task = record;
        gmk_enqueue_inbox(f, pinned - 1, node);
    }
}

void gmk_inlet_kick(gmk_front_t *f, gmk_inlet_t *in)
{
    /* Written even when it stays RUNNING: the runner's next CAS then acquires what the caller changed before. */
    uint64_t w = gmk_load64(&in->word, GMK_ACQ, GMK_KERNEL), next;
    do
        next = gmk_w_state(w) == GMK_W_RUNNING ? w : gmk_w_with(w, GMK_W_QUEUED, 0);
    while (!gmk_cas64(&in->word, &w, next, GMK_ACQ_REL, GMK_KERNEL));
    if (gmk_w_state(next) == GMK_W_QUEUED)
        gmk_inlet_token(f, in, 0);
}

void gmk_inlet_requeue(gmk_front_t *f, gmk_inlet_t *in)
{
    uint64_t w = gmk_load64(&in->word, GMK_RLX, GMK_KERNEL);
    while (!gmk_cas64(&in->word, &w, gmk_w_with(w, GMK_W_QUEUED, gmk_w_prio(w)), GMK_ACQ_REL, GMK_KERNEL))
        ;
    gmk_inlet_token(f, in, gmk_w_prio(w));
}

bool gmk_inlet_start(gmk_inlet_t *in, uint32_t prio)
{
    uint64_t w = gmk_load64(&in->word, GMK_ACQ, GMK_KERNEL);
    do {
        if (gmk_w_state(w) != GMK_W_QUEUED || gmk_w_prio(w) != prio)
            return false;
    } while (!gmk_cas64(&in->word, &w, gmk_w_with(w, GMK_W_RUNNING, prio), GMK_ACQ_REL, GMK_KERNEL));
    return true;
}

static bool rest_if(gmk_inlet_t *in, uint64_t seen, uint64_t mask)
{
    uint64_t w = gmk_load64(&in->word, GMK_RLX, GMK_KERNEL);
    do {
        if (((w ^ seen) & mask) != 0)
            return false;
    } while (!gmk_cas64(&in->word, &w, gmk_w_with(w, GMK_W_IDLE, GMK_PRIOS - 1), GMK_ACQ_REL, GMK_KERNEL));
    return true;
}

bool gmk_inlet_rest(gmk_inlet_t *in, uint64_t cursor) { return rest_if(in, cursor, ~GMK_W_FLAGS); }

bool gmk_inlet_rest_unchanged(gmk_inlet_t *in, uint64_t seen)
{
    return rest_if(in, seen, ~GMK_W_FLAGS | GMK_W_GEN);
}

void gmk_inlet_stop(gmk_inlet_t *in)
{
    uint64_t w = gmk_load64(&in->word, GMK_RLX, GMK_KERNEL);
    while (!gmk_cas64(&in->word, &w, gmk_w_with(w, GMK_W_IDLE, GMK_PRIOS - 1), GMK_ACQ_REL, GMK_KERNEL))
        ;
}
