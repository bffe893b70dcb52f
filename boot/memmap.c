/* SPDX-License-Identifier: MIT */
#include "memmap.h"
#include "mem.h"

#define PAGE_MASK 0xfffu
#define PHYS_END (1ull << 52) /* the most that x86-64 can address: Intel SDM 3A, 4.1.4 */
#define TOO_MANY "simplify the machine, or use another loader"

/* The highest wins where entries overlap. */
static uint32_t rank(uint64_t type)
{
    static const uint8_t ranks[] = {
        [LIMINE_MEM_USABLE] = 0,           [LIMINE_MEM_RECLAIMABLE] = 1,
        [LIMINE_MEM_FRAMEBUFFER] = 2,      [LIMINE_MEM_KERNEL_AND_MODULES] = 3,
        [LIMINE_MEM_ACPI_RECLAIMABLE] = 4, [LIMINE_MEM_ACPI_NVS] = 5,
        [LIMINE_MEM_RESERVED] = 6,         [LIMINE_MEM_BAD] = 7,
    };
    return ranks[type];
}

static uint64_t from_e820(uint32_t type)
{
    switch (type) {
    case 1: return LIMINE_MEM_USABLE;
    case 3: return LIMINE_MEM_ACPI_RECLAIMABLE;
    case 4: return LIMINE_MEM_ACPI_NVS;
    case 5: return LIMINE_MEM_BAD;
    default: return LIMINE_MEM_RESERVED;
    }
}

static bool add(struct memmap *map, uint64_t base, uint64_t length, uint64_t type, struct boot_error *e)
{
    if (length == 0 || base >= PHYS_END)
        return true;
    if (map->count == MEMMAP_MAX)
        return boot_fail(e, "memory map has more entries than", MEMMAP_MAX, TOO_MANY);
    if (length > PHYS_END - base)
        length = PHYS_END - base;
    map->entry[map->count++] = (struct limine_memmap_entry){base, length, type};
    return true;
}

bool memmap_add_e820(struct memmap *map, uint64_t base, uint64_t length, uint32_t type, struct boot_error *e)
{
    return add(map, base, length, from_e820(type), e);
}

/* Sorts and drops what is there twice; returns how many are left. */
static uint32_t sort(uint64_t *v, uint32_t n)
{
    uint32_t kept = 0;
    for (uint32_t i = 1; i < n; i++) {
        uint64_t x = v[i];
        uint32_t j = i;
        for (; j > 0 && v[j - 1] > x; j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (kept == 0 || v[kept - 1] != v[i])
            v[kept++] = v[i];
    }
    return kept;
}

static uint32_t edges(const struct memmap *map, uint64_t *edge)
{
    for (uint32_t i = 0; i < map->count; i++) {
        edge[2 * i] = map->entry[i].base;
        edge[2 * i + 1] = map->entry[i].base + map->entry[i].length;
    }
    return sort(edge, 2 * map->count);
}

/* The type of [base, end), inside of which no entry begins or ends; false: no entry covers it. */
static bool type_of(const struct memmap *map, uint64_t base, uint64_t *type)
{
    bool found = false;
    for (uint32_t i = 0; i < map->count; i++) {
        const struct limine_memmap_entry *m = &map->entry[i];
        if (base - m->base < m->length && base >= m->base && (!found || rank(m->type) > rank(*type))) {
            *type = m->type;
            found = true;
        }
    }
    return found;
}

/* Only whole pages can be used; the rest of a torn page is nobody's. */
static bool trim(struct limine_memmap_entry *m)
{
    if (m->type != LIMINE_MEM_USABLE && m->type != LIMINE_MEM_RECLAIMABLE)
        return true;
    uint64_t start = (m->base + PAGE_MASK) & ~(uint64_t)PAGE_MASK;
    uint64_t end = (m->base + m->length) & ~(uint64_t)PAGE_MASK;
    m->base = start;
    m->length = end - start;
    return end > start;
}

static bool append(struct memmap *map, const struct limine_memmap_entry *m, struct boot_error *e)
{
    struct limine_memmap_entry *last = map->count > 0 ? &map->entry[map->count - 1] : NULL;
    if (last != NULL && last->type == m->type && last->base + last->length == m->base) {
        last->length += m->length;
        return true;
    }
    return add(map, m->base, m->length, m->type, e);
}

bool memmap_tidy(struct memmap *map, struct boot_error *e)
{
    uint64_t edge[2 * MEMMAP_MAX];
    struct memmap in = *map;
    uint32_t n = edges(&in, edge), kept = 0;
    map->count = 0;
    for (uint32_t i = 0; i + 1 < n; i++) {
        struct limine_memmap_entry m = {edge[i], edge[i + 1] - edge[i], 0};
        if (type_of(&in, m.base, &m.type) && !append(map, &m, e))
            return false;
    }
    for (uint32_t i = 0; i < map->count; i++) {
        if (trim(&map->entry[i]))
            map->entry[kept++] = map->entry[i];
    }
    map->count = kept;
    return true;
}

/* Clipped to the entries that are usable, so that a claim describes no memory that is not there. */
static bool add_claim(struct memmap *map, uint64_t start, uint64_t end, uint64_t type, struct boot_error *e)
{
    for (uint32_t i = 0, n = map->count; i < n; i++) {
        const struct limine_memmap_entry *m = &map->entry[i];
        uint64_t from = start > m->base ? start : m->base;
        uint64_t to = end < m->base + m->length ? end : m->base + m->length;
        if (m->type == LIMINE_MEM_USABLE && from < to && !add(map, from, to - from, type, e))
            return false;
    }
    return memmap_tidy(map, e);
}

bool memmap_claim(struct memmap *map, uint64_t base, uint64_t length, uint64_t type, struct boot_error *e)
{
    struct memmap before = *map;
    uint64_t start = base & ~(uint64_t)PAGE_MASK;
    uint64_t end = (base + length + PAGE_MASK) & ~(uint64_t)PAGE_MASK;
    if (length == 0 || add_claim(map, start, end, type, e))
        return true;
    *map = before;
    return false;
}

uint64_t memmap_alloc(struct memmap *map, uint64_t length, uint64_t align, uint64_t limit, uint64_t type)
{
    struct boot_error ignored;
    for (uint32_t i = map->count; i-- > 0;) {
        const struct limine_memmap_entry *m = &map->entry[i];
        uint64_t end = m->base + m->length < limit ? m->base + m->length : limit;
        if (m->type != LIMINE_MEM_USABLE || end < m->base || end - m->base < length)
            continue;
        uint64_t base = (end - length) & ~(align - 1);
        if (base >= m->base && base != 0)
            return memmap_claim(map, base, length, type, &ignored) ? base : 0;
    }
    return 0;
}

bool memmap_holds(const struct memmap *map, uint64_t base, uint64_t length, uint64_t type)
{
    for (uint32_t i = 0; i < map->count; i++) {
        const struct limine_memmap_entry *m = &map->entry[i];
        if (m->type == type && base >= m->base && base - m->base <= m->length &&
            length <= m->length - (base - m->base))
            return true;
    }
    return false;
}
