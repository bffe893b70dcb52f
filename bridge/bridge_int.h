/* SPDX-License-Identifier: MIT */
/*
 * bridge_int.h — the state of a kernel's end of a bridge.
 *
 * One thread, the pump, does all the work in rounds (pump.c): wiring.c speaks about channels, egress.c takes
 * messages out of the kernel's outlets and sends them, ingress.c receives and emits them, beat.c keeps the
 * clocks and the signs of life.  A round, and every call of another thread, holds `lock`; who wants
 * it says so in `wanted`, and the pump steps back.
 *
 * A ROUTE is one channel in one direction.  Its number is the index of the channel in the kernel that sends.
 * Out: the messages of an outlet move through a ledger, a ring of `window` records:
 *
 *     acked <= sent <= staged <= taken <= acked + window
 *
 *   taken   from the outlet: they hold their channel's credits and their payloads
 *   staged  their payload is in the route's part of the pool, or the copy engine has the order to bring it there
 *   sent    their slots are filled
 *   acked   the peer has said so: they have their outcome
 * In: delivered <= fetched <= received <= delivered + window.  The stash has room for a window, so whatever the peer
 * may send can be taken off the ring at once, and a channel that is full holds up nobody but itself.  The payloads of
 * those fetched are in this kernel's memory, or the engine has the order.
 *
 * Without an engine the pump copies payloads itself, and only that of the message whose turn it is.  With one, up to
 * GMK_BULK_AHEAD messages more have theirs ordered: an engine that waits for the next order is idle.
 */
#ifndef GMK_BRIDGE_INT_H
#define GMK_BRIDGE_INT_H

#include "export.h"
#include "bulk.h"
#include "crew.h"
#include "fence.h"
#include "link.h"
#include "outlet.h"
#include "registry.h"

#define GMK_BRIDGES_MAX 15u
#define GMK_BRIDGE_CHUNK 65536u /* bytes of one payload that are copied in a round */
#define GMK_POOL_UNITS 64u      /* a route's part of the pool is a run of these */
#define GMK_POOL_ALIGN 64u
#define GMK_BULK_AHEAD 8u
#define GMK_CLOCK_SAMPLES 16u

/* A message under way.  pool_end: where the route's ring of bytes stands behind it. */
typedef struct gmk_ledger {
    gmk_task_t task; /* channel: its origin */
    uint64_t at;     /* of the payload, in the pool */
    uint64_t ticket; /* of its copy */
    uint64_t pool_end;
    bool again;            /* it was sent in an epoch that has ended */
    uint64_t major, minor; /* of a deterministic message */
} gmk_ledger_t;

enum gmk_route_state { GMK_ROUTE_NONE, GMK_ROUTE_WANTED, GMK_ROUTE_ASKED, GMK_ROUTE_OPEN, GMK_ROUTE_REFUSED };

typedef struct gmk_route_out {
    enum gmk_route_state state;
    uint32_t handle; /* of the channel here */
    uint64_t sub;    /* the outlet, 0 = none */
    gmk_ledger_t *ledger;
    uint64_t taken, staged, sent, acked;
    uint64_t base;     /* `acked` when the route was opened: numbers in the region begin there */
    uint32_t granted;  /* messages the peer has room for */
    uint32_t question; /* number of the ROUTE that waits for its answer */
    uint32_t with;     /* the handle of the channel there */
    bool held;         /* emits answer CLOSED until the peer is back */
    /* The route's part of the pool: a ring of bytes. */
    uint32_t unit, n_units; /* 0 units = none yet */
    uint64_t pool_head, pool_tail;
    uint64_t ordered; /* ticket of the last copy that an engine has the order for */
    bool placed;      /* the payload of `staged` has its place there */
    uint32_t copied;  /* bytes of it that are there */
} gmk_route_out_t;

/* A message that has arrived.  payload: this kernel's copy, NULL = none yet. */
typedef struct gmk_stashed {
    gmk_task_t task; /* payload_ptr is 1 + an offset in the pool */
    void *payload;
    uint64_t ticket; /* of its copy */
} gmk_stashed_t;

typedef struct gmk_route_in {
    bool open;
    uint32_t handle;
    gmk_stashed_t *stash;
    uint64_t received, fetched, delivered, completed;
    uint32_t copied;   /* bytes of the payload of `fetched` that are here */
    bool answer_due;   /* GRANT or REFUSE */
    uint32_t question; /* that it answers */
    uint32_t with;     /* the handle of the channel there */
    int refused;       /* the code, or OK */
    /* Up to where messages are to be completed before that is said: see ingress.c. */
    bool marked;
    uint64_t mark_count, mark_ticket, last_idempotent;
} gmk_route_in_t;

/* A channel of the peer. */
typedef struct gmk_peer_chan {
    char name[GMK_NAME_MAX + 1], owner[GMK_NAME_MAX + 1];
    uint32_t msg_type, slots;
    uint32_t handle; /* which one of this name */
    uint8_t mode, guarantee, flags, known;
} gmk_peer_chan_t;

/* What the peer was told of a channel of ours, by index. */
typedef struct gmk_told {
    uint32_t handle; /* 0 = nothing */
    uint8_t flags;
    char name[GMK_NAME_MAX + 1];
} gmk_told_t;

typedef struct gmk_bridge_figures {
    gmk_a64_t sent, received, acknowledged, reset, resent, dropped, publications;
    gmk_a64_t payloads_out, payloads_in, payload_bytes_out, payload_bytes_in, stalls, epochs;
    gmk_a64_t lost_epochs, lost_accepted, lost_completed, lost;
} gmk_bridge_figures_t;

struct gmk_bridge {
    gmk_port_t port;
    gmk_front_t *f;
    gmk_core_t *k;
    gmk_bridge_cfg_t cfg;
    gmk_hal_lock_t lock;
    gmk_a32_t wanted; /* threads that want the lock */
    gmk_a32_t ending;
    gmk_a32_t nap_slot; /* somebody uses nap_park */
    gmk_hal_park_t nap_park;
    gmk_hal_thread_t thread;
    gmk_crew_t *crew; /* the pump's */
    gmk_crew_t crew_space;
    gmk_bulk_t bulk_out, bulk_in;
    void (*wake)(void *arg);
    void *wake_arg;
    uint64_t nap_ns;

    gmk_a32_t state; /* enum gmk_bridge_state */
    int code;
    char text[GMK_BRIDGE_TEXT];
    gmk_region_view_t v;
    uint32_t last_epoch;
    gmk_link_out_t out, control_out;
    gmk_link_in_t in, control_in;
    uint64_t flush_from; /* when the first of the filled slots was filled */
    bool signal;         /* something was published in this round */
    bool poll;           /* it may sleep for nap_ns at most, whoever can wake it */
    bool answers_due;    /* on some route in */
    uint64_t now, last_work;

    /* wiring */
    uint64_t changes_seen;
    bool told_all, heard_all, scan_due;
    uint32_t questions; /* ROUTEs told */
    char heard_owner[GMK_NAME_MAX + 1];
    gmk_told_t told[GMK_MAX_CHANNELS];
    gmk_peer_chan_t peer[GMK_MAX_CHANNELS];
    gmk_route_out_t route_out[GMK_REGION_ROUTES];
    gmk_route_in_t route_in[GMK_REGION_ROUTES];
    uint8_t active_out[GMK_REGION_ROUTES], active_in[GMK_REGION_ROUTES];
    uint32_t n_out, n_in;
    uint32_t turn;            /* whose is it to be the first */
    uint64_t pool_used;       /* bit per unit */
    gmk_route_in_t *starving; /* it waits for the reserve of this kernel's heap */

    /* beat */
    uint64_t next_beat, beats, peer_beats, peer_beat_at;
    bool pong_due;
    uint64_t pong[2];
    uint64_t clock_offset, clock_error;
    uint64_t clock_at; /* the peer's clock when they were taken */
    uint32_t burst;    /* pings sent without waiting for a beat */
    bool clock_known;

    /* traces */
    uint32_t hop_base;               /* see gmk_hop */
    bool tracing;                    /* some module is at ALL: looked at once a batch */
    struct gmk_trace_sender *sender; /* side 1, NULL until the peer wants something */
    struct gmk_trace_store *store;   /* side 0, NULL until somebody here does */
    gmk_observed_peer_t seen;

    gmk_fence_t fence;
    gmk_bridge_figures_t fig;
};

static inline void gmk_bridge_count(gmk_a64_t *c, uint64_t n)
{
    gmk_store64(c, gmk_load64(c, GMK_RLX, GMK_KERNEL) + n, GMK_RLX, GMK_KERNEL); /* with the lock */
}

static inline uint32_t gmk_bridge_state(const gmk_bridge_t *b)
{
    return gmk_load32(&b->state, GMK_ACQ, GMK_KERNEL);
}

static inline uint32_t gmk_bridge_side_state(const gmk_region_side_t *s)
{
    return (uint32_t)gmk_load64(&s->state, GMK_ACQ, GMK_SYSTEM) & 0xff;
}

/* The bridge fails: what and more are put together for the console, the stats and the peer.  more may be NULL. */
void gmk_bridge_fail(gmk_bridge_t *b, int code, const char *what, const char *more);

/* All of the following: with the lock.  Those that return bool tell whether there was something to do. */

/* wiring.c */
bool gmk_wiring_round(gmk_bridge_t *b);
bool gmk_wiring_take(gmk_bridge_t *b); /* reads the peer's control ring */
void gmk_wiring_reset(gmk_bridge_t *b);
/* Ends the outlets: for good, or (keep) only where somebody else listens too. */
void gmk_wiring_part(gmk_bridge_t *b, bool keep);
bool gmk_wiring_due(gmk_bridge_t *b);   /* there is something to be said, and room for it */
bool gmk_wiring_ready(gmk_bridge_t *b); /* every route that was asked for has its answer */

/* egress.c */
bool gmk_egress_round(gmk_bridge_t *b);
bool gmk_egress_acks(gmk_bridge_t *b);
/* The peer is gone: those under way fail, but for the idempotent ones (keep), which are sent again. */
void gmk_egress_part(gmk_bridge_t *b, bool keep);
bool gmk_egress_rest(gmk_bridge_t *b);
bool gmk_egress_closing(gmk_bridge_t *b); /* without a peer: what is left of channels that are being closed */
/* One route ends while its outlet lasts: all of its ledger has its outcome. */
void gmk_egress_leave(gmk_bridge_t *b, gmk_route_out_t *r, gmk_mailbox_t *m);
/* A deterministic message, after all that was taken from its channel.  BUSY: not now; an error: never. */
int gmk_egress_put(gmk_bridge_t *b, const gmk_det_msg_t *m);
void gmk_egress_publish(gmk_bridge_t *b); /* what is filled */
bool gmk_egress_empty(gmk_bridge_t *b);   /* everything emitted is acknowledged */
void gmk_route_out_end(gmk_bridge_t *b, uint32_t route);

/* ingress.c */
bool gmk_ingress_round(gmk_bridge_t *b);
/* Before the pump sleeps.  False: there is something to do.  What cannot wake the pump sets b->poll. */
bool gmk_ingress_rest(gmk_bridge_t *b);
int gmk_route_in_open(gmk_bridge_t *b, uint32_t route, uint32_t handle);
void gmk_route_in_end(gmk_bridge_t *b, uint32_t route);
void gmk_ingress_part(gmk_bridge_t *b);

/* beat.c */
bool gmk_beat_round(gmk_bridge_t *b);
void gmk_beat_publish(gmk_bridge_t *b); /* the figures of this kernel, as they are now */
void gmk_beat_pong(gmk_bridge_t *b, const gmk_control_t *c);

/*
 * trace_send.c and trace_store.c: what the kernel on side 1 tells of its traces and figures, and what the one on
 * side 0 keeps of it.  A beat: at each of this kernel's; part, up: the bridge goes down and comes up.
 */
typedef struct gmk_trace_store gmk_trace_store_t;
bool gmk_trace_send_round(gmk_bridge_t *b);
void gmk_trace_send_rest(gmk_bridge_t *b);
void gmk_trace_send_beat(gmk_bridge_t *b);
void gmk_trace_send_part(gmk_bridge_t *b);
void gmk_trace_send_end(gmk_bridge_t *b);
void gmk_trace_asked(gmk_bridge_t *b, const gmk_control_t *c); /* the peer's GMK_CONTROL_TRACE */
void gmk_trace_observed(gmk_bridge_t *b);                      /* exports see it, until gmk_observed_leave */
void gmk_trace_store_beat(gmk_bridge_t *b);
void gmk_trace_store_up(gmk_bridge_t *b);
void gmk_trace_store_end(gmk_bridge_t *b);
void gmk_trace_clocks(gmk_bridge_t *b); /* the clocks were compared */
bool gmk_trace_ask_due(const gmk_bridge_t *b);
void gmk_trace_ask(gmk_bridge_t *b, gmk_control_t *c); /* what is to be told to the peer */
/* A payload that came on sys.trace: this kernel's copy. */
void gmk_trace_arrived(gmk_bridge_t *b, const void *payload, uint32_t bytes);
/* Is this channel sys.trace, and joined for traces?  All other channels of the kernel's are private. */
bool gmk_trace_joined(const gmk_bridge_t *b, const gmk_channel_t *c);

/*
 * What marks a message's way across in the traces of both kernels: 24 bits of its number on its route, the side that sent
 * it, and the epoch and the names of both kernels.
 */
static inline uint32_t gmk_hop(const gmk_bridge_t *b, uint32_t number, uint32_t sender)
{
    return ((number + b->hop_base) << 1 | sender) & 0xffffff;
}

/* pump.c */
void gmk_pump_main(void *arg);
bool gmk_pump_round(gmk_bridge_t *b);
void gmk_bridge_lock(gmk_bridge_t *b);
void gmk_bridge_unlock(gmk_bridge_t *b);

#endif
