/* SPDX-License-Identifier: MIT
 *
 * The steps of boot_main() that have a file of their own, and what they share.  Boot CPU only, in that order.
 */
#ifndef GMK_BOOT_STEPS_H
#define GMK_BOOT_STEPS_H

#include "answers.h"
#include "handoff.h"

#define LOW_END 0x100000000ull /* below: identity-mapped while the loader runs, and always in the HHDM */
#define HHDM_PHYS_END (ELF_LOWEST_ADDRESS - HHDM)

extern struct boot boot;
extern const struct phys_view memory_view;

/* Memory below 4 GiB, claimed as `type`; without any the loader ends with `what` and the length. */
uint64_t boot_alloc(uint64_t length, uint64_t align, uint64_t type, const char *what);

/* The top of a stack as large as the kernel wants it, at its HHDM address. */
uint64_t new_stack(void);

/* space.c: the kernel's page tables, in kernel_cr3; from here on its HHDM can be read, too. */
void build_tables(void);
bool is_mapped_type(uint64_t type);

/* cpus.c */
void read_madt(void);
void start_cpus(void);
void mask_interrupts(void);

#endif
