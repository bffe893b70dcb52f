/* SPDX-License-Identifier: MIT
 *
 * The loader, step by step: from what PVH or Multiboot2 says to a kernel that runs as the Limine protocol
 * promises.
 */
#include "answers.h"
#include "cpu.h"
#include "handoff.h"
#include "mem.h"
#include "paging.h"
#include "say.h"
#include "smp.h"

#define LOW_END 0x100000000ull /* below: identity-mapped, and always in the HHDM */
#define REAL_MODE_END 0x100000ull
#define HHDM_PHYS_END (ELF_LOWEST_ADDRESS - HHDM)
#define SMALLEST_STACK 0x10000u
#define LARGEST_STACK 0x10000000u
#define NEWEST_REVISION 2u
#define MORE_MEMORY "give the machine more memory"

enum { FROM_PVH = 1, FROM_MULTIBOOT2 = 2 };

_Noreturn void boot_main(uint32_t how, uint32_t magic, uint32_t info);

static struct boot boot;
uint64_t kernel_cr3;

static bool is_mapped_type(uint64_t type) { return type != LIMINE_MEM_RESERVED && type != LIMINE_MEM_BAD; }

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

static const struct phys_view view = {read_phys, &boot.source.map};

static void read_source(uint32_t how, uint32_t magic, uint32_t info)
{
    struct boot_error e;
    bool good;
    if (how == FROM_PVH) {
        good = source_from_pvh(&view, info, &boot.source, &e);
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

static uint64_t alloc(uint64_t length, uint64_t align, uint64_t type, const char *what)
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
    boot.kernel_phys = alloc(boot.image.length, boot.image.align, LIMINE_MEM_KERNEL_AND_MODULES,
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

static void *table_page(void *ctx)
{
    (void)ctx;
    void *page = (void *)(uintptr_t)alloc(PAGE_SIZE, PAGE_SIZE, LIMINE_MEM_RECLAIMABLE,
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
static void build_tables(void)
{
    bool gib_pages = cpuid(0x80000000).a >= 0x80000001 && (cpuid(0x80000001).d & (1u << 26)) != 0;
    struct paging p = {table_page(NULL), gib_pages, table_page, NULL};
    map_memory(&p);
    map_kernel(&p);
    memcpy(early_pml4 + 256, p.root + 256, 256 * sizeof *p.root);
    kernel_cr3 = (uintptr_t)p.root;
}

static uint64_t new_stack(void)
{
    uint64_t base = alloc(boot.stack_size, PAGE_SIZE, LIMINE_MEM_RECLAIMABLE, "no memory for a stack, bytes");
    return base + boot.stack_size + HHDM;
}

static void read_madt(void)
{
    struct boot_error e;
    const uint8_t *table;
    uint32_t length;
    if (boot.rsdp == 0)
        return;
    if (acpi_find_madt(&view, boot.rsdp, &table, &length, &e))
        madt_parse(table, length, &boot.madt);
    else
        say_error(&e);
}

static void left_out(const char *what, uint64_t value, const char *advice)
{
    struct boot_error e;
    boot_fail(&e, what, value, advice);
    say_error(&e);
}

static void add_slot(const struct madt_cpu *c, bool x2apic)
{
    struct limine_mp_cpu *cpu = answer_mp_cpu(smp_slot_count);
    if (c->lapic_id >= 0xff && !x2apic) {
        left_out("CPU left out, it needs x2APIC, LAPIC ID", c->lapic_id,
                 "ask for it in the MP request's flags");
        return;
    }
    cpu->processor_id = c->uid;
    cpu->lapic_id = c->lapic_id;
    smp_slots[smp_slot_count++] = (struct smp_slot){c->lapic_id, 0, (uintptr_t)cpu + HHDM, new_stack()};
}

static void start_slots(void)
{
    uint64_t page = memmap_alloc(&boot.source.map, PAGE_SIZE, PAGE_SIZE, REAL_MODE_END,
                                 LIMINE_MEM_RECLAIMABLE);
    if (smp_slot_count == 0)
        return;
    if (page == 0) {
        left_out("no free page below 1 MiB to start CPUs from, CPUs left out", smp_slot_count, "free one");
        return;
    }
    smp_start_slots(page);
    for (uint32_t i = 0; i < smp_slot_count; i++) {
        if (smp_slots[i].ready == 0)
            left_out("CPU left out, it does not answer, LAPIC ID", smp_slots[i].lapic_id,
                     "check the machine");
    }
}

static void start_cpus(void)
{
    const struct limine_request *r = boot.asked.found[REQUEST_MP];
    if (r == NULL)
        return;
    lapic_open((request_extra(r) & LIMINE_MP_X2APIC) != 0);
    uint32_t self = lapic_id(), uid = 0;
    for (uint32_t i = 0; i < boot.madt.cpu_count; i++) {
        if (boot.madt.cpu[i].lapic_id == self)
            uid = boot.madt.cpu[i].uid;
        else
            add_slot(&boot.madt.cpu[i], lapic_is_x2apic());
    }
    if (boot.madt.more_cpus != 0)
        left_out("CPUs left out, there are too many", boot.madt.more_cpus, "this loader starts 256");
    start_slots();
    answer_mp(&boot, uid, self, lapic_is_x2apic());
}

/* Both 8259, and every line of every IOAPIC (82093AA, 3.2). */
static void mask_interrupts(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    for (uint32_t i = 0; i < boot.madt.ioapic_count; i++) {
        uint32_t at = boot.madt.ioapic[i];
        volatile uint32_t *select = (volatile uint32_t *)(uintptr_t)at;
        if (at == 0 || at % 16 != 0 || memmap_holds(&boot.source.map, at, 32, LIMINE_MEM_USABLE))
            continue;
        *select = 1;
        uint32_t last = select[4] >> 16 & 0xff;
        for (uint32_t line = 0; line <= last && line < 240; line++) {
            *select = 0x10 + 2 * line;
            select[4] |= 0x10000;
        }
    }
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
