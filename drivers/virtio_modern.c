/* SPDX-License-Identifier: MIT */
/* The modern transport: registers in memory BARs (virtio 1.2 §4.1.4.3, §4.1.4.4, §4.1.5). */
#include <ggmk/hal.h>

#include "drivers/pci.h"
#include "drivers/pci_config.h"
#include "drivers/virtio.h"

/* struct virtio_pci_common_cfg */
enum {
    DEVICE_FEATURE_SELECT = 0,
    DEVICE_FEATURE = 4,
    DRIVER_FEATURE_SELECT = 8,
    DRIVER_FEATURE = 12,
    CONFIG_MSIX_VECTOR = 16,
    DEVICE_STATUS = 20,
    CONFIG_GENERATION = 21,
    QUEUE_SELECT = 22,
    QUEUE_SIZE = 24,
    QUEUE_MSIX_VECTOR = 26,
    QUEUE_ENABLE = 28,
    QUEUE_NOTIFY_OFF = 30,
    QUEUE_DESC = 32,
    QUEUE_DRIVER = 40,
    QUEUE_DEVICE = 48,
};

static uint16_t get16(virtio_dev_t *v, uint32_t at) { return *(volatile uint16_t *)(v->common + at); }
static void set16(virtio_dev_t *v, uint32_t at, uint32_t x)
{
    *(volatile uint16_t *)(v->common + at) = (uint16_t)x;
}
static uint32_t get32(virtio_dev_t *v, uint32_t at) { return *(volatile uint32_t *)(v->common + at); }
static void set32(virtio_dev_t *v, uint32_t at, uint32_t x) { *(volatile uint32_t *)(v->common + at) = x; }

/* Devices need not take 64-bit accesses (§4.1.3.1). */
static void set64(virtio_dev_t *v, uint32_t at, uint64_t x)
{
    set32(v, at, (uint32_t)x);
    set32(v, at + 4, (uint32_t)(x >> 32));
}

static uint8_t status(virtio_dev_t *v) { return v->common[DEVICE_STATUS]; }
static void set_status(virtio_dev_t *v, uint8_t s) { v->common[DEVICE_STATUS] = s; }
static uint8_t generation(virtio_dev_t *v) { return v->common[CONFIG_GENERATION]; }

static uint64_t offered(virtio_dev_t *v)
{
    uint64_t f;

    set32(v, DEVICE_FEATURE_SELECT, 0);
    f = get32(v, DEVICE_FEATURE);
    set32(v, DEVICE_FEATURE_SELECT, 1);
    return f | (uint64_t)get32(v, DEVICE_FEATURE) << 32;
}

static void accept(virtio_dev_t *v, uint64_t features)
{
    set32(v, DRIVER_FEATURE_SELECT, 0);
    set32(v, DRIVER_FEATURE, (uint32_t)features);
    set32(v, DRIVER_FEATURE_SELECT, 1);
    set32(v, DRIVER_FEATURE, (uint32_t)(features >> 32));
}

/* A field is read as wide as it is, 64 bits in two halves (§4.1.3.1). */
static void config(virtio_dev_t *v, uint32_t offset, void *out, uint32_t bytes)
{
    uint32_t step = (offset | bytes) % 4 == 0 ? 4 : (offset | bytes) % 2 == 0 ? 2 : 1;

    gmk_hal_memset(out, 0, bytes);
    for (uint32_t i = 0; i < bytes && offset + i + step <= v->caps.device.length; i += step) {
        volatile uint8_t *from = v->device + offset + i;
        uint32_t field = step == 4 ? *(volatile uint32_t *)from
                       : step == 2 ? *(volatile uint16_t *)from
                                   : *from;

        gmk_hal_memcpy((uint8_t *)out + i, &field, step);
    }
}

static uint32_t queue_max(virtio_dev_t *v, uint32_t q)
{
    set16(v, QUEUE_SELECT, q);
    return get16(v, QUEUE_SIZE);
}

/* Reads where the doorbell of the selected queue q is; false: outside of its region. */
static bool find_doorbell(virtio_dev_t *v, uint32_t q)
{
    uint64_t at = (uint64_t)get16(v, QUEUE_NOTIFY_OFF) * v->caps.notify_multiplier;

    v->doorbell[q] = (uint32_t)at;
    return at + 2 <= v->caps.notify.length && at % 2 == 0;
}

static bool queue_start(virtio_dev_t *v, uint32_t q, uint32_t size, const virtio_rings_t *r, uint32_t vector)
{
    set16(v, QUEUE_SELECT, q);
    if (get16(v, QUEUE_ENABLE) != 0 || !find_doorbell(v, q))
        return false;
    set16(v, QUEUE_SIZE, size);
    set16(v, QUEUE_MSIX_VECTOR, vector);
    if (get16(v, QUEUE_MSIX_VECTOR) != vector)
        return false;
    set64(v, QUEUE_DESC, r->desc);
    set64(v, QUEUE_DRIVER, r->avail);
    set64(v, QUEUE_DEVICE, r->used);
    set16(v, QUEUE_ENABLE, 1);
    return true;
}

static bool config_vector(virtio_dev_t *v, uint32_t vector)
{
    set16(v, CONFIG_MSIX_VECTOR, vector);
    return get16(v, CONFIG_MSIX_VECTOR) == vector;
}

static void notify(virtio_dev_t *v, uint32_t q)
{
    *(volatile uint16_t *)(v->notify + v->doorbell[q]) = (uint16_t)q;
}

static const virtio_ops_t modern = {
    .name = "modern",
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

static uint32_t read_config(void *ctx, pci_addr_t a, uint32_t offset, uint32_t bytes)
{
    (void)ctx;
    return pci_config_read(a, offset, bytes);
}

static volatile uint8_t *map(const virtio_dev_t *v, const virtio_region_t *r)
{
    return r->length ? pci_map_bar_part(v->pci, r->bar, r->offset, r->length, VMM_UC) : NULL;
}

bool virtio_modern_open(virtio_dev_t *v)
{
    const pci_config_t c = {.read = read_config};

    if (!virtio_caps_read(&c, v->pci, &v->caps))
        return false;
    v->common = map(v, &v->caps.common);
    v->notify = map(v, &v->caps.notify);
    v->device = map(v, &v->caps.device);
    if (!v->device)
        v->caps.device.length = 0;
    if (!v->common || !v->notify)
        return false;
    v->ops = &modern;
    return true;
}
