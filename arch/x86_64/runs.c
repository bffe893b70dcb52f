/* SPDX-License-Identifier: MIT */
/* runs.c — finding, taking and giving back runs in a bitmap. */
#include "runs.h"

#define BITS 64u
#define MOST_ALIGN ((uint64_t)1 << 52) /* keeps the sums below from wrapping */

/* The bits of one word that belong to items [from, to), from and to within the same word's span. */
static uint64_t mask_of(uint64_t from, uint64_t to)
{
    uint64_t n = to - from;
    uint64_t ones = n >= BITS ? UINT64_MAX : ((uint64_t)1 << n) - 1;
    return ones << (from % BITS);
}

/* Where the word that holds item i ends, or `to` if that is nearer. */
static uint64_t word_end(uint64_t i, uint64_t to)
{
    uint64_t end = (i / BITS + 1) * BITS;
    return end < to ? end : to;
}

/* The first item in [from, to) whose bit equals `used`; `to` when there is none. */
static uint64_t find(const runs_t *r, uint64_t from, uint64_t to, bool used)
{
    while (from < to) {
        uint64_t end = word_end(from, to);
        uint64_t word = r->used[from / BITS];
        uint64_t hits = (used ? word : ~word) & mask_of(from, end);
        if (hits)
            return from / BITS * BITS + (uint64_t)__builtin_ctzll(hits);
        from = end;
    }
    return to;
}

static void set(runs_t *r, uint64_t from, uint64_t to, bool used)
{
    while (from < to) {
        uint64_t end = word_end(from, to);
        if (used)
            r->used[from / BITS] |= mask_of(from, end);
        else
            r->used[from / BITS] &= ~mask_of(from, end);
        from = end;
    }
}

void runs_init(runs_t *r, uint64_t *words, uint64_t count)
{
    *r = (runs_t){.used = words, .count = count};
    for (uint64_t w = 0; w < RUNS_WORDS(count); w++)
        words[w] = UINT64_MAX;
}

static uint64_t align_up(uint64_t i, uint64_t align, uint64_t phase)
{
    return ((i + phase + align - 1) & ~(align - 1)) - phase;
}

/* A run that begins in [from, to); it may end past `to`. */
static uint64_t search(const runs_t *r, uint64_t from, uint64_t to, uint64_t n, uint64_t align,
                       uint64_t phase)
{
    uint64_t at = align_up(find(r, from, to, false), align, phase);

    while (at < to && n <= r->count - at) {
        uint64_t taken = find(r, at, at + n, true);
        if (taken == at + n)
            return at;
        at = align_up(find(r, taken, r->count, false), align, phase);
    }
    return RUNS_NONE;
}

/* The lowest one. */
static uint64_t alloc_single(runs_t *r)
{
    uint64_t at = find(r, r->low, r->count, false);

    set(r, at, at + 1, true);
    r->free--;
    r->low = at + 1;
    return at;
}

uint64_t runs_alloc(runs_t *r, uint64_t n, uint64_t align, uint64_t phase)
{
    uint64_t at;

    if (n == 0 || n > r->free || (align & (align - 1)) != 0 || align - 1 > MOST_ALIGN)
        return RUNS_NONE;
    if (n == 1 && align == 1)
        return alloc_single(r);
    at = search(r, r->next, r->count, n, align, phase);
    if (at == RUNS_NONE)
        at = search(r, 0, r->next, n, align, phase);
    if (at == RUNS_NONE)
        return RUNS_NONE;
    set(r, at, at + n, true);
    r->free -= n;
    r->next = at + n < r->count ? at + n : 0;
    return at;
}

bool runs_free(runs_t *r, uint64_t first, uint64_t n)
{
    if (n == 0 || first >= r->count || n > r->count - first || find(r, first, first + n, false) != first + n)
        return false;
    set(r, first, first + n, false);
    r->free += n;
    r->low = first < r->low ? first : r->low;
    return true;
}

void runs_reserve(runs_t *r, uint64_t first, uint64_t n)
{
    uint64_t end = first >= r->count ? first : n > r->count - first ? r->count : first + n;

    for (uint64_t i = find(r, first, end, false); i < end; i = find(r, i, end, false)) {
        set(r, i, i + 1, true);
        r->free--;
    }
}

uint64_t runs_largest(const runs_t *r)
{
    uint64_t best = 0;

    for (uint64_t at = find(r, 0, r->count, false); at < r->count;) {
        uint64_t end = find(r, at, r->count, true);
        if (end - at > best)
            best = end - at;
        at = find(r, end, r->count, false);
    }
    return best;
}
