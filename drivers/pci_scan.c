/* SPDX-License-Identifier: MIT */
/* The walk over buses and functions (PCI Local Bus 3.0 §6.1, PCI-to-PCI Bridge 1.2 §3.2.5). */
#include "drivers/pci_scan.h"

#define BUSES 256u
#define SLOTS 32u
#define FUNCTIONS 8u
#define HEADER_MULTI 0x80u
#define HEADER_BRIDGE 1u
#define HEADER_CARDBUS 2u

typedef struct walk {
    const pci_config_t *c;
    pci_dev_t *dev;
    uint32_t max, *count;
    uint32_t segment;
    uint32_t lost;        /* functions found when the table was full */
    uint32_t buses, next; /* bus[]: those found, and the first of them not yet visited */
    uint8_t bus[BUSES];
    bool seen[BUSES];
} walk_t;

static uint32_t get(const pci_config_t *c, pci_addr_t a, uint32_t offset, uint32_t bytes)
{
    return c->read(c->ctx, a, offset, bytes);
}

static void note(const pci_config_t *c, pci_addr_t a, pci_note_t what, uint64_t value)
{
    if (c->note)
        c->note(c->ctx, a, what, 0, value);
}

/* Each bus enters the list once, so bus[] cannot overflow and the walk ends. */
static void add_bus(walk_t *w, uint32_t bus)
{
    w->seen[bus] = true;
    w->bus[w->buses++] = (uint8_t)bus;
}

static void follow_bridge(walk_t *w, pci_addr_t a)
{
    uint32_t bus = get(w->c, a, PCI_SECONDARY, 1) & 0xffu;

    if (bus == 0)
        note(w->c, a, PCI_NOTE_BUS_NONE, bus);
    else if (w->seen[bus])
        note(w->c, a, PCI_NOTE_BUS_AGAIN, bus);
    else
        add_bus(w, bus);
}

static void read_identity(const pci_config_t *c, pci_dev_t *d)
{
    pci_addr_t a = d->addr;

    d->vendor = (uint16_t)get(c, a, PCI_VENDOR, 2);
    d->device = (uint16_t)get(c, a, PCI_DEVICE, 2);
    d->revision = (uint8_t)get(c, a, PCI_REVISION, 1);
    d->prog_if = (uint8_t)get(c, a, PCI_PROG_IF, 1);
    d->subclass = (uint8_t)get(c, a, PCI_SUBCLASS, 1);
    d->class_code = (uint8_t)get(c, a, PCI_CLASS, 1);
    d->header = (uint8_t)(get(c, a, PCI_HEADER, 1) & ~HEADER_MULTI);
    if (d->header == 0) {
        d->subvendor = (uint16_t)get(c, a, PCI_SUBVENDOR, 2);
        d->subdevice = (uint16_t)get(c, a, PCI_SUBDEVICE, 2);
    }
}

static void read_function(walk_t *w, pci_addr_t a)
{
    pci_dev_t *d;

    for (uint32_t i = 0; i < *w->count; i++) /* segments may name the same buses twice */
        if (w->dev[i].addr == a)
            return;
    if (get(w->c, a, PCI_HEADER, 1) == HEADER_BRIDGE ||
        get(w->c, a, PCI_HEADER, 1) == (HEADER_BRIDGE | HEADER_MULTI))
        follow_bridge(w, a);
    if (*w->count >= w->max) {
        w->lost++;
        return;
    }
    d = &w->dev[(*w->count)++];
    *d = (pci_dev_t){.addr = a};
    read_identity(w->c, d);
    if (d->header > HEADER_CARDBUS)
        note(w->c, a, PCI_NOTE_HEADER, d->header);
    pci_bars_read(w->c, d);
    pci_caps_read(w->c, d);
}

static bool present(const pci_config_t *c, pci_addr_t a)
{
    uint32_t vendor = get(c, a, PCI_VENDOR, 2) & 0xffffu;

    return vendor != 0xffffu && vendor != 0;
}

static void walk_slot(walk_t *w, uint32_t bus, uint32_t slot)
{
    pci_addr_t first = PCI_ADDR(w->segment, bus, slot, 0);
    uint32_t functions = get(w->c, first, PCI_HEADER, 1) & HEADER_MULTI ? FUNCTIONS : 1;

    if (!present(w->c, first))
        return;
    for (uint32_t f = 0; f < functions; f++)
        if (present(w->c, first + f))
            read_function(w, first + f);
}

void pci_scan(const pci_config_t *c, uint32_t segment, uint32_t bus, pci_dev_t *dev, uint32_t max,
              uint32_t *count)
{
    walk_t w = {.c = c, .dev = dev, .max = max, .count = count, .segment = segment};

    add_bus(&w, bus % BUSES);
    while (w.next < w.buses) {
        uint32_t b = w.bus[w.next++];

        for (uint32_t slot = 0; slot < SLOTS; slot++)
            walk_slot(&w, b, slot);
    }
    if (w.lost)
        note(c, PCI_ADDR(segment, bus, 0, 0), PCI_NOTE_TABLE_FULL, w.lost);
}
