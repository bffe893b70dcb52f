/* SPDX-License-Identifier: MIT */
/*
 * pages.c — memory of the simulation HAL.
 *
 * Allocations lie one after the other from a fixed address on, never where one lay before in the
 * same run: a pointer into memory that was given back faults.
 */
#include "memory.h"

#include <sys/mman.h>

#define PAGES_ALIGN ((size_t)2 << 20)
#define MAX_ALLOCATIONS 1024u

static struct sim_pages allocated[MAX_ALLOCATIONS];
static uint32_t n_allocated;
static uintptr_t next_page = SIM_PAGES_BASE;
static uint64_t in_use;

static size_t page_round(size_t bytes) { return (bytes + 4095) & ~(size_t)4095; }

static void *take(size_t size)
{
    void *at = (void *)next_page;
    void *p = mmap(at, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    allocated[n_allocated++] = (struct sim_pages){p, size, sim.current->kernel, false};
    next_page += (size + 2 * PAGES_ALIGN - 1) & ~(PAGES_ALIGN - 1); /* a gap, so that overruns fault */
    in_use += size;
    sim_races_pages(next_page);
    return p;
}

void *gmk_hal_page_alloc(size_t bytes)
{
    struct sim_entry *e = sim_point(SIM_PAGES, NULL);
    size_t size = page_round(bytes);

    e->value = bytes;
    if (bytes == 0 || size < bytes || size > SIM_PAGES_END - next_page - 2 * PAGES_ALIGN)
        return NULL;
    if (n_allocated == MAX_ALLOCATIONS || sim_fault_comes(SIM_FAULT_PAGES, sim.options.page_fail))
        return NULL;
    void *p = take(size);
    e->where = p;
    return p;
}

static void give_back(uint32_t i)
{
    (void)munmap(allocated[i].at, allocated[i].bytes);
    in_use -= allocated[i].bytes;
    allocated[i] = allocated[--n_allocated];
}

void gmk_hal_page_free(void *p, size_t bytes)
{
    if (p == NULL)
        return;
    (void)sim_point(SIM_PAGES, p);
    for (uint32_t i = 0; i < n_allocated; i++) {
        if (allocated[i].at != p)
            continue;
        if (allocated[i].bytes != page_round(bytes))
            sim_end("misuse", "pages are given back with another size");
        give_back(i);
        return;
    }
    sim_end("misuse", "pages are given back that nobody has");
}

uint64_t sim_pages_in_use(void) { return in_use; }

void sim_pages_of_kernel_end(uint32_t kernel)
{
    for (uint32_t i = n_allocated; i-- > 0;)
        if (allocated[i].kernel == kernel)
            give_back(i);
}

void sim_pages_wild(const void *p)
{
    for (uint32_t i = 0; i < n_allocated; i++)
        allocated[i].wild |= allocated[i].at == p;
}

const struct sim_pages *sim_page_live(uintptr_t at, size_t size)
{
    static uint32_t last;
    for (uint32_t i = 0; i <= n_allocated; i++) {
        uint32_t n = i == 0 ? last : i - 1;
        if (n < n_allocated && at - (uintptr_t)allocated[n].at < allocated[n].bytes &&
            size <= allocated[n].bytes - (at - (uintptr_t)allocated[n].at)) {
            last = n;
            return &allocated[n];
        }
    }
    return NULL;
}

bool sim_page_of(const void *address, uint64_t *offset)
{
    uintptr_t a = (uintptr_t)address;
    *offset = a - SIM_PAGES_BASE;
    return a >= SIM_PAGES_BASE && a < SIM_PAGES_END;
}

/* The program is linked to a fixed address: what it holds is at the same place in every run. */
bool sim_static(const void *address)
{
    extern const char __executable_start[], _end[];
    return (uintptr_t)address >= (uintptr_t)__executable_start && (uintptr_t)address < (uintptr_t)_end;
}

void sim_pages_reset(void)
{
    while (n_allocated > 0) {
        n_allocated--;
        (void)munmap(allocated[n_allocated].at, allocated[n_allocated].bytes);
    }
    next_page = SIM_PAGES_BASE;
    in_use = 0;
}
