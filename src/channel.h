/* SPDX-License-Identifier: MIT */
/*
 * channel.h — channels, their mailboxes, and the protocol between emitters and runners.
 *
 * THE LOG.  A channel has one ring of messages.  An emitter claims a ticket, writes the slot of
 * that ticket, and publishes it by storing ticket + 1 into the slot's seq.  Tickets are counted in
 * units of GMK_TICKET, so that a ticket and the low flag bits share one 64-bit word and all
 * differences are serial arithmetic.
 *
 * THE INLET.  The word of an inlet holds the next ticket, the state of the activation and its
 * priority, CLOSED, and a generation that changes with every change of the set of subscribers:
 * one compare-and-swap claims a ticket, learns whether an activation must be queued, and
 * fails when somebody joined or left meanwhile.  The channel's own inlet is where emitters come
 * in.  On a P2P channel the one mailbox reads straight from it.  On a fan-out channel its
 * activation is the distributor, which passes tickets on to an inlet in each mailbox.
 *
 * THE ACTIVATION.  IDLE -> QUEUED(p) -> RUNNING -> IDLE or QUEUED.  Whoever moves the word to
 * QUEUED(p) queues a record of priority p afterwards.  Whoever gets a record moves the word to
 * RUNNING if it is QUEUED at that priority and drops the record otherwise.  So while a word is
 * QUEUED(p) at least one record of priority p is on its way; a more urgent message just moves
 * it to QUEUED(q) and queues another record, and the older becomes void.  A runner goes IDLE by a
 * compare-and-swap that fails when a ticket was claimed meanwhile.  Suspended (its head message
 * waits for a timer or for credits) is RUNNING without a runner: whoever ends the wait requeues.
 *
 * CREDITS.  `done` of a mailbox counts the deliveries that have their outcome, in tickets.  The
 * gate is the smallest `done`; an emitter may claim ticket t while t - gate < slots.  It is
 * recomputed only when credits seem to run out.  It carries the generation of the word: a value
 * computed for another set of subscribers is not used.
 *   - What arrives over a bridge may go `inbound` tickets further, slots again on a lossless fan-out channel.
 *     Such a channel may be emitted on from both sides: were there one limit, each side's messages could hold all
 *     slots here while they wait for slots there.  With it there is no such circle.  Say both sides are at their further
 *     limit, with a and b as their oldest messages that the other has not accepted.  When a was emitted, fewer than
 *     `slots` unaccepted ones were before it, and so for b; so whichever was emitted later has had fewer than `slots`
 *     arrivals since, and its side is not at the further limit.
 *   - A slot is overwritten only `size` >= slots + inbound tickets later, when every subscriber has
 *     copied it: done <= cursor always.
 *   - Where somebody else may claim messages from a mailbox (it sheds its oldest), a claim copies
 *     first and then moves the cursor by CAS: while the cursor still stands on the ticket, the
 *     slot cannot have been overwritten.
 *
 * ORDER.  The release store of seq pairs with the runner's acquire load.  A runner's release
 * store of done pairs with the acquire load of the emitter that recomputes the gate; others
 * acquire it through the gate.
 */
#ifndef GMK_CHANNEL_H
#define GMK_CHANNEL_H

#include "core.h"
#include "sched.h"

#define GMK_TICKET ((uint64_t)1 << 24)
#define GMK_W_STATE 3u
#define GMK_W_IDLE 0u
#define GMK_W_QUEUED 1u
#define GMK_W_RUNNING 2u
#define GMK_W_PRIO (3u << 2)
#define GMK_W_CLOSED (1u << 4)
#define GMK_W_GEN (((1u << 19) - 1) << 5) /* generation and number of hearers together */
#define GMK_W_COUNTER (((1u << 13) - 1) << 5)
#define GMK_W_COUNTER_ONE (1u << 5)
#define GMK_W_HEARERS (63u << 18)
#define GMK_W_HEARER_ONE (1u << 18)
#define GMK_W_FLAGS ((uint64_t)(GMK_TICKET - 1))

static inline uint64_t gmk_w_ticket(uint64_t w) { return w & ~GMK_W_FLAGS; }
static inline uint32_t gmk_w_state(uint64_t w) { return (uint32_t)w & GMK_W_STATE; }
static inline uint32_t gmk_w_prio(uint64_t w) { return ((uint32_t)w & GMK_W_PRIO) >> 2; }
/* Subscribers that a message emitted now is for. */
static inline uint32_t gmk_w_hearers(uint64_t w) { return ((uint32_t)w & GMK_W_HEARERS) >> 18; }
/* The word after the set of subscribers changed by `by` (-1, 0, 1). */
static inline uint64_t gmk_w_changed(uint64_t w, int by)
{
    uint32_t counter = ((uint32_t)w + GMK_W_COUNTER_ONE) & GMK_W_COUNTER;
    return ((w & ~(uint64_t)GMK_W_COUNTER) | counter) + (uint64_t)((int64_t)by * (int64_t)GMK_W_HEARER_ONE);
}
static inline uint64_t gmk_w_with(uint64_t w, uint32_t state, uint32_t prio)
{
    return (w & ~(uint64_t)(GMK_W_STATE | GMK_W_PRIO)) | state | prio << 2;
}
/* Serial difference of two tickets, in messages. */
static inline int64_t gmk_ticket_diff(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b) / (int64_t)GMK_TICKET;
}
static inline uint32_t gmk_ticket_number(uint64_t t) { return (uint32_t)(t / GMK_TICKET); }

/* A message slot: 48 bytes of task, the time of emission when sampled, the sequence word. */
typedef struct gmk_msg {
    gmk_a64_t task[6];
    gmk_a64_t stamp;
    gmk_a64_t seq; /* ticket + GMK_TICKET once the message is there */
} gmk_msg_t;

/* Reads a published message word by word: where it may be shed, its slot may be rewritten meanwhile. */
static inline void gmk_msg_load(const gmk_msg_t *m, gmk_task_t *t)
{
    for (uint32_t i = 0; i < 6; i++)
        gmk_task_set_word(t, i, gmk_load64(&m->task[i], GMK_RLX, GMK_KERNEL));
}

/* Fields only the core touches, on the line of the word that every emitter owns anyway. */
typedef struct gmk_inlet {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t word;
    gmk_a64_t gate;    /* ticket | generation bits */
    uint32_t delivery; /* what its activation records carry in task.channel */
    gmk_a32_t type;    /* handler type, for grouping; 0 = distributor */
    gmk_a32_t pinned;  /* 1 + worker index, 0 = any */
    gmk_a64_t port;    /* gmk_front_t * of the port that takes its messages (outlet.h), 0 = workers do */
    gmk_node_t nodes[GMK_PRIOS]; /* for records that find a ring full, and for inboxes */
} gmk_inlet_t;

struct gmk_channel;

typedef struct gmk_mailbox {
    gmk_inlet_t own; /* fan-out */
    gmk_inlet_t *in; /* &own, or the channel's (P2P) */
    struct gmk_channel *chan;
    gmk_msg_t *ring;     /* the log, or `own_ring` */
    gmk_msg_t *own_ring; /* fan-out lossy: its private copy of what was passed on */
    uint64_t mask;
    uint32_t index;       /* in chan->subs */
    uint32_t delivery;    /* task.channel of its deliveries */
    uint64_t keep, label; /* of word 1 of a message: what is kept, and what is added: `delivery` */
    gmk_a64_t port;       /* an outlet: the gmk_front_t * of its port; else 0 */
    uint32_t running;     /* outlet: its port is the runner */
    uint32_t handler;
    uint32_t order;     /* GMK_ORDERED, GMK_PARALLEL */
    uint32_t pinned;    /* 1 + worker index, 0 = any */
    uint32_t sheddable; /* messages may be claimed by others */
    uint32_t reserved;  /* task nodes reserved for it */
    uint64_t generation;
    uint64_t join;     /* first ticket (of the log) that is for it */
    gmk_a64_t leave;   /* first ticket of the log that is not, once leaving */
    gmk_a32_t leaving; /* 0, or minus the reason (GMK_DROP_*), or GMK_LEAVES_SOON */
    gmk_a32_t held;    /* being set up: nobody may shed from it */
    struct gmk_mailbox *reap_next;
    uint64_t reap_epoch;
    uint32_t reap_state;

    _Alignas(GMK_CACHE_LINE) gmk_a64_t cursor; /* next ticket to claim */
    gmk_a64_t done;                            /* join + what has its outcome */
    uint32_t has_head;                         /* the message at the head has begun and is not finished */
    uint32_t expected; /* runner only: number of the message that follows the last one started */
    uint32_t head_gap; /* messages lost before the head */
    gmk_task_t head;   /* runner only */
    gmk_node_t pause;  /* its timer or its place on a waiter list */
} gmk_mailbox_t;

typedef struct gmk_channel {
    gmk_inlet_t in;

    _Alignas(GMK_CACHE_LINE) gmk_msg_t *log;
    uint64_t mask;
    uint32_t handle;
    uint32_t index;
    uint32_t msg_type, mode, guarantee, flags;
    uint32_t slots, slots_low; /* credits for priority 0, for the others */
    uint32_t inbound;          /* more of them, for what arrives over a bridge: see CREDITS */
    uint32_t replay;
    uint32_t sys;
    gmk_a32_t on_error;
    gmk_a64_t p2p;  /* mailbox whose turn it is */
    gmk_a64_t base; /* P2P without a mailbox: oldest ticket nobody has claimed */
    gmk_a64_t subs[GMK_MAX_SUBS];
    char name[GMK_NAME_MAX + 1];
    gmk_chan_counts_t at_open; /* sums of the counters when this channel took the index */
    gmk_a32_t closing;
    uint64_t reap_epoch;
    uint32_t reap_state;
    struct gmk_channel *reap_next;
    gmk_mailbox_t *sink; /* drains a P2P channel that is closed without a subscriber */

    _Alignas(GMK_CACHE_LINE) gmk_a64_t passed; /* distributor: next ticket to pass on */

    _Alignas(GMK_CACHE_LINE) gmk_a32_t waiters; /* tasks and mailboxes on the list */
    gmk_a32_t waiters_busy;
    gmk_a64_t port_waiters;   /* bit per port */
    gmk_a64_t wait_from[4];   /* bit per channel whose deliveries wait here */
    gmk_node_t *first_waiter; /* taken off the list and not yet satisfied; with waiters_busy */
    gmk_mpsc_t waiter_list;
} gmk_channel_t;

enum { GMK_CHAN_SYS_DROPPED, GMK_CHAN_SYS_ERROR, GMK_CHAN_SYS_TRACE, GMK_CHAN_SYS_COUNT };

/*
 * The subscription is ending and its `leave` is not known yet: it is set before the swap that fixes
 * the ticket, so whoever has read a later ticket sees it and leaves the mailbox alone until then.
 */
#define GMK_LEAVES_SOON UINT32_MAX

/* The reaper looks again this often while something is leaving. */
#define GMK_REAP_NS 100000u

/* Dead letters that found their channel full: a count per cause, until there is room. */
#define GMK_DEAD_CAUSES 64u
typedef struct gmk_dead_cause {
    uint64_t meta0, meta1; /* as in the dead letter, without the count */
    uint64_t count;
} gmk_dead_cause_t;
typedef struct gmk_deadbox {
    gmk_a32_t busy;
    gmk_a32_t pending; /* causes with a count */
    gmk_dead_cause_t cause[GMK_DEAD_CAUSES];
} gmk_deadbox_t;

typedef struct gmk_chans {
    gmk_a64_t slot[GMK_MAX_CHANNELS]; /* gmk_channel_t *, 0 = free */
    uint32_t gen[GMK_MAX_CHANNELS];   /* of the latest channel there; control lock */
    uint32_t used[GMK_MAX_CHANNELS];  /* taken, even while closing; control lock */
    uint64_t sub_gen;                 /* control lock */
    gmk_deadbox_t dead[2];            /* sys.dropped, sys.error */
    gmk_a64_t changes;                /* grows when a channel or a subscription begins or ends */
    gmk_channel_t *dying;             /* control lock, as the next three */
    gmk_mailbox_t *leaving;
    gmk_node_t reaper; /* the timer that runs gmk_chan_reap */
} gmk_chans_t;

/* ---- lookup ------------------------------------------------------------------------------- */

static inline uint32_t gmk_delivery_chan(uint32_t delivery) { return delivery & 0xff; }
static inline uint32_t gmk_delivery_sub(uint32_t delivery) { return delivery >> 8 & 31; }
static inline uint32_t gmk_delivery_of(uint32_t handle, uint32_t sub) { return handle | sub << 8; }

static inline gmk_channel_t *gmk_chan_at(const gmk_core_t *k, uint32_t index)
{
    return (gmk_channel_t *)(uintptr_t)gmk_load64(&k->chans->slot[index], GMK_ACQ, GMK_KERNEL);
}

/* The channel of a handle or delivery, NULL when it is stale.  Valid until the caller's next quiescent point. */
static inline gmk_channel_t *gmk_chan_of(const gmk_core_t *k, uint32_t id)
{
    gmk_channel_t *c = gmk_chan_at(k, gmk_delivery_chan(id));
    return c != NULL && (c->handle ^ id) >> 13 == 0 ? c : NULL;
}

static inline gmk_mailbox_t *gmk_sub_at(gmk_channel_t *c, uint32_t i)
{
    return (gmk_mailbox_t *)(uintptr_t)gmk_load64(&c->subs[i], GMK_ACQ, GMK_KERNEL);
}

/* ---- emit (emit.c): ANY ------------------------------------------------------------------- */

/*
 * Emits the first so many of n messages (the callee's own copies) of one priority; flags, channel,
 * number and counts become the message's own.  Returns how many, or an error when none.
 */
int gmk_chan_put(gmk_front_t *f, gmk_channel_t *c, gmk_task_t *t, uint32_t n);

/* Credits free for a message of this priority. */
uint32_t gmk_chan_free(gmk_channel_t *c, uint32_t prio);

/* Queues an activation record; the word is QUEUED(prio). */
void gmk_inlet_token(gmk_front_t *f, gmk_inlet_t *in, uint32_t prio);
/* Makes sure an activation is queued, whatever the state was (suspended excepted). */
void gmk_inlet_kick(gmk_front_t *f, gmk_inlet_t *in);
/* A runner (or who ends a suspension) queues the activation again. */
void gmk_inlet_requeue(gmk_front_t *f, gmk_inlet_t *in);
/* A record of this priority arrived: true = the caller is the runner now. */
bool gmk_inlet_start(gmk_inlet_t *in, uint32_t prio);
/* Runner: gives up, whatever was claimed; somebody else will kick. */
void gmk_inlet_stop(gmk_inlet_t *in);
/* Runner: nothing left before `cursor`.  False: a ticket was claimed meanwhile, go on. */
bool gmk_inlet_rest(gmk_inlet_t *in, uint64_t cursor);
/* Distributor: neither a ticket was claimed since the word was `seen`, nor did anybody join or leave. */
bool gmk_inlet_rest_unchanged(gmk_inlet_t *in, uint64_t seen);

/* ---- mailboxes (mailbox.c) ---------------------------------------------------------------- */

enum gmk_take { GMK_TAKE_NONE, GMK_TAKE_LATER, GMK_TAKE_MESSAGE, GMK_TAKE_DEAD };
/*
 * Claims the next message.  NONE: the mailbox is empty up to *end.  LATER: an emitter is between its
 * claim and its publication.  DEAD: claimed, but the subscription has ended: dead-letter it.
 *
 * *end is what the caller knows of the tickets claimed so far, at first the mailbox's cursor.  The
 * word, which emitters write with each message, is read only when the cursor has come there.  A
 * message before an end that was read before the subscription began to leave is for this mailbox.
 */
enum gmk_take gmk_mailbox_take(gmk_mailbox_t *m, uint64_t *end, gmk_task_t *out, uint64_t *stamp);
/* n deliveries of this mailbox have their outcome. */
static inline void gmk_mailbox_done(gmk_mailbox_t *m, uint32_t n)
{
    if (GMK_UNLIKELY(m->sheddable || m->order == GMK_PARALLEL))
        (void)gmk_add64(&m->done, n * GMK_TICKET, GMK_ACQ_REL, GMK_KERNEL);
    else
        gmk_store64(&m->done, gmk_load64(&m->done, GMK_RLX, GMK_KERNEL) + n * GMK_TICKET, GMK_REL,
                    GMK_KERNEL);
}
/*
 * On a P2P channel a mailbox that leaves is at its end before the channel is: the reaper unlinks it and
 * starts whoever is next.  True: the mailbox is at its end, `cursor`, and its runner has given up.
 */
bool gmk_mailbox_leave_to_next(gmk_front_t *f, gmk_mailbox_t *m, uint64_t cursor);
/* Claims the oldest queued message away from its runner; false when there is none to take. */
bool gmk_mailbox_shed_oldest(gmk_front_t *f, gmk_mailbox_t *m);
/*
 * Passes published tickets on to the mailboxes of a fan-out channel, and rests when that was all;
 * else true: queue it again.  The caller is its runner.
 */
bool gmk_distribute(gmk_front_t *f, gmk_channel_t *c, uint32_t most);

/* ---- waiters (waiter.c) ------------------------------------------------------------------- */

/* Puts a node (its task, or a suspended mailbox's) on the list until aux credits are free. */
void gmk_waiter_add(gmk_front_t *f, gmk_channel_t *c, gmk_node_t *n);
/* After credits came back: lets those go on for whom there are enough. */
void gmk_waiter_wake(gmk_front_t *f, gmk_channel_t *c);
static inline void gmk_waiter_check(gmk_front_t *f, gmk_channel_t *c)
{
    gmk_fence(GMK_SEQ, GMK_KERNEL); /* done was stored; pairs with the fence in gmk_waiter_add */
    if (GMK_UNLIKELY(gmk_load32(&c->waiters, GMK_RLX, GMK_KERNEL) != 0 ||
                     gmk_load64(&c->port_waiters, GMK_RLX, GMK_KERNEL) != 0))
        gmk_waiter_wake(f, c);
}
/* The wait of a node is over: queues its task, or the activation of the mailbox it is part of. */
void gmk_resume(gmk_front_t *f, gmk_node_t *n);
gmk_node_t *gmk_waiter_take(gmk_channel_t *c); /* halt: any of them, NULL = none */
/* Writes "a -> b -> a" for each circle of waits to the console; returns how many. */
uint32_t gmk_waiter_report_cycles(gmk_core_t *k);

/* ---- dead letters (dead.c) ---------------------------------------------------------------- */

/* Is it why a delivery was dropped, rather than why it failed? */
static inline bool gmk_is_drop(int code) { return code <= GMK_DROP_SHED && code > GMK_FAIL_BASE; }

/*
 * Reports `count` deliveries like t that ended with this code.  Takes over t's payload reference.
 * Never fails: what finds the channel full is counted by cause and reported later.
 */
void gmk_dead_letter(gmk_front_t *f, const gmk_task_t *t, int code, uint32_t count);
/* Reports what had to wait, as far as there is room now. */
void gmk_dead_flush(gmk_front_t *f);
static inline bool gmk_dead_pending(const gmk_core_t *k)
{
    return gmk_load32(&k->chans->dead[0].pending, GMK_RLX, GMK_KERNEL) != 0 ||
           gmk_load32(&k->chans->dead[1].pending, GMK_RLX, GMK_KERNEL) != 0;
}
/* The delivery was dropped: counts it and reports it. */
void gmk_drop(gmk_front_t *f, const gmk_task_t *t, int code);
/* Releases the payload reference a finished task holds, if it holds one. */
static inline void gmk_task_payload_done(gmk_front_t *f, const gmk_task_t *t)
{
    if (GMK_UNLIKELY((t->flags & GMK_TASK_PAYLOAD_RC) != 0) && t->payload_ptr != 0)
        (void)gmk_payload_drop(&f->core->heap, f->shared ? NULL : &f->heap,
                               (void *)(uintptr_t)t->payload_ptr);
}

/* ---- control (channel.c): with the control lock held -------------------------------------- */

size_t gmk_chans_bytes(void);
void gmk_chans_init(gmk_core_t *k, void *mem);
int gmk_channel_open(gmk_front_t *f, const gmk_chan_cfg_t *cfg, bool sys, uint32_t *handle);
int gmk_channel_find(gmk_core_t *k, const char *name, uint32_t *handle);
int gmk_channel_sub(gmk_front_t *f, gmk_channel_t *c, const gmk_sub_cfg_t *cfg, uint64_t *sub);
void gmk_channel_unsub(gmk_front_t *f, gmk_mailbox_t *m, int reason);
void gmk_channel_close(gmk_front_t *f, gmk_channel_t *c, int reason);
/* A mailbox whose messages the port f takes (outlet.h).  P2P: CHAN_ALREADY_BOUND.  CLOSED, LIMIT, ALLOC_FAIL. */
int gmk_channel_outlet(gmk_front_t *f, gmk_channel_t *c, uint64_t *sub);
/* While a channel is held, emits answer CHAN_CLOSED, and who waits for credits goes on; what is queued stays. */
void gmk_channel_hold(gmk_front_t *f, gmk_channel_t *c, bool hold);
/* Moves leaving mailboxes and closing channels on; true while some are left. */
bool gmk_chan_reap(gmk_front_t *f);
/* All at once, without workers: the halt. */
void gmk_chans_drop_all(gmk_front_t *f);
bool gmk_name_ok(const char *name, bool channel);

#endif
