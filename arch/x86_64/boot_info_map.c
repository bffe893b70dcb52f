/* SPDX-License-Identifier: MIT */
/*
 * boot_info_map.c — a loader's memory map, made one that can be relied on.
 *
 * Firmware hands out maps with empty entries, overlaps and borders inside a page.  The borders of all
 * entries cut the address space into pieces; each piece gets the most reserved of the kinds that cover
 * it, and neighbours of one kind are joined.
 */
#include "boot_info.h"

#define PAGE 4096u
#define PHYS_END ((uint64_t)1 << 52) /* no x86-64 has more: Intel SDM 3A §4.1.4 */

/* Who wins where entries overlap: a page that is handed out wrongly is worse than one that is not. */
static uint32_t rank(uint32_t type)
{
    static const uint8_t ranks[BOOT_KINDS] = {
        [BOOT_USABLE] = 1, [BOOT_LOADER] = 2,   [BOOT_ACPI_RECLAIM] = 3, [BOOT_FRAMEBUFFER] = 4,
        [BOOT_KERNEL] = 5, [BOOT_ACPI_NVS] = 6, [BOOT_RESERVED] = 7,     [BOOT_BAD] = 8,
    };
    return ranks[type < BOOT_KINDS ? type : BOOT_RESERVED];
}

/* What of an entry counts: what lies below PHYS_END, and of usable memory whole pages.  false: nothing. */
static bool bounds(const boot_range_t *r, uint64_t *from, uint64_t *to)
{
    uint64_t end = r->base + r->length;

    if (r->length == 0 || r->base >= PHYS_END)
        return false;
    if (end < r->base || end > PHYS_END)
        end = PHYS_END;
    *from = r->base;
    *to = end;
    if (r->type == BOOT_USABLE) {
        *from = (r->base + PAGE - 1) & ~(uint64_t)(PAGE - 1);
        *to = end & ~(uint64_t)(PAGE - 1);
    }
    return *from < *to;
}

/* The smallest border above `at`; UINT64_MAX: there is none. */
static uint64_t next_border(const boot_range_t *in, uint32_t n, uint64_t at, bool first)
{
    uint64_t best = UINT64_MAX, from, to;

    for (uint32_t i = 0; i < n; i++) {
        if (!bounds(&in[i], &from, &to))
            continue;
        if ((from > at || (first && from == at)) && from < best)
            best = from;
        if (to > at && to < best)
            best = to;
    }
    return best;
}

/* The kind of the piece that begins at `at`; BOOT_KINDS: a hole. */
static uint32_t kind_at(const boot_range_t *in, uint32_t n, uint64_t at)
{
    uint32_t best = BOOT_KINDS;
    uint64_t from, to;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t type = in[i].type < BOOT_KINDS ? in[i].type : BOOT_RESERVED;
        if (bounds(&in[i], &from, &to) && from <= at && at < to &&
            (best == BOOT_KINDS || rank(type) > rank(best)))
            best = type;
    }
    return best;
}

static uint32_t append(boot_range_t *out, uint32_t n, uint64_t from, uint64_t to, uint32_t type)
{
    if (n > 0 && out[n - 1].type == type && out[n - 1].base + out[n - 1].length == from) {
        out[n - 1].length += to - from;
        return n;
    }
    out[n] = (boot_range_t){.base = from, .length = to - from, .type = type};
    return n + 1;
}

/* Entries that are empty, wrap, have an unknown kind, or begin before their predecessor's end. */
static uint32_t count_odd(const boot_range_t *in, uint32_t n)
{
    uint32_t odd = 0;

    for (uint32_t i = 0; i < n; i++) {
        const boot_range_t *r = &in[i], *before = i > 0 ? &in[i - 1] : NULL;
        bool late = before && r->base < before->base + before->length;
        if (r->length == 0 || r->base + r->length < r->base || r->type >= BOOT_KINDS || late)
            odd++;
    }
    return odd;
}

/* A reserved piece may end inside a page; the usable rest of that page is nobody's. */
static uint32_t trim_usable(boot_range_t *map, uint32_t n)
{
    uint32_t kept = 0;
    uint64_t from, to;

    for (uint32_t i = 0; i < n; i++) {
        boot_range_t r = map[i];
        if (!bounds(&r, &from, &to))
            continue;
        map[kept++] = (boot_range_t){.base = from, .length = to - from, .type = r.type};
    }
    return kept;
}

uint32_t boot_map_normalise(const boot_range_t *in, uint32_t n, boot_range_t *out, uint32_t *repaired)
{
    uint32_t made = 0;
    uint64_t at = next_border(in, n, 0, true);

    *repaired = count_odd(in, n);
    while (at != UINT64_MAX && made < 2 * n) {
        uint64_t to = next_border(in, n, at, false);
        uint32_t type = kind_at(in, n, at);
        if (to != UINT64_MAX && type != BOOT_KINDS)
            made = append(out, made, at, to, type);
        at = to;
    }
    return trim_usable(out, made);
}
