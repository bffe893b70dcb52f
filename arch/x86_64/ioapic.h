/* SPDX-License-Identifier: MIT */
/*
 * ioapic.h — legacy (ISA) interrupts: COM1 and COM2.  PCI devices use MSI-X and never come here.
 *
 * ioapic_init runs once on the boot CPU after acpi_init: it remaps the two 8259 to vectors 0x20..0x2F
 * and masks them, and masks every pin of every IOAPIC.  Afterwards any thread may route; polarity,
 * trigger mode and pin follow the MADT's interrupt source overrides (ACPI 6.4 §5.2.12.5).
 */
#ifndef ARCH_IOAPIC_H
#define ARCH_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

void ioapic_init(void);

/*
 * Sends ISA interrupt irq to a vector of a CPU and unmasks it.  GMK_ERR_NOTFOUND: no IOAPIC has that
 * pin; GMK_ERR_RANGE: irq above 15, a vector below 0x30, or a LAPIC id above 255, which no IOAPIC can
 * address.
 */
int ioapic_route(uint32_t isa_irq, uint32_t lapic_id, uint32_t vector);
void ioapic_mask(uint32_t isa_irq, bool masked);

#endif
