/* SPDX-License-Identifier: MIT
 *
 * What whoever started the loader says: memory, modules, command line, RSDP.  Two ways in, one description.
 *
 * source_from_pvh() and source_from_mb2() copy what they need, so that nothing of the caller's memory but the
 * modules has to be kept.  Formats: Xen's start_info (public/arch-x86/hvm/start_info.h, version 1),
 * Multiboot2 2.0.
 */
#ifndef GMK_BOOT_SOURCE_H
#define GMK_BOOT_SOURCE_H

#include "memmap.h"
#include "phys.h"

#define SOURCE_MODULES 16u
#define SOURCE_TEXT 8192u

#define PVH_MAGIC 0x336ec578u
#define MB2_MAGIC 0x36d76289u
#define MB2_INFO_MAX 0x100000u

struct source_module {
    uint64_t base, size;
    const char *cmdline; /* never NULL */
};

struct boot_source {
    struct memmap map; /* the firmware's entries: not tidied yet */
    struct source_module module[SOURCE_MODULES];
    uint32_t module_count;
    const char *cmdline;   /* the loader's own; never NULL */
    uint64_t rsdp;         /* physical; 0: it said nothing */
    uint8_t rsdp_copy[36]; /* Multiboot2 gives a copy instead of the address */
    bool rsdp_copied;
    char text[SOURCE_TEXT];
    uint32_t text_used;
};

bool source_from_pvh(const struct phys_view *view, uint64_t info, struct boot_source *out,
                     struct boot_error *e);
bool source_from_mb2(const void *info, uint64_t size, struct boot_source *out, struct boot_error *e);

/* For the two: keeps a copy of a string of at most `length` bytes.  NULL: there is no room for it. */
const char *source_keep(struct boot_source *out, const char *text, uint64_t length, struct boot_error *e);
bool source_add_module(struct boot_source *out, uint64_t base, uint64_t size, const char *cmdline,
                       struct boot_error *e);

#endif
