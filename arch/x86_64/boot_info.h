/* SPDX-License-Identifier: MIT */
/*
 * boot_info.h — what the loader said: the answers to the Limine requests, checked and normalised.
 *
 * boot_info_read runs first of all, on the boot CPU, before there is a console: it prints nothing and
 * keeps what it has to say for boot_info_problem.  Everything else may be called from anywhere, later.
 * All addresses here are physical unless they say otherwise; strings are copies, so nothing but `mp`
 * points into the loader's memory.
 */
#ifndef GGMK_BOOT_INFO_H
#define GGMK_BOOT_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Kinds of memory, as the Limine protocol numbers them.  Unknown ones become BOOT_RESERVED. */
enum {
    BOOT_USABLE,
    BOOT_RESERVED,
    BOOT_ACPI_RECLAIM,
    BOOT_ACPI_NVS,
    BOOT_BAD,
    BOOT_LOADER, /* the loader's tables and the parked CPUs' code: mapped until smp_start is through */
    BOOT_KERNEL, /* this image, and modules */
    BOOT_FRAMEBUFFER,
    BOOT_KINDS
};

typedef struct boot_range {
    uint64_t base, length; /* length > 0, base + length does not wrap */
    uint32_t type;         /* BOOT_* */
} boot_range_t;

#define BOOT_RANGES_IN 256u              /* entries of the loader's map that are looked at */
#define BOOT_RANGES (2 * BOOT_RANGES_IN) /* what they can become once overlaps are cut */
#define BOOT_CPUS 256u

struct limine_mp_cpu;

typedef struct boot_cpu {
    uint32_t acpi_id, lapic_id;
    volatile struct limine_mp_cpu *mp; /* where the CPU waits for its goto_address */
} boot_cpu_t;

typedef struct boot_info {
    uint64_t hhdm; /* virtual address at which physical memory is mapped */
    uint64_t kernel_phys, kernel_virt;
    uint64_t rsdp; /* 0 = the loader knows of no ACPI */
    uint64_t base_revision;
    boot_range_t memmap[BOOT_RANGES]; /* sorted, disjoint; usable and loader's ones page-aligned */
    uint32_t n_ranges;
    boot_cpu_t cpus[BOOT_CPUS]; /* the boot CPU among them; without an MP answer it alone */
    uint32_t n_cpus;
    uint32_t cpus_left_out; /* more than BOOT_CPUS */
    uint32_t bsp_lapic;
    bool mp_answered, x2apic; /* x2apic: the loader has switched the CPUs to it */
    char cmdline[1024];
    char loader_name[48], loader_version[48];
} boot_info_t;

/* Reads the answers.  false: something without which nothing works is missing; boot_info_problem says what. */
bool boot_info_read(void);
const boot_info_t *boot_info(void);

/* The n-th thing that is missing or was put right, as a line for people; NULL: no more. */
const char *boot_info_problem(uint32_t n);

/*
 * Makes a loader's map of `n` entries one that can be relied on: sorted, disjoint, without empty or
 * wrapping entries; where entries overlap the more reserved kind wins; usable memory is whole pages.
 * `out` has room for 2 * n.  Returns how many there are; *repaired counts entries that were not in
 * order.  A pure function over its arguments.
 */
uint32_t boot_map_normalise(const boot_range_t *in, uint32_t n, boot_range_t *out, uint32_t *repaired);

/* ---- the command line: words `name` or `name=value`, separated by blanks ------------------- */

bool boot_flag(const char *name);                             /* the word is there, alone or with a value */
bool boot_option(const char *name, char *value, size_t room); /* its value, cut to fit */
/* A number, decimal or 0x..., with an optional K, M or G (powers of 1024); `missing` when it is not there or none. */
uint64_t boot_number(const char *name, uint64_t missing);
/* The same for any text; false when it is no number. */
bool parse_number(const char *text, uint64_t *value);

#endif
