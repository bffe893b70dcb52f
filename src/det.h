/* SPDX-License-Identifier: MIT */
/*
 * det.h — deterministic mode: the same input gives the same order, the same emissions and the same
 * hash, with any number of workers.
 *
 * A tick is a superstep.  Its tasks run in the order (priority, type, number); the place in that
 * order is a task's rank.  What a deterministic task emits is buffered with (rank, index of the
 * emit) and becomes work of the next tick, numbered in that order; input from outside comes
 * first, in the order in which it was handed in for its tick.  Tasks run one at a time, except
 * that neighbours of one DET_PARALLEL type run together.
 *
 * Messages on channels are handed to the subscribers when the tick ends, at most `slots` per
 * channel and tick; what exceeds that waits, in order, for the next.  Nothing is ever answered
 * FULL.  A message counts as accepted once for each subscriber it is handed to.  One whose channel
 * is closed by then is accepted and dropped once (CLOSED); one that the kernel does not come to any
 * more, once for each of the subscribers, or once when there are none (HALTED).  An open channel
 * without subscribers leaves it unheard.
 *
 * Deterministic tasks hold no task credits: they live in blocks of the arena, and when those run
 * out the run ends: the kernel says so, drops what is left, and accepts no more.
 *
 * One word, `claim`, is what workers share while tasks run: the next rank to start and the rank
 * at which the running segment ends.  Whoever finishes a segment opens the next, and whoever
 * finishes the last ends the tick; everything else belongs to that worker alone until then.
 */
#ifndef GMK_DET_H
#define GMK_DET_H

#include "worker.h"

size_t gmk_det_bytes(void);
void gmk_det_init(gmk_core_t *k);

/* Input from outside, for a tick that has not begun (else for the next one).  Any thread. */
int gmk_det_input(gmk_front_t *f, const gmk_task_t *t, uint32_t chan, uint32_t tick);
/* An emission of the deterministic task that runs on this lane; chan 0 = direct.  ANY. */
int gmk_det_emit(gmk_lane_t *l, const gmk_task_t *t, uint32_t chan, uint32_t ticks);
/* The tick that the running deterministic task belongs to; the kernel's may be further on. */
uint64_t gmk_det_now(const gmk_core_t *k);
/* Advances the tick by one. */
void gmk_det_tick(gmk_front_t *f);
/* Starts the ticks that have become due.  Any thread. */
void gmk_det_advance(gmk_front_t *f);
/* The internal task: runs deterministic tasks for as long as there are some to claim. */
void gmk_det_run(gmk_lane_t *l, const gmk_task_t *t);
/* A deterministic task has its outcome, or is to run again (outcome.c). */
void gmk_det_again(gmk_lane_t *l, gmk_task_t *t, uint32_t ticks);
/* A deterministic task of this type failed: it may be poisoned from the next tick on. */
void gmk_det_failed(gmk_core_t *k, uint32_t type);
/* Adds the running task, with its result, to the hash. */
void gmk_det_result(gmk_lane_t *l, uint32_t result);
/* The running deterministic task faulted and has been accounted: the segment goes on. */
void gmk_det_after_fault(gmk_lane_t *l);
/* Deterministic deliveries that wait for a tick that was not started. */
uint64_t gmk_det_future(gmk_core_t *k);
/* Drops everything, for the halt. */
void gmk_det_drop_all(gmk_front_t *f);

#endif
