/* SPDX-License-Identifier: MIT */
/* Configuration access by ports (PCI Local Bus 3.0 §3.2.2.3.2) and by memory (PCI Express 3.0 §7.2.2). */
#include <ggmk/hal.h>

#include "acpi.h"
#include "cpu.h"
#include "drivers/pci_config.h"
#include "kprintf.h"
#include "spinlock.h"
#include "vmm.h"

#define PORT_ADDRESS 0xcf8u
#define PORT_DATA 0xcfcu
#define PORT_ENABLE 0x80000000u
#define BUSES 256u
#define BUS_BYTES (UINT64_C(1) << 20)
#define FUNCTION_BYTES 4096u
#define PORT_SPACE 256u
#define SEGMENTS_MAX 4u

/* One segment; a bus is mapped when it is first read. */
typedef struct ecam {
    uint64_t base; /* of bus 0 */
    uint32_t segment, start_bus, end_bus;
    volatile uint8_t *bus[BUSES];
} ecam_t;

static ecam_t ecams[SEGMENTS_MAX];
static uint32_t n_ecams;
static spinlock_t ports_lock = SPINLOCK_INIT, map_lock = SPINLOCK_INIT;

static uint32_t port_address(pci_addr_t a, uint32_t offset)
{
    return PORT_ENABLE | (a & 0xffffu) << 8 | (offset & 0xfcu);
}

static uint32_t port_read(pci_addr_t a, uint32_t offset, uint32_t bytes)
{
    uint16_t data = (uint16_t)(PORT_DATA + (offset & 3u));
    uint64_t flags = spin_lock(&ports_lock);
    uint32_t v;

    outl(PORT_ADDRESS, port_address(a, offset));
    v = bytes == 1 ? inb(data) : bytes == 2 ? inw(data) : inl(data);
    spin_unlock(&ports_lock, flags);
    return v;
}

static void port_write(pci_addr_t a, uint32_t offset, uint32_t bytes, uint32_t value)
{
    uint16_t data = (uint16_t)(PORT_DATA + (offset & 3u));
    uint64_t flags = spin_lock(&ports_lock);

    outl(PORT_ADDRESS, port_address(a, offset));
    if (bytes == 1)
        outb(data, (uint8_t)value);
    else if (bytes == 2)
        outw(data, (uint16_t)value);
    else
        outl(data, value);
    spin_unlock(&ports_lock, flags);
}

static ecam_t *ecam_of(pci_addr_t a)
{
    for (uint32_t i = 0; i < n_ecams; i++) {
        ecam_t *e = &ecams[i];

        if (e->segment == PCI_ADDR_SEGMENT(a) && PCI_ADDR_BUS(a) >= e->start_bus &&
            PCI_ADDR_BUS(a) <= e->end_bus)
            return e;
    }
    return NULL;
}

/* Where the configuration of a lies; NULL: ECAM does not reach it. */
static volatile uint8_t *ecam_at(pci_addr_t a, uint32_t offset)
{
    ecam_t *e = ecam_of(a);
    uint32_t bus = PCI_ADDR_BUS(a);
    uint64_t flags;
    volatile uint8_t *map;

    if (!e)
        return NULL;
    flags = spin_lock(&map_lock);
    if (!e->bus[bus])
        e->bus[bus] = vmm_map_device(e->base + bus * BUS_BYTES, BUS_BYTES, VMM_UC);
    map = e->bus[bus];
    spin_unlock(&map_lock, flags);
    return map ? map + (a & 0xffu) * FUNCTION_BYTES + offset : NULL;
}

static uint32_t memory_read(volatile uint8_t *p, uint32_t bytes)
{
    return bytes == 1 ? *p : bytes == 2 ? *(volatile uint16_t *)p : *(volatile uint32_t *)p;
}

static bool by_ports(pci_addr_t a, uint32_t offset)
{
    return PCI_ADDR_SEGMENT(a) == 0 && offset < PORT_SPACE;
}

uint32_t pci_config_read(pci_addr_t a, uint32_t offset, uint32_t bytes)
{
    volatile uint8_t *p = ecam_at(a, offset);

    if (p)
        return memory_read(p, bytes);
    return by_ports(a, offset) ? port_read(a, offset, bytes) : UINT32_MAX;
}

void pci_config_write(pci_addr_t a, uint32_t offset, uint32_t bytes, uint32_t value)
{
    volatile uint8_t *p = ecam_at(a, offset);

    if (!p && by_ports(a, offset))
        port_write(a, offset, bytes, value);
    else if (p && bytes == 1)
        *p = (uint8_t)value;
    else if (p && bytes == 2)
        *(volatile uint16_t *)p = (uint16_t)value;
    else if (p)
        *(volatile uint32_t *)p = value;
}

/* The last segment added stays only if it answers; segment 0 is asked both ways. */
static void check_last(void)
{
    ecam_t *e = &ecams[n_ecams - 1];
    pci_addr_t a = PCI_ADDR(e->segment, e->start_bus, 0, 0);
    volatile uint8_t *p = ecam_at(a, 0);

    if (p && (e->segment != 0 || memory_read(p, 4) == port_read(a, 0, 4)))
        return;
    kprintf("pci: configuration memory of segment %u at 0x%llx %s; not used\n", e->segment,
            (unsigned long long)e->base, p ? "does not answer as the ports do" : "cannot be mapped");
    n_ecams--;
}

void pci_config_init(void)
{
    const acpi_mcfg_t *m = acpi_mcfg();

    for (uint32_t i = 0; m && i < m->count && n_ecams < SEGMENTS_MAX; i++) {
        ecams[n_ecams++] = (ecam_t){.base = m->segment[i].base,
                                    .segment = m->segment[i].segment,
                                    .start_bus = m->segment[i].start_bus,
                                    .end_bus = m->segment[i].end_bus};
        check_last();
    }
}

/* Segment 0 is there even without ECAM. */
static bool ports_only(void) { return !ecam_of(PCI_ADDR(0, 0, 0, 0)); }

uint32_t pci_config_segments(void) { return n_ecams + ports_only(); }

uint32_t pci_config_segment(uint32_t i, uint32_t *first_bus)
{
    if (i >= n_ecams) {
        *first_bus = 0;
        return 0;
    }
    *first_bus = ecams[i].start_bus;
    return ecams[i].segment;
}

bool pci_config_has_ecam(void) { return n_ecams != 0; }
