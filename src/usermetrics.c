/* SPDX-License-Identifier: MIT */
#include "usermetrics.h"

#include <ggmk/observe.h>

#define CELLS_PER_LINE (GMK_CACHE_LINE / (uint32_t)sizeof(gmk_a64_t))

static uint32_t row_of(uint32_t max) { return (max + CELLS_PER_LINE - 1) / CELLS_PER_LINE * CELLS_PER_LINE; }

size_t gmk_umetrics_bytes(uint32_t max, uint32_t shards)
{
    return (size_t)shards * row_of(max) * sizeof(gmk_a64_t) + (size_t)max * sizeof(gmk_umetric_t);
}

void gmk_umetrics_init(gmk_umetrics_t *u, void *mem, uint32_t max, uint32_t shards,
                       gmk_umetrics_alloc_fn alloc, void *alloc_arg)
{
    gmk_hal_memset(mem, 0, gmk_umetrics_bytes(max, shards));
    gmk_hal_memset(u, 0, sizeof *u);
    gmk_hal_lock_init(&u->lock);
    u->max = max;
    u->shards = shards;
    u->hist_shards = shards < GMK_HIST_SHARDS ? shards : GMK_HIST_SHARDS;
    u->row = row_of(max);
    u->cells = mem;
    u->table = (gmk_umetric_t *)(void *)(u->cells + (size_t)shards * u->row);
    u->alloc = alloc;
    u->alloc_arg = alloc_arg;
}

void gmk_umetrics_destroy(gmk_umetrics_t *u) { gmk_hal_lock_destroy(&u->lock); }

const gmk_umetric_t *gmk_umetrics_get(const gmk_umetrics_t *u, uint32_t id)
{
    return id < gmk_load32(&u->n, GMK_ACQ, GMK_KERNEL) ? &u->table[id] : NULL;
}

static bool name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

/* Copies a valid name, zero-padded; false when it is not one. */
static bool copy_name(char to[GMK_NAME_MAX + 1], const char *name)
{
    gmk_hal_memset(to, 0, GMK_NAME_MAX + 1);
    if (name == NULL)
        return false;
    uint32_t n = 0;
    for (; name[n] != '\0'; n++) {
        if (n == GMK_NAME_MAX || !name_char(name[n], n == 0))
            return false;
        to[n] = name[n];
    }
    return n != 0;
}

static gmk_hist_t *new_hist(gmk_umetrics_t *u)
{
    gmk_hist_t *h = u->alloc(u->alloc_arg, u->hist_shards * sizeof *h);
    for (uint32_t s = 0; h != NULL && s < u->hist_shards; s++)
        gmk_hist_init(&h[s]);
    return h;
}

/* With the lock held. */
static int add_metric(gmk_umetrics_t *u, const char *name, int kind, uint32_t *id)
{
    uint32_t n = gmk_load32(&u->n, GMK_RLX, GMK_KERNEL);
    for (uint32_t i = 0; i < n; i++)
        if (gmk_hal_memcmp(u->table[i].name, name, GMK_NAME_MAX + 1) == 0) {
            *id = i;
            return u->table[i].kind == kind ? GMK_OK : GMK_ERR_EXISTS;
        }
    if (n == u->max)
        return GMK_ERR_LIMIT;
    gmk_umetric_t *m = &u->table[n];
    if (kind == GMK_HISTOGRAM && (m->hist = new_hist(u)) == NULL)
        return GMK_ALLOC_FAIL;
    gmk_hal_memcpy(m->name, name, GMK_NAME_MAX + 1);
    m->kind = kind;
    gmk_store32(&u->n, n + 1, GMK_REL, GMK_KERNEL);
    *id = n;
    return GMK_OK;
}

int gmk_umetrics_register(gmk_umetrics_t *u, const char *name, int kind, uint32_t *id)
{
    char copy[GMK_NAME_MAX + 1];
    if (!copy_name(copy, name) || id == NULL || kind < GMK_COUNTER || kind > GMK_HISTOGRAM)
        return GMK_ERR_INVAL;
    uint32_t got = 0;
    gmk_hal_lock_acquire(&u->lock);
    int rc = add_metric(u, copy, kind, &got);
    gmk_hal_lock_release(&u->lock);
    if (rc == GMK_OK)
        *id = got;
    return rc;
}

static gmk_umetric_t *of_kind(gmk_umetrics_t *u, uint32_t id, int kind)
{
    if (id >= gmk_load32(&u->n, GMK_ACQ, GMK_KERNEL) || u->table[id].kind != kind)
        return NULL;
    return &u->table[id];
}

void gmk_umetrics_inc(gmk_umetrics_t *u, uint32_t shard, uint32_t id, uint32_t delta)
{
    if (shard >= u->shards || of_kind(u, id, GMK_COUNTER) == NULL)
        return;
    gmk_a64_t *cell = &u->cells[(size_t)shard * u->row + id];
    if (gmk_hal_lanes() == 1) /* the shard's only writer */
        gmk_store64(cell, gmk_load64(cell, GMK_RLX, GMK_KERNEL) + delta, GMK_RLX, GMK_KERNEL);
    else
        (void)gmk_add64(cell, delta, GMK_RLX, GMK_KERNEL);
}

void gmk_umetrics_set(gmk_umetrics_t *u, uint32_t id, int64_t value)
{
    gmk_umetric_t *m = of_kind(u, id, GMK_GAUGE);
    if (m != NULL)
        gmk_store64(&m->gauge, (uint64_t)value, GMK_RLX, GMK_KERNEL);
}

void gmk_umetrics_observe(gmk_umetrics_t *u, uint32_t shard, uint32_t id, uint64_t value)
{
    gmk_umetric_t *m = of_kind(u, id, GMK_HISTOGRAM);
    if (m != NULL && u->hist_shards != 0)
        gmk_hist_record(&m->hist[shard % u->hist_shards], value, 1);
}

static uint64_t counter_of(const gmk_umetrics_t *u, uint32_t id)
{
    uint64_t sum = 0;
    for (uint32_t s = 0; s < u->shards; s++)
        sum += gmk_load64(&u->cells[(size_t)s * u->row + id], GMK_RLX, GMK_KERNEL);
    return sum;
}

int gmk_umetrics_read(const gmk_umetrics_t *u, uint32_t id, uint64_t *value)
{
    const gmk_umetric_t *m = gmk_umetrics_get(u, id);
    if (m == NULL)
        return GMK_ERR_NOTFOUND;
    *value = m->kind == GMK_COUNTER ? counter_of(u, id)
           : m->kind == GMK_GAUGE   ? gmk_load64(&m->gauge, GMK_RLX, GMK_KERNEL)
                                    : gmk_hist_count(m->hist, u->hist_shards);
    return GMK_OK;
}
