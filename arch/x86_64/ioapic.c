/* SPDX-License-Identifier: MIT */
/* ioapic.c — IOAPICs (Intel 82093AA data sheet §3) and the two 8259 in front of them (8259A data sheet). */
#include "ioapic.h"

#include "acpi.h"
#include "cpu.h"
#include "kprintf.h"
#include "spinlock.h"
#include "vmm.h"

#include <ggmk/error.h>

enum { IOAPIC_VERSION = 1, IOAPIC_ENTRY = 0x10 };
#define IOAPIC_USUAL UINT64_C(0xfec00000)
#define IOAPIC_MOST_PINS 240u
#define ENTRY_MASKED (1u << 16)
#define ENTRY_LEVEL (1u << 15)
#define ENTRY_ACTIVE_LOW (1u << 13)

typedef struct ioapic {
    volatile uint32_t *window; /* index at 0, data at 0x10 */
    uint32_t gsi_base, pins;
} ioapic_t;

static ioapic_t ioapics[ACPI_MAX_IOAPICS];
static uint32_t ioapic_count;
static spinlock_t lock = SPINLOCK_INIT; /* index and data of all of them go together */

static uint32_t read_reg(const ioapic_t *io, uint32_t index)
{
    io->window[0] = index;
    return io->window[4];
}

static void write_reg(const ioapic_t *io, uint32_t index, uint32_t value)
{
    io->window[0] = index;
    io->window[4] = value;
}

/* ---- 8259 ------------------------------------------------------------------------------------------ */

enum { PIC1_COMMAND = 0x20, PIC1_DATA = 0x21, PIC2_COMMAND = 0xa0, PIC2_DATA = 0xa1, IO_DELAY = 0x80 };

/* Old ones need a moment between commands: a write to an unused port takes about one. */
static void pic_out(uint16_t port, uint8_t value)
{
    outb(port, value);
    outb(IO_DELAY, 0);
}

/* Vectors 0x20 and 0x28, cascade on line 2, 8086 mode: a spurious interrupt then is no exception's vector. */
static void mask_8259(void)
{
    pic_out(PIC1_COMMAND, 0x11);
    pic_out(PIC2_COMMAND, 0x11);
    pic_out(PIC1_DATA, 0x20);
    pic_out(PIC2_DATA, 0x28);
    pic_out(PIC1_DATA, 1u << 2);
    pic_out(PIC2_DATA, 2);
    pic_out(PIC1_DATA, 1);
    pic_out(PIC2_DATA, 1);
    pic_out(PIC1_DATA, 0xff);
    pic_out(PIC2_DATA, 0xff);
}

/* ---- IOAPICs --------------------------------------------------------------------------------------- */

static void add_ioapic(uint64_t address, uint32_t gsi_base)
{
    ioapic_t io = {vmm_map_device(address, 0x20, VMM_UC), gsi_base, 0};
    if (io.window == NULL) {
        kprintf("ioapic: 0x%llx cannot be mapped: ignored\n", (unsigned long long)address);
        return;
    }
    uint32_t version = read_reg(&io, IOAPIC_VERSION);
    io.pins = ((version >> 16) & 0xffu) + 1;
    if (version == UINT32_MAX || version == 0 || io.pins > IOAPIC_MOST_PINS) {
        kprintf("ioapic: nothing at 0x%llx (version register 0x%x): ignored\n", (unsigned long long)address,
                version);
        return;
    }
    for (uint32_t pin = 0; pin < io.pins; pin++)
        write_reg(&io, IOAPIC_ENTRY + 2 * pin, ENTRY_MASKED);
    kprintf("ioapic: 0x%llx, interrupts %u..%u\n", (unsigned long long)address, gsi_base,
            gsi_base + io.pins - 1);
    ioapics[ioapic_count++] = io;
}

void ioapic_init(void)
{
    const acpi_madt_t *madt = acpi_madt();
    mask_8259();
    if (madt == NULL)
        add_ioapic(IOAPIC_USUAL, 0);
    for (uint32_t i = 0; madt != NULL && i < madt->ioapic_count; i++)
        add_ioapic(madt->ioapic[i].address, madt->ioapic[i].gsi_base);
    if (ioapic_count == 0)
        kprintf("ioapic: none: serial ports are polled\n");
}

static const ioapic_t *find(uint32_t gsi)
{
    for (uint32_t i = 0; i < ioapic_count; i++)
        if (gsi >= ioapics[i].gsi_base && gsi - ioapics[i].gsi_base < ioapics[i].pins)
            return &ioapics[i];
    return NULL;
}

/* Masked while it changes: a half-written entry must not deliver. */
int ioapic_route(uint32_t isa_irq, uint32_t lapic_id, uint32_t vector)
{
    if (isa_irq > 15 || lapic_id > 255 || vector < 0x30 || vector > 0xfe)
        return GMK_ERR_RANGE;
    acpi_override_t route = acpi_isa_route(acpi_madt(), isa_irq);
    const ioapic_t *io = find(route.gsi);
    if (io == NULL)
        return GMK_ERR_NOTFOUND;
    uint32_t entry = IOAPIC_ENTRY + 2 * (route.gsi - io->gsi_base);
    uint32_t low = vector | (route.active_low ? ENTRY_ACTIVE_LOW : 0) | (route.level ? ENTRY_LEVEL : 0);
    uint64_t flags = spin_lock(&lock);
    write_reg(io, entry, ENTRY_MASKED);
    write_reg(io, entry + 1, lapic_id << 24);
    write_reg(io, entry, low);
    spin_unlock(&lock, flags);
    return GMK_OK;
}

void ioapic_mask(uint32_t isa_irq, bool masked)
{
    acpi_override_t route = acpi_isa_route(acpi_madt(), isa_irq);
    const ioapic_t *io = isa_irq <= 15 ? find(route.gsi) : NULL;
    if (io == NULL)
        return;
    uint32_t entry = IOAPIC_ENTRY + 2 * (route.gsi - io->gsi_base);
    uint64_t flags = spin_lock(&lock);
    uint32_t low = read_reg(io, entry);
    write_reg(io, entry, masked ? low | ENTRY_MASKED : low & ~ENTRY_MASKED);
    spin_unlock(&lock, flags);
}
