/* SPDX-License-Identifier: MIT */
/*
 * pci.h — the PCI functions of this machine.
 *
 * pci_init finds them all, once, at boot; the table does not change afterwards.  Configuration
 * spaces are read and written through the memory of MCFG where ACPI has one, else through ports
 * 0xcf8/0xcfc under a lock.  Any thread may look functions up and read or write configuration;
 * MSI-X and mappings of one function are its driver's.
 */
#ifndef DRIVERS_PCI_H
#define DRIVERS_PCI_H

#include "drivers/pci_scan.h"
#include "vmm.h"

/* Scans the buses and prints how many functions there are; returns their number. */
int pci_init(void);

/* For listing: functions in the order they were found. */
uint32_t pci_count(void);
pci_dev_t *pci_at(uint32_t i);

/* The n-th function (from 0) of that kind, NULL when there are fewer. */
pci_dev_t *pci_find(uint32_t vendor, uint32_t device, uint32_t n);
pci_dev_t *pci_find_class(uint32_t class_code, uint32_t subclass, uint32_t n);

/* "00:03.0", with the segment in front where it is not 0.  Returns text. */
#define PCI_NAME_SIZE 16u
const char *pci_name(const pci_dev_t *d, char text[PCI_NAME_SIZE]);

/* "ports" or "ECAM". */
const char *pci_access(void);

uint8_t pci_read8(const pci_dev_t *d, uint32_t offset);
uint16_t pci_read16(const pci_dev_t *d, uint32_t offset);
uint32_t pci_read32(const pci_dev_t *d, uint32_t offset);
void pci_write8(const pci_dev_t *d, uint32_t offset, uint8_t value);
void pci_write16(const pci_dev_t *d, uint32_t offset, uint16_t value);
void pci_write32(const pci_dev_t *d, uint32_t offset, uint32_t value);

/* Sets and clears bits of the command register; returns what it was. */
uint16_t pci_command(const pci_dev_t *d, uint16_t set, uint16_t clear);

/* Stores BAR i to *out.  GMK_ERR_RANGE: i > 5.  GMK_ERR_NOTFOUND: there is none, or it was refused. */
int pci_bar(const pci_dev_t *d, uint32_t i, pci_bar_t *out);

/* Maps memory BAR i as a whole, or `bytes` at `offset` of it; NULL when it is not there or too small. */
void *pci_map_bar(const pci_dev_t *d, uint32_t i, enum vmm_cache cache);
void *pci_map_bar_part(const pci_dev_t *d, uint32_t i, uint64_t offset, uint64_t bytes, enum vmm_cache cache);

/*
 * Lets MSI-X entry `entry` raise `vector` (from irq_register) on CPU `cpu`, and turns MSI-X on.
 * GMK_ERR_UNSUPPORTED: no MSI-X, or the CPU's APIC id does not fit.  GMK_ERR_RANGE: no such entry.
 */
int pci_msix_enable(pci_dev_t *d, uint32_t entry, uint32_t cpu, uint32_t vector);

/* Masks every entry and turns MSI-X off. */
void pci_msix_disable(pci_dev_t *d);

#endif
