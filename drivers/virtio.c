/* SPDX-License-Identifier: MIT */
/* What all virtio devices have in common: initialisation (virtio 1.2 §3.1), reset, configuration. */
#include <ggmk/error.h>
#include <ggmk/hal.h>

#include "clock.h"
#include "drivers/pci.h"
#include "drivers/virtio.h"
#include "kprintf.h"

#define LEGACY_DEVICE 0x1000u /* to 0x103f; the subsystem id is the type */
#define MODERN_DEVICE 0x1040u /* plus the type */
#define TYPE_MAX 0x3fu
#define RESET_STEP_US 100u
#define RESET_STEPS 10000u
#define CONFIG_TRIES 16u

/* The type of a virtio device, 0 for anything else. */
static uint32_t type_of(const pci_dev_t *d)
{
    if (d->vendor != VIRTIO_VENDOR || d->header != 0)
        return 0;
    if (d->device >= LEGACY_DEVICE && d->device <= LEGACY_DEVICE + TYPE_MAX)
        return d->subdevice;
    if (d->device > MODERN_DEVICE && d->device <= MODERN_DEVICE + TYPE_MAX)
        return d->device - MODERN_DEVICE;
    return 0;
}

pci_dev_t *virtio_find(uint32_t type, uint32_t n)
{
    for (uint32_t i = 0; i < pci_count(); i++)
        if (type_of(pci_at(i)) == type && n-- == 0)
            return pci_at(i);
    return NULL;
}

static int complain(const virtio_dev_t *v, int code, const char *what)
{
    char name[PCI_NAME_SIZE];

    kprintf("virtio %s: %s; the device is not used\n", pci_name(v->pci, name), what);
    return code;
}

int virtio_open(virtio_dev_t *v, pci_dev_t *pci)
{
    *v = (virtio_dev_t){.pci = pci, .type = type_of(pci)};
    (void)pci_command(pci, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 0);
    if (virtio_modern_open(v))
        return GMK_OK;
    if (pci->device < MODERN_DEVICE && virtio_legacy_open(v))
        return GMK_OK;
    return complain(v, GMK_ERR_UNSUPPORTED,
                    "its registers are neither those of virtio 1 nor of legacy virtio");
}

int virtio_reset(virtio_dev_t *v)
{
    v->ops->set_status(v, 0);
    for (uint32_t i = 0; i < RESET_STEPS; i++) {
        if (v->ops->status(v) == 0)
            return GMK_OK;
        clock_delay_us(RESET_STEP_US);
    }
    return GMK_ERR_TIMEOUT;
}

static void add_status(virtio_dev_t *v, uint32_t bits)
{
    v->ops->set_status(v, (uint8_t)(v->ops->status(v) | bits));
}

static int give_up(virtio_dev_t *v, const char *why)
{
    add_status(v, VIRTIO_FAILED);
    return complain(v, GMK_ERR_UNSUPPORTED, why);
}

int virtio_start(virtio_dev_t *v, uint64_t wanted)
{
    bool modern = !v->ops->legacy;
    uint64_t offered;

    if (virtio_reset(v) != GMK_OK)
        return complain(v, GMK_ERR_TIMEOUT, "it does not come out of reset within a second");
    (void)pci_command(v->pci, PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX, 0);
    add_status(v, VIRTIO_ACKNOWLEDGE);
    add_status(v, VIRTIO_DRIVER);
    offered = v->ops->offered(v);
    if (offered & VIRTIO_F_ACCESS_PLATFORM)
        return give_up(
            v, "it wants an IOMMU (ACCESS_PLATFORM), and there is none; start it without iommu_platform");
    if (modern && !(offered & VIRTIO_F_VERSION_1))
        return give_up(v, "it has virtio 1 registers but does not offer VERSION_1");
    v->features = offered & (wanted | (modern ? VIRTIO_F_VERSION_1 : 0));
    v->ops->accept(v, v->features);
    if (!modern)
        return GMK_OK;
    add_status(v, VIRTIO_FEATURES_OK);
    if (!(v->ops->status(v) & VIRTIO_FEATURES_OK))
        return give_up(v, "it does not accept the features it offered");
    return GMK_OK;
}

int virtio_irq(virtio_dev_t *v, uint32_t entry, uint32_t cpu, irq_fn bottom, void *arg, uint32_t *vector)
{
    int allocated = irq_register(cpu, bottom, arg), code;

    if (allocated < 0)
        return allocated;
    code = pci_msix_enable(v->pci, entry, cpu, (uint32_t)allocated);
    if (code != GMK_OK) {
        irq_unregister(cpu, (uint32_t)allocated);
        return code;
    }
    v->msix = true;
    *vector = (uint32_t)allocated;
    return GMK_OK;
}

void virtio_irqs_off(virtio_dev_t *v)
{
    pci_msix_disable(v->pci);
    v->msix = false;
}

void virtio_go(virtio_dev_t *v) { add_status(v, VIRTIO_DRIVER_OK); }

void virtio_stop(virtio_dev_t *v)
{
    char name[PCI_NAME_SIZE];

    virtio_irqs_off(v);
    if (virtio_reset(v) != GMK_OK)
        kprintf("virtio %s: it does not take a reset; cut off from memory\n", pci_name(v->pci, name));
    (void)pci_command(v->pci, 0, PCI_COMMAND_MASTER);
}

void virtio_config(virtio_dev_t *v, uint32_t offset, void *out, uint32_t bytes)
{
    for (uint32_t i = 0; i < CONFIG_TRIES; i++) {
        uint8_t before = v->ops->generation(v);

        v->ops->config(v, offset, out, bytes);
        if (v->ops->generation(v) == before)
            return;
    }
}
