/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the ACPI tables: the input is up to 64 KiB of physical memory at address 0, the RSDP at its
 * beginning.  Half of the inputs have their checksums put right first, or few would come past them.
 */
#include <ggmk/error.h>

#include <stdlib.h>
#include <string.h>

#include "acpi_parse.h"

#define MEMORY 65536u

static uint32_t size;
static int mapped;
static uint8_t *memory;

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* A copy of exactly the bytes asked for, so that a sanitizer sees one too many. */
static const void *map(void *context, uint64_t physical, uint32_t bytes)
{
    (void)context;
    if (bytes > size || physical > size - bytes)
        return NULL;
    uint8_t *copy = malloc(bytes);
    require(copy != NULL && bytes <= ACPI_TABLE_LIMIT);
    memcpy(copy, memory + physical, bytes);
    mapped++;
    return copy;
}

static void unmap(void *context, const void *p, uint32_t bytes)
{
    (void)context;
    (void)bytes;
    mapped--;
    free((void *)(uintptr_t)p);
}

static uint32_t get32(uint32_t at)
{
    return (uint32_t)memory[at] | (uint32_t)memory[at + 1] << 8 | (uint32_t)memory[at + 2] << 16 |
           (uint32_t)memory[at + 3] << 24;
}

static void put_sum(uint32_t at, uint32_t length, uint32_t sum_at)
{
    uint8_t sum = 0;
    memory[at + sum_at] = 0;
    for (uint32_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + memory[at + i]);
    memory[at + sum_at] = (uint8_t)-sum;
}

/* Names, lengths that fit and sums for the RSDP and what its root tables name. */
static void repair_table(uint32_t at, const char *signature)
{
    if (at > size - ACPI_HEADER_SIZE)
        return;
    if (signature != NULL)
        memcpy(memory + at, signature, 4);
    uint32_t length = get32(at + 4) % (size - at + 1);
    length = length < ACPI_HEADER_SIZE ? ACPI_HEADER_SIZE : length;
    for (uint32_t i = 0; i < 4; i++)
        memory[at + 4 + i] = (uint8_t)(length >> (8 * i));
    put_sum(at, length, 9);
}

static void repair(void)
{
    static const char *const names[] = {"APIC", "FACP", "HPET", "MCFG", "SSDT", NULL};
    if (size < 256)
        return;
    memcpy(memory, "RSD PTR ", 8);
    uint32_t root = get32(16) % size;
    repair_table(root, "RSDT");
    for (uint32_t i = 0; i < 6 && root + 40 + 4 * i <= size; i++)
        repair_table(get32(root + ACPI_HEADER_SIZE + 4 * i) % size, names[i]);
    repair_table(root, "RSDT");
    for (uint32_t i = 0; i < 4; i++)
        memory[16 + i] = (uint8_t)(root >> (8 * i));
    put_sum(0, 20, 8);
}

static void parse(const uint8_t *p, uint32_t length)
{
    static acpi_madt_t madt;
    acpi_fadt_t fadt;
    acpi_hpet_t hpet;
    acpi_mcfg_t mcfg;
    acpi_s5_t s5;
    if (acpi_parse_madt(p, length, &madt) == GMK_OK)
        for (uint32_t irq = 0; irq < 16; irq++)
            require(acpi_isa_route(&madt, irq).irq == irq);
    require(madt.cpu_count <= ACPI_MAX_CPUS && madt.ioapic_count <= ACPI_MAX_IOAPICS);
    require(madt.override_count <= ACPI_MAX_OVERRIDES);
    (void)acpi_parse_fadt(p, length, &fadt);
    require(acpi_parse_hpet(p, length, &hpet) != GMK_OK || hpet.address != 0);
    require(acpi_parse_mcfg(p, length, &mcfg) != GMK_OK || mcfg.count <= ACPI_MAX_SEGMENTS);
    require(acpi_parse_s5(p, length, &s5) != GMK_OK || (s5.type_a <= 7 && s5.type_b <= 7));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static acpi_tables_t tables;
    const acpi_memory_t access = {map, unmap, NULL};
    if (n < 1 || n > MEMORY)
        return 0;
    size = (uint32_t)n;
    memory = malloc(n);
    require(memory != NULL);
    memcpy(memory, data, n);
    if ((data[n - 1] & 1) != 0)
        repair();
    mapped = 0;
    uint8_t *all = malloc(n);
    require(all != NULL);
    memcpy(all, memory, n);
    parse(all, size);
    free(all);
    bool good = acpi_walk(&access, 0, &tables) == GMK_OK;
    require(mapped == (int)(good ? tables.count : 0) && tables.count <= ACPI_MAX_TABLES);
    for (uint32_t i = 0; good && i < tables.count; i++) {
        parse(tables.table[i].bytes, tables.table[i].length);
        unmap(NULL, tables.table[i].bytes, tables.table[i].length);
    }
    free(memory);
    return 0;
}
