/* SPDX-License-Identifier: MIT */
/*
 * outlet.h — a subscription whose messages a port takes, in batches, and finishes when it likes.
 *
 * For whoever carries a channel on to somewhere else: a bridge.  An outlet is a mailbox like any other, but
 * its runner is the thread of a port, and no handler runs.  The messages taken count as pending, and
 * hold their channel's credits, until they are finished, in whatever order.
 *
 * An outlet is opened with the control lock (gmk_channel_outlet) and ends by gmk_outlet_end, or with its channel.  So it is known by its number and looked up anew in each call of
 * the port (between gmk_call_begin and gmk_call_end), which is also why a mailbox is never freed under one.
 *
 * The activation protocol of channel.h holds, with one change: the record of an inlet with a port is a wake-up of
 * that port.  While the port works it stays the runner, also of an empty mailbox, so that emitters do not wake
 * it for every message; before it sleeps it rests each outlet.
 *
 * All functions: the thread of the port.
 */
#ifndef GMK_OUTLET_H
#define GMK_OUTLET_H

#include "channel.h"
#include "grace.h"

/* The mailbox of an outlet, NULL when it is gone. */
gmk_mailbox_t *gmk_outlet_find(const gmk_core_t *k, uint64_t sub);

/*
 * Takes up to max messages in order; returns how many.  A message's `channel` says where it was emitted: the
 * origin of its front (core.h), 0 = in this kernel.  Those of an outlet that has ended are dropped here.
 */
uint32_t gmk_outlet_take(gmk_front_t *f, gmk_mailbox_t *m, gmk_task_t *out, uint32_t max);

/* Before the port sleeps.  False: there is something to take.  Else the next message wakes the port. */
bool gmk_outlet_rest(gmk_front_t *f, gmk_mailbox_t *m);

/*
 * Ends the subscription; what was not taken is dropped with this reason, by the workers.  With the control lock.
 * What was taken is still to be finished, before the port is detached.
 */
void gmk_outlet_end(gmk_front_t *f, gmk_mailbox_t *m, int reason);

/* The outcome of one message: completed (code GMK_OK), failed or dropped.  Takes over its payload reference. */
void gmk_outlet_finish(gmk_front_t *f, gmk_mailbox_t *m, gmk_task_t *t, int code);
/* After any number of those: whoever waits for the channel's credits goes on. */
static inline void gmk_outlet_finished(gmk_front_t *f, gmk_mailbox_t *m) { gmk_waiter_check(f, m->chan); }

#endif
