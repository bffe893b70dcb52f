/* SPDX-License-Identifier: MIT */
/*
 * export.h — what the exporters need to know of a kernel, and the exporters.
 *
 * The core fills a gmk_observed_t on the stack of the calling thread; the accessors copy one
 * item at a time, so an export holds no lock, keeps no list and stops nobody.  What appears or
 * goes while an export runs may or may not be in it.  Any thread; several at a time.
 *
 * Every exporter streams through `write` in pieces of at most a few KiB and returns GMK_OK,
 * GMK_ERR_INVAL, or GMK_ERR_IO as soon as write has answered < 0.  Stack use stays below 16 KiB.
 *
 * What the records must say for slices and flows to come out right:
 *   - a run of a handler is BEGIN (direct) or CHAN_BEGIN (delivery), not both, then END;
 *   - YIELD, RETRY and WAIT come from the lane that ran the task, after its BEGIN and before
 *     its next one: the task's later BEGIN is linked to them;
 *   - the channel id in CHAN_EMIT and CHAN_BEGIN is in the low 8 bits of a0.
 *
 * An export shows a kernel, and behind it the peers of which it knows (`next`): what a bridge has brought of
 * their records and figures.  All records of a peer lie in one ring, with the number of the peer's ring and
 * their generation packed into `lane`.
 */
#ifndef GGMK_EXPORT_H
#define GGMK_EXPORT_H

#include <ggmk/chan.h>
#include <ggmk/kernel.h>
#include <ggmk/mem.h>
#include <ggmk/observe.h>

#include "trace.h"
#include "usermetrics.h"

#define GMK_EXPORT_MAX_RINGS 384u /* workers, spares and ports of one kernel */
#define GMK_OBSERVED_MAX 16u      /* a kernel and its peers */
#define GMK_OBSERVED_LANES 256u

struct gmk_core;
typedef struct gmk_observed gmk_observed_t;

/* A metric that a module registered. */
typedef struct gmk_metric_view {
    char name[GMK_NAME_MAX + 1];
    int kind;               /* GMK_COUNTER, GMK_GAUGE, GMK_HISTOGRAM */
    uint64_t value, sum;    /* a histogram: observations, and their sum */
    const gmk_hist_t *hist; /* NULL = its buckets are not known here */
} gmk_metric_view_t;

struct gmk_observed {
    const char *name;        /* of the kernel */
    void *self;              /* for the accessors */
    gmk_umetrics_t *metrics; /* NULL = none */
    gmk_clockmap_t clock;    /* with its rate set from a reading of now */
    uint64_t now_cycles;     /* that reading: open slices end there */

    uint32_t n_rings, n_types, n_chans; /* indices are below these */

    /* < 0 where there is nothing at the index. */
    int (*stats)(const gmk_observed_t *o, gmk_stats_t *out);
    int (*mem)(const gmk_observed_t *o, gmk_mem_stats_t *out);
    int (*type)(const gmk_observed_t *o, uint32_t type, gmk_type_stats_t *out);
    int (*chan)(const gmk_observed_t *o, uint32_t index, gmk_chan_stats_t *out);
    /* The ring, and its name ("worker 0") in `name`; NULL where there is none. */
    const gmk_trace_ring_t *(*ring)(const gmk_observed_t *o, uint32_t index, char name[GMK_NAME_MAX + 1]);

    bool bridged;               /* records may tell of a bridge; numbers of messages are this kernel's own */
    const gmk_observed_t *next; /* a peer, NULL = no more */

    /* A peer's only; local_ns is NULL in a kernel's own. */
    uint64_t (*local_ns)(const gmk_observed_t *o, uint64_t ns, uint32_t generation);
    int (*metric)(const gmk_observed_t *o, uint32_t index, gmk_metric_view_t *out);
    uint32_t n_metrics;
    uint64_t lost; /* records that were overwritten before they came here */
};

/* ---- records of one track ------------------------------------------------------------------ */

/* The lane of a record in a peer's ring: lane in bits 0-7, ring in 8-19, generation in 20-31. */
static inline uint32_t gmk_lane_pack(uint32_t lane, uint32_t ring, uint32_t generation)
{
    return (lane & 0xff) | (ring & 0xfff) << 8 | generation << 20;
}

/* Where a reader of one track stands; zero-initialise it. */
typedef struct gmk_track {
    gmk_trace_reader_t cursor;
    uint64_t end; /* the writer may go on: one lap is read.  0 = nothing read yet */
} gmk_track_t;

/*
 * The next record of ring `index`; false when there is no more.  A peer's has its time in ns of this kernel's
 * clock and its lane alone.  What was missed is added to *lost.
 */
bool gmk_track_next(const gmk_observed_t *o, const gmk_trace_ring_t *ring, uint32_t index, gmk_track_t *t,
                    gmk_trace_record_t *r, uint64_t *lost);

/* The time of such a record in ns. */
static inline uint64_t gmk_track_ns(const gmk_observed_t *o, const gmk_trace_record_t *r)
{
    return o->local_ns != NULL ? r->time : gmk_clockmap_ns(&o->clock, r->time);
}

/* The number of events this kernel's records may have. */
static inline uint32_t gmk_observed_events(const gmk_observed_t *o)
{
    return o->bridged ? GMK_EV_MAX : GMK_EV_BRIDGE_SEND;
}

/* ---- peers --------------------------------------------------------------------------------- */

enum { GMK_OBSERVE_TRACE = 1, GMK_OBSERVE_METRICS = 2 };

/* What a bridge offers to exports: part of its own state. */
typedef struct gmk_observed_peer {
    struct gmk_observed_peer *next; /* control lock */
    gmk_a32_t users;                /* exports at work on it */
    /* Asks the peer for what is missing, waits a while, and describes what there is; false: nothing. */
    bool (*observe)(struct gmk_observed_peer *p, uint32_t what, gmk_observed_t *out);
} gmk_observed_peer_t;

/* Any thread.  Leaving waits until no export looks at it any more. */
void gmk_observed_join(struct gmk_core *k, gmk_observed_peer_t *p);
void gmk_observed_leave(struct gmk_core *k, gmk_observed_peer_t *p);

/* The name of ring `index` ("worker 0"), and the channel at an index of the table. */
const gmk_trace_ring_t *gmk_kernel_ring(const struct gmk_core *k, uint32_t index,
                                        char name[GMK_NAME_MAX + 1]);
int gmk_kernel_chan(struct gmk_core *k, uint32_t index, gmk_chan_stats_t *out);
/* The clock of this kernel's records, as of now. */
gmk_clockmap_t gmk_kernel_clock(const struct gmk_core *k, uint64_t *now);

/* ---- exporters ----------------------------------------------------------------------------- */

int gmk_export_prometheus_from(const gmk_observed_t *o, gmk_write_fn write, void *arg);
int gmk_export_fxt_from(const gmk_observed_t *o, gmk_write_fn write, void *arg);
int gmk_export_ctf_from(const gmk_observed_t *o, int metadata, gmk_write_fn write, void *arg);

#endif
