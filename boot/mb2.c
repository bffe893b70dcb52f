/* SPDX-License-Identifier: MIT
 *
 * Multiboot2: the tags of the boot information (section 3.6).
 */
#include "source.h"
#include "mem.h"

#define BROKEN "the boot loader's Multiboot2 information is broken: try GRUB 2.06"

enum { TAG_END = 0, TAG_CMDLINE = 1, TAG_MODULE = 3, TAG_MMAP = 6, TAG_RSDP_1 = 14, TAG_RSDP_2 = 15 };

static bool read_module(const uint8_t *tag, uint32_t size, struct boot_source *out, struct boot_error *e)
{
    if (size < 16 || read32(tag + 12) < read32(tag + 8))
        return boot_fail(e, "Multiboot2 module tag has a wrong size", size, BROKEN);
    const char *cmdline = source_keep(out, (const char *)tag + 16, size - 16, e);
    return source_add_module(out, read32(tag + 8), read32(tag + 12) - read32(tag + 8), cmdline, e);
}

static bool read_mmap(const uint8_t *tag, uint32_t size, struct boot_source *out, struct boot_error *e)
{
    uint32_t step = size >= 16 ? read32(tag + 8) : 0;
    if (step < 24)
        return boot_fail(e, "Multiboot2 memory map has entries of a wrong size", step, BROKEN);
    for (uint32_t at = 16; size - at >= step; at += step) {
        const uint8_t *m = tag + at;
        if (!memmap_add_e820(&out->map, read64(m), read64(m + 8), read32(m + 16), e))
            return false;
    }
    return true;
}

/* A tag of either version; the newer one, which is longer, wins. */
static void read_rsdp(const uint8_t *tag, uint32_t size, uint32_t length, struct boot_source *out)
{
    if (size < 8 + length || (out->rsdp_copied && length < sizeof out->rsdp_copy))
        return;
    memcpy(out->rsdp_copy, tag + 8, length);
    out->rsdp_copied = true;
}

static bool read_tag(const uint8_t *tag, uint32_t type, uint32_t size, struct boot_source *out,
                     struct boot_error *e)
{
    switch (type) {
    case TAG_CMDLINE:
        out->cmdline = source_keep(out, (const char *)tag + 8, size - 8, e);
        return out->cmdline != NULL;
    case TAG_MODULE: return read_module(tag, size, out, e);
    case TAG_MMAP: return read_mmap(tag, size, out, e);
    case TAG_RSDP_1: read_rsdp(tag, size, 20, out); return true;
    case TAG_RSDP_2: read_rsdp(tag, size, 36, out); return true;
    default: return true;
    }
}

bool source_from_mb2(const void *info, uint64_t size, struct boot_source *out, struct boot_error *e)
{
    const uint8_t *p = info;
    memset(out, 0, sizeof *out);
    out->cmdline = "";
    for (uint64_t at = 8; at + 8 <= size;) {
        uint32_t type = read32(p + at), length = read32(p + at + 4);
        if (type == TAG_END)
            break;
        if (length < 8 || length > size - at)
            return boot_fail(e, "Multiboot2 tag has a wrong size", length, BROKEN);
        if (!read_tag(p + at, type, length, out, e))
            return false;
        at += ((uint64_t)length + 7) & ~7ull;
    }
    if (out->map.count == 0)
        return boot_fail(e, "Multiboot2 gives no memory map, information bytes", size, BROKEN);
    return true;
}
