/* SPDX-License-Identifier: MIT */
/*
 * vmm.c — the kernel heap of pages, stacks, and the page faults that supply memory.
 *
 * An allocation is a run of pages in the heap or in the stacks' range, guard pages included.  What each
 * page is stands in its page-table entry and nowhere else: present, or supplied on demand, or a guard;
 * the first and the last page of the allocation are marked.  So a free can check what it was given, and
 * the page-fault handler needs no lock but the one inside pmm_alloc.
 */
#include "vmm.h"

#include "paging.h"
#include "pmm.h"
#include "shootdown.h"
#include "vmm_device.h"
#include "vmm_space.h"

#define HEAP_PAGES (((uint64_t)128 << 20) / PAGE_SIZE)
#define STACK_PAGES (((uint64_t)256 << 20) / PAGE_SIZE)
#define STACK_BASE (PAGING_DYNAMIC + ((uint64_t)1 << 30))
#define LARGE_PAGES (PAGE_LARGE / PAGE_SIZE)
#define MARKS (PTE_FIRST | PTE_LAST)

static uint64_t heap_words[RUNS_WORDS(HEAP_PAGES)], stack_words[RUNS_WORDS(STACK_PAGES)];
static space_t heap = {.base = PAGING_DYNAMIC,
                       .page = PAGE_SIZE,
                       .pages = HEAP_PAGES,
                       .words = heap_words,
                       .lock = SPINLOCK_INIT};
static space_t stacks = {
    .base = STACK_BASE, .page = PAGE_SIZE, .pages = STACK_PAGES, .words = stack_words, .lock = SPINLOCK_INIT};
static gmk_a64_t demand_faults, starved;

void vmm_init(void)
{
    space_init(&heap);
    space_init(&stacks);
    vmm_device_init();
    paging_init();
    paging_load();
    vmm_cpu_online();
}

void vmm_load(void) { paging_load(); }

static uint64_t pages_of(size_t bytes) { return bytes / PAGE_SIZE + (bytes % PAGE_SIZE != 0); }

static uint64_t load(uint64_t va)
{
    pte_t *entry = paging_entry(va, false);
    return entry ? gmk_load64(entry, GMK_ACQ, GMK_KERNEL) : 0;
}

/* ---- allocations -------------------------------------------------------------------------- */

/* What an entry becomes; 0 = no memory. */
static uint64_t page_for(uint64_t kind)
{
    uint64_t frame;

    if (kind != PTE_DATA)
        return kind;
    frame = pmm_alloc(1, 1);
    if (frame == 0)
        return 0;
    paging_zero(phys_to_virt(frame));
    return frame | PTE_DATA;
}

/* Makes the entry of an unused page; kind: PTE_DATA, PTE_DEMAND or PTE_GUARD. */
static bool fill(uint64_t va, uint64_t kind, uint64_t marks)
{
    pte_t *entry = paging_entry(va, true);
    uint64_t v = entry ? page_for(kind) : 0;

    if (v == 0)
        return false;
    gmk_store64(entry, v | marks, GMK_REL, GMK_KERNEL);
    return true;
}

/*
 * Takes the pages [va, va + n) out of the tables, then from every CPU, and only then gives the frames
 * back.  In between the entries keep the frames' numbers, so it needs no memory.
 */
static void drop(uint64_t va, uint64_t n)
{
    bool present = false;

    for (uint64_t i = 0; i < n; i++) {
        pte_t *entry = paging_entry(va + i * PAGE_SIZE, false);
        uint64_t old = entry ? gmk_xchg64(entry, 0, GMK_ACQ_REL, GMK_KERNEL) : 0;
        if (!(old & PTE_PRESENT))
            continue;
        gmk_store64(entry, (old & PTE_FRAME) | PTE_DYING, GMK_RLX, GMK_KERNEL);
        present = true;
    }
    if (!present)
        return; /* what is not present is in no TLB: Intel SDM 3A §4.10.2.3 */
    shootdown(va, n);
    for (uint64_t i = 0; i < n; i++) {
        pte_t *entry = paging_entry(va + i * PAGE_SIZE, false);
        uint64_t old = entry ? gmk_load64(entry, GMK_RLX, GMK_KERNEL) : 0;
        if (!(old & PTE_DYING))
            continue;
        gmk_store64(entry, 0, GMK_RLX, GMK_KERNEL);
        pmm_free(old & PTE_FRAME, 1);
    }
}

/* Fills n pages from va: `below` guard pages, pages of that kind, `above` guard pages. */
static bool fill_all(uint64_t va, uint64_t n, uint64_t kind, uint64_t below, uint64_t above)
{
    for (uint64_t i = 0; i < n; i++) {
        bool guard = i < below || i >= n - above;
        uint64_t marks = (i == 0 ? PTE_FIRST : 0) | (i == n - 1 ? PTE_LAST : 0);
        if (!fill(va + i * PAGE_SIZE, guard ? PTE_GUARD : kind, marks))
            return false;
    }
    return true;
}

/* The address of the first page after the lower guard; 0 = no room or no memory. */
static uint64_t take(space_t *s, uint64_t pages, uint64_t kind, uint64_t below, uint64_t above)
{
    uint64_t n = pages + below + above, va;

    if (pages == 0 || pages > s->pages)
        return 0;
    va = space_take(s, n, pages >= LARGE_PAGES ? LARGE_PAGES : 1, below);
    if (va == 0)
        return 0;
    if (!fill_all(va, n, kind, below, above)) {
        drop(va, n);
        space_give(s, va, n);
        return 0;
    }
    return va + below * PAGE_SIZE;
}

/* Whether [va, va + n) is one whole allocation; if so, its first mark is taken, so nobody else frees it. */
static bool claim(const space_t *s, uint64_t va, uint64_t n)
{
    pte_t *first = paging_entry(va, false);
    uint64_t v = load(va);

    if (!first || n == 0 || n > s->pages || !space_holds(s, va) || !(v & PTE_FIRST) ||
        !(load(va + (n - 1) * PAGE_SIZE) & PTE_LAST))
        return false;
    for (uint64_t i = 0; i + 1 < n; i++)
        if (load(va + i * PAGE_SIZE) & PTE_LAST)
            return false;
    return gmk_cas64(first, &v, v & ~PTE_FIRST, GMK_ACQ_REL, GMK_KERNEL);
}

static bool give(space_t *s, uint64_t va, uint64_t n)
{
    if (va % PAGE_SIZE != 0 || !claim(s, va, n))
        return false;
    drop(va, n);
    return space_give(s, va, n);
}

void *vmm_alloc(size_t bytes, uint32_t flags)
{
    uint64_t guards = flags & VMM_GUARD ? 1 : 0;
    uint64_t kind = flags & VMM_DEMAND ? PTE_DEMAND : PTE_DATA;
    return (void *)(uintptr_t)take(&heap, pages_of(bytes), kind, guards, guards);
}

void vmm_free(void *p, size_t bytes)
{
    uint64_t va = (uint64_t)(uintptr_t)p, n = pages_of(bytes), before = va - PAGE_SIZE;

    if (!p && bytes == 0)
        return;
    if (space_holds(&heap, before) && (load(before) & (PTE_GUARD | PTE_FIRST)) == (PTE_GUARD | PTE_FIRST)) {
        va = before;
        n += 2;
    }
    if (!space_holds(&heap, va) || !give(&heap, va, n))
        PAGING_BUG("vmm: freeing %zu bytes at %p, which is not one whole allocation of the heap", bytes, p);
}

void *vmm_stack_alloc(size_t bytes)
{
    uint64_t n = pages_of(bytes);
    uint64_t bottom = take(&stacks, n, PTE_DATA, 1, 0);
    return bottom ? (void *)(uintptr_t)(bottom + n * PAGE_SIZE) : NULL;
}

void vmm_stack_free(void *top, size_t bytes)
{
    uint64_t n = pages_of(bytes) + 1;
    uint64_t va = (uint64_t)(uintptr_t)top - n * PAGE_SIZE;

    if (n > stacks.pages || !space_holds(&stacks, va) || !give(&stacks, va, n))
        PAGING_BUG("vmm: freeing a stack of %zu bytes below %p, which is no such stack", bytes, top);
}

/* ---- faults ------------------------------------------------------------------------------- */

#define FAULT_PRESENT 1u /* error code of #PF: Intel SDM 3A §4.7 */
#define FAULT_USER 4u
#define FAULT_RESERVED 8u
#define FAULT_FETCH 16u

/* The page of this entry is to be supplied: by us, or by a CPU that was faster. */
static bool supply(pte_t *entry, uint64_t seen)
{
    uint64_t page = page_for(PTE_DATA);

    if (page == 0) {
        gmk_add64(&starved, 1, GMK_RLX, GMK_KERNEL);
        return false;
    }
    if (gmk_cas64(entry, &seen, page | (seen & MARKS), GMK_ACQ_REL, GMK_KERNEL)) {
        gmk_add64(&demand_faults, 1, GMK_RLX, GMK_KERNEL);
        return true;
    }
    pmm_free(page & PTE_FRAME, 1);
    return seen & PTE_PRESENT;
}

bool vmm_fault(uint64_t addr, uint64_t error)
{
    pte_t *entry;
    uint64_t v;

    if (error & (FAULT_PRESENT | FAULT_USER | FAULT_RESERVED | FAULT_FETCH) || !space_holds(&heap, addr))
        return false;
    entry = paging_entry(addr, false);
    v = entry ? gmk_load64(entry, GMK_ACQ, GMK_KERNEL) : 0;
    if (v & PTE_PRESENT)
        return true; /* another CPU supplied it since */
    return (v & PTE_DEMAND) && supply(entry, v);
}

bool vmm_is_guard(uint64_t addr)
{
    uint64_t v = addr >= PAGING_UPPER ? load(addr) : 0;
    return !(v & PTE_PRESENT) && (v & PTE_GUARD);
}

/* ---- looking ------------------------------------------------------------------------------ */

uint64_t vmm_phys(const void *p) { return paging_phys((uint64_t)(uintptr_t)p); }

uint64_t vmm_entry(const void *p)
{
    uint64_t size;
    return paging_lookup((uint64_t)(uintptr_t)p, &size);
}

static void count_bad(void *arg, uint64_t va, uint64_t size, uint64_t entry)
{
    int *bad = arg;
    bool executable = !(entry & PTE_NX), writable = entry & PTE_WRITE;

    if (va < PAGING_UPPER || (executable && writable) ||
        (writable && paging_is_fixed(entry & PTE_FRAME & ~(size - 1), size)))
        ++*bad;
}

int vmm_check_wx(void)
{
    int bad = 0;
    paging_walk(count_bad, &bad);
    return bad;
}

void vmm_stats(vmm_stats_t *s)
{
    uint64_t largest;

    *s = (vmm_stats_t){.heap_pages = heap.pages, .stack_pages = stacks.pages};
    space_stats(&heap, &s->heap_used, &s->heap_largest);
    space_stats(&stacks, &s->stack_used, &largest);
    vmm_device_stats(&s->device_maps, &s->device_used);
    s->tables = paging_tables();
    s->demand_faults = gmk_load64(&demand_faults, GMK_RLX, GMK_KERNEL);
    s->starved = gmk_load64(&starved, GMK_RLX, GMK_KERNEL);
    s->shootdowns = shootdown_count();
}
