/* SPDX-License-Identifier: MIT */
/* The vendor-specific capabilities that say where a modern device's registers are (virtio 1.2 §4.1.4). */
#include "drivers/virtio.h"

enum { CFG_COMMON = 1, CFG_NOTIFY = 2, CFG_DEVICE = 4 };

/* In the capability. */
enum {
    CAP_LENGTH = 2,
    CAP_TYPE = 3,
    CAP_BAR = 4,
    CAP_OFFSET = 8,
    CAP_REGION_LENGTH = 12,
    CAP_MULTIPLIER = 16
};
#define CAP_BYTES 16u
#define CAP_NOTIFY_BYTES 20u
#define CONFIG_BYTES 256u

#define COMMON_BYTES 56u /* the part of struct virtio_pci_common_cfg that every device has */
#define NOTIFY_BYTES 2u
#define DEVICE_BYTES 4u /* its fields are at most 32 bits wide to the driver */

static uint32_t get(const pci_config_t *c, const pci_dev_t *d, uint32_t offset, uint32_t bytes)
{
    return c->read(c->ctx, d->addr, offset, bytes);
}

/*
 * Fills *r from the capability at `at`, if it was not filled before, and lies within its memory BAR with
 * at least so many bytes, aligned to 4 or to fewer if it may be shorter.
 */
static bool read_region(const pci_config_t *c, const pci_dev_t *d, uint32_t at, uint32_t least,
                        virtio_region_t *r)
{
    uint32_t bar = get(c, d, at + CAP_BAR, 1) & 0xffu;
    uint32_t offset = get(c, d, at + CAP_OFFSET, 4), length = get(c, d, at + CAP_REGION_LENGTH, 4);

    if (r->length != 0 || bar >= PCI_BARS || d->bar[bar].io || length < least)
        return false;
    if ((uint64_t)offset + length > d->bar[bar].size || (offset & (least >= 4 ? 3u : least - 1)) != 0)
        return false;
    *r = (virtio_region_t){.bar = (uint8_t)bar, .offset = offset, .length = length};
    return true;
}

static void read_cap(const pci_config_t *c, const pci_dev_t *d, uint32_t at, virtio_caps_t *out)
{
    uint32_t length = get(c, d, at + CAP_LENGTH, 1) & 0xffu;

    switch (get(c, d, at + CAP_TYPE, 1) & 0xffu) {
    case CFG_COMMON: (void)read_region(c, d, at, COMMON_BYTES, &out->common); break;
    case CFG_DEVICE: (void)read_region(c, d, at, DEVICE_BYTES, &out->device); break;
    case CFG_NOTIFY:
        if (length >= CAP_NOTIFY_BYTES && at <= CONFIG_BYTES - CAP_NOTIFY_BYTES &&
            read_region(c, d, at, NOTIFY_BYTES, &out->notify))
            out->notify_multiplier = get(c, d, at + CAP_MULTIPLIER, 4);
        break;
    default: break;
    }
}

bool virtio_caps_read(const pci_config_t *c, const pci_dev_t *d, virtio_caps_t *out)
{
    *out = (virtio_caps_t){0};
    for (uint32_t i = 0; i < d->caps; i++)
        if (d->cap[i].id == PCI_CAP_VENDOR && d->cap[i].offset <= CONFIG_BYTES - CAP_BYTES &&
            (get(c, d, d->cap[i].offset + CAP_LENGTH, 1) & 0xffu) >= CAP_BYTES)
            read_cap(c, d, d->cap[i].offset, out);
    return out->common.length != 0 && out->notify.length != 0;
}
