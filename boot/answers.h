/* SPDX-License-Identifier: MIT
 *
 * What the kernel gets: the responses to its requests, and what they are made of.
 */
#ifndef GMK_BOOT_ANSWERS_H
#define GMK_BOOT_ANSWERS_H

#include "acpi.h"
#include "elf.h"
#include "memmap.h"
#include "requests.h"
#include "source.h"

#define LOADER_NAME "ggmk-loader"

struct boot {
    struct boot_source source; /* its map is kept up to date */
    struct elf_image image;
    struct requests asked;
    struct madt madt;
    uint64_t kernel_phys;
    const char *kernel_cmdline;
    uint64_t rsdp; /* 0: none */
    uint64_t stack_size;
    uint64_t entry;
};

/* All but the memory map, which must come last, and the CPUs. */
void answer_requests(struct boot *b);
void answer_memmap(struct boot *b);

/* The CPUs of smp_slots that are ready, and the boot CPU. */
struct limine_mp_cpu *answer_mp_cpu(uint32_t slot);
void answer_mp(struct boot *b, uint32_t boot_uid, uint32_t boot_lapic_id, bool x2apic);

#endif
