/* SPDX-License-Identifier: MIT */
/*
 * acpi_parse.h — what the firmware's ACPI tables say, read from buffers.
 *
 * Pure functions over bytes: no memory is mapped and no global is touched, so the kernel, the loader
 * and host tests use the same code, any thread, any time.  Every length and offset is checked before
 * it is used and every loop is bounded: whatever the bytes are, nothing outside [buf, buf + size) is
 * read.  Formats: ACPI 6.4 §5.2 (tables), §20 (AML byte stream), IA-PC HPET 1.0a §3.2.4, PCI Firmware
 * 3.3 §4.1 (MCFG).
 *
 * Results: GMK_OK, or GMK_ERR_INVAL (not such a table, or malformed), GMK_ERR_NOTFOUND.
 */
#ifndef ARCH_ACPI_PARSE_H
#define ARCH_ACPI_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACPI_MAX_TABLES 128u
#define ACPI_MAX_CPUS 256u
#define ACPI_MAX_IOAPICS 16u
#define ACPI_MAX_OVERRIDES 32u
#define ACPI_MAX_SEGMENTS 16u
#define ACPI_TABLE_LIMIT (16u << 20) /* a longer table is taken for damage */
#define ACPI_HEADER_SIZE 36u
#define ACPI_RSDP_SIZE 36u /* revision 2; revision 0 has 20 bytes */

/* Generic Address Structure, §5.2.3.2.  address 0: there is no such register. */
enum acpi_space { ACPI_SPACE_MEMORY = 0, ACPI_SPACE_IO = 1, ACPI_SPACE_PCI = 2 };
typedef struct acpi_reg {
    uint8_t space;
    uint8_t bits;
    uint64_t address;
} acpi_reg_t;

typedef struct acpi_rsdp {
    uint8_t revision;
    uint32_t rsdt;
    uint64_t xsdt; /* 0 before revision 2 */
} acpi_rsdp_t;

/* How the table walker sees physical memory.  What `map` gave goes back to `unmap` unless it is kept. */
typedef struct acpi_memory {
    const void *(*map)(void *context, uint64_t physical, uint32_t bytes); /* NULL: not there */
    void (*unmap)(void *context, const void *p, uint32_t bytes);
    void *context;
} acpi_memory_t;

typedef struct acpi_found {
    char signature[4];
    uint32_t length;
    uint64_t physical;
    const uint8_t *bytes;
} acpi_found_t;

typedef struct acpi_tables {
    acpi_rsdp_t rsdp;
    uint32_t count;
    uint32_t damaged; /* wrong checksum, absurd length, not mappable */
    uint32_t skipped; /* named twice, or more than ACPI_MAX_TABLES */
    acpi_found_t table[ACPI_MAX_TABLES];
} acpi_tables_t;

typedef struct acpi_cpu {
    uint32_t apic_id;
    uint32_t uid;
    bool enabled;
    bool online_capable; /* not enabled now, may be later */
} acpi_cpu_t;

typedef struct acpi_ioapic {
    uint32_t id;
    uint32_t gsi_base;
    uint64_t address;
} acpi_ioapic_t;

typedef struct acpi_override {
    uint8_t irq; /* ISA */
    bool active_low;
    bool level;
    uint32_t gsi;
} acpi_override_t;

typedef struct acpi_madt {
    uint64_t lapic_address;
    bool has_8259;
    uint32_t cpu_count, ioapic_count, override_count;
    uint32_t ignored; /* entries that do not fit in the arrays, or are malformed */
    acpi_cpu_t cpu[ACPI_MAX_CPUS];
    acpi_ioapic_t ioapic[ACPI_MAX_IOAPICS];
    acpi_override_t override[ACPI_MAX_OVERRIDES];
} acpi_madt_t;

typedef struct acpi_fadt {
    uint64_t dsdt;
    uint16_t sci_irq;
    uint16_t smi_command; /* port; 0: the machine is always in ACPI mode */
    uint8_t acpi_enable, acpi_disable;
    bool hardware_reduced;
    bool pm_timer_32; /* else 24 bits */
    acpi_reg_t pm1a_control, pm1b_control, pm_timer;
    acpi_reg_t reset; /* address 0 unless RESET_REG_SUP */
    uint8_t reset_value;
    acpi_reg_t sleep_control; /* hardware-reduced machines only */
} acpi_fadt_t;

typedef struct acpi_hpet {
    uint64_t address;
} acpi_hpet_t;

typedef struct acpi_segment {
    uint64_t base; /* of bus 0, even if start_bus is not 0 */
    uint16_t segment;
    uint8_t start_bus, end_bus;
} acpi_segment_t;

typedef struct acpi_mcfg {
    uint32_t count, ignored;
    acpi_segment_t segment[ACPI_MAX_SEGMENTS];
} acpi_mcfg_t;

typedef struct acpi_s5 {
    uint8_t type_a, type_b; /* SLP_TYP for PM1a and PM1b */
} acpi_s5_t;

int acpi_parse_rsdp(const void *buf, size_t size, acpi_rsdp_t *out);

/* A whole table: its header, a length that fits in size, a sum of 0.  signature NULL: any. */
int acpi_check_table(const void *buf, size_t size, const char *signature);

/*
 * Follows the RSDP at `rsdp` to the XSDT (or the RSDT) and lists every good table once, with the DSDT.
 * The listed ones stay mapped.
 */
int acpi_walk(const acpi_memory_t *memory, uint64_t rsdp, acpi_tables_t *out);
const acpi_found_t *acpi_find(const acpi_tables_t *tables, const char *signature, uint32_t n);

int acpi_parse_madt(const void *buf, size_t size, acpi_madt_t *out);
int acpi_parse_fadt(const void *buf, size_t size, acpi_fadt_t *out);
int acpi_parse_hpet(const void *buf, size_t size, acpi_hpet_t *out);
int acpi_parse_mcfg(const void *buf, size_t size, acpi_mcfg_t *out);

/* Looks for Name(_S5, Package(){a, b, ..}) in the AML of one DSDT or SSDT. */
int acpi_parse_s5(const void *buf, size_t size, acpi_s5_t *out);

/* The pin, polarity and trigger mode of an ISA interrupt: the override, else edge, active high, pin = irq. */
acpi_override_t acpi_isa_route(const acpi_madt_t *madt, uint32_t irq);

#endif
