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

typedef struct gmk_observed gmk_observed_t;

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
};

int gmk_export_prometheus_from(const gmk_observed_t *o, gmk_write_fn write, void *arg);
int gmk_export_fxt_from(const gmk_observed_t *o, gmk_write_fn write, void *arg);
int gmk_export_ctf_from(const gmk_observed_t *o, int metadata, gmk_write_fn write, void *arg);

#endif
