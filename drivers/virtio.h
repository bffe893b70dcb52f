/* SPDX-License-Identifier: MIT */
/*
 * virtio.h — a virtio device behind PCI, whichever transport it speaks.
 *
 * virtio_open chooses the transport: modern (virtio 1.2 §4.1) where its capabilities are whole, else
 * legacy (§4.1.4.10, registers in I/O BAR 0).  virtio_start resets the device and agrees on features;
 * then the driver sets its queues up and calls virtio_go.  All of it belongs to the device's driver,
 * one thread at a time; virtio_notify and virtio_status any thread.
 *
 * Device configuration is foreign data: reads beyond what the device offers give zeros.
 */
#ifndef DRIVERS_VIRTIO_H
#define DRIVERS_VIRTIO_H

#include "drivers/pci_scan.h"
#include "drivers/virtqueue.h"
#include "irq.h"

#define VIRTIO_VENDOR 0x1af4u
#define VIRTIO_NO_VECTOR 0xffffu
#define VIRTIO_QUEUES_MAX 8u /* of one device that are used */

enum { VIRTIO_TYPE_BLOCK = 2 };

/* Device status (§2.1). */
enum {
    VIRTIO_ACKNOWLEDGE = 1,
    VIRTIO_DRIVER = 2,
    VIRTIO_DRIVER_OK = 4,
    VIRTIO_FEATURES_OK = 8,
    VIRTIO_NEEDS_RESET = 64,
    VIRTIO_FAILED = 128,
};

/* Feature bits that are no device's own (§6). */
#define VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1 (UINT64_C(1) << 32)
#define VIRTIO_F_ACCESS_PLATFORM (UINT64_C(1) << 33)

/* A structure of a modern device: part of a memory BAR (§4.1.4). */
typedef struct virtio_region {
    uint8_t bar;
    uint32_t offset, length; /* length 0: not there */
} virtio_region_t;

typedef struct virtio_caps {
    virtio_region_t common, notify, device;
    uint32_t notify_multiplier;
} virtio_caps_t;

/*
 * Reads the capabilities of a modern device.  Pure.  The first usable one of each kind counts; one
 * that reaches beyond its BAR or is too short is none.  True: all that a driver needs is there.
 */
bool virtio_caps_read(const pci_config_t *c, const pci_dev_t *d, virtio_caps_t *out);

/* Physical addresses of a queue's rings. */
typedef struct virtio_rings {
    uint64_t desc, avail, used;
} virtio_rings_t;

typedef struct virtio_dev virtio_dev_t;

/* What a transport does. */
typedef struct virtio_ops {
    const char *name;
    uint8_t (*status)(virtio_dev_t *v);
    void (*set_status)(virtio_dev_t *v, uint8_t status);
    uint64_t (*offered)(virtio_dev_t *v);
    void (*accept)(virtio_dev_t *v, uint64_t features);
    void (*config)(virtio_dev_t *v, uint32_t offset, void *out, uint32_t bytes);
    uint8_t (*generation)(virtio_dev_t *v);
    uint32_t (*queue_max)(virtio_dev_t *v, uint32_t q); /* 0: no such queue */
    bool legacy; /* a queue has queue_max descriptors, not fewer; there is no FEATURES_OK */
    bool (*queue_start)(virtio_dev_t *v, uint32_t q, uint32_t size, const virtio_rings_t *r, uint32_t vector);
    bool (*config_vector)(virtio_dev_t *v, uint32_t vector);
    void (*notify)(virtio_dev_t *v, uint32_t q);
} virtio_ops_t;

struct virtio_dev {
    const virtio_ops_t *ops;
    pci_dev_t *pci;
    uint32_t type;     /* VIRTIO_TYPE_* */
    uint64_t features; /* agreed on */
    bool msix;         /* turned on: legacy registers lie elsewhere */
    uint16_t port;     /* legacy: the I/O BAR and its size */
    uint32_t ports;
    volatile uint8_t *common, *notify, *device; /* modern */
    virtio_caps_t caps;
    uint32_t doorbell[VIRTIO_QUEUES_MAX]; /* offset in notify */
};

/* The n-th virtio device of a type, NULL when there are fewer. */
pci_dev_t *virtio_find(uint32_t type, uint32_t n);

/* GMK_ERR_UNSUPPORTED, after a line on the console, when there is no transport that works. */
int virtio_open(virtio_dev_t *v, pci_dev_t *pci);

/* One of them; false, and nothing set up, when the device is not of that kind. */
bool virtio_legacy_open(virtio_dev_t *v);
bool virtio_modern_open(virtio_dev_t *v);

/*
 * Resets the device and agrees on those of `wanted` that it offers.  GMK_ERR_TIMEOUT: it stays in
 * reset.  GMK_ERR_UNSUPPORTED: it is no virtio 1 device behind the modern transport, insists on address
 * translation, or does not accept the features; each after a line on the console.
 */
int virtio_start(virtio_dev_t *v, uint64_t wanted);

/*
 * Between virtio_start and the queues: lets MSI-X entry `entry` call bottom(arg) in the interrupt thread
 * of `cpu`.  *vector is what irq_unregister takes.  GMK_ERR_UNSUPPORTED, GMK_ERR_LIMIT: not possible.
 */
int virtio_irq(virtio_dev_t *v, uint32_t entry, uint32_t cpu, irq_fn bottom, void *arg, uint32_t *vector);

/* Masks all of them and turns MSI-X off. */
void virtio_irqs_off(virtio_dev_t *v);

/* The queues are set up: the device may begin. */
void virtio_go(virtio_dev_t *v);

/* Waits at most a second for the device to forget everything; GMK_ERR_TIMEOUT: it does not. */
int virtio_reset(virtio_dev_t *v);

/* Stops the device for good: no DMA any more, whether it takes part or not. */
void virtio_stop(virtio_dev_t *v);

/* A consistent copy of device configuration. */
void virtio_config(virtio_dev_t *v, uint32_t offset, void *out, uint32_t bytes);

#endif
