/* SPDX-License-Identifier: MIT */
/*
 * runs.h — a bitmap allocator of runs of consecutive items (frames, pages of address space).
 *
 * Pure code without a lock: the owner serialises.  Neighbouring free runs are one run by nature, so
 * there is nothing to merge.  Searches go a word at a time and are always bounded.  A single item is
 * the lowest free one, so that singles, which may stay for ever, lie together and leave long runs
 * whole; for more the search goes on where the last one ended.
 */
#ifndef GMK_X86_RUNS_H
#define GMK_X86_RUNS_H

#include <stdbool.h>
#include <stdint.h>

#define RUNS_NONE UINT64_MAX
#define RUNS_WORDS(count) (((count) + 63) / 64)

typedef struct runs {
    uint64_t *used; /* one bit an item; bits past the end are set */
    uint64_t count;
    uint64_t free;
    uint64_t low;  /* nothing below is free */
    uint64_t next; /* where the next search for a run starts */
} runs_t;

/* All items in use.  words: RUNS_WORDS(count) of them. */
void runs_init(runs_t *r, uint64_t *words, uint64_t count);

/*
 * n free items in a row, the first at an index i with (i + phase) a multiple of align, a power of
 * two; RUNS_NONE when there are none.
 */
uint64_t runs_alloc(runs_t *r, uint64_t n, uint64_t align, uint64_t phase);

/* False, and nothing changed, when one of them is out of range or free already. */
bool runs_free(runs_t *r, uint64_t first, uint64_t n);

/* Marks those of the items in use that are free. */
void runs_reserve(runs_t *r, uint64_t first, uint64_t n);

uint64_t runs_largest(const runs_t *r);

#endif
