/* SPDX-License-Identifier: MIT */
/* MSI-X (PCI Local Bus 3.0 §6.8.2): interrupts as memory writes to a LAPIC (Intel SDM 3A §10.11). */
#include <ggmk/error.h>

#include "cpu.h"
#include "drivers/pci.h"

#define CONTROL 2u /* in the capability */
#define CONTROL_ENABLE 0x8000u
#define CONTROL_MASK_ALL 0x4000u
#define ENTRY_MASKED 1u
#define LAPIC_WINDOW 0xfee00000u
#define LAPIC_ID_SHIFT 12u
#define LAPIC_ID_MAX 0xffu /* what fits without interrupt remapping */

typedef volatile struct msix_entry {
    uint32_t address, upper_address, data, control;
} msix_entry_t;

static void mask_all(const pci_dev_t *d)
{
    msix_entry_t *table = d->msix.map;

    for (uint32_t i = 0; i < d->msix.entries; i++)
        table[i].control = ENTRY_MASKED;
}

/* Maps the table and turns MSI-X on with every entry masked. */
static bool turn_on(pci_dev_t *d)
{
    uint32_t at = d->msix.cap + CONTROL;

    d->msix.map = pci_map_bar_part(d, d->msix.bar, d->msix.offset, d->msix.entries * sizeof(msix_entry_t),
                                   VMM_UC);
    if (!d->msix.map)
        return false;
    (void)pci_command(d, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX, 0);
    pci_write16(d, at, (uint16_t)(pci_read16(d, at) | CONTROL_ENABLE | CONTROL_MASK_ALL));
    mask_all(d);
    pci_write16(d, at, (uint16_t)(pci_read16(d, at) & ~CONTROL_MASK_ALL));
    return true;
}

int pci_msix_enable(pci_dev_t *d, uint32_t entry, uint32_t cpu, uint32_t vector)
{
    const cpu_t *c = cpu_at(cpu);
    msix_entry_t *e;

    if (d->msix.entries == 0 || !c || c->lapic_id > LAPIC_ID_MAX)
        return GMK_ERR_UNSUPPORTED;
    if (entry >= d->msix.entries)
        return GMK_ERR_RANGE;
    if (!d->msix.map && !turn_on(d))
        return GMK_ERR_UNSUPPORTED;
    e = (msix_entry_t *)d->msix.map + entry;
    e->control = ENTRY_MASKED;
    e->address = LAPIC_WINDOW | c->lapic_id << LAPIC_ID_SHIFT;
    e->upper_address = 0;
    e->data = vector;
    e->control = 0;
    return GMK_OK;
}

void pci_msix_disable(pci_dev_t *d)
{
    uint32_t at = d->msix.cap + CONTROL;

    if (!d->msix.map)
        return;
    mask_all(d);
    pci_write16(d, at, (uint16_t)(pci_read16(d, at) & ~CONTROL_ENABLE));
    vmm_unmap_device((void *)(uintptr_t)d->msix.map, d->msix.entries * sizeof(msix_entry_t));
    d->msix.map = NULL;
}
