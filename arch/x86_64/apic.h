/* SPDX-License-Identifier: MIT */
/*
 * apic.h — the local APIC of the running CPU: end of interrupt, IPIs, the one-shot timer.
 *
 * lapic_init runs once on the boot CPU after clock_init; lapic_init_ap on each further CPU after
 * cpu_init_ap.  Everything else may then be called from anywhere, interrupts included, and acts on the
 * CPU it runs on.  x2APIC mode is used where the CPU has it, else the memory-mapped registers.
 * Intel SDM 3A §10.
 */
#ifndef ARCH_APIC_H
#define ARCH_APIC_H

#include <stdbool.h>
#include <stdint.h>

#define VECTOR_BARRIER 0xFBu   /* its routine: smp_poll(), lapic_eoi() */
#define VECTOR_TIMER 0xFCu     /* its routine: lapic_eoi(), look at the clock, arm again if needed */
#define VECTOR_SHOOTDOWN 0xFDu /* its routine: smp_poll(), lapic_eoi() */
#define VECTOR_WAKE 0xFEu      /* its routine: lapic_eoi(), reschedule */
#define VECTOR_SPURIOUS 0xFFu  /* its routine does nothing, not even lapic_eoi() */

void lapic_init(void);
void lapic_init_ap(void);
const char *lapic_mode(void); /* "x2APIC" or "xAPIC" */
uint64_t lapic_timer_hz(void);

void lapic_eoi(void);
uint32_t lapic_id(void);

/* The wait for the APIC to take the command is bounded; lapic_ipi_lost counts what it refused. */
void lapic_ipi(uint32_t lapic_id, uint32_t vector);
void lapic_ipi_others(uint32_t vector); /* every other CPU that is online */
void lapic_nmi_others(void);
uint64_t lapic_ipi_lost(void);

/*
 * One interrupt on VECTOR_TIMER after ns; replaces what was armed.  It may come early, never late by more
 * than the CPU is: long times are cut to what the counter holds, and the timer and the clock are two
 * counters; so the routine compares with the clock and arms again.
 */
void lapic_timer_arm(uint64_t ns);
void lapic_timer_stop(void);

#endif
