/* SPDX-License-Identifier: MIT */
/* The list of capabilities (PCI Local Bus 3.0 §6.7) and MSI-X (§6.8.2). */
#include "drivers/pci_scan.h"

#define STATUS_CAPS 0x10u
#define CAP_LOWEST 0x40u
#define CAP_HIGHEST 0xfcu
#define MSIX_ENTRY_BYTES 16u
#define MSIX_CAP_BYTES 12u

static uint32_t get(const pci_config_t *c, const pci_dev_t *d, uint32_t offset, uint32_t bytes)
{
    return c->read(c->ctx, d->addr, offset, bytes);
}

static void note(const pci_config_t *c, const pci_dev_t *d, pci_note_t what, uint32_t index, uint64_t value)
{
    if (c->note)
        c->note(c->ctx, d->addr, what, index, value);
}

/* Each offset enters the list once, and only 48 offsets exist: the walk ends, whatever the device answers. */
static void list_caps(const pci_config_t *c, pci_dev_t *d)
{
    uint64_t seen = 0;
    uint32_t at = get(c, d, PCI_CAP_FIRST, 1) & CAP_HIGHEST;

    while (at != 0) {
        uint32_t head;

        if (at < CAP_LOWEST) {
            note(c, d, PCI_NOTE_CAP_OFFSET, at, at);
            return;
        }
        if (seen >> at / 4 & 1u) {
            note(c, d, PCI_NOTE_CAP_LOOP, at, at);
            return;
        }
        seen |= (uint64_t)1 << at / 4;
        head = get(c, d, at, 2);
        d->cap[d->caps++] = (pci_cap_t){.id = (uint8_t)head, .offset = (uint8_t)at};
        at = head >> 8 & CAP_HIGHEST;
    }
}

static void read_msix(const pci_config_t *c, pci_dev_t *d)
{
    uint32_t at = pci_cap_find(d, PCI_CAP_MSIX, 0), control, table, bar;
    uint64_t end;

    if (at == 0 || at > 256 - MSIX_CAP_BYTES)
        return;
    control = get(c, d, at + 2, 2);
    table = get(c, d, at + 4, 4);
    bar = table & 7u;
    d->msix = (pci_msix_t){.entries = (uint16_t)((control & 0x7ffu) + 1),
                           .cap = (uint8_t)at,
                           .bar = (uint8_t)bar,
                           .offset = table & ~7u};
    end = (uint64_t)d->msix.offset + d->msix.entries * MSIX_ENTRY_BYTES;
    if (bar >= PCI_BARS || d->bar[bar].io || end > d->bar[bar].size) {
        note(c, d, PCI_NOTE_MSIX, bar, d->msix.offset);
        d->msix = (pci_msix_t){0};
    }
}

void pci_caps_read(const pci_config_t *c, pci_dev_t *d)
{
    if (d->header > 1 || !(get(c, d, PCI_STATUS, 2) & STATUS_CAPS))
        return;
    list_caps(c, d);
    read_msix(c, d);
}

uint32_t pci_cap_find(const pci_dev_t *d, uint32_t id, uint32_t after)
{
    uint32_t i = 0;

    if (after != 0) {
        while (i < d->caps && d->cap[i].offset != after)
            i++;
        i++;
    }
    for (; i < d->caps; i++)
        if (d->cap[i].id == id)
            return d->cap[i].offset;
    return 0;
}
