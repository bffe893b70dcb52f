/* SPDX-License-Identifier: MIT */
/*
 * heap_payload.c — blocks with a reference count.
 *
 * ORDER.  Whoever adds holds a count already, so adding is relaxed.  A drop is a release: what
 * its holder did to the payload comes before it; the drop that ends the payload is an acquire
 * too, so all of that comes before the block is used again.  Each change is a compare-and-swap
 * that never leaves 0: of two that release the last count, one is told STATE.
 */
#include "heap_int.h"

static void count_live(gmk_heap_t *h, gmk_heap_cache_t *c, uint64_t change)
{
    if (c != NULL)
        gmk_owner_add64(&c->payloads, change);
    else
        (void)gmk_add64(&h->payloads, change, GMK_RLX, GMK_KERNEL);
}

static void *counted(gmk_heap_t *h, gmk_heap_cache_t *c, void *p)
{
    gmk_block_t b;
    if (p == NULL || !gmk_block_find(h, p, &b))
        return NULL;
    gmk_store32(gmk_block_count(h, &b), 1, GMK_RLX, GMK_KERNEL);
    count_live(h, c, 1);
    return p;
}

void *gmk_payload_new(gmk_heap_t *h, gmk_heap_cache_t *c, size_t size)
{
    return counted(h, c, gmk_heap_alloc(h, c, size));
}

void *gmk_payload_new_reserved(gmk_heap_t *h, gmk_heap_cache_t *c, size_t size)
{
    return counted(h, c, gmk_heap_alloc_reserved(h, c, size));
}

int gmk_payload_add(gmk_heap_t *h, void *p, uint32_t n)
{
    gmk_block_t b;
    if (!gmk_block_find(h, p, &b))
        return GMK_ERR_INVAL;
    gmk_a32_t *count = gmk_block_count(h, &b);
    uint32_t old = gmk_load32(count, GMK_RLX, GMK_KERNEL);
    do {
        if (old == 0) {
            if (GMK_DEBUG_ON)
                gmk_note_stale(h, NULL, &b);
            return GMK_ERR_STATE;
        }
        if (n > UINT32_MAX - old)
            return GMK_ERR_LIMIT;
    } while (!gmk_cas32(count, &old, old + n, GMK_RLX, GMK_KERNEL));
    return GMK_OK;
}

int gmk_payload_drop(gmk_heap_t *h, gmk_heap_cache_t *c, void *p)
{
    gmk_block_t b;
    if (!gmk_block_find(h, p, &b))
        return GMK_ERR_INVAL;
    gmk_a32_t *count = gmk_block_count(h, &b);
    uint32_t old = gmk_load32(count, GMK_RLX, GMK_KERNEL);
    do {
        if (old == 0) {
            if (GMK_DEBUG_ON)
                gmk_note_stale(h, c, &b);
            return GMK_ERR_STATE;
        }
    } while (!gmk_cas32(count, &old, old - 1, GMK_ACQ_REL, GMK_KERNEL));
    if (old != 1)
        return GMK_OK;
    count_live(h, c, 0 - (uint64_t)1);
    return gmk_block_free(h, c, p, b) ? GMK_OK : GMK_ERR_STATE;
}

uint32_t gmk_payload_count(const gmk_heap_t *h, const void *p)
{
    gmk_block_t b;
    return gmk_block_find(h, p, &b) ? gmk_load32(gmk_block_count(h, &b), GMK_RLX, GMK_KERNEL) : 0;
}

static uint64_t leaks_in(const gmk_heap_t *h, uint32_t span, uint32_t lines)
{
    uint32_t kind = gmk_load32(&h->tag[span], GMK_RLX, GMK_KERNEL) & 0xff;
    gmk_block_t b = {span, kind == GMK_TAG_LARGE ? GMK_HEAP_CLASSES : kind - GMK_HEAP_MIN_BITS, 0};
    uint32_t end = kind == GMK_TAG_LARGE ? 1 : GMK_SPAN_BYTES >> kind;
    uint64_t found = 0;
    if (kind != GMK_TAG_LARGE)
        b.index = end - h->cls[b.cls].blocks;
    for (; b.index < end; b.index++) {
        if (gmk_load32(gmk_block_count(h, &b), GMK_RLX, GMK_KERNEL) == 0)
            continue;
        if (GMK_DEBUG_ON && found < lines)
            gmk_note_leak(h, &b);
        found++;
    }
    return found;
}

uint64_t gmk_heap_report_leaks(gmk_heap_t *h, uint32_t lines)
{
    uint64_t found = 0;
    for (uint32_t span = 0; span < h->spans; span++) {
        uint32_t kind = gmk_load32(&h->tag[span], GMK_RLX, GMK_KERNEL) & 0xff;
        if (kind != GMK_TAG_FREE && kind != GMK_TAG_INNER)
            found += leaks_in(h, span, found < lines ? lines - (uint32_t)found : 0);
    }
    return found;
}
