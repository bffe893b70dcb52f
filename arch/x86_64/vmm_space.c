/* SPDX-License-Identifier: MIT */
/* vmm_space.c — runs of pages of address space, behind a lock. */
#include "vmm_space.h"

void space_init(space_t *s)
{
    runs_init(&s->runs, s->words, s->pages);
    runs_free(&s->runs, 0, s->pages);
}

uint64_t space_take(space_t *s, uint64_t n, uint64_t align, uint64_t lead)
{
    uint64_t flags = spin_lock(&s->lock);
    uint64_t at = runs_alloc(&s->runs, n, align, lead);
    spin_unlock(&s->lock, flags);
    return at == RUNS_NONE ? 0 : s->base + at * s->page;
}

bool space_give(space_t *s, uint64_t va, uint64_t n)
{
    uint64_t flags = spin_lock(&s->lock);
    bool good = runs_free(&s->runs, (va - s->base) / s->page, n);
    spin_unlock(&s->lock, flags);
    return good;
}

bool space_holds(const space_t *s, uint64_t va) { return va - s->base < s->pages * s->page; }

void space_stats(space_t *s, uint64_t *used, uint64_t *largest)
{
    uint64_t flags = spin_lock(&s->lock);
    *used = s->pages - s->runs.free;
    *largest = runs_largest(&s->runs);
    spin_unlock(&s->lock, flags);
}
