/* SPDX-License-Identifier: MIT
 *
 * The other CPUs and the interrupt controllers, as the ACPI MADT lists them.
 */
#include "steps.h"
#include "cpu.h"
#include "say.h"
#include "smp.h"

#define REAL_MODE_END 0x100000ull

void read_madt(void)
{
    struct boot_error e;
    const uint8_t *table;
    uint32_t length;
    if (boot.rsdp == 0)
        return;
    if (acpi_find_madt(&memory_view, boot.rsdp, &table, &length, &e))
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
    if (smp_slot_count == 0)
        return;
    uint64_t page = memmap_alloc(&boot.source.map, PAGE_SIZE, PAGE_SIZE, REAL_MODE_END,
                                 LIMINE_MEM_RECLAIMABLE);
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

void start_cpus(void)
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

static bool is_memory(uint64_t phys)
{
    const struct memmap *map = &boot.source.map;
    for (uint32_t i = 0; i < map->count; i++) {
        if (map->entry[i].type != LIMINE_MEM_RESERVED && phys - map->entry[i].base < map->entry[i].length)
            return true;
    }
    return false;
}

/* Both 8259, and every line of every IOAPIC (82093AA, 3.2). */
void mask_interrupts(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    for (uint32_t i = 0; i < boot.madt.ioapic_count; i++) {
        uint32_t at = boot.madt.ioapic[i];
        volatile uint32_t *select = (volatile uint32_t *)(uintptr_t)at;
        if (at == 0 || at % 16 != 0 || is_memory(at))
            continue;
        *select = 1;
        uint32_t last = select[4] >> 16 & 0xff;
        for (uint32_t line = 0; line <= last && line < 240; line++) {
            *select = 0x10 + 2 * line;
            select[4] |= 0x10000;
        }
    }
}
