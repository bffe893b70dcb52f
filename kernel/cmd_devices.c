/* SPDX-License-Identifier: MIT */
/* cmd_devices.c — mem, pci and blk: what the machine has. */
#include "kernel/machine.h"
#include "kernel/monitor.h"
#include "kernel/text.h"

#include "boot_info.h"
#include "drivers/pci.h"
#include "drivers/virtio_blk.h"
#include "kprintf.h"
#include "pmm.h"
#include "string.h"
#include "vmm.h"

#define PAGES(n) ((n)*4096)

/* ---- mem ---------------------------------------------------------------------------------- */

static void show_physical(void)
{
    pmm_stats_t s;
    char total[TEXT_SHORT], used[TEXT_SHORT], left[TEXT_SHORT], largest[TEXT_SHORT];

    pmm_stats(&s);
    kprintf("physical  %s, used %s, free %s, longest run %s\n", text_bytes(total, PAGES(s.total)),
            text_bytes(used, PAGES(s.used)), text_bytes(left, PAGES(s.free)),
            text_bytes(largest, PAGES(s.largest)));
}

static void show_virtual(void)
{
    vmm_stats_t s;
    char heap[TEXT_SHORT], used[TEXT_SHORT], stacks[TEXT_SHORT], tables[TEXT_SHORT];

    vmm_stats(&s);
    kprintf("virtual   heap %s of %s, stacks %s, page tables %s\n", text_bytes(used, PAGES(s.heap_used)),
            text_bytes(heap, PAGES(s.heap_pages)), text_bytes(stacks, PAGES(s.stack_used)),
            text_bytes(tables, PAGES(s.tables)));
    kprintf("          device mappings %lu, demand faults %lu, shoot-downs %lu\n", s.device_maps,
            s.demand_faults, s.shootdowns);
}

static void show_arena(void)
{
    gmk_mem_stats_t s;
    char arena[TEXT_SHORT], used[TEXT_SHORT], blocks[TEXT_SHORT], bump[TEXT_SHORT];

    if (gmk_mem_stats(machine_core(), &s) != GMK_OK)
        return;
    kprintf("arena     %s, spans %lu of %lu (%s), blocks %s\n", text_bytes(arena, s.arena_bytes),
            s.spans_used, s.spans_total, text_bytes(used, s.spans_used * s.span_bytes),
            text_bytes(blocks, s.block_bytes_used));
    kprintf("          bump %s a worker, payloads %lu, task nodes %lu of %lu\n",
            text_bytes(bump, s.bump_bytes), s.payloads_live, s.slab_reserved, s.slab_total);
    kprintf("          failed requests %lu, bad frees %lu\n", s.alloc_fails, s.bad_frees);
}

static void show_map(void)
{
    static const char *const kinds[BOOT_KINDS] = {"usable", "reserved", "ACPI tables",     "ACPI NVS",
                                                  "bad",    "loader",   "kernel, modules", "frame buffer"};
    const boot_info_t *info = boot_info();
    char size[TEXT_SHORT];

    for (uint32_t i = 0; i < info->n_ranges; i++) {
        const boot_range_t *r = &info->memmap[i];
        kprintf("%016lx - %016lx  %10s  %s\n", r->base, r->base + r->length - 1, text_bytes(size, r->length),
                kinds[r->type]);
    }
}

bool cmd_mem(int argc, char **argv)
{
    if (argc > 2 || (argc > 1 && strcmp(argv[1], "map") != 0))
        return wrong("only 'map' can be asked for", argv[argc - 1]);
    if (argc > 1) {
        show_map();
        return true;
    }
    show_physical();
    show_virtual();
    show_arena();
    return true;
}

/* ---- pci ---------------------------------------------------------------------------------- */

static void show_bars(const pci_dev_t *d)
{
    char size[TEXT_SHORT];

    for (uint32_t i = 0; i < PCI_BARS; i++) {
        const pci_bar_t *b = &d->bar[i];
        if (b->size)
            kprintf("  BAR %u: %s at 0x%lx, %s%s%s\n", i, b->io ? "ports" : "memory", b->base,
                    text_bytes(size, b->size), b->wide ? ", 64 bits" : "",
                    b->prefetchable ? ", prefetchable" : "");
    }
}

static void show_device(const pci_dev_t *d)
{
    char name[PCI_NAME_SIZE];

    kprintf("%s %04x:%04x %s, class %02x.%02x.%02x, revision %u\n", pci_name(d, name), d->vendor, d->device,
            pci_class_name(d->class_code, d->subclass), d->class_code, d->subclass, d->prog_if, d->revision);
    kprintf("  subsystem %04x:%04x, command %04x, status %04x\n", d->subvendor, d->subdevice,
            pci_read16(d, PCI_COMMAND), pci_read16(d, PCI_STATUS));
    show_bars(d);
    for (uint32_t i = 0; i < d->caps; i++)
        kprintf("  capability %02x at %02x\n", d->cap[i].id, d->cap[i].offset);
    if (d->msix.entries)
        kprintf("  MSI-X: %u entries in BAR %u\n", d->msix.entries, d->msix.bar);
}

static bool show_one(const char *address)
{
    char name[PCI_NAME_SIZE];

    for (uint32_t i = 0; i < pci_count(); i++)
        if (strcmp(pci_name(pci_at(i), name), address) == 0) {
            show_device(pci_at(i));
            return true;
        }
    return wrong("no such device (pci lists them)", address);
}

bool cmd_pci(int argc, char **argv)
{
    char name[PCI_NAME_SIZE];

    if (argc > 2)
        return wrong("one device at a time", argv[2]);
    if (argc > 1)
        return show_one(argv[1]);
    for (uint32_t i = 0; i < pci_count(); i++) {
        const pci_dev_t *d = pci_at(i);
        kprintf("%-10s %04x:%04x  %s\n", pci_name(d, name), d->vendor, d->device,
                pci_class_name(d->class_code, d->subclass));
    }
    kprintf("%u functions, configured through %s\n", pci_count(), pci_access());
    return true;
}

/* ---- blk ---------------------------------------------------------------------------------- */

static void show_disk(virtio_blk_t *b)
{
    virtio_blk_info_t info;
    virtio_blk_stats_t s;
    char size[TEXT_SHORT], got[TEXT_SHORT], put[TEXT_SHORT];

    virtio_blk_info(b, &info);
    virtio_blk_stats(b, &s);
    kprintf("%s  %s%s, %s virtio at %s, %s%s%s\n", info.name, text_bytes(size, virtio_blk_sectors(b) * 512),
            info.readonly ? ", read-only" : "", info.transport, info.pci, info.msix ? "MSI-X" : "polled",
            info.id[0] ? ", serial " : "", info.id);
    kprintf("     queues %u, depth %u, in flight %u%s\n", info.queues, info.depth, s.in_flight,
            info.failed ? ", SWITCHED OFF after a fault" : "");
    kprintf("     reads %lu (%s), writes %lu (%s), flushes %lu, errors %lu\n", s.reads,
            text_bytes(got, s.bytes_read), s.writes, text_bytes(put, s.bytes_written), s.flushes, s.errors);
}

static void dump(const uint8_t *p, uint64_t n)
{
    for (uint64_t at = 0; at < n; at += 16) {
        char hex[16 * 3 + 1], text[17];
        for (uint32_t i = 0; i < 16; i++) {
            (void)ksnprintf(hex + 3 * i, 4, " %02x", p[at + i]);
            text[i] = (char)(p[at + i] >= 0x20 && p[at + i] < 0x7f ? p[at + i] : '.');
        }
        text[16] = 0;
        kprintf("%04lx %s  %s\n", at, hex, text);
    }
}

static virtio_blk_t *disk_named(const char *name)
{
    virtio_blk_info_t info;
    uint64_t n;

    if (parse_number(name, &n))
        return n < (uint64_t)virtio_blk_count() ? virtio_blk_at((uint32_t)n) : NULL;
    for (int i = 0; i < virtio_blk_count(); i++) {
        virtio_blk_info(virtio_blk_at((uint32_t)i), &info);
        if (strcmp(info.name, name) == 0)
            return virtio_blk_at((uint32_t)i);
    }
    return NULL;
}

static bool show_sector(const char *disk, uint64_t sector)
{
    static uint8_t bytes[512];
    char why[80];
    virtio_blk_t *b = disk_named(disk);

    if (!b)
        return wrong("no such disk (blk lists them)", disk);
    int code = virtio_blk_check(b, VIRTIO_BLK_READ, sector, 1, why, sizeof(why));
    if (code != GMK_OK) {
        kprintf("%s\n", why);
        return true;
    }
    code = virtio_blk_read(b, sector, bytes, 1);
    if (code == GMK_OK)
        dump(bytes, sizeof(bytes));
    return report_code(disk, code);
}

bool cmd_blk(int argc, char **argv)
{
    uint64_t sector = 0;

    if (argc == 2 || argc > 3)
        return wrong("a disk and a sector", argv[argc - 1]);
    if (!number_argument(argc, argv, 2, UINT64_MAX, &sector))
        return false;
    if (argc == 3)
        return show_sector(argv[1], sector);
    for (int i = 0; i < virtio_blk_count(); i++)
        show_disk(virtio_blk_at((uint32_t)i));
    if (virtio_blk_count() == 0)
        kprintf("no disks\n");
    return true;
}
