/* SPDX-License-Identifier: MIT */
/*
 * smp.h — further CPUs, and what CPUs ask of each other.
 *
 * CPU 0 is the boot CPU.  A CPU counts as online from the moment its LAPIC takes IPIs; it may still
 * have interrupts off then.  Whoever spins with interrupts off calls smp_poll in the loop, or two CPUs
 * could wait for each other for ever.
 */
#ifndef ARCH_SMP_H
#define ARCH_SMP_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Boot CPU, once, after thread_init_cpu.  Starts the CPUs parked by the loader one after the other.
 * Each comes up on its own stack and page tables with GDT, IDT and LAPIC set up, interrupts off, and
 * calls ap_main(index), which does not return; indices are dense.  A CPU that does not come within a
 * bounded time is named on the console and left out.
 */
void smp_start(void (*ap_main)(uint32_t index));

bool smp_online(uint32_t index);

/* CPUs that did not come.  They may still run the loader's code in the loader's memory. */
uint32_t smp_missing(void);

/* Does what other CPUs wait for on this one (barriers, calls, TLB shoot-downs).  Anywhere, any time. */
void smp_poll(void);

/*
 * When it returns, every other online CPU has executed a full fence after this call began.  Several
 * CPUs may be in it at once.  Any context in which the caller may wait; with one CPU only a fence.
 */
void smp_barrier_all(void);

/*
 * Runs fn(arg) on every online CPU at once, here too, with interrupts off, and waits until all have
 * returned.  fn must be short and may not block.  One caller at a time; others wait.
 */
void smp_call_all(void (*fn)(void *arg), void *arg);

/* Halts every other CPU for good, as far as it answers within a second.  For the end of a session. */
void smp_stop_others(void);

#endif
