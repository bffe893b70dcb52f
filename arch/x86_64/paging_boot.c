/* SPDX-License-Identifier: MIT */
/* paging_boot.c — the tables the kernel starts with: the image and the HHDM; and how a CPU loads them. */
#include "paging.h"

#include "cpu.h"
#include "pmm.h"

#define MSR_PAT 0x277u
#define CR0_WP (UINT64_C(1) << 16)
#define CR4_LA57 (UINT64_C(1) << 12)
#define CPUID_EXT_FEATURES 0x80000001u /* EDX: bit 20 NX, bit 26 1 GiB pages */
#define CPUID_ADDRESS_SIZES 0x80000008u

uint64_t paging_phys_limit(void)
{
    uint32_t a, b, c, d;

    cpuid(0x80000000u, 0, &a, &b, &c, &d);
    if (a < CPUID_ADDRESS_SIZES)
        return (uint64_t)1 << 36;
    cpuid(CPUID_ADDRESS_SIZES, 0, &a, &b, &c, &d);
    return (uint64_t)1 << ((a & 0xff) < 52 ? a & 0xff : 52);
}

static bool ext_feature(unsigned bit)
{
    uint32_t a, b, c, d;
    cpuid(CPUID_EXT_FEATURES, 0, &a, &b, &c, &d);
    return d >> bit & 1;
}

static uint64_t page_up(uint64_t address) { return (address + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1); }

static uint64_t address_of(const char *symbol) { return (uint64_t)(uintptr_t)symbol; }

/* The image lies in one piece: where, the loader's tables know. */
static uint64_t image_phys(void)
{
    uint64_t first = paging_translate(read_cr3(), address_of(kernel_begin));
    uint64_t last = paging_translate(read_cr3(), address_of(kernel_end) - 1);

    if (first == 0 || first % PAGE_SIZE ||
        last - first != address_of(kernel_end) - 1 - address_of(kernel_begin))
        panic("the loader placed the kernel image in pieces: it begins at 0x%llx and ends at 0x%llx",
              (unsigned long long)first, (unsigned long long)last);
    return first;
}

static void must_map(uint64_t va, uint64_t pa, uint64_t bytes, uint64_t flags, unsigned level)
{
    if (!paging_map(va, pa, bytes, flags, level))
        panic("no memory for page tables while mapping 0x%llx at 0x%llx: give the machine more memory",
              (unsigned long long)pa, (unsigned long long)va);
}

/* The image as kernel.ld lays it out; .data and .bss may share a page. */
enum { PART_TEXT, PART_RODATA, PART_DATA, PART_SYMBOLS, PARTS };

typedef struct part {
    uint64_t virt, phys, bytes; /* whole pages */
    uint64_t flags;
} part_t;

static part_t parts[PARTS]; /* ascending */

static void set_part(uint32_t i, uint64_t image, uint64_t begin, uint64_t end, uint64_t flags)
{
    uint64_t from = begin & ~(PAGE_SIZE - 1);
    parts[i] = (part_t){.virt = from,
                        .phys = image + (from - address_of(kernel_begin)),
                        .bytes = page_up(end) - from,
                        .flags = flags};
}

/* Its lowest page is there to be missed: an overflow while the machine starts says so. */
extern const char boot_stack[]; /* entry.S */

static void guard_boot_stack(void)
{
    gmk_store64(paging_entry(address_of(boot_stack), false), PTE_GUARD, GMK_REL, GMK_KERNEL);
}

static void map_image(void)
{
    uint64_t image = image_phys();

    set_part(PART_TEXT, image, address_of(text_begin), address_of(text_end), PTE_CODE);
    set_part(PART_RODATA, image, address_of(rodata_begin), address_of(rodata_end), PTE_RO_DATA);
    set_part(PART_DATA, image, address_of(data_begin), address_of(bss_end), PTE_DATA);
    set_part(PART_SYMBOLS, image, page_up(address_of(bss_end)), address_of(kernel_end), PTE_RO_DATA);
    for (uint32_t i = 0; i < PARTS; i++)
        must_map(parts[i].virt, parts[i].phys, parts[i].bytes, parts[i].flags, 1);
}

/* Whether the image wants this physical address unwritten; *end moves down to where that changes. */
static bool is_fixed(uint64_t at, uint64_t *end)
{
    for (uint32_t i = 0; i < PARTS; i++) {
        const part_t *p = &parts[i];
        uint64_t change = at < p->phys ? p->phys : p->phys + p->bytes;
        if (p->flags & PTE_WRITE || at >= p->phys + p->bytes)
            continue;
        *end = change < *end ? change : *end;
        if (at >= p->phys)
            return true;
    }
    return false;
}

bool paging_is_fixed(uint64_t phys, uint64_t bytes)
{
    uint64_t end = phys + bytes;
    return is_fixed(phys, &end) || end < phys + bytes;
}

/* [from, to) of physical memory in the HHDM. */
static void map_memory(uint64_t from, uint64_t to, unsigned level)
{
    while (from < to) {
        uint64_t end = to, flags = is_fixed(from, &end) ? PTE_RO_DATA : PTE_DATA;
        must_map(pmm_hhdm() + from, from, end - from, flags, level);
        from = end;
    }
}

static void map_hhdm(void)
{
    unsigned level = ext_feature(26) ? 3 : 2;
    uint64_t at = 0, base, end, done = 0;

    while (mem_map_next(pmm_map(), MEM_RAM, at, &base, &end)) {
        uint64_t from = base & ~(PAGE_SIZE - 1), to = page_up(end);
        map_memory(from > done ? from : done, to, level);
        done = to;
        at = end;
    }
}

void paging_init(void)
{
    if (!ext_feature(20))
        panic("this CPU cannot protect data from execution (no NX): a newer CPU is needed");
    if (read_cr4() & CR4_LA57)
        panic("the loader turned on 5-level paging: configure it for 4 levels");
    if (paging_root() == 0)
        panic("no memory for page tables");
    map_image();
    guard_boot_stack();
    map_hhdm();
}

void paging_load(void)
{
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    if (rdmsr(MSR_PAT) != PAGING_PAT)
        wrmsr(MSR_PAT, PAGING_PAT);
    write_cr0(read_cr0() | CR0_WP);
    write_cr3(paging_root());
}
