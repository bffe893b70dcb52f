/* SPDX-License-Identifier: MIT */
/* The table of this machine's PCI functions, and what is done with one of them. */
#include <ggmk/error.h>
#include <ggmk/hal.h>

#include "cpu.h"
#include "drivers/pci.h"
#include "drivers/pci_config.h"
#include "kprintf.h"
#include "pmm.h"

#define DEVICES_MAX 256u
#define NOTES_MAX 32u /* lines about one machine's oddities */
#define CPUID_ADDRESS_SIZES 0x80000008u

static pci_dev_t devices[DEVICES_MAX];
static uint32_t n_devices, n_notes;

static uint32_t scan_read(void *ctx, pci_addr_t a, uint32_t offset, uint32_t bytes)
{
    (void)ctx;
    return pci_config_read(a, offset, bytes);
}

static void scan_write(void *ctx, pci_addr_t a, uint32_t offset, uint32_t bytes, uint32_t value)
{
    (void)ctx;
    pci_config_write(a, offset, bytes, value);
}

static bool scan_is_memory(void *ctx, uint64_t base, uint64_t size)
{
    (void)ctx;
    return pmm_is_ram(base, size);
}

static void scan_note(void *ctx, pci_addr_t a, pci_note_t what, uint32_t index, uint64_t value)
{
    pci_dev_t d = {.addr = a};
    char name[PCI_NAME_SIZE], bar[8] = "";

    (void)ctx;
    if (n_notes++ >= NOTES_MAX)
        return;
    if (pci_note_is_bar(what))
        (void)ksnprintf(bar, sizeof bar, "BAR %u ", index);
    kprintf("pci %s: %s%s (0x%llx)\n", pci_name(&d, name), bar, pci_note_text(what),
            (unsigned long long)value);
}

static uint64_t physical_limit(void)
{
    uint32_t a, b, c, d, bits;

    cpuid(CPUID_ADDRESS_SIZES, 0, &a, &b, &c, &d);
    bits = a & 0xffu;
    return (uint64_t)1 << (bits >= 32 && bits <= 52 ? bits : 36);
}

int pci_init(void)
{
    pci_config_t c = {.read = scan_read,
                      .write = scan_write,
                      .note = scan_note,
                      .is_memory = scan_is_memory,
                      .limit = physical_limit()};

    pci_config_init();
    for (uint32_t i = 0; i < pci_config_segments(); i++) {
        uint32_t bus, segment = pci_config_segment(i, &bus);

        pci_scan(&c, segment, bus, devices, DEVICES_MAX, &n_devices);
    }
    if (n_notes > NOTES_MAX)
        kprintf("pci: %u more lines of that kind are left out\n", n_notes - NOTES_MAX);
    kprintf("pci: %u functions, configuration through %s\n", n_devices, pci_access());
    return (int)n_devices;
}

const char *pci_access(void) { return pci_config_has_ecam() ? "ECAM" : "ports"; }

uint32_t pci_count(void) { return n_devices; }

pci_dev_t *pci_at(uint32_t i) { return i < n_devices ? &devices[i] : NULL; }

pci_dev_t *pci_find(uint32_t vendor, uint32_t device, uint32_t n)
{
    for (uint32_t i = 0; i < n_devices; i++)
        if (devices[i].vendor == vendor && devices[i].device == device && n-- == 0)
            return &devices[i];
    return NULL;
}

pci_dev_t *pci_find_class(uint32_t class_code, uint32_t subclass, uint32_t n)
{
    for (uint32_t i = 0; i < n_devices; i++)
        if (devices[i].class_code == class_code && devices[i].subclass == subclass && n-- == 0)
            return &devices[i];
    return NULL;
}

const char *pci_name(const pci_dev_t *d, char text[PCI_NAME_SIZE])
{
    uint32_t a = d->addr;
    char segment[8] = "";

    if (PCI_ADDR_SEGMENT(a) != 0)
        (void)ksnprintf(segment, sizeof segment, "%04x:", PCI_ADDR_SEGMENT(a));
    (void)ksnprintf(text, PCI_NAME_SIZE, "%s%02x:%02x.%u", segment, PCI_ADDR_BUS(a), PCI_ADDR_SLOT(a),
                    PCI_ADDR_FUNCTION(a));
    return text;
}

uint8_t pci_read8(const pci_dev_t *d, uint32_t offset)
{
    return (uint8_t)pci_config_read(d->addr, offset, 1);
}
uint16_t pci_read16(const pci_dev_t *d, uint32_t offset)
{
    return (uint16_t)pci_config_read(d->addr, offset, 2);
}
uint32_t pci_read32(const pci_dev_t *d, uint32_t offset) { return pci_config_read(d->addr, offset, 4); }

void pci_write8(const pci_dev_t *d, uint32_t offset, uint8_t value)
{
    pci_config_write(d->addr, offset, 1, value);
}

void pci_write16(const pci_dev_t *d, uint32_t offset, uint16_t value)
{
    pci_config_write(d->addr, offset, 2, value);
}

void pci_write32(const pci_dev_t *d, uint32_t offset, uint32_t value)
{
    pci_config_write(d->addr, offset, 4, value);
}

uint16_t pci_command(const pci_dev_t *d, uint16_t set, uint16_t clear)
{
    uint16_t was = pci_read16(d, PCI_COMMAND);

    pci_write16(d, PCI_COMMAND, (uint16_t)((was & ~clear) | set));
    return was;
}

int pci_bar(const pci_dev_t *d, uint32_t i, pci_bar_t *out)
{
    if (i >= PCI_BARS)
        return GMK_ERR_RANGE;
    *out = d->bar[i];
    return out->size != 0 ? GMK_OK : GMK_ERR_NOTFOUND;
}

void *pci_map_bar_part(const pci_dev_t *d, uint32_t i, uint64_t offset, uint64_t bytes, enum vmm_cache cache)
{
    pci_bar_t b;

    if (pci_bar(d, i, &b) != GMK_OK || b.io || bytes == 0 || offset > b.size || bytes > b.size - offset)
        return NULL;
    return vmm_map_device(b.base + offset, bytes, cache);
}

void *pci_map_bar(const pci_dev_t *d, uint32_t i, enum vmm_cache cache)
{
    pci_bar_t b;

    return pci_bar(d, i, &b) == GMK_OK ? pci_map_bar_part(d, i, 0, b.size, cache) : NULL;
}
