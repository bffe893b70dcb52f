/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the PCI scan: the input is the configuration space of up to 16 functions, each preceded by 4
 * bytes: its bus, its slot and function, and two that decide how its BARs answer to being sized.
 */
#include <stdlib.h>
#include <string.h>

#include "drivers/pci_scan.h"
#include "drivers/virtio.h"

#define FUNCTIONS 16u
#define SPACE 256u
#define RECORD (4u + SPACE)
#define FOUND_MAX 12u
#define LIMIT (UINT64_C(1) << 46)
#define READS_MAX 2000000u

typedef struct fn {
    pci_addr_t addr;
    uint8_t sizing[2];
    uint8_t space[SPACE];
} fn_t;

static fn_t fns[FUNCTIONS];
static uint32_t n_fns, reads;

static void require(bool holds)
{
    if (!holds)
        abort();
}

static fn_t *fn_at(pci_addr_t a)
{
    for (uint32_t i = 0; i < n_fns; i++)
        if (fns[i].addr == a)
            return &fns[i];
    return NULL;
}

static uint32_t config_read(void *ctx, pci_addr_t a, uint32_t offset, uint32_t bytes)
{
    const fn_t *fn = fn_at(a);
    uint32_t v = UINT32_MAX >> (32 - 8 * bytes);

    (void)ctx;
    require(++reads < READS_MAX);
    require(offset % bytes == 0 && offset + bytes <= SPACE);
    if (fn)
        memcpy(&v, fn->space + offset, bytes);
    return v;
}

/* What a BAR answers to all ones: a mask of some size with the type bits it has, or anything at all. */
static uint32_t sized(const fn_t *fn, uint32_t offset, uint32_t was)
{
    uint32_t i = (offset - PCI_BAR0) / 4;

    if (fn->sizing[1] >> i & 1u)
        return was * 0x9e3779b1u;
    return UINT32_MAX << (4 + (fn->sizing[0] + 5 * i) % 28) | (was & 15u);
}

static void config_write(void *ctx, pci_addr_t a, uint32_t offset, uint32_t bytes, uint32_t value)
{
    fn_t *fn = fn_at(a);
    uint32_t was;

    (void)ctx;
    require(fn && offset % bytes == 0 && offset + bytes <= SPACE);
    memcpy(&was, fn->space + (offset & ~3u), 4);
    if (value == UINT32_MAX && offset >= PCI_BAR0 && offset < PCI_BAR0 + 4 * PCI_BARS)
        value = sized(fn, offset, was);
    memcpy(fn->space + offset, &value, bytes);
}

static void config_note(void *ctx, pci_addr_t a, pci_note_t what, uint32_t index, uint64_t value)
{
    (void)ctx;
    (void)value;
    require(fn_at(a) || what == PCI_NOTE_TABLE_FULL);
    require(what < PCI_NOTES && (!pci_note_is_bar(what) || index < PCI_BARS));
}

static bool config_is_memory(void *ctx, uint64_t base, uint64_t size)
{
    (void)ctx;
    return base < (16u << 20) && size != 0;
}

static const pci_config_t config = {.read = config_read,
                                    .write = config_write,
                                    .note = config_note,
                                    .is_memory = config_is_memory,
                                    .limit = LIMIT};

static void check_bars(const pci_dev_t *d)
{
    for (uint32_t i = 0; i < PCI_BARS; i++) {
        const pci_bar_t *b = &d->bar[i];

        if (b->size == 0)
            continue;
        require((b->size & (b->size - 1)) == 0 && (b->base & (b->size - 1)) == 0 && b->base != 0);
        require(b->base + b->size <= (b->io ? 0x10000 : LIMIT));
        require(!b->wide || (i + 1 < PCI_BARS && d->bar[i + 1].size == 0));
    }
}

static void check_caps(const pci_dev_t *d)
{
    require(d->caps <= PCI_CAPS);
    for (uint32_t i = 0; i < d->caps; i++)
        require(d->cap[i].offset >= 0x40 && d->cap[i].offset % 4 == 0);
    if (d->msix.entries != 0)
        require(d->msix.offset + 16u * d->msix.entries <= d->bar[d->msix.bar].size &&
                !d->bar[d->msix.bar].io);
}

static void check_region(const pci_dev_t *d, const virtio_region_t *r)
{
    if (r->length == 0)
        return;
    require(r->bar < PCI_BARS && !d->bar[r->bar].io);
    require((uint64_t)r->offset + r->length <= d->bar[r->bar].size);
}

static void check_virtio(const pci_dev_t *d)
{
    virtio_caps_t v;

    if (virtio_caps_read(&config, d, &v))
        require(v.common.length >= 56 && v.notify.length >= 2);
    check_region(d, &v.common);
    check_region(d, &v.notify);
    check_region(d, &v.device);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pci_dev_t found[FOUND_MAX];
    uint32_t count = 0;

    reads = 0;
    for (n_fns = 0; n_fns < FUNCTIONS && size >= RECORD; n_fns++, data += RECORD, size -= RECORD) {
        fns[n_fns].addr = PCI_ADDR(0, n_fns == 0 ? 0 : data[0] % 8, data[1] >> 3, data[1] & 7u);
        memcpy(fns[n_fns].sizing, data + 2, 2);
        memcpy(fns[n_fns].space, data + 4, SPACE);
    }
    pci_scan(&config, 0, 0, found, FOUND_MAX, &count);
    require(count <= FOUND_MAX);
    for (uint32_t i = 0; i < count; i++) {
        check_bars(&found[i]);
        check_caps(&found[i]);
        check_virtio(&found[i]);
    }
    return 0;
}
