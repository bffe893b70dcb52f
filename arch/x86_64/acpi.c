/* SPDX-License-Identifier: MIT */
/* acpi.c — finds and keeps this machine's tables; what they mean is acpi_parse.c's business. */
#include "acpi.h"

#include "kprintf.h"
#include "vmm.h"

#include <ggmk/error.h>

static acpi_tables_t tables;
static acpi_madt_t madt;
static acpi_fadt_t fadt;
static acpi_hpet_t hpet;
static acpi_mcfg_t mcfg;
static acpi_s5_t s5;
static bool have_madt, have_fadt, have_hpet, have_mcfg, have_s5;

static const void *map_physical(void *context, uint64_t physical, uint32_t bytes)
{
    (void)context;
    return vmm_map_device(physical, bytes, VMM_WB);
}

static void unmap_physical(void *context, const void *p, uint32_t bytes)
{
    (void)context;
    vmm_unmap_device((void *)(uintptr_t)p, bytes);
}

static bool find_s5(void)
{
    const acpi_found_t *dsdt = acpi_find(&tables, "DSDT", 0), *ssdt;
    if (dsdt != NULL && acpi_parse_s5(dsdt->bytes, dsdt->length, &s5) == GMK_OK)
        return true;
    for (uint32_t i = 0; (ssdt = acpi_find(&tables, "SSDT", i)) != NULL; i++)
        if (acpi_parse_s5(ssdt->bytes, ssdt->length, &s5) == GMK_OK)
            return true;
    return false;
}

static void parse_tables(void)
{
    const acpi_found_t *t;
    have_madt = (t = acpi_find(&tables, "APIC", 0)) != NULL &&
                acpi_parse_madt(t->bytes, t->length, &madt) == GMK_OK;
    have_fadt = (t = acpi_find(&tables, "FACP", 0)) != NULL &&
                acpi_parse_fadt(t->bytes, t->length, &fadt) == GMK_OK;
    have_hpet = (t = acpi_find(&tables, "HPET", 0)) != NULL &&
                acpi_parse_hpet(t->bytes, t->length, &hpet) == GMK_OK;
    have_mcfg = (t = acpi_find(&tables, "MCFG", 0)) != NULL &&
                acpi_parse_mcfg(t->bytes, t->length, &mcfg) == GMK_OK;
    have_s5 = find_s5();
}

static void report(void)
{
    kprintf("acpi: revision %u, %u tables", tables.rsdp.revision, tables.count);
    if (tables.damaged != 0)
        kprintf(", %u damaged ones ignored", tables.damaged);
    if (have_madt)
        kprintf("; %u CPUs, %u IOAPICs, %u overrides", madt.cpu_count, madt.ioapic_count,
                madt.override_count);
    if (have_madt && madt.ignored != 0)
        kprintf(", %u MADT entries ignored", madt.ignored);
    kprintf("\n");
    if (!have_madt)
        kprintf("acpi: no MADT: interrupt controllers at their usual places\n");
    if (!have_fadt || !have_s5)
        kprintf("acpi: no %s: this machine cannot be switched off by software\n",
                have_fadt ? "_S5 package" : "FADT");
}

int acpi_init(uint64_t rsdp)
{
    static const acpi_memory_t memory = {map_physical, unmap_physical, NULL};
    if (rsdp == 0) {
        kprintf("acpi: none: one CPU, interrupt controllers at their usual places, no power off\n");
        return GMK_ERR_NOTFOUND;
    }
    int rc = acpi_walk(&memory, rsdp, &tables);
    if (rc != GMK_OK) {
        kprintf("acpi: the RSDP at 0x%llx, or the table it names, is damaged: going on without ACPI\n",
                (unsigned long long)rsdp);
        return rc;
    }
    parse_tables();
    if (have_fadt)
        acpi_map_registers(&fadt);
    report();
    return GMK_OK;
}

const void *acpi_table(const char signature[4], uint32_t n, uint32_t *length)
{
    const acpi_found_t *t = acpi_find(&tables, signature, n);
    *length = t != NULL ? t->length : 0;
    return t != NULL ? t->bytes : NULL;
}

const acpi_madt_t *acpi_madt(void) { return have_madt ? &madt : NULL; }
const acpi_fadt_t *acpi_fadt(void) { return have_fadt ? &fadt : NULL; }
const acpi_hpet_t *acpi_hpet(void) { return have_hpet ? &hpet : NULL; }
const acpi_mcfg_t *acpi_mcfg(void) { return have_mcfg ? &mcfg : NULL; }
const acpi_s5_t *acpi_s5(void) { return have_s5 ? &s5 : NULL; }
