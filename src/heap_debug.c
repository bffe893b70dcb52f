/* SPDX-License-Identifier: MIT */
/*
 * heap_debug.c — what debug builds know about each block.
 *
 * A free block is full of 0xDD.  Its note says whether it is handed out, and which task last
 * took or freed it.  The words of a note are relaxed atomics: a wrong second free may read
 * them at any moment; the exchange of `state` decides who freed first.
 */
#include "format.h"
#include "heap_int.h"

#define POISON 0xDDu

/* Notes follow the counts, or lie beside the span, like them. */
static gmk_block_note_t *note_of(const gmk_heap_t *h, const gmk_block_t *b)
{
    if (b->cls >= GMK_HEAP_COUNTS_BESIDE)
        return &h->note[(uint64_t)b->span * 32 + b->index];
    uint32_t blocks = GMK_SPAN_BYTES / gmk_class_bytes(b->cls);
    unsigned char *notes = gmk_span_addr(h, b->span) + blocks * sizeof(gmk_a32_t);
    return (gmk_block_note_t *)(void *)notes + b->index;
}

static int to_console(void *arg, const void *data, size_t n)
{
    (void)arg;
    (void)n;
    gmk_hal_console(data); /* say() ended it with a zero byte, and it fits the buffer */
    return 0;
}

static void put_task(gmk_out_t *o, const char *what, uint32_t type, uint32_t seq)
{
    gmk_out_str(o, what);
    gmk_out_str(o, " by task type ");
    gmk_out_u64(o, type);
    gmk_out_str(o, " seq ");
    gmk_out_u64(o, seq);
}

/* "heap: WHAT: block of N bytes at offset N, freed by task type T seq S; now task type T seq S" */
static void say(const gmk_heap_t *h, const char *what, const gmk_block_t *b, const gmk_heap_cache_t *now)
{
    static const char *const last[] = {", never used", ", allocated", ", freed"};
    gmk_block_note_t *note = note_of(h, b);
    gmk_out_t o;
    gmk_out_begin(&o, to_console, NULL);
    gmk_out_str(&o, "heap: ");
    gmk_out_str(&o, what);
    gmk_out_str(&o, ": block of ");
    gmk_out_u64(&o, gmk_block_bytes(h, b));
    gmk_out_str(&o, " bytes at offset ");
    gmk_out_u64(&o, ((uint64_t)b->span << GMK_SPAN_BITS) + b->index * gmk_block_bytes(h, b));
    put_task(&o, last[gmk_load32(&note->state, GMK_RLX, GMK_KERNEL)],
             gmk_load32(&note->type, GMK_RLX, GMK_KERNEL), gmk_load32(&note->seq, GMK_RLX, GMK_KERNEL));
    if (now != NULL)
        put_task(&o, ", found", now->owner_type, now->owner_seq);
    gmk_out_bytes(&o, "", 1);
    (void)gmk_out_end(&o);
}

static void sign(gmk_block_note_t *note, const gmk_heap_cache_t *c)
{
    gmk_store32(&note->type, c != NULL ? c->owner_type : 0, GMK_RLX, GMK_KERNEL);
    gmk_store32(&note->seq, c != NULL ? c->owner_seq : 0, GMK_RLX, GMK_KERNEL);
}

void gmk_note_carve(gmk_heap_t *h, uint32_t cls, uint32_t span)
{
    uint32_t head = h->cls[cls].head_bytes;
    if (cls >= GMK_HEAP_COUNTS_BESIDE)
        gmk_hal_memset(&h->note[(uint64_t)span * 32], 0, 32 * sizeof *h->note);
    gmk_hal_memset(gmk_span_addr(h, span) + head, (int)POISON, GMK_SPAN_BYTES - head);
}

static bool still_poisoned(const unsigned char *p, uint64_t n)
{
    const uint64_t *w = (const uint64_t *)(const void *)p;
    for (uint64_t i = 0; i < n / 8; i++)
        if (w[i] != 0x0101010101010101u * (uint64_t)POISON)
            return false;
    return true;
}

/* A run of spans may hold anything: its spans were never poisoned as one block. */
void gmk_note_alloc(gmk_heap_t *h, const gmk_heap_cache_t *c, void *p)
{
    gmk_block_t b;
    if (!gmk_block_find(h, p, &b))
        return;
    if (b.cls < GMK_HEAP_CLASSES && !still_poisoned(p, gmk_class_bytes(b.cls)))
        say(h, "written after free", &b, c);
    gmk_block_note_t *note = note_of(h, &b);
    GMK_ASSERT(gmk_load32(&note->state, GMK_RLX, GMK_KERNEL) != GMK_NOTE_LIVE);
    sign(note, c);
    gmk_store32(&note->state, GMK_NOTE_LIVE, GMK_RLX, GMK_KERNEL);
    (void)gmk_add64(&h->objects, 1, GMK_RLX, GMK_KERNEL);
}

bool gmk_note_free(gmk_heap_t *h, const gmk_heap_cache_t *c, void *p, const gmk_block_t *b)
{
    gmk_block_note_t *note = note_of(h, b);
    if (gmk_load32(gmk_block_count(h, b), GMK_RLX, GMK_KERNEL) != 0) {
        say(h, "free of a payload that is still counted", b, c);
        return false;
    }
    uint32_t state = GMK_NOTE_LIVE;
    if (!gmk_cas32(&note->state, &state, GMK_NOTE_FREED, GMK_RLX, GMK_KERNEL)) {
        say(h, "double free", b, c);
        return false;
    }
    sign(note, c);
    gmk_hal_memset(p, (int)POISON, gmk_block_bytes(h, b));
    (void)gmk_sub64(&h->objects, 1, GMK_RLX, GMK_KERNEL);
    return true;
}

void gmk_note_stale(const gmk_heap_t *h, const gmk_heap_cache_t *c, const gmk_block_t *b)
{
    say(h, "retain or release of a payload whose count is 0", b, c);
}

void gmk_note_leak(const gmk_heap_t *h, const gmk_block_t *b) { say(h, "leaked payload", b, NULL); }
