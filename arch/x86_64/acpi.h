/* SPDX-License-Identifier: MIT */
/*
 * acpi.h — this machine's ACPI tables.
 *
 * acpi_init runs once, on the boot CPU, after vmm_init.  It maps the tables for good; afterwards the
 * functions below may be called from anywhere, interrupts included.  Each pointer getter gives NULL
 * when the machine has no such table: the kernel then falls back to what every PC has.
 */
#ifndef ARCH_ACPI_H
#define ARCH_ACPI_H

#include "acpi_parse.h"

/* rsdp: physical address, 0 = none.  GMK_OK, or an error after saying on the console what is missing. */
int acpi_init(uint64_t rsdp);

/* The n-th table with this signature, checksum verified, or NULL. */
const void *acpi_table(const char signature[4], uint32_t n, uint32_t *length);

const acpi_madt_t *acpi_madt(void);
const acpi_fadt_t *acpi_fadt(void);
const acpi_hpet_t *acpi_hpet(void);
const acpi_mcfg_t *acpi_mcfg(void);
const acpi_s5_t *acpi_s5(void);

/*
 * Access to a register the FADT describes, bits = 8, 16 or 32 wide, from any context.  false: there is no
 * such register, or no way to reach it.
 */
bool acpi_reg_write(const acpi_reg_t *reg, uint32_t bits, uint32_t value);
bool acpi_reg_read(const acpi_reg_t *reg, uint32_t bits, uint32_t *value);

/* Once, for acpi_init: those that lie in memory. */
void acpi_map_registers(const acpi_fadt_t *fadt);

#endif
