/* SPDX-License-Identifier: MIT */
/*
 * mem.h — memory from the kernel's arena.
 *
 * Blocks come in 12 power-of-two classes from 32 B to 64 KiB, naturally aligned; larger
 * requests take whole 64 KiB spans.  The common path touches only the caller's own cache.
 * Every call takes the ctx of a handler or a port.
 */
#ifndef GGMK_MEM_H
#define GGMK_MEM_H

#include <ggmk/kernel.h>
#include <ggmk/task.h>

GMK_BEGIN_DECLS

void *gmk_alloc(gmk_ctx_t *c, size_t size); /* NULL when exhausted or size is 0 or wraps; not zeroed */
/* NULL is ignored; what is no block is counted (bad_frees) and ignored.  A payload is released, not freed. */
void gmk_free(gmk_ctx_t *c, void *p);

/*
 * Scratch memory valid until the handler returns.  16-aligned, not zeroed.  NULL when the worker's
 * region (gmk_mem_stats_t.bump_bytes) has no room, when size is 0, and for a port.  The reset gives
 * back what this handler has taken so far; it does nothing where a worker has several lanes.
 */
void *gmk_bump(gmk_ctx_t *c, size_t size);
void gmk_bump_reset(gmk_ctx_t *c);

/*
 * Counted payloads.  A new one has count 1, which belongs to the caller.  A task emitted with
 * GMK_TASK_PAYLOAD_RC hands one count to the kernel, which releases it after the outcome; on
 * any error the caller still owns it.  The address stored in payload_ptr is the one returned.
 *
 * The count of a delivery is the kernel's, not the handler's.  A handler that passes on the payload
 * it was given retains it first, and releases it again should the emit fail:
 *     (void)gmk_payload_retain(c, p);
 *     if (gmk_chan_emit(c, next, &m) != GMK_OK)
 *         (void)gmk_payload_release(c, p);
 *
 * alloc: NULL as gmk_alloc.  retain, release: INVAL (no block of this kernel), STATE (its count is
 * zero: released before, or never counted); retain also LIMIT (2^32 - 1 references).
 */
void *gmk_payload_alloc(gmk_ctx_t *c, size_t size);
int gmk_payload_retain(gmk_ctx_t *c, void *payload);
int gmk_payload_release(gmk_ctx_t *c, void *payload);

typedef struct gmk_mem_stats {
    uint64_t arena_bytes;               /* the whole arena */
    uint64_t span_bytes;                /* 64 KiB */
    uint64_t spans_total, spans_used;   /* exact */
    uint64_t block_bytes_used;          /* in spans that are in use; caches count as used */
    uint64_t slab_total, slab_reserved; /* task nodes */
    uint64_t bump_bytes;                /* per worker */
    uint64_t alloc_fails;               /* requests answered with NULL */
    uint64_t bad_frees;                 /* frees of what is no block */
    uint64_t payloads_live;             /* counted payloads whose count is not zero */
    uint64_t objects_live;              /* debug builds: blocks handed out and not freed; else 0 */
} gmk_mem_stats_t;

int gmk_mem_stats(gmk_kernel_t *k, gmk_mem_stats_t *out); /* any thread; INVAL */

GMK_END_DECLS

#endif
