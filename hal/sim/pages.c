/* SPDX-License-Identifier: MIT */
/*
 * pages.c — memory of the simulation HAL.
 *
 * Allocations lie one after the other from a fixed address on, never where one lay before in the
 * same run: a pointer into memory that was given back faults.
 */
#include "sim_int.h"

#include <sys/mman.h>

#define PAGES_BASE ((uintptr_t)0x210000000000)
#define PAGES_END ((uintptr_t)0x2f0000000000)
#define PAGES_ALIGN ((size_t)2 << 20)
#define MAX_ALLOCATIONS 1024u

static struct {
    char *at;
    size_t bytes;
} allocated[MAX_ALLOCATIONS];
static uint32_t n_allocated;
static uintptr_t next_page = PAGES_BASE;
static uint64_t in_use;

static size_t page_round(size_t bytes) { return (bytes + 4095) & ~(size_t)4095; }

static void *take(size_t size)
{
    void *at = (void *)next_page;
    void *p = mmap(at, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    allocated[n_allocated].at = p;
    allocated[n_allocated++].bytes = size;
    next_page += (size + 2 * PAGES_ALIGN - 1) & ~(PAGES_ALIGN - 1); /* a gap, so that overruns fault */
    in_use += size;
    return p;
}

void *gmk_hal_page_alloc(size_t bytes)
{
    struct sim_event *e = sim_point(SIM_PAGES, NULL);
    size_t size = page_round(bytes);

    e->value = bytes;
    if (bytes == 0 || size < bytes || size > PAGES_END - next_page - 2 * PAGES_ALIGN)
        return NULL;
    if (n_allocated == MAX_ALLOCATIONS || sim_chance(sim.options.page_fail))
        return NULL;
    void *p = take(size);
    e->where = p;
    return p;
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
            sim_fail("pages are given back with another size");
        (void)munmap(p, allocated[i].bytes);
        in_use -= allocated[i].bytes;
        allocated[i] = allocated[--n_allocated];
        return;
    }
    sim_fail("pages are given back that nobody has");
}

uint64_t sim_pages_in_use(void) { return in_use; }

bool sim_page_of(const void *address, uint64_t *offset)
{
    uintptr_t a = (uintptr_t)address;
    *offset = a - PAGES_BASE;
    return a >= PAGES_BASE && a < PAGES_END;
}

void sim_pages_reset(void)
{
    while (n_allocated > 0) {
        n_allocated--;
        (void)munmap(allocated[n_allocated].at, allocated[n_allocated].bytes);
    }
    next_page = PAGES_BASE;
    in_use = 0;
}
