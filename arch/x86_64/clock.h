/* SPDX-License-Identifier: MIT */
/*
 * clock.h — the machine's time: nanoseconds since clock_init, never going back on or across CPUs.
 *
 * The source is the TSC where CPUID calls it invariant or a hypervisor provides it, and the CPUs agree
 * about it; else the HPET; else the ACPI PM timer.  Its rate is measured against the PM timer, the HPET
 * or channel 2 of the PIT; the boot log says which.  clock_init runs once on the boot CPU after
 * acpi_init and needs neither interrupts nor threads; it panics when the machine has nothing to tell
 * the time by.  All other functions may be called from anywhere, interrupts included; before
 * clock_init clock_now_ns gives 0.
 */
#ifndef ARCH_CLOCK_H
#define ARCH_CLOCK_H

#include <stdint.h>

void clock_init(void);

/*
 * Once, by a thread, after smp_start: compares the TSCs of all CPUs and leaves the TSC if they disagree.  A
 * clock whose counter wraps within seconds or minutes gets a thread that reads it in time.
 */
void clock_check_smp(void);

uint64_t clock_now_ns(void);
uint64_t clock_cycles(void); /* the TSC, not scaled: for short intervals on one CPU */
uint64_t clock_tsc_hz(void); /* 0: not measured */
const char *clock_name(void);

/* Spins; other CPUs' requests are served meanwhile.  Before clock_init the time is a rough one. */
void clock_delay_us(uint32_t us);

#endif
