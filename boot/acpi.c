/* SPDX-License-Identifier: MIT */
#include "acpi.h"
#include "mem.h"

#define TABLE_MAX 0x100000u
#define HEADER_SIZE 36u
#define FIRMWARE "the firmware is broken; going on with one CPU"

enum { MADT_ENTRIES = 44, MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_X2APIC = 9, MADT_ENABLED = 1 };

static bool sums_to_zero(const uint8_t *p, uint32_t n)
{
    uint8_t sum = 0;
    while (n-- > 0)
        sum = (uint8_t)(sum + *p++);
    return sum == 0;
}

static const uint8_t *table_at(const struct phys_view *view, uint64_t phys, const char *signature,
                               uint32_t *length)
{
    const uint8_t *p = phys_at(view, phys, HEADER_SIZE);
    if (p == NULL || memcmp(p, signature, 4) != 0)
        return NULL;
    *length = read32(p + 4);
    if (*length < HEADER_SIZE || *length > TABLE_MAX)
        return NULL;
    p = phys_at(view, phys, *length);
    return p != NULL && sums_to_zero(p, *length) ? p : NULL;
}

/* The XSDT where there is one, with entries of `step` bytes. */
static const uint8_t *root_table(const struct phys_view *view, uint64_t rsdp, uint32_t *length,
                                 uint32_t *step)
{
    const uint8_t *p = phys_at(view, rsdp, 20);
    if (p == NULL || memcmp(p, "RSD PTR ", 8) != 0 || !sums_to_zero(p, 20))
        return NULL;
    uint32_t rsdt = read32(p + 16);
    if (p[15] >= 2 && (p = phys_at(view, rsdp, 36)) != NULL && sums_to_zero(p, 36) && read64(p + 24) != 0) {
        *step = 8;
        return table_at(view, read64(p + 24), "XSDT", length);
    }
    *step = 4;
    return table_at(view, rsdt, "RSDT", length);
}

bool acpi_find_madt(const struct phys_view *view, uint64_t rsdp, const uint8_t **madt, uint32_t *length,
                    struct boot_error *e)
{
    uint32_t size, step;
    const uint8_t *root = root_table(view, rsdp, &size, &step);
    if (root == NULL)
        return boot_fail(e, "ACPI has no valid RSDP with an RSDT or XSDT, at", rsdp, FIRMWARE);
    for (uint32_t at = HEADER_SIZE; at + step <= size; at += step) {
        *madt = table_at(view, step == 8 ? read64(root + at) : read32(root + at), "APIC", length);
        if (*madt != NULL)
            return true;
    }
    return boot_fail(e, "ACPI lists no valid MADT, RSDP at", rsdp, FIRMWARE);
}

static void add_cpu(struct madt *out, uint32_t uid, uint32_t lapic_id, uint32_t flags)
{
    if ((flags & MADT_ENABLED) == 0)
        return;
    for (uint32_t i = 0; i < out->cpu_count; i++) {
        if (out->cpu[i].lapic_id == lapic_id)
            return;
    }
    if (out->cpu_count == MADT_CPUS)
        out->more_cpus++;
    else
        out->cpu[out->cpu_count++] = (struct madt_cpu){uid, lapic_id};
}

void madt_parse(const uint8_t *table, uint32_t length, struct madt *out)
{
    memset(out, 0, sizeof *out);
    for (uint32_t at = MADT_ENTRIES; at + 2 <= length;) {
        const uint8_t *p = table + at;
        uint32_t size = p[1];
        if (size < 2 || size > length - at)
            return;
        if (p[0] == MADT_LAPIC && size >= 8 && p[3] != 0xff)
            add_cpu(out, p[2], p[3], read32(p + 4));
        else if (p[0] == MADT_X2APIC && size >= 16 && read32(p + 4) != UINT32_MAX)
            add_cpu(out, read32(p + 12), read32(p + 4), read32(p + 8));
        else if (p[0] == MADT_IOAPIC && size >= 12 && out->ioapic_count < MADT_IOAPICS)
            out->ioapic[out->ioapic_count++] = read32(p + 4);
        at += size;
    }
}
