/* SPDX-License-Identifier: MIT
 *
 * The address space that the kernel starts in.
 */
#include "steps.h"
#include "cpu.h"
#include "mem.h"
#include "paging.h"

uint64_t kernel_cr3;

bool is_mapped_type(uint64_t type) { return type != LIMINE_MEM_RESERVED && type != LIMINE_MEM_BAD; }

static void *table_page(void *ctx)
{
    (void)ctx;
    void *page = (void *)(uintptr_t)boot_alloc(PAGE_SIZE, PAGE_SIZE, LIMINE_MEM_RECLAIMABLE,
                                               "no memory for page tables, bytes");
    return memset(page, 0, PAGE_SIZE);
}

static void map_hhdm(struct paging *p, uint64_t base, uint64_t length)
{
    paging_map(p, base + HHDM, base, length, PAGING_WRITE | PAGING_NO_EXEC);
}

/* 0 to 4 GiB whatever is there, and above it what is not reserved. */
static void map_memory(struct paging *p)
{
    uint64_t code = (uintptr_t)handoff_page;
    map_hhdm(p, 0, code);
    paging_map(p, code + HHDM, code, PAGE_SIZE, 0);
    map_hhdm(p, code + PAGE_SIZE, LOW_END - code - PAGE_SIZE);
    /* A table page may come out of the map while this goes over it, but only below 4 GiB. */
    struct memmap map = boot.source.map;
    for (uint32_t i = 0; i < map.count; i++) {
        const struct limine_memmap_entry *m = &map.entry[i];
        uint64_t from = m->base & ~(uint64_t)(PAGE_SIZE - 1);
        uint64_t to = (m->base + m->length + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
        from = from > LOW_END ? from : LOW_END;
        to = to < HHDM_PHYS_END ? to : HHDM_PHYS_END;
        if (is_mapped_type(m->type) && from < to)
            map_hhdm(p, from, to - from);
    }
}

static void map_kernel(struct paging *p)
{
    for (uint32_t i = 0; i < boot.image.count; i++) {
        const struct elf_segment *s = &boot.image.segment[i];
        uint64_t flags = (s->write ? PAGING_WRITE : 0) | (s->exec ? 0 : PAGING_NO_EXEC);
        uint64_t length = (s->memsz + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
        paging_map(p, s->vaddr, boot.kernel_phys + (s->vaddr - boot.image.base), length, flags);
    }
}

/* The kernel's tables; and their upper half in the loader's own, so that it can get to the handoff page. */
void build_tables(void)
{
    bool gib_pages = cpuid(0x80000000).a >= 0x80000001 && (cpuid(0x80000001).d & (1u << 26)) != 0;
    struct paging p = {table_page(NULL), gib_pages, table_page, NULL};
    map_memory(&p);
    map_kernel(&p);
    memcpy(early_pml4 + 256, p.root + 256, 256 * sizeof *p.root);
    kernel_cr3 = (uintptr_t)p.root;
}
