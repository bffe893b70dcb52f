/* SPDX-License-Identifier: MIT */
/*
 * fence.h — deterministic ticks of two kernels: who begins one, and what they tell each other before it.
 *
 * All of it goes through the ring of messages, as records with GMK_REGION_TICK for a route, so it arrives after the
 * messages that it speaks of.  One tick, with side 0 in front:
 *
 *     both     tick T - 1 is finished here
 *     side 1   WISH   done = T - 1, and what this kernel would like to be next
 *     side 0   its messages for T, OPEN(T, how many)
 *     side 1   its messages for T, OPEN(T, how many); once all of side 0's are here, a TASK for each task
 *              that it will run, a FAILED for each type that failed in T - 1, ORDER(T, how many)
 *     side 0   once all of side 1's messages are here, the same
 *     both     once the peer's ORDER is here, the tick runs
 *
 * OPEN is the fence of the tick before: T starts here when T - 1 is finished here and the peer's OPEN(T) has
 * arrived together with as many messages as it says.  At most one OPEN and one ORDER of a side is not taken
 * into account yet, because each is an answer to the other's last one; anything else fails the bridge.
 *
 * Side 0 chooses T: the next tick after the last one if either kernel has been told to start one
 * (gmk_tick_advance), else, if either has GMK_BOOT_AUTO_TICK, the first tick for which either has work.
 *
 * When the run ends on one side (END), or the bridge goes down while there is work, it ends on both: the console says so,
 * and what waits for a tick is dropped and counted.
 *
 * All functions: with the bridge's lock, inside a call of its port.
 */
#ifndef GMK_FENCE_H
#define GMK_FENCE_H

#include "det.h"
#include "region.h"

enum gmk_fence_phase {
    GMK_FENCE_OFF,     /* not joined */
    GMK_FENCE_BETWEEN, /* a tick may begin */
    GMK_FENCE_SEND,    /* messages leave */
    GMK_FENCE_OPEN,    /* waiting for the peer's */
    GMK_FENCE_TELL,    /* telling what will run here */
    GMK_FENCE_ORDER,   /* waiting for what will run there */
    GMK_FENCE_RUN,     /* the workers have the tick */
    GMK_FENCE_ENDED    /* the run has ended; the peer is told */
};

typedef struct gmk_fence_mark {
    bool seen;
    uint64_t n;
} gmk_fence_mark_t;

typedef struct gmk_fence {
    enum gmk_fence_phase phase;
    bool due;           /* there is news for BETWEEN and RUN */
    bool wished, heard; /* `told` and `peer` hold something */
    gmk_det_wish_t told, peer;
    uint64_t tick;    /* the last one begun in this epoch */
    uint64_t offered; /* side 1: what side 0 has opened */
    bool holding;     /* `held` is on its way into a ledger */
    gmk_det_msg_t held;
    uint64_t sent, unsent;  /* messages for `tick`; of those, not yet in the ring */
    uint64_t told_n, far_n; /* TASK and FAILED */
    uint64_t arrived;       /* messages of the peer for the tick to come */
    uint32_t type;          /* where gmk_det_tell_failed stands */
    gmk_fence_mark_t open, order;
    uint32_t filled;         /* records among the slots that are not published */
    bool alone;              /* the peer has ticks with another kernel */
    bool alone_due, end_due; /* to be said; END when the run has ended */
} gmk_fence_t;

struct gmk_bridge;

/* Before the bridge is READY: ticks are the two kernels' together from now on. */
void gmk_fence_join(struct gmk_bridge *b);
bool gmk_fence_round(struct gmk_bridge *b);
/* The bridge goes down, or has failed. */
void gmk_fence_part(struct gmk_bridge *b);
/* A record off the ring, a private copy.  False: the bridge has failed. */
bool gmk_fence_take(struct gmk_bridge *b, const gmk_task_t *body);

/* A deterministic message in a ledger is in the ring now; or (false) will never be. */
void gmk_fence_sent(struct gmk_bridge *b, bool sent);
/* One of the peer's is here, or was dropped here. */
void gmk_fence_arrived(struct gmk_bridge *b);
/* One of the peer's, with its payload, for the tick to come.  An error < 0: it is not taken. */
int gmk_fence_arrive(struct gmk_bridge *b, uint32_t handle, const gmk_task_t *t);

/*
 * The origin of a message.  In the slot it is where region.h says; in a stash, whose records have no stamp, the
 * index is in channel and seq.
 */
void gmk_fence_pack(gmk_region_slot_t *s, uint64_t major, uint64_t minor);
void gmk_fence_unpack(gmk_task_t *t, const gmk_task_t *raw, uint64_t stamp);

#endif
