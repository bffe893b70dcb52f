/* SPDX-License-Identifier: MIT
 *
 * The kernel's ELF file: whether it is one that can be loaded, and where its segments go.
 *
 * elf_check() accepts a static ELF64 executable for x86-64 in the topmost 2 GiB, with page-aligned PT_LOAD
 * segments that share no page, none of them writable and executable, and refuses everything else.  What it
 * accepted, elf_load() copies without looking again.  Format: System V ABI, chapters 4 and 5, and its AMD64
 * supplement.
 */
#ifndef GMK_BOOT_ELF_H
#define GMK_BOOT_ELF_H

#include "fail.h"

#define PAGE_SIZE 4096u
#define ELF_SEGMENTS_MAX 32u
#define ELF_LOWEST_ADDRESS 0xffffffff80000000u

struct elf_segment {
    uint64_t vaddr, memsz; /* page-aligned start; length in bytes */
    uint64_t offset, filesz;
    bool write, exec;
};

struct elf_image {
    uint64_t entry;
    uint64_t base, length; /* of the whole image in memory, page-aligned */
    uint64_t align; /* what base has to be aligned to, physically as well: a power of two, >= PAGE_SIZE */
    uint32_t count;
    struct elf_segment segment[ELF_SEGMENTS_MAX]; /* sorted by vaddr */
};

bool elf_check(const void *file, uint64_t size, struct elf_image *out, struct boot_error *e);

/* Fills `memory`, which has image->length bytes and becomes image->base. */
void elf_load(const struct elf_image *image, const void *file, void *memory);

/* Whether code may start at vaddr. */
bool elf_is_code(const struct elf_image *image, uint64_t vaddr);

#endif
