/* SPDX-License-Identifier: MIT */
/*
 * trace_msg.h — what a kernel tells of itself on sys.trace: records of its traces, names and figures.
 *
 * The kernel on side 1 of a bridge tells (trace_send.c) when the one on side 0 wants it, and that one keeps it for
 * its exports (trace_store.c).  A module on either side may subscribe to sys.trace and read the same.
 *
 * A message is a counted payload, little-endian: a head, then entries, each a multiple of 8 bytes long.  Times are
 * nanoseconds of the SENDER's clock.  What refers to a ring, type or channel by its number comes after the entry
 * that names it, in the same message or an earlier one.  An entry of a kind or length that is not known is skipped.
 */
#ifndef GMK_TRACE_MSG_H
#define GMK_TRACE_MSG_H

#include <ggmk/chan.h>
#include <ggmk/kernel.h>
#include <ggmk/mem.h>

#define GMK_TELL_MAGIC 0x544b4d47u /* "GMKT" */
#define GMK_TELL_VERSION 1u
#define GMK_TELL_CLOCK_NS 1u
#define GMK_TELL_BYTES 16384u /* of a message, at most */

typedef struct gmk_tell_head {
    uint32_t magic;
    uint16_t version;
    uint16_t clock; /* GMK_TELL_CLOCK_* */
    uint32_t bytes; /* of the message, with this head */
    uint32_t entries;
    uint64_t number;      /* of the message: 1, 2, … for as long as the sender lives */
    uint64_t time;        /* when it was finished */
    uint64_t records;     /* in this message and those before it */
    uint64_t lost;        /* records that were overwritten before they could be sent, so far */
    uint64_t answered[2]; /* the latest requests for records, and for figures, that are answered with this */
    char name[GMK_NAME_MAX + 1]; /* of the kernel */
} gmk_tell_head_t;

enum gmk_tell_kind {
    GMK_TELL_RECORD = 1,
    GMK_TELL_RING,       /* the name of ring `index`: gmk_tell_name_t */
    GMK_TELL_TYPE,       /* of type `index`; more = its module */
    GMK_TELL_CHANNEL,    /* of channel `index`; mode */
    GMK_TELL_METRIC,     /* a module's metric: gmk_tell_metric_t */
    GMK_TELL_STATS,      /* the head of an entry, then a gmk_stats_t */
    GMK_TELL_MEM,        /* … a gmk_mem_stats_t */
    GMK_TELL_TYPE_STATS, /* … a gmk_type_stats_t of type `index` */
    GMK_TELL_CHAN_STATS  /* … a gmk_chan_stats_t of channel `index` */
};

typedef struct gmk_tell_entry {
    uint16_t kind;  /* enum gmk_tell_kind */
    uint16_t bytes; /* with this */
    uint32_t index;
} gmk_tell_entry_t;

typedef struct gmk_tell_record {
    gmk_tell_entry_t e; /* index: bits 0-15 the ring, 16-31 the lane */
    uint64_t time;
    uint16_t ev, type;
    uint32_t a0, a1;
    uint32_t zero;
} gmk_tell_record_t;

typedef struct gmk_tell_name {
    gmk_tell_entry_t e;
    uint32_t mode, zero; /* of a channel */
    char name[GMK_NAME_MAX + 1];
    char more[GMK_NAME_MAX + 1];
} gmk_tell_name_t;

typedef struct gmk_tell_metric {
    gmk_tell_entry_t e;
    uint32_t kind, zero; /* GMK_COUNTER, … */
    uint64_t value, sum; /* a histogram: observations, their sum */
    char name[GMK_NAME_MAX + 1];
} gmk_tell_metric_t;

_Static_assert(sizeof(gmk_tell_head_t) == 96, "the head");
_Static_assert(sizeof(gmk_tell_entry_t) == 8, "the head of an entry");
_Static_assert(sizeof(gmk_tell_record_t) == 32, "a record");
_Static_assert(sizeof(gmk_tell_name_t) == 80, "a name");
_Static_assert(sizeof(gmk_tell_metric_t) == 64, "a metric");
_Static_assert(sizeof(gmk_stats_t) % 8 == 0 && sizeof(gmk_mem_stats_t) % 8 == 0, "figures are whole words");
_Static_assert(sizeof(gmk_type_stats_t) % 8 == 0 && sizeof(gmk_chan_stats_t) % 8 == 0,
               "figures are whole words");

#endif
