/* SPDX-License-Identifier: MIT
 *
 * The little of ACPI that a loader needs: the way from the RSDP to the MADT, and the CPUs and IOAPICs that
 * this lists. Format: ACPI 6.4, 5.2.5 (RSDP), 5.2.7 and 5.2.8 (RSDT, XSDT), 5.2.12 (MADT).
 */
#ifndef GMK_BOOT_ACPI_H
#define GMK_BOOT_ACPI_H

#include "fail.h"
#include "phys.h"

#define MADT_CPUS 256u
#define MADT_IOAPICS 32u

struct madt_cpu {
    uint32_t uid, lapic_id;
};

struct madt {
    struct madt_cpu cpu[MADT_CPUS]; /* enabled ones, each LAPIC ID once */
    uint32_t cpu_count;
    uint32_t more_cpus; /* there is no room for */
    uint32_t ioapic[MADT_IOAPICS];
    uint32_t ioapic_count;
};

/* The MADT's bytes, checksum verified. */
bool acpi_find_madt(const struct phys_view *view, uint64_t rsdp, const uint8_t **madt, uint32_t *length,
                    struct boot_error *e);

/* Ends at the first entry that cannot be right. */
void madt_parse(const uint8_t *table, uint32_t length, struct madt *out);

#endif
