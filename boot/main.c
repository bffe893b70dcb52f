/* SPDX-License-Identifier: MIT
 *
 * The loader, step by step: from what PVH or Multiboot2 says to a kernel that runs as the Limine protocol
 * promises.
 */
#include "steps.h"
#include "mem.h"
#include "say.h"

#define SMALLEST_STACK 0x10000u
#define LARGEST_STACK 0x10000000u
#define NEWEST_REVISION 2u
#define MORE_MEMORY "give the machine more memory"

enum { FROM_PVH = 1, FROM_MULTIBOOT2 = 2 };

_Noreturn void boot_main(uint32_t how, uint32_t magic, uint32_t info);

struct boot boot;

/* Above 4 GiB this is good once build_tables() is through. */
static const void *read_phys(void *ctx, uint64_t phys, uint64_t length)
{
    const struct memmap *map = ctx;
    if (phys + length <= LOW_END)
        return (const void *)(uintptr_t)phys;
    for (uint32_t i = 0; kernel_cr3 != 0 && i < map->count; i++) {
        const struct limine_memmap_entry *m = &map->entry[i];
        if (is_mapped_type(m->type) && memmap_holds(map, phys, length, m->type) &&
            phys + length <= HHDM_PHYS_END)
            return (const void *)(uintptr_t)(phys + HHDM);
    }
    return NULL;
}

const struct phys_view memory_view = {read_phys, &boot.source.map};

static void read_source(uint32_t how, uint32_t magic, uint32_t info)
{
    struct boot_error e;
    bool good;
    if (how == FROM_PVH) {
        good = source_from_pvh(&memory_view, info, &boot.source, &e);
    } else {
        const void *tags = (const void *)(uintptr_t)info;
        if (magic != MB2_MAGIC)
            die_of("not started by Multiboot2, EAX is", magic,
                   "use GRUB's multiboot2 command, or QEMU's -kernel");
        if (read32(tags) > MB2_INFO_MAX)
            die_of("Multiboot2 information is too long, bytes", read32(tags), "load less");
        good = source_from_mb2(tags, read32(tags), &boot.source, &e);
    }
    if (!good)
        die(&e);
    boot.rsdp = boot.source.rsdp_copied ? (uint64_t)(uintptr_t)boot.source.rsdp_copy : boot.source.rsdp;
}

static void claim(uint64_t base, uint64_t length, uint64_t type)
{
    struct boot_error e;
    if (!memmap_claim(&boot.source.map, base, length, type, &e))
        die(&e);
}

uint64_t boot_alloc(uint64_t length, uint64_t align, uint64_t type, const char *what)
{
    uint64_t phys = memmap_alloc(&boot.source.map, length, align, LOW_END, type);
    if (phys == 0)
        die_of(what, length, MORE_MEMORY);
    return phys;
}

static void settle_map(void)
{
    struct boot_error e;
    struct memmap *map = &boot.source.map;
    /* Page 0 has the BIOS data area, and an address 0 is nobody's. */
    if (!memmap_add_e820(map, 0, PAGE_SIZE, 2, &e) || !memmap_tidy(map, &e))
        die(&e);
    claim((uintptr_t)loader_start, (uint64_t)(loader_end - loader_start), LIMINE_MEM_RECLAIMABLE);
    for (uint32_t i = 0; i < boot.source.module_count; i++) {
        const struct source_module *m = &boot.source.module[i];
        if (m->base >= LOW_END || m->size > LOW_END - m->base)
            die_of("module lies above 4 GiB, at", m->base, "the boot loader is broken");
        claim(m->base, m->size, LIMINE_MEM_KERNEL_AND_MODULES);
    }
}

static void load_kernel(void)
{
    struct boot_error e;
    const struct source_module *m = &boot.source.module[0];
    if (boot.source.module_count == 0)
        die_of("no kernel was given, modules", 0, "QEMU: -initrd KERNEL; GRUB: module2 KERNEL");
    const void *file = (const void *)(uintptr_t)m->base;
    if (!elf_check(file, m->size, &boot.image, &e))
        die(&e);
    boot.kernel_phys = boot_alloc(boot.image.length, boot.image.align, LIMINE_MEM_KERNEL_AND_MODULES,
                                  "no memory for the kernel, contiguous bytes needed");
    elf_load(&boot.image, file, (void *)(uintptr_t)boot.kernel_phys);
    boot.kernel_cmdline = m->cmdline[0] != '\0' ? m->cmdline : boot.source.cmdline;
}

static void check_revision(void)
{
    uint64_t *revision = boot.asked.base_revision;
    if (revision == NULL || *revision == 0)
        die_of("kernel asks for Limine base revision", 0,
               "this loader has 1 and 2: add the base revision tag");
    /* A newer one is left as it is: that tells the kernel. */
    if (*revision <= NEWEST_REVISION)
        *revision = 0;
}

static void read_requests(void)
{
    struct boot_error e;
    if (!requests_find(&boot.image, (void *)(uintptr_t)boot.kernel_phys, &boot.asked, &e))
        die(&e);
    check_revision();
    const struct limine_request *stack = boot.asked.found[REQUEST_STACK_SIZE];
    const struct limine_request *entry = boot.asked.found[REQUEST_ENTRY_POINT];
    boot.stack_size = stack != NULL ? request_extra(stack) : 0;
    if (boot.stack_size > LARGEST_STACK)
        die_of("kernel asks for a stack of more than 256 MiB, bytes", boot.stack_size, "ask for less");
    if (boot.stack_size < SMALLEST_STACK)
        boot.stack_size = SMALLEST_STACK;
    boot.stack_size = (boot.stack_size + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
    boot.entry = entry != NULL ? request_extra(entry) : boot.image.entry;
    if (!elf_is_code(&boot.image, boot.entry))
        die_of("kernel's entry point request names no code", boot.entry, "check what it points to");
}

uint64_t new_stack(void)
{
    uint64_t base = boot_alloc(boot.stack_size, PAGE_SIZE, LIMINE_MEM_RECLAIMABLE,
                               "no memory for a stack, bytes");
    return base + boot.stack_size + HHDM;
}

void boot_main(uint32_t how, uint32_t magic, uint32_t info)
{
    read_source(how, magic, info);
    settle_map();
    load_kernel();
    read_requests();
    build_tables();
    uint64_t stack = new_stack();
    read_madt();
    answer_requests(&boot);
    start_cpus();
    mask_interrupts();
    answer_memmap(&boot);
    handoff_fn *go = (handoff_fn *)((uintptr_t)handoff_boot_cpu + HHDM);
    go(kernel_cr3, stack, boot.entry);
    __builtin_unreachable();
}
