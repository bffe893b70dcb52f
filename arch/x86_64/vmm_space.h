/* SPDX-License-Identifier: MIT */
/*
 * vmm_space.h — a part of the address space from which runs of pages are taken.
 *
 * For vmm*.c.  Any context except NMI and #MC; a spinlock each.  Address space is not memory: what the
 * entries of the pages say is the business of the taker, who clears them before giving pages back.
 */
#ifndef GMK_X86_VMM_SPACE_H
#define GMK_X86_VMM_SPACE_H

#include "runs.h"
#include "spinlock.h"

typedef struct space {
    uint64_t base, page; /* page: bytes of what is given out */
    uint64_t pages;
    uint64_t *words; /* RUNS_WORDS(pages) of them */
    runs_t runs;
    spinlock_t lock;
} space_t;

/* base, page, pages and words are filled in. */
void space_init(space_t *s);
/* The address of n pages, of which page number `lead` is a multiple of align pages; 0 = none. */
uint64_t space_take(space_t *s, uint64_t n, uint64_t align, uint64_t lead);
bool space_give(space_t *s, uint64_t va, uint64_t n);
bool space_holds(const space_t *s, uint64_t va);
void space_stats(space_t *s, uint64_t *used, uint64_t *largest);

#endif
