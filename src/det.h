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
 * With a peer (a kernel behind a bridge) the two have their ticks together, and the order of a tick, its
 * ranks and its numbers are those of all tasks of both, so the sum of the two hashes is that of one kernel.
 * The second part of this header is for the bridge; docs/decisions/deterministic-peers.md argues.
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

/* All ticks that were started, and with AUTO_TICK all work, are done: here, and as far as it is known on the peer. */
bool gmk_det_settled(const gmk_core_t *k);

/* ---- with a peer (det_peer.c): the thread of a bridge's port ------------------------------- */

/*
 * From gmk_det_join to gmk_det_part no tick is begun but by the bridge.  Between two ticks, with gmk_det_hold,
 * it asks what this kernel wishes, and then for each tick calls, in this order: begin, leave until there is nothing
 * left, (arrive for each message of the peer), expand, tell and tell_failed until there is nothing left, (far for
 * each task of the peer), start.
 */

/* What a kernel that is between two ticks has to say about the next. */
typedef struct gmk_det_wish {
    uint64_t done;      /* the last tick that is finished */
    uint64_t tick;      /* the last one that was started: by gmk_tick_advance */
    uint64_t work;      /* the next one with work, 0 = none */
    uint32_t automatic; /* GMK_BOOT_AUTO_TICK */
} gmk_det_wish_t;

/* A message on its way.  In the tick that is about to begin, so that its tick and its birth are known. */
typedef struct gmk_det_msg {
    gmk_task_t task;
    uint32_t chan; /* handle */
    uint64_t major, minor;
} gmk_det_msg_t;

/* The place of a task in the order of its tick. */
typedef struct gmk_det_place {
    uint64_t tick, born, major, minor;
    uint32_t type, prio, sub;
} gmk_det_place_t;

/* STATE: another bridge has joined, or the run has ended. */
int gmk_det_join(gmk_front_t *f);
/* The bridge has nothing to do with ticks any more; what is due goes on alone, or is dropped if the run has ended. */
void gmk_det_part(gmk_front_t *f);
/* Has anybody called for the bridge since it last asked?  What is found from then on is news again. */
bool gmk_det_poked(gmk_core_t *k);
/* Takes the right to begin a tick, when none is running; gives it back. */
bool gmk_det_hold(gmk_core_t *k);
void gmk_det_release(gmk_core_t *k);
/* Held, and there is nothing to do. */
void gmk_det_settle(gmk_core_t *k);
gmk_det_wish_t gmk_det_wish(const gmk_core_t *k);

/* Collects what is due in `tick`, which is later than the last one.  side: 0 or 1, the peer's is the other. */
void gmk_det_begin(gmk_front_t *f, uint32_t side, uint64_t tick);
/* The next message for the peer, accepted here, with its payload; gmk_det_left tells its outcome.  False: no more. */
bool gmk_det_leave(gmk_front_t *f, gmk_det_msg_t *out);
void gmk_det_left(gmk_front_t *f, gmk_task_t *t, int code);
/* A message of the peer; its payload's reference is taken over.  An error < 0: it is not. */
int gmk_det_arrive(gmk_front_t *f, const gmk_det_msg_t *m);
void gmk_det_expand_tick(gmk_front_t *f);
/* The next task that runs here, for the peer to know.  False: no more. */
bool gmk_det_tell(gmk_core_t *k, gmk_det_place_t *out);
/* Types that failed in the last tick, from *type on, and how often.  False: no more. */
bool gmk_det_tell_failed(const gmk_core_t *k, uint32_t *type, uint32_t *n);
/* A task of the peer; a type that failed there. */
void gmk_det_far(gmk_front_t *f, const gmk_det_place_t *p);
void gmk_det_far_failed(gmk_front_t *f, uint32_t type, uint32_t n);
/* Runs the tick: the workers have `active` now.  False: it is over, because nothing of it runs here. */
bool gmk_det_start(gmk_front_t *f);

/* Ends the run with an error; the first one counts.  Any thread. */
void gmk_det_end(gmk_core_t *k, int code, const char *why);
int gmk_det_out_of_memory(gmk_core_t *k); /* ends it for lack of memory; returns ALLOC_FAIL */
/* OK, or the error with which the run has ended. */
int gmk_det_over(const gmk_core_t *k);
/* The run has ended: drops what was on its way to or from the peer, and what a tick was being made of. */
void gmk_det_abandon(gmk_front_t *f);

#endif
