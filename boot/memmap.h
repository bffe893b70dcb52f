/* SPDX-License-Identifier: MIT
 *
 * The memory map: made from what the firmware says, however untidy, and kept while memory is handed out.
 *
 * Between calls the map is sorted, its entries overlap nowhere and are not empty, and those of types USABLE
 * and RECLAIMABLE are page-aligned.  Where the firmware's entries overlap, the type that promises least wins.
 */
#ifndef GMK_BOOT_MEMMAP_H
#define GMK_BOOT_MEMMAP_H

#include "fail.h"
#include "limine.h"

#define MEMMAP_MAX 256u

struct memmap {
    uint32_t count;
    struct limine_memmap_entry entry[MEMMAP_MAX];
};

/* One of the firmware's entries, of an E820 type (ACPI 6.4, table 15.2): unsorted until memmap_tidy(). */
bool memmap_add_e820(struct memmap *map, uint64_t base, uint64_t length, uint32_t type, struct boot_error *e);
bool memmap_tidy(struct memmap *map, struct boot_error *e);

/* What is usable of the pages [base, base + length) touches becomes `type`.  It fails without a change. */
bool memmap_claim(struct memmap *map, uint64_t base, uint64_t length, uint64_t type, struct boot_error *e);

/* The highest usable `length` bytes below `limit`; claimed as `type`.  0: there are none. */
uint64_t memmap_alloc(struct memmap *map, uint64_t length, uint64_t align, uint64_t limit, uint64_t type);

/* Whether one entry of `type` holds all of [base, base + length). */
bool memmap_holds(const struct memmap *map, uint64_t base, uint64_t length, uint64_t type);

#endif
