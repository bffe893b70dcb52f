/* SPDX-License-Identifier: MIT
 *
 * What entry.S and the C of the loader share.  The loader runs identity-mapped in the lowest 4 GiB, which the
 * kernel must not find; so the last instructions before it lie in one page of their own, .handoff, which the
 * kernel's tables map executable at its HHDM address.
 */
#ifndef GMK_BOOT_HANDOFF_H
#define GMK_BOOT_HANDOFF_H

#define HHDM 0xffff800000000000
#define PAT_VALUE 0x0000010500070406
#define LOADER_STACK 0x10000
#define SMP_SLOTS 256

/* Offsets into struct smp_slot and struct limine_mp_cpu. */
#define SLOT_LAPIC_ID 0
#define SLOT_READY 4
#define SLOT_CPU 8
#define SLOT_STACK 16
#define SLOT_SIZE 24
#define CPU_GOTO 16

/* How a CPU waits: the HHDM address of its LAPIC, or one of these. */
#define PARK_X2APIC 0
#define PARK_SPINNING 1

#ifndef __ASSEMBLER__

#include <stddef.h>
#include <stdint.h>
#include "limine.h"

struct smp_slot {
    uint32_t lapic_id;
    uint32_t ready; /* set by the CPU once it waits for its goto_address */
    uint64_t cpu;   /* its struct limine_mp_cpu and the top of its stack, HHDM addresses */
    uint64_t stack;
};

_Static_assert(offsetof(struct smp_slot, ready) == SLOT_READY && offsetof(struct smp_slot, cpu) == SLOT_CPU &&
                   offsetof(struct smp_slot, stack) == SLOT_STACK && sizeof(struct smp_slot) == SLOT_SIZE,
               "as in entry.S");
_Static_assert(offsetof(struct limine_mp_cpu, goto_address) == CPU_GOTO, "as in entry.S");

extern struct smp_slot smp_slots[SMP_SLOTS];
extern uint32_t smp_slot_count;
extern uint32_t smp_x2apic; /* not 0: a CPU that starts switches itself to x2APIC */
extern uint64_t kernel_cr3;
extern uint64_t park_lapic;
extern uint64_t park_idt[2 * 256];
extern const uint8_t park_interrupt[];

extern uint64_t early_pml4[512];
extern const uint8_t trampoline[], trampoline_end[];
extern const uint8_t handoff_page[];
extern const uint8_t loader_start[], loader_end[];

/* Called at its HHDM address; `stack` is one, too. */
typedef void handoff_fn(uint64_t cr3, uint64_t stack, uint64_t entry);
_Noreturn void handoff_boot_cpu(uint64_t cr3, uint64_t stack, uint64_t entry);

#endif
#endif
