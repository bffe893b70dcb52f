/* SPDX-License-Identifier: MIT
 *
 * PVH: struct hvm_start_info and what it points to.
 */
#include "source.h"
#include "mem.h"

#define BROKEN "start the loader with a PVH boot protocol of version 1, such as QEMU's -kernel"

enum { INFO_SIZE = 56, MODULE_SIZE = 32, ENTRY_SIZE = 24, ENTRIES_MAX = 4096 };

static const char *keep_string(const struct phys_view *view, uint64_t phys, struct boot_source *out,
                               struct boot_error *e)
{
    uint64_t length = 0;
    const char *c;
    if (phys == 0)
        return "";
    while (length < SOURCE_TEXT && (c = phys_at(view, phys + length, 1)) != NULL && *c != '\0')
        length++;
    c = phys_at(view, phys, length);
    return c != NULL ? source_keep(out, c, length, e) : "";
}

static bool read_modules(const struct phys_view *view, const uint8_t *info, struct boot_source *out,
                         struct boot_error *e)
{
    uint64_t list = read64(info + 16);
    uint32_t n = read32(info + 12);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *m = phys_at(view, list + (uint64_t)i * MODULE_SIZE, MODULE_SIZE);
        if (m == NULL)
            return boot_fail(e, "PVH module list lies outside of memory, at", list, BROKEN);
        if (!source_add_module(out, read64(m), read64(m + 8), keep_string(view, read64(m + 16), out, e), e))
            return false;
    }
    return true;
}

static bool read_map(const struct phys_view *view, const uint8_t *info, struct boot_source *out,
                     struct boot_error *e)
{
    uint64_t table = read64(info + 40);
    uint32_t n = read32(info + 48);
    if (read32(info + 4) < 1 || table == 0 || n == 0)
        return boot_fail(e, "PVH gives no memory map, start_info has version", read32(info + 4), BROKEN);
    if (n > ENTRIES_MAX)
        return boot_fail(e, "PVH memory map is too long, entries", n, BROKEN);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *m = phys_at(view, table + (uint64_t)i * ENTRY_SIZE, ENTRY_SIZE);
        if (m == NULL)
            return boot_fail(e, "PVH memory map lies outside of memory, at", table, BROKEN);
        if (!memmap_add_e820(&out->map, read64(m), read64(m + 8), read32(m + 16), e))
            return false;
    }
    return true;
}

bool source_from_pvh(const struct phys_view *view, uint64_t info, struct boot_source *out,
                     struct boot_error *e)
{
    memset(out, 0, sizeof *out);
    const uint8_t *p = phys_at(view, info, INFO_SIZE);
    if (p == NULL || read32(p) != PVH_MAGIC)
        return boot_fail(e, "PVH start_info is not where it should be, at", info, BROKEN);
    out->rsdp = read64(p + 32);
    out->cmdline = keep_string(view, read64(p + 24), out, e);
    return out->cmdline != NULL && read_modules(view, p, out, e) && read_map(view, p, out, e);
}
