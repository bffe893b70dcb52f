/* SPDX-License-Identifier: MIT */
/* paging.c — the tables of the one address space, and the operations on their
 * entries. */
#include "paging.h"

#include "pmm.h"

#define LEVELS 4u
#define ENTRIES 512u
#define MSR_PAT 0x277u
#define CR0_WP (UINT64_C(1) << 16)
#define CR4_LA57 (UINT64_C(1) << 12)
#define CPUID_EXT_FEATURES                                                                                   \
    0x80000001u /* EDX: bit 20 NX, bit 26 1 GiB pages   \
                                        */
#define CPUID_ADDRESS_SIZES 0x80000008u

static uint64_t root; /* physical address of the PML4, 0 = none yet */
static gmk_a64_t tables;

static uint64_t span_of(unsigned level) { return PAGE_SIZE << (9 * (level - 1)); }

static uint32_t index_of(uint64_t va, unsigned level)
{
    return (uint32_t)(va >> (12 + 9 * (level - 1))) & (ENTRIES - 1);
}

static pte_t *table_at(uint64_t phys) { return phys_to_virt(phys & PTE_FRAME); }

void paging_zero(void *page)
{
    uint64_t words = PAGE_SIZE / 8;
    __asm__ volatile("rep stosq" : "+D"(page), "+c"(words) : "a"(UINT64_C(0)) : "memory");
}

uint64_t paging_tables(void) { return gmk_load64(&tables, GMK_RLX, GMK_KERNEL); }

static uint64_t new_table(void)
{
    uint64_t frame = pmm_alloc(1, 1);
    if (frame == 0)
        return 0;
    paging_zero(phys_to_virt(frame));
    gmk_add64(&tables, 1, GMK_RLX, GMK_KERNEL);
    return frame;
}

/* Puts a new table into an empty entry; when another CPU was faster, its table
 * counts.  0: no memory. */
static uint64_t grow(pte_t *entry)
{
    uint64_t seen = 0, frame = new_table();

    if (frame == 0)
        return 0;
    if (gmk_cas64(entry, &seen, frame | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED, GMK_ACQ_REL, GMK_KERNEL))
        return frame | PTE_PRESENT;
    pmm_free(frame, 1);
    gmk_sub64(&tables, 1, GMK_RLX, GMK_KERNEL);
    return seen;
}

/*
 * The entry of va at *level, or at a higher level where a larger page or
 * (without make) an empty entry ends the way; *level says which.  NULL: no
 * memory.
 */
static pte_t *descend(uint64_t top, uint64_t va, unsigned *level, bool make)
{
    pte_t *table = table_at(top);

    for (unsigned l = LEVELS;; l--) {
        pte_t *entry = &table[index_of(va, l)];
        uint64_t v = gmk_load64(entry, GMK_ACQ, GMK_KERNEL);
        bool is_table = (v & PTE_PRESENT) && !(v & PTE_LARGE);
        if (l == *level || (!is_table && (v & PTE_PRESENT)) || (v == 0 && !make)) {
            *level = l;
            return entry;
        }
        if (!is_table && (v = grow(entry)) == 0)
            return NULL;
        table = table_at(v);
    }
}

pte_t *paging_entry(uint64_t va, bool make)
{
    unsigned level = 1;
    pte_t *entry = descend(root, va, &level, make);
    return level == 1 ? entry : NULL;
}

static uint64_t lookup(uint64_t top, uint64_t va, uint64_t *size)
{
    unsigned level = 1;
    pte_t *entry = descend(top, va, &level, false);
    uint64_t v = gmk_load64(entry, GMK_ACQ, GMK_KERNEL);

    *size = span_of(level);
    return v & PTE_PRESENT ? v : 0;
}

uint64_t paging_translate(uint64_t top, uint64_t va)
{
    uint64_t size, entry = lookup(top, va, &size);
    uint64_t frame = entry & PTE_FRAME & ~(size - 1);
    return entry ? frame + (va & (size - 1)) : 0;
}

uint64_t paging_lookup(uint64_t va, uint64_t *size) { return lookup(root, va, size); }

uint64_t paging_phys(uint64_t va) { return paging_translate(root, va); }

/* ---- mapping
 * ------------------------------------------------------------------------------
 */

static uint64_t leaf(uint64_t pa, uint64_t flags, unsigned level)
{
    if (level == 1)
        return pa | flags;
    if (flags & PTE_PAT)
        flags = (flags & ~PTE_PAT) | PTE_PAT_LARGE;
    return pa | flags | PTE_LARGE;
}

/* Maps one page, of the largest size that fits and finds no table of smaller
 * pages in its place. */
static uint64_t map_one(uint64_t va, uint64_t pa, uint64_t bytes, uint64_t flags, unsigned most)
{
    for (unsigned level = most; level > 0; level--) {
        uint64_t span = span_of(level), empty = 0;
        unsigned found = level;
        pte_t *entry;
        if (bytes < span || ((va | pa) & (span - 1)))
            continue;
        entry = descend(root, va, &found, true);
        if (!entry || found != level)
            return 0;
        if (gmk_cas64(entry, &empty, leaf(pa, flags, level), GMK_ACQ_REL, GMK_KERNEL))
            return span;
        if (level == 1 || !(empty & PTE_PRESENT) || (empty & PTE_LARGE))
            return 0;
    }
    return 0;
}

bool paging_map(uint64_t va, uint64_t pa, uint64_t bytes, uint64_t flags, unsigned level)
{
    while (bytes > 0) {
        uint64_t done = map_one(va, pa, bytes, flags, level);
        if (done == 0)
            return false;
        va += done;
        pa += done;
        bytes -= done;
    }
    return true;
}

void paging_unmap(uint64_t va, uint64_t bytes)
{
    uint64_t end = va + bytes;

    while (va < end) {
        unsigned level = 1;
        pte_t *entry = descend(root, va, &level, false);
        uint64_t was = gmk_load64(entry, GMK_ACQ, GMK_KERNEL);
        if (level == 1 || (was & PTE_LARGE) != 0) /* else a table that another CPU has just put there */
            gmk_store64(entry, 0, GMK_REL, GMK_KERNEL);
        va = (va & ~(span_of(level) - 1)) + span_of(level);
    }
}

/* ---- walking
 * ------------------------------------------------------------------------------
 */

typedef struct walk {
    paging_visit_fn *visit;
    void *arg;
} walk_t;

/* An entry with the permissions of those above it. */
static uint64_t combine(uint64_t entry, uint64_t above)
{
    return (entry & ~(PTE_WRITE & ~above)) | (above & PTE_NX);
}

static void walk_table(const walk_t *w, uint64_t table, uint64_t va, unsigned level, uint64_t above)
{
    for (uint32_t i = 0; i < ENTRIES; i++) {
        uint64_t entry = gmk_load64(&table_at(table)[i], GMK_ACQ, GMK_KERNEL);
        uint64_t here = va + i * span_of(level);
        if (!(entry & PTE_PRESENT))
            continue;
        if (level == LEVELS && i >= ENTRIES / 2)
            here |= 0xffff000000000000ull;
        entry = combine(entry, above);
        if (level == 1 || (entry & PTE_LARGE))
            w->visit(w->arg, here, span_of(level), entry);
        else
            walk_table(w, entry, here, level - 1, entry);
    }
}

void paging_walk(paging_visit_fn *visit, void *arg)
{
    walk_t w = {.visit = visit, .arg = arg};
    walk_table(&w, root, 0, LEVELS, PTE_WRITE);
}

uint64_t paging_root(void)
{
    if (root == 0)
        root = new_table();
    return root;
}
