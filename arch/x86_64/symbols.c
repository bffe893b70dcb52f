/* SPDX-License-Identifier: MIT */
/*
 * symbols.c — names for addresses, from the table that ksyms.awk makes of the linked kernel.
 *
 * The table: a count n; n addresses, ascending, as offsets from kernel_begin; n offsets of names from
 * ksyms_names; the names.
 */
#include "panic.h"

extern const uint32_t ksyms_begin[];
extern const char ksyms_names[];

static uint32_t count(void) { return ksyms_begin[0]; }
static uint32_t offset_of(uint32_t i) { return ksyms_begin[1 + i]; }
static const char *name_of(uint32_t i) { return ksyms_names + ksyms_begin[1 + count() + i]; }

const char *symbol_of(uint64_t addr, uint64_t *offset)
{
    uint64_t base = (uint64_t)(uintptr_t)kernel_begin;
    if (addr < (uint64_t)(uintptr_t)text_begin || addr >= (uint64_t)(uintptr_t)text_end)
        return NULL;
    if (count() == 0 || addr - base < offset_of(0))
        return NULL;
    uint32_t lo = 0, hi = count(); /* offset_of(lo) <= addr - base < offset_of(hi) */
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (offset_of(mid) <= addr - base)
            lo = mid;
        else
            hi = mid;
    }
    *offset = addr - base - offset_of(lo);
    return name_of(lo);
}
