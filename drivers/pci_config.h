/* SPDX-License-Identifier: MIT */
/*
 * pci_config.h — this machine's way to PCI configuration spaces.
 *
 * By memory (ECAM, PCI Express 3.0 §7.2.2) for the buses that ACPI's MCFG covers and whose host bridge
 * answers there as it does through the ports; else by ports 0xcf8 and 0xcfc, for segment 0 and the
 * first 256 bytes.  What nobody answers reads as ones.  Any thread, interrupts on or off.
 */
#ifndef DRIVERS_PCI_CONFIG_H
#define DRIVERS_PCI_CONFIG_H

#include "drivers/pci_scan.h"

/* Once, before the others: decides for ECAM or ports, and says on the console when MCFG is of no use. */
void pci_config_init(void);

uint32_t pci_config_read(pci_addr_t a, uint32_t offset, uint32_t bytes);
void pci_config_write(pci_addr_t a, uint32_t offset, uint32_t bytes, uint32_t value);

/* Segments to scan, from 0; the first bus of each. */
uint32_t pci_config_segments(void);
uint32_t pci_config_segment(uint32_t i, uint32_t *first_bus);

bool pci_config_has_ecam(void);

#endif
