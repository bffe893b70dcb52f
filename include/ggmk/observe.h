/* SPDX-License-Identifier: MIT */
/*
 * observe.h — traces, metrics and their export.
 *
 * A trace record is 32 bytes in a ring per worker; the writer never waits and a reader never
 * sees a torn record.  Metrics are exact, kept per worker and merged on read.  Reading never
 * stops a worker.  All calls without a ctx: any thread.
 */
#ifndef GGMK_OBSERVE_H
#define GGMK_OBSERVE_H

#include <ggmk/kernel.h>
#include <ggmk/task.h>

GMK_BEGIN_DECLS

enum {
    GMK_TRACE_DEFAULT = 0, /* in gmk_boot_cfg_t only: ERROR */
    GMK_TRACE_OFF = 1,
    GMK_TRACE_ERROR = 2,
    GMK_TRACE_WARN = 3,
    GMK_TRACE_INFO = 4,
    GMK_TRACE_ALL = 5
};

/* Events of the kernel; a module's own are GMK_EV_USER + n, n < 2^15. */
enum {
    GMK_EV_NONE = 0,
    GMK_EV_ENQUEUE = 1,    /* a0 = type, a1 = seq: also the source of a flow */
    GMK_EV_BEGIN = 2,      /* a0 = type, a1 = seq: also the target of a flow */
    GMK_EV_END = 3,        /* a0 = type, a1 = result code */
    GMK_EV_CHAN_EMIT = 4,  /* a0 = channel id, a1 = message number */
    GMK_EV_CHAN_BEGIN = 5, /* a0 = channel id, a1 = message number: a delivery starts, type in `type` */
    GMK_EV_YIELD = 6,      /* a0 = type, a1 = seq */
    GMK_EV_RETRY = 7,      /* a0 = type, a1 = retry count */
    GMK_EV_WAIT = 8,       /* a0 = type, a1 = channel id */
    GMK_EV_STEAL = 9,      /* a0 = victim, a1 = tasks */
    GMK_EV_PARK = 10,
    GMK_EV_WAKE = 11,
    GMK_EV_DEAD = 12,       /* a0 = type, a1 = code */
    GMK_EV_ALLOC_FAIL = 13, /* a0 = size, saturated */
    GMK_EV_OVERRUN = 14,    /* a0 = type, a1 = microseconds */
    GMK_EV_STALL = 15,      /* a0 = worker, a1 = type */
    GMK_EV_FAULT = 16,      /* a0 = type, a1 = signal or vector */
    GMK_EV_TICK = 17,       /* a0 = tick */
    GMK_EV_POISON = 18,     /* a0 = type */
    /* A message leaves for another kernel, and arrives: a0 = channel id | hop << 8, a1 = its number on that
       channel, in this kernel.  Hop: 24 bits that are the same in both kernels. */
    GMK_EV_BRIDGE_SEND = 19,
    GMK_EV_BRIDGE_RECV = 20,
    GMK_EV_MAX = 21,
    GMK_EV_USER = 0x8000
};

/* module NULL = every module, now and later.  INVAL, RANGE (not OFF .. ALL), NOTFOUND (no such module). */
int gmk_trace_level(gmk_kernel_t *k, const char *module, int level);
/*
 * Record one in so many tasks or messages (>= 1), chosen by their number: all of its enqueue, emit, begin
 * and end, or none.  EMIT_TRACE tasks, and all other events, are recorded regardless.  INVAL, RANGE (0).
 */
int gmk_trace_sample(gmk_kernel_t *k, uint32_t one_in);
/* A module's own record, at INFO: ev in GMK_EV_USER .. 0xffff, else it is ignored. */
void gmk_trace(gmk_ctx_t *c, uint32_t ev, uint32_t a0, uint32_t a1);

enum { GMK_COUNTER = 0, GMK_GAUGE = 1, GMK_HISTOGRAM = 2 };

/* name: [a-zA-Z_][a-zA-Z0-9_]*, <= 31 bytes.  Registering the same name and kind again gives the
 * same id.  EXISTS (other kind), LIMIT (stat_metrics), INVAL (name, kind, NULL), ALLOC_FAIL. */
int gmk_metric_register(gmk_kernel_t *k, const char *name, int kind, uint32_t *id);
void gmk_metric_inc(gmk_ctx_t *c, uint32_t id, uint32_t delta);     /* counter */
void gmk_metric_set(gmk_ctx_t *c, uint32_t id, int64_t value);      /* gauge: the last writer wins */
void gmk_metric_observe(gmk_ctx_t *c, uint32_t id, uint64_t value); /* histogram, <= 3 % error */
int gmk_metric_read(gmk_kernel_t *k, uint32_t id,
                    uint64_t *value); /* counter, gauge, or number of observations; INVAL, NOTFOUND */

/*
 * Returns 0, or < 0 to stop the export.  The exports: INVAL (NULL, not booted), IO (the writer stopped).
 * What a kernel on side 1 of one of this kernel's bridges has recorded and counted is in the same files; it
 * is asked for that, and waited for up to 200 ms.
 */
typedef int (*gmk_write_fn)(void *arg, const void *data, size_t size);

int gmk_export_prometheus(gmk_kernel_t *k, gmk_write_fn write, void *arg); /* text format 0.0.4 */
int gmk_export_fxt(gmk_kernel_t *k, gmk_write_fn write,
                   void *arg); /* Fuchsia trace format; Perfetto reads it */
/* CTF 1.8: the metadata (TSDL) when metadata != 0, else the one data stream. */
int gmk_export_ctf(gmk_kernel_t *k, int metadata, gmk_write_fn write, void *arg);

GMK_END_DECLS

#endif
