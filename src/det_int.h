/* SPDX-License-Identifier: MIT */
/*
 * det_int.h — the state of the deterministic run, shared by det.c, which runs ticks, and det_peer.c, which
 * orders them together with a second kernel.  Nobody else includes it.
 *
 * `active` is the right to prepare a tick: whoever has it owns everything here that is not atomic.  It goes
 * from hand to hand: to the workers when the tick's first segment is opened, and back when the last is finished.
 */
#ifndef GMK_DET_INT_H
#define GMK_DET_INT_H

#include "det.h"

/* A deterministic task, or one that is to come. */
typedef struct gmk_det_item {
    gmk_task_t task;
    struct gmk_det_item *next;
    uint64_t tick;  /* in which it is to run; once it is due, in which it first was */
    uint64_t born;  /* tick of the emission; inputs: 0 */
    uint64_t major; /* 0 = input, else 1 + rank of the emitter */
    uint64_t minor; /* index of the emission, or of the input; then the number within the tick */
    uint32_t chan;  /* handle, until it is handed to the subscribers; 0 = direct or handed */
    uint16_t sub;   /* side it comes from << 8 | side of the hearer << 5 | place of the hearer */
    bool waits;     /* counted as waiting: a message from outside, or carried over */
    bool far;       /* runs on the peer: it only has its place in the order here */
} gmk_det_item_t;

/* A list, appended to. */
typedef struct gmk_det_list {
    gmk_det_item_t *first;
    uint64_t n;
} gmk_det_list_t;

struct gmk_det {
    gmk_hal_lock_t lock;     /* inputs */
    gmk_det_item_t *inputs;  /* for ticks to come, newest first */
    uint64_t n_inputs;       /* numbers them */
    gmk_a64_t emitted;       /* list head: emissions of the running tick */
    gmk_det_item_t *carried; /* messages without room in the last tick, in order */
    gmk_det_item_t **items;  /* the running tick, by rank; NULL: runs on the peer, or is finished */
    uint32_t n_items;
    uint32_t used[GMK_MAX_CHANNELS];      /* while a tick is prepared: messages handed over, by channel */
    uint64_t done_tick;                   /* last tick that is finished or running */
    gmk_a64_t claim;                      /* end of the segment << 32 | next rank */
    gmk_a32_t left;                       /* tasks of the segment without an outcome */
    gmk_a32_t active;                     /* a tick is running, or being prepared */
    gmk_a32_t dead;                       /* the code with which the run has ended, else 0 */
    gmk_a64_t future;                     /* accepted and not in the running tick */
    gmk_a32_t waiting;                    /* messages handed in from outside, or carried over */
    gmk_a32_t tokens;                     /* invitations queued */
    gmk_a64_t failed[GMK_MAX_TYPES / 64]; /* bit per type: failed in the running tick */

    /* With a peer (det_peer.c). */
    gmk_a32_t joined;  /* ticks are prepared by the bridge */
    gmk_a32_t poked;   /* there may be something for it to do */
    gmk_a32_t settled; /* it has found that there was not */
    gmk_a64_t port;    /* its front */
    uint32_t side;
    uint64_t last_tick;                                        /* the one before */
    gmk_det_list_t due, arrived, leaving, near, far, failures; /* near: in order */
    gmk_det_item_t *told;                                      /* of near: those before are told */
};

static inline bool gmk_det_joined(const struct gmk_det *d)
{
    return gmk_load32(&d->joined, GMK_ACQ, GMK_KERNEL) != 0;
}

gmk_det_item_t *gmk_det_item_new(gmk_front_t *f, const gmk_task_t *t);
void gmk_det_item_free(gmk_front_t *f, gmk_det_item_t *i);

/* The subscriber in this place, NULL = none, or one whose subscription has ended.  With the control lock. */
gmk_mailbox_t *gmk_det_hearer(gmk_channel_t *c, uint32_t place);
/* Somebody on another kernel hears this channel.  With the control lock. */
bool gmk_det_has_outlet(gmk_channel_t *c);

/* Raises the kernel's tick. */
void gmk_det_new_tick(gmk_front_t *f, uint64_t ahead);
/* The tick after the last one done that has work, or the very next. */
uint64_t gmk_det_next_with_work(struct gmk_det *d);
bool gmk_det_has_work(const struct gmk_det *d);
/* All that is to run in `tick`, in no order. */
gmk_det_list_t gmk_det_collect(gmk_front_t *f, uint64_t tick);
/* Turns what was collected into tasks, in the order of their origin; keeps what has no room. */
gmk_det_list_t gmk_det_expand(gmk_front_t *f, gmk_det_list_t origins);
/* Poisons the types that failed too often. */
void gmk_det_poison(gmk_front_t *f);
/* Numbers and ranks the tasks of the tick; merged: they are not yet in order.  False: there are none to run. */
bool gmk_det_rank(gmk_front_t *f, gmk_det_list_t tasks, bool merged);
/* Runs what is ranked.  False: all of it runs on the peer, and the tick is over here. */
bool gmk_det_run_tick(gmk_front_t *f);
/* The holder of `active`: starts the next due tick that has work, or lets go. */
void gmk_det_next_tick(gmk_front_t *f);

void gmk_det_drop_list(gmk_front_t *f, gmk_det_item_t *i);
/* Tells the bridge to look. */
void gmk_det_poke(gmk_core_t *k);

#endif
