/* SPDX-License-Identifier: MIT */
/* acpi_walk.c — from the RSDP to the list of tables (ACPI 6.4 §5.2.7, §5.2.8). */
#include "acpi_parse.h"

#include <ggmk/error.h>

static uint64_t get_le(const uint8_t *p, uint32_t bytes)
{
    uint64_t v = 0;
    for (uint32_t i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* A whole, good table at a physical address, mapped; NULL: there is none. */
static const uint8_t *map_table(const acpi_memory_t *memory, uint64_t physical, uint32_t *length)
{
    const uint8_t *p = memory->map(memory->context, physical, ACPI_HEADER_SIZE);
    if (p == NULL)
        return NULL;
    *length = (uint32_t)get_le(p + 4, 4);
    memory->unmap(memory->context, p, ACPI_HEADER_SIZE);
    if (*length < ACPI_HEADER_SIZE || *length > ACPI_TABLE_LIMIT)
        return NULL;
    p = memory->map(memory->context, physical, *length);
    if (p == NULL || acpi_check_table(p, *length, NULL) == GMK_OK)
        return p;
    memory->unmap(memory->context, p, *length);
    return NULL;
}

static bool known(const acpi_tables_t *t, uint64_t physical)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (t->table[i].physical == physical)
            return true;
    return false;
}

static void add_table(const acpi_memory_t *memory, uint64_t physical, acpi_tables_t *out)
{
    uint32_t length = 0;
    if (physical == 0)
        return;
    if (out->count == ACPI_MAX_TABLES || known(out, physical)) {
        out->skipped++;
        return;
    }
    const uint8_t *p = map_table(memory, physical, &length);
    if (p == NULL) {
        out->damaged++;
        return;
    }
    acpi_found_t *found = &out->table[out->count++];
    *found = (acpi_found_t){.length = length, .physical = physical, .bytes = p};
    for (uint32_t i = 0; i < 4; i++)
        found->signature[i] = (char)p[i];
}

/* One entry of 8 bytes (XSDT) or 4 (RSDT) for each table; the FADT names the DSDT besides. */
static int add_all(const acpi_memory_t *memory, uint64_t root, const char *signature, acpi_tables_t *out)
{
    uint32_t length = 0, width = signature[0] == 'X' ? 8 : 4;
    const uint8_t *p = map_table(memory, root, &length);
    if (p == NULL)
        return GMK_ERR_INVAL;
    bool right = acpi_check_table(p, length, signature) == GMK_OK;
    for (uint32_t at = ACPI_HEADER_SIZE; right && length - at >= width; at += width) {
        uint64_t physical = get_le(p + at, width);
        if (physical == root)
            out->skipped++;
        else
            add_table(memory, physical, out);
    }
    memory->unmap(memory->context, p, length);
    return right ? GMK_OK : GMK_ERR_INVAL;
}

/* A revision 0 pointer may be the last 20 bytes of what can be mapped. */
static int read_rsdp(const acpi_memory_t *memory, uint64_t physical, acpi_rsdp_t *out)
{
    uint32_t size = ACPI_RSDP_SIZE;
    const void *p = memory->map(memory->context, physical, size);
    if (p == NULL) {
        size = 20;
        p = memory->map(memory->context, physical, size);
    }
    int rc = acpi_parse_rsdp(p, size, out);
    if (p != NULL)
        memory->unmap(memory->context, p, size);
    return rc;
}

int acpi_walk(const acpi_memory_t *memory, uint64_t rsdp, acpi_tables_t *out)
{
    out->count = out->damaged = out->skipped = 0;
    int rc = read_rsdp(memory, rsdp, &out->rsdp);
    if (rc != GMK_OK)
        return rc;
    rc = GMK_ERR_INVAL;
    if (out->rsdp.xsdt != 0)
        rc = add_all(memory, out->rsdp.xsdt, "XSDT", out);
    if (rc != GMK_OK && out->rsdp.rsdt != 0)
        rc = add_all(memory, out->rsdp.rsdt, "RSDT", out);
    if (rc != GMK_OK)
        return rc;
    acpi_fadt_t fadt;
    const acpi_found_t *found = acpi_find(out, "FACP", 0);
    if (found != NULL && acpi_parse_fadt(found->bytes, found->length, &fadt) == GMK_OK)
        add_table(memory, fadt.dsdt, out);
    return GMK_OK;
}

const acpi_found_t *acpi_find(const acpi_tables_t *tables, const char *signature, uint32_t n)
{
    for (uint32_t i = 0; i < tables->count; i++) {
        const char *s = tables->table[i].signature;
        bool same = s[0] == signature[0] && s[1] == signature[1] && s[2] == signature[2] &&
                    s[3] == signature[3];
        if (same && n-- == 0)
            return &tables->table[i];
    }
    return NULL;
}
