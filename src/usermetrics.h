/* SPDX-License-Identifier: MIT */
/*
 * usermetrics.h — the registry behind gmk_metric_register and its fellows.
 *
 * Registration takes a lock (any thread, never a fast path); counting takes none.  Counters
 * have a cell per shard, and a shard is one worker or port: with one lane it has a single
 * writer, and counting is a load and a store.  Histograms have at most GMK_HIST_SHARDS shards.
 *
 * ORDERING: a metric's fields are written before `n` is stored with release, and looked at only
 * after `n` was loaded with acquire; they never change afterwards.  Cells are relaxed.
 */
#ifndef GGMK_USERMETRICS_H
#define GGMK_USERMETRICS_H

#include <ggmk/kernel.h>
#include <ggmk/hal.h>

#include "hist.h"

/* Returns GMK_CACHE_LINE-aligned memory that is never given back, or NULL. */
typedef void *(*gmk_umetrics_alloc_fn)(void *arg, size_t bytes);

typedef struct gmk_umetric {
    char name[GMK_NAME_MAX + 1];
    int kind;         /* GMK_COUNTER, GMK_GAUGE, GMK_HISTOGRAM */
    gmk_hist_t *hist; /* hist_shards of them */
    gmk_a64_t gauge;
} gmk_umetric_t;

typedef struct gmk_umetrics {
    gmk_hal_lock_t lock; /* registration */
    gmk_a32_t n;         /* registered */
    uint32_t max, shards, hist_shards;
    uint32_t row;         /* cells from one shard's counters to the next's */
    gmk_umetric_t *table; /* max */
    gmk_a64_t *cells;     /* counters: [shard][metric] */
    gmk_umetrics_alloc_fn alloc;
    void *alloc_arg;
} gmk_umetrics_t;

/* Memory for max metrics (may be 0) counted by `shards` workers and ports. */
size_t gmk_umetrics_bytes(uint32_t max, uint32_t shards);

/* One thread, before use.  mem: gmk_umetrics_bytes, GMK_CACHE_LINE-aligned. */
void gmk_umetrics_init(gmk_umetrics_t *u, void *mem, uint32_t max, uint32_t shards,
                       gmk_umetrics_alloc_fn alloc, void *alloc_arg);
void gmk_umetrics_destroy(gmk_umetrics_t *u);

/* As gmk_metric_register.  INVAL, EXISTS, LIMIT, ALLOC_FAIL. */
int gmk_umetrics_register(gmk_umetrics_t *u, const char *name, int kind, uint32_t *id);

/* Any lanes of the writer that owns the shard; an id of another kind, or none, is ignored. */
void gmk_umetrics_inc(gmk_umetrics_t *u, uint32_t shard, uint32_t id, uint32_t delta);
void gmk_umetrics_set(gmk_umetrics_t *u, uint32_t id, int64_t value);
void gmk_umetrics_observe(gmk_umetrics_t *u, uint32_t shard, uint32_t id, uint64_t value);

/* Any thread.  NOTFOUND. */
int gmk_umetrics_read(const gmk_umetrics_t *u, uint32_t id, uint64_t *value);

/* The metric with this id (ids count from 0), or NULL.  Any thread. */
const gmk_umetric_t *gmk_umetrics_get(const gmk_umetrics_t *u, uint32_t id);

#endif
