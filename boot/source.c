/* SPDX-License-Identifier: MIT */
#include "source.h"
#include "mem.h"

const char *source_keep(struct boot_source *out, const char *text, uint64_t length, struct boot_error *e)
{
    char *copy = out->text + out->text_used;
    uint64_t n = 0;
    while (n < length && text[n] != '\0')
        n++;
    if (n >= SOURCE_TEXT - out->text_used) {
        boot_fail(e, "command lines are too long, all together more bytes than", SOURCE_TEXT, "shorten them");
        return NULL;
    }
    memcpy(copy, text, n);
    copy[n] = '\0';
    out->text_used += (uint32_t)n + 1;
    return copy;
}

bool source_add_module(struct boot_source *out, uint64_t base, uint64_t size, const char *cmdline,
                       struct boot_error *e)
{
    if (cmdline == NULL)
        return false;
    if (out->module_count == SOURCE_MODULES)
        return boot_fail(e, "more modules than", SOURCE_MODULES, "load fewer");
    if (base + size < base)
        return boot_fail(e, "module wraps around the end of memory, at", base, "the boot loader is broken");
    out->module[out->module_count++] = (struct source_module){base, size, cmdline};
    return true;
}
