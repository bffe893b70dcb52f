/* SPDX-License-Identifier: MIT */
/* The legacy transport: registers in I/O BAR 0 (virtio 1.2 §4.1.4.10, §4.1.5.1.3.1, virtio 0.9.5 §2.2). */
#include <ggmk/hal.h>

#include "cpu.h"
#include "drivers/pci.h"
#include "drivers/virtio.h"

enum {
    DEVICE_FEATURES = 0,
    DRIVER_FEATURES = 4,
    QUEUE_ADDRESS = 8, /* a page number */
    QUEUE_SIZE = 12,
    QUEUE_SELECT = 14,
    QUEUE_NOTIFY = 16,
    DEVICE_STATUS = 18,
    CONFIG_MSIX_VECTOR = 20, /* this and the next only while MSI-X is on */
    QUEUE_MSIX_VECTOR = 22,
};
#define CONFIG_PLAIN 20u /* device configuration begins here, */
#define CONFIG_MSIX 24u  /* or here with MSI-X on */
#define CONFIG_TRIES 8u
#define PAGE_SHIFT 12u

static uint16_t at(const virtio_dev_t *v, uint32_t reg) { return (uint16_t)(v->port + reg); }

static uint8_t status(virtio_dev_t *v) { return inb(at(v, DEVICE_STATUS)); }
static void set_status(virtio_dev_t *v, uint8_t s) { outb(at(v, DEVICE_STATUS), s); }
static uint64_t offered(virtio_dev_t *v) { return inl(at(v, DEVICE_FEATURES)); }
static void accept(virtio_dev_t *v, uint64_t features) { outl(at(v, DRIVER_FEATURES), (uint32_t)features); }
static void notify(virtio_dev_t *v, uint32_t q) { outw(at(v, QUEUE_NOTIFY), (uint16_t)q); }

/* True: it is not what out held before. */
static bool copy_ports(virtio_dev_t *v, uint32_t from, uint8_t *out, uint32_t bytes)
{
    bool changed = false;

    for (uint32_t i = 0; i < bytes; i++) {
        uint8_t b = from + i < v->ports ? inb(at(v, from + i)) : 0;

        changed |= out[i] != b;
        out[i] = b;
    }
    return changed;
}

/* Legacy devices count no generations: what was read twice the same is whole (§2.5.4). */
static void config(virtio_dev_t *v, uint32_t offset, void *out, uint32_t bytes)
{
    uint32_t from = (v->msix ? CONFIG_MSIX : CONFIG_PLAIN) + offset;

    for (uint32_t i = 0; i < CONFIG_TRIES && copy_ports(v, from, out, bytes); i++)
        ;
}

static uint8_t generation(virtio_dev_t *v)
{
    (void)v;
    return 0;
}

static uint32_t queue_max(virtio_dev_t *v, uint32_t q)
{
    outw(at(v, QUEUE_SELECT), (uint16_t)q);
    return inw(at(v, QUEUE_SIZE));
}

/* Avail and used ring follow the descriptors where vq_avail_offset and vq_used_offset say. */
static bool queue_start(virtio_dev_t *v, uint32_t q, uint32_t size, const virtio_rings_t *r, uint32_t vector)
{
    if (queue_max(v, q) != size || r->desc >> PAGE_SHIFT > UINT32_MAX)
        return false;
    if (v->msix) {
        outw(at(v, QUEUE_MSIX_VECTOR), (uint16_t)vector);
        if (inw(at(v, QUEUE_MSIX_VECTOR)) != vector)
            return false;
    }
    outl(at(v, QUEUE_ADDRESS), (uint32_t)(r->desc >> PAGE_SHIFT));
    return true;
}

static bool config_vector(virtio_dev_t *v, uint32_t vector)
{
    outw(at(v, CONFIG_MSIX_VECTOR), (uint16_t)vector);
    return inw(at(v, CONFIG_MSIX_VECTOR)) == vector;
}

static const virtio_ops_t legacy = {
    .name = "legacy",
    .legacy = true,
    .status = status,
    .set_status = set_status,
    .offered = offered,
    .accept = accept,
    .config = config,
    .generation = generation,
    .queue_max = queue_max,
    .queue_start = queue_start,
    .config_vector = config_vector,
    .notify = notify,
};

bool virtio_legacy_open(virtio_dev_t *v)
{
    pci_bar_t b;

    if (pci_bar(v->pci, 0, &b) != 0 || !b.io || b.size < CONFIG_MSIX)
        return false;
    v->port = (uint16_t)b.base;
    v->ports = (uint32_t)b.size;
    v->ops = &legacy;
    return true;
}
