/* SPDX-License-Identifier: MIT */
/* pmm.c — the machine's physical memory: one frames_t behind a spinlock, and the HHDM. */
#include "pmm.h"

#include "cpu.h"
#include "kprintf.h"
#include "paging.h"
#include "panic.h"
#include "spinlock.h"

static spinlock_t lock = SPINLOCK_INIT;
static frames_t frames;
static mem_map_t memory;
static uint64_t hhdm_base;

/* Physical addresses that the CPU has (Intel SDM 2A, CPUID leaf 0x80000008) and the HHDM reaches. */
static uint64_t address_limit(void)
{
    uint64_t cpu = paging_phys_limit(), reach = PAGING_DYNAMIC - hhdm_base;
    return cpu < reach ? cpu : reach;
}

void pmm_init(const boot_range_t *map, uint32_t count, uint64_t hhdm)
{
    uint64_t bytes, place;

    if (hhdm < PAGING_UPPER || hhdm >= PAGING_DYNAMIC || hhdm % FRAME_SIZE != 0)
        panic("the loader's HHDM offset 0x%llx is not a page in the lower part of the upper half",
              (unsigned long long)hhdm);
    hhdm_base = hhdm;
    memory = (mem_map_t){.ranges = map, .count = count, .limit = address_limit()};
    bytes = frames_plan(&frames, &memory);
    place = bytes > 0 ? frames_place(&memory, bytes) : 0;
    if (place == 0)
        panic("no usable memory: the loader's map of %u ranges has no room for %llu bytes of bookkeeping; "
              "give the machine more memory or another loader",
              count, (unsigned long long)bytes);
    frames_init(&frames, &memory, phys_to_virt(place), place, bytes);
}

uint64_t pmm_alloc(uint64_t pages, uint64_t align_pages)
{
    uint64_t flags = spin_lock(&lock);
    uint64_t phys = frames_alloc(&frames, pages, align_pages > 0 ? align_pages : 1);
    spin_unlock(&lock, flags);
    return phys;
}

void pmm_free(uint64_t phys, uint64_t pages)
{
    uint64_t flags = spin_lock(&lock);
    bool good = frames_free(&frames, phys, pages);
    spin_unlock(&lock, flags);
    if (!good)
        PAGING_BUG("pmm: freeing %llu frames at 0x%llx that are not allocated memory",
                   (unsigned long long)pages, (unsigned long long)phys);
}

uint64_t pmm_reclaim(void)
{
    uint64_t flags = spin_lock(&lock);
    uint64_t n = frames_reclaim(&frames, &memory);
    spin_unlock(&lock, flags);
    return n;
}

void pmm_stats(pmm_stats_t *s)
{
    uint64_t flags = spin_lock(&lock);
    frames_stats(&frames, s);
    spin_unlock(&lock, flags);
}

bool pmm_is_ram(uint64_t phys, uint64_t bytes)
{
    uint64_t base, end;
    uint64_t last = bytes > UINT64_MAX - phys ? UINT64_MAX : phys + bytes;
    return mem_map_next(&memory, MEM_RAM, phys, &base, &end) && base < last;
}

const mem_map_t *pmm_map(void) { return &memory; }

uint64_t pmm_hhdm(void) { return hhdm_base; }

void *phys_to_virt(uint64_t phys) { return (void *)(uintptr_t)(hhdm_base + phys); }

uint64_t virt_to_phys(const void *p) { return (uint64_t)(uintptr_t)p - hhdm_base; }
