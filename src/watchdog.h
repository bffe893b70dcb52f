/* SPDX-License-Identifier: MIT */
/*
 * watchdog.h — notices workers that make no progress, and replaces them.
 *
 * A worker beats with every batch and in gmk_over_budget.  One that is inside a handler and
 * has not beaten for 2 intervals is warned about; after 5 it is stalled: it becomes a zombie, a
 * spare worker takes over its index (inbox and pins), its unrun tasks are queued again, its
 * local queue is emptied by ordinary stealing.  Its task stays running and is accounted once, when
 * the handler returns; then the zombie leaves.
 *
 * The thread sleeps for good while all workers are parked, and is roused by the first that is
 * not.  Platforms without threads to spare boot without it.
 */
#ifndef GMK_WATCHDOG_H
#define GMK_WATCHDOG_H

#include "worker.h"

size_t gmk_watchdog_bytes(const gmk_core_t *k);
int gmk_watchdog_start(gmk_core_t *k);
void gmk_watchdog_stop(gmk_core_t *k);
/* A worker came back from a long sleep. */
void gmk_watchdog_rouse(gmk_core_t *k);
/* A condemned worker, after its last task: hands on what it still holds.  ONE. */
void gmk_zombie_exit(gmk_worker_t *w);

#endif
