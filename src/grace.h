/* SPDX-License-Identifier: MIT */
/*
 * grace.h — when may memory that was unlinked be reused?
 *
 * Workers look channels up and use them without counting references.  What is unlinked is
 * reclaimed one grace period later: when every worker and every port has passed a moment at which
 * it held nothing.
 *
 * A worker publishes the epoch it has seen between two batches (gmk_quiet).  A port is quiet
 * outside its calls: `quiet` is 0 then, and the epoch it saw, made odd, inside one.  The reclaimer
 * unlinks, takes a new epoch, fences heavily, and asks later whether all have passed it.
 *
 *     reader                       reclaimer
 *     quiet = epoch (or odd)       unlink
 *     gmk_hal_asym_light()         epoch += 2, gmk_hal_asym_heavy()
 *     look up                      read quiet
 *
 * A parked worker holds nothing; it passes gmk_quiet before it looks anything up again.
 */
#ifndef GMK_GRACE_H
#define GMK_GRACE_H

#include "sched.h"

/* A worker, between batches.  ONE. */
static inline void gmk_quiet(gmk_front_t *f)
{
    uint64_t now = gmk_load64(&f->core->epoch, GMK_ACQ, GMK_KERNEL);
    if (GMK_UNLIKELY(gmk_load64(&f->quiet, GMK_RLX, GMK_KERNEL) != now))
        gmk_store64(&f->quiet, now, GMK_REL, GMK_KERNEL);
    gmk_hal_asym_light();
}

/* Around every call that may look up a channel: marks the front as inside the core. */
static inline void gmk_call_begin(gmk_front_t *f)
{
    gmk_enter(f);
    if (f->worker == NULL) {
        /* Release: a reclaimer that reads this one is behind what the calls before did, too. */
        gmk_store64(&f->quiet, gmk_load64(&f->core->epoch, GMK_ACQ, GMK_KERNEL) | 1, GMK_REL, GMK_KERNEL);
        gmk_hal_asym_light();
    }
}

static inline void gmk_call_end(gmk_front_t *f)
{
    if (f->worker == NULL)
        gmk_store64(&f->quiet, 0, GMK_REL, GMK_KERNEL);
    gmk_leave(f);
}

/* After unlinking: the epoch to wait for. */
uint64_t gmk_grace_start(gmk_core_t *k);
/* Has everybody passed it?  Never blocks. */
bool gmk_grace_over(gmk_core_t *k, uint64_t epoch);

#endif
