/* SPDX-License-Identifier: MIT
 *
 * Finds the Limine requests in a loaded kernel image.
 */
#ifndef GMK_BOOT_REQUESTS_H
#define GMK_BOOT_REQUESTS_H

#include "elf.h"
#include "limine.h"

enum request {
    REQUEST_HHDM,
    REQUEST_MEMMAP,
    REQUEST_MP,
    REQUEST_EXECUTABLE_ADDRESS,
    REQUEST_RSDP,
    REQUEST_LOADER_INFO,
    REQUEST_KERNEL_FILE,
    REQUEST_CMDLINE,
    REQUEST_MODULES,
    REQUEST_STACK_SIZE,
    REQUEST_ENTRY_POINT,
    REQUEST_COUNT
};

struct requests {
    uint64_t *base_revision;                     /* the tag's third word; NULL: the kernel has none */
    struct limine_request *found[REQUEST_COUNT]; /* in the loaded image; NULL: not asked for */
};

/* `memory` holds the image as elf_load() left it, 8-byte aligned.  Refuses what is there twice. */
bool requests_find(const struct elf_image *image, void *memory, struct requests *out, struct boot_error *e);

/* The word after the plain request: MP flags, stack size, entry point. */
uint64_t request_extra(const struct limine_request *r);

#endif
