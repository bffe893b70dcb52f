/* SPDX-License-Identifier: MIT */
#include "requests.h"
#include "mem.h"

#define TWICE "keep one of them"

struct words {
    uint64_t *word;
    uint64_t count;
};

static const uint64_t ids[REQUEST_COUNT][4] = {
    [REQUEST_HHDM] = LIMINE_ID_HHDM,
    [REQUEST_MEMMAP] = LIMINE_ID_MEMMAP,
    [REQUEST_MP] = LIMINE_ID_MP,
    [REQUEST_EXECUTABLE_ADDRESS] = LIMINE_ID_EXECUTABLE_ADDRESS,
    [REQUEST_RSDP] = LIMINE_ID_RSDP,
    [REQUEST_LOADER_INFO] = LIMINE_ID_LOADER_INFO,
    [REQUEST_KERNEL_FILE] = LIMINE_ID_KERNEL_FILE,
    [REQUEST_CMDLINE] = LIMINE_ID_CMDLINE,
    [REQUEST_MODULES] = LIMINE_ID_MODULES,
    [REQUEST_STACK_SIZE] = LIMINE_ID_STACK_SIZE,
    [REQUEST_ENTRY_POINT] = LIMINE_ID_ENTRY_POINT,
};

/* The words that a request needs, so that its response and extra word lie inside of the segment. */
static uint64_t words_of(enum request r)
{
    return r == REQUEST_MP || r == REQUEST_STACK_SIZE || r == REQUEST_ENTRY_POINT ? 7 : 6;
}

static bool match_request(struct words w, struct requests *out, struct boot_error *e)
{
    for (enum request r = 0; r < REQUEST_COUNT; r++) {
        if (w.count < words_of(r) || memcmp(w.word, ids[r], sizeof ids[r]) != 0)
            continue;
        if (out->found[r] != NULL)
            return boot_fail(e, "kernel has the same Limine request twice, its id ends in", ids[r][3], TWICE);
        out->found[r] = (struct limine_request *)(void *)w.word;
    }
    return true;
}

static bool match(struct words w, struct requests *out, struct boot_error *e)
{
    static const uint64_t tag[3] = LIMINE_BASE_REVISION(0);
    if (w.word[0] == LIMINE_COMMON_0)
        return match_request(w, out, e);
    if (w.count >= 3 && w.word[0] == tag[0] && w.word[1] == tag[1]) {
        if (out->base_revision != NULL)
            return boot_fail(e, "kernel has the base revision tag twice, the second asks for", w.word[2],
                             TWICE);
        out->base_revision = &w.word[2];
    }
    return true;
}

static struct words words_in(const struct elf_image *image, uint32_t segment, void *memory)
{
    const struct elf_segment *s = &image->segment[segment];
    return (struct words){(uint64_t *)(void *)((uint8_t *)memory + (s->vaddr - image->base)), s->filesz / 8};
}

/* The first place where the n words of `marker` stand. */
static uint64_t *find(const struct elf_image *image, void *memory, const uint64_t *marker, uint64_t n)
{
    for (uint32_t i = 0; i < image->count; i++) {
        struct words w = words_in(image, i, memory);
        for (uint64_t k = 0; k + n <= w.count; k++) {
            if (w.word[k] == marker[0] && memcmp(w.word + k, marker, n * 8) == 0)
                return w.word + k;
        }
    }
    return NULL;
}

bool requests_find(const struct elf_image *image, void *memory, struct requests *out, struct boot_error *e)
{
    static const uint64_t first[4] = LIMINE_REQUESTS_START, last[2] = LIMINE_REQUESTS_END;
    uint64_t *start = find(image, memory, first, 4), *end = find(image, memory, last, 2);
    bool marked = start != NULL && end != NULL;
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < image->count; i++) {
        struct words w = words_in(image, i, memory);
        for (; w.count > 1; w.word++, w.count--) {
            if (marked && (w.word < start || w.word >= end))
                continue;
            if (!match(w, out, e))
                return false;
        }
    }
    return true;
}

uint64_t request_extra(const struct limine_request *r) { return read64(r + 1); }
