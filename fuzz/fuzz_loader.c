/* SPDX-License-Identifier: MIT
 *
 * libFuzzer: everything the loader reads from outside.  The first byte says which parser, and what was
 * accepted has to hold what that parser promises.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../boot/acpi.h"
#include "../boot/elf.h"
#include "../boot/requests.h"
#include "../boot/source.h"

#define IMAGE_MAX 0x100000u
#define AT 0x1000u

struct bytes {
    const uint8_t *data;
    size_t size;
};

static struct boot_error error;

static void must(int holds)
{
    if (!holds)
        abort();
}

/* The input is there again and again, every 4 KiB, so that most pointers lead into it. */
static const void *bytes_at(void *ctx, uint64_t phys, uint64_t length)
{
    const struct bytes *b = ctx;
    uint64_t at = phys % AT;
    return at <= b->size && length <= b->size - at ? b->data + at : NULL;
}

static void check_map(struct memmap *map)
{
    uint64_t end = 0;
    if (!memmap_tidy(map, &error))
        return;
    if (memmap_claim(map, 0x5000, 0x12345, LIMINE_MEM_KERNEL_AND_MODULES, &error))
        memmap_alloc(map, 0x3000, 0x1000, 1ull << 32, LIMINE_MEM_RECLAIMABLE);
    for (uint32_t i = 0; i < map->count; i++) {
        const struct limine_memmap_entry *m = &map->entry[i];
        must(m->length > 0 && m->base >= end && m->base + m->length > m->base);
        if (m->type == LIMINE_MEM_USABLE || m->type == LIMINE_MEM_RECLAIMABLE)
            must((m->base | m->length) % 0x1000 == 0);
        end = m->base + m->length;
    }
}

static void check_source(struct boot_source *s)
{
    must(s->module_count <= SOURCE_MODULES && strlen(s->cmdline) < SOURCE_TEXT);
    for (uint32_t i = 0; i < s->module_count; i++)
        must(strlen(s->module[i].cmdline) < SOURCE_TEXT);
    check_map(&s->map);
}

static void fuzz_elf(const uint8_t *data, size_t size)
{
    struct elf_image image;
    struct requests asked;
    if (!elf_check(data, size, &image, &error))
        return;
    must(elf_is_code(&image, image.entry) && image.length % PAGE_SIZE == 0 &&
         image.base + image.length > image.base);
    if (image.length > IMAGE_MAX)
        return;
    void *memory = aligned_alloc(PAGE_SIZE, image.length);
    must(memory != NULL);
    elf_load(&image, data, memory);
    requests_find(&image, memory, &asked, &error);
    free(memory);
}

static void fuzz_requests(const uint8_t *data, size_t size)
{
    struct elf_image image = {.base = ELF_LOWEST_ADDRESS, .length = size, .count = 1};
    struct requests asked;
    void *memory = aligned_alloc(8, (size + 8) & ~(size_t)7);
    must(memory != NULL);
    memcpy(memory, data, size);
    image.segment[0] = (struct elf_segment){.vaddr = image.base, .memsz = size, .filesz = size};
    if (requests_find(&image, memory, &asked, &error)) {
        for (uint32_t r = 0; r < REQUEST_COUNT; r++) {
            if (asked.found[r] != NULL)
                asked.found[r]->response = NULL;
        }
        if (asked.found[REQUEST_STACK_SIZE] != NULL)
            request_extra(asked.found[REQUEST_STACK_SIZE]);
    }
    free(memory);
}

/* With the magic number and the version given, which say nothing about the rest. */
static void fuzz_pvh(const uint8_t *data, size_t size)
{
    static struct boot_source source;
    uint8_t copy[AT];
    struct bytes bytes = {copy, size < AT ? size : AT};
    struct phys_view view = {bytes_at, &bytes};
    memcpy(copy, data, bytes.size);
    memcpy(copy, (const uint32_t[]){PVH_MAGIC, 1}, bytes.size < 8 ? bytes.size : 8);
    if (source_from_pvh(&view, AT, &source, &error))
        check_source(&source);
}

static void fuzz_acpi(const struct phys_view *view)
{
    static struct madt madt;
    const uint8_t *table;
    uint32_t length;
    if (acpi_find_madt(view, AT, &table, &length, &error))
        madt_parse(table, length, &madt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct boot_source source;
    static struct madt madt;
    if (size == 0)
        return 0;
    struct bytes bytes = {data + 1, size - 1};
    struct phys_view view = {bytes_at, &bytes};
    switch (data[0] % 6) {
    case 0: fuzz_elf(data + 1, size - 1); break;
    case 1: fuzz_requests(data + 1, size - 1); break;
    case 2: fuzz_pvh(data + 1, size - 1); break;
    case 3:
        if (source_from_mb2(data + 1, size - 1, &source, &error))
            check_source(&source);
        break;
    case 4: fuzz_acpi(&view); break;
    default: madt_parse(data + 1, (uint32_t)(size - 1), &madt); break;
    }
    return 0;
}
