/* SPDX-License-Identifier: MIT */
/*
 * Base address registers (PCI Local Bus 3.0 §6.2.5.1): where each leads and how large it is.
 *
 * A BAR's size is what its writable bits say after all ones were written to it.  Meanwhile the
 * function must not answer at the address that this makes, so its decoding is off.
 */
#include "drivers/pci_scan.h"

#define BAR_IO 1u
#define BAR_IO_FLAGS 3u
#define BAR_MEMORY_FLAGS 15u
#define BAR_PREFETCHABLE 8u
#define BAR_TYPE(v) ((v) >> 1 & 3u)
#define TYPE_32 0u
#define TYPE_64 2u
#define PORTS 0x10000u

/* A BAR as it was and as it came back, both as wide as they are. */
typedef struct raw {
    uint64_t value, mask;
} raw_t;

/* Reads and sizes the register of BAR i and leaves it as it was. */
static raw_t probe(const pci_config_t *c, pci_addr_t a, uint32_t i)
{
    uint32_t at = PCI_BAR0 + 4 * i;
    raw_t r = {.value = c->read(c->ctx, a, at, 4)};

    c->write(c->ctx, a, at, 4, UINT32_MAX);
    r.mask = c->read(c->ctx, a, at, 4);
    c->write(c->ctx, a, at, 4, (uint32_t)r.value);
    return r;
}

/* The size that a mask of writable bits stands for; 0 when it is not one run of ones at the top. */
static uint64_t size_of(uint64_t mask)
{
    uint64_t size = ~mask + 1;

    return mask != 0 && (size & (size - 1)) == 0 ? size : 0;
}

static void refuse(const pci_config_t *c, pci_dev_t *d, uint32_t i, pci_note_t why, uint64_t value)
{
    d->bar[i] = (pci_bar_t){0};
    if (c->note)
        c->note(c->ctx, d->addr, why, i, value);
}

/* Keeps bar i if its place makes sense; `limit` is the first address that does not exist. */
static void place(const pci_config_t *c, pci_dev_t *d, uint32_t i, uint64_t mask, uint64_t limit)
{
    pci_bar_t *b = &d->bar[i];

    b->size = size_of(mask);
    if (b->size == 0)
        refuse(c, d, i, PCI_NOTE_BAR_SIZE, mask);
    else if (b->base == 0)
        refuse(c, d, i, PCI_NOTE_BAR_UNASSIGNED, b->size);
    else if (b->base & (b->size - 1))
        refuse(c, d, i, PCI_NOTE_BAR_ALIGN, b->base);
    else if (b->base >= limit || b->size > limit - b->base)
        refuse(c, d, i, PCI_NOTE_BAR_RANGE, b->base);
    else if (!b->io && c->is_memory && c->is_memory(c->ctx, b->base, b->size))
        refuse(c, d, i, PCI_NOTE_BAR_MEMORY, b->base);
}

/* The mask of a 32-bit BAR as if it were wide; 0 stays 0. */
static uint64_t widen(uint64_t mask) { return mask != 0 ? mask | 0xffffffff00000000u : 0; }

static void read_io(const pci_config_t *c, pci_dev_t *d, uint32_t i, raw_t r)
{
    uint64_t mask = r.mask & ~(uint64_t)BAR_IO_FLAGS;

    if (mask != 0 && (mask & 0xffff0000u) == 0) /* the upper half need not be writable */
        mask |= 0xffff0000u;
    d->bar[i] = (pci_bar_t){.io = true, .base = r.value & ~(uint64_t)BAR_IO_FLAGS};
    place(c, d, i, widen(mask), PORTS);
}

static void read_memory(const pci_config_t *c, pci_dev_t *d, uint32_t i, raw_t r)
{
    bool wide = BAR_TYPE(r.value) == TYPE_64;
    uint64_t mask = r.mask & ~(uint64_t)BAR_MEMORY_FLAGS;

    d->bar[i] = (pci_bar_t){.wide = wide,
                            .prefetchable = (r.value & BAR_PREFETCHABLE) != 0,
                            .base = r.value & ~(uint64_t)BAR_MEMORY_FLAGS};
    place(c, d, i, wide ? mask : widen(mask), c->limit);
}

/* Reads BAR i of n; returns how many registers it takes. */
static uint32_t read_bar(const pci_config_t *c, pci_dev_t *d, uint32_t i, uint32_t n)
{
    raw_t r = probe(c, d->addr, i), upper;
    uint32_t type = BAR_TYPE(r.value);

    if (r.mask == 0)
        return 1;
    if (r.value & BAR_IO) {
        read_io(c, d, i, r);
        return 1;
    }
    if (type == TYPE_64 && i + 1 < n) {
        upper = probe(c, d->addr, i + 1);
        r.value |= upper.value << 32;
        r.mask |= upper.mask << 32;
        read_memory(c, d, i, r);
        return 2;
    }
    if (type == TYPE_32)
        read_memory(c, d, i, r);
    else
        refuse(c, d, i, type == TYPE_64 ? PCI_NOTE_BAR_HALF : PCI_NOTE_BAR_TYPE, r.value);
    return 1;
}

void pci_bars_read(const pci_config_t *c, pci_dev_t *d)
{
    uint32_t n = d->header == 0 ? PCI_BARS : d->header == 1 ? 2 : 0;
    uint32_t command = c->read(c->ctx, d->addr, PCI_COMMAND, 2);
    uint32_t quiet = command & ~(uint32_t)(PCI_COMMAND_IO | PCI_COMMAND_MEMORY);

    if (n == 0)
        return;
    c->write(c->ctx, d->addr, PCI_COMMAND, 2, quiet);
    for (uint32_t i = 0; i < n;)
        i += read_bar(c, d, i, n);
    c->write(c->ctx, d->addr, PCI_COMMAND, 2, command);
}
