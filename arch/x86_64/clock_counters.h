/* SPDX-License-Identifier: MIT */
/*
 * clock_counters.h — the counters a PC may have: TSC, HPET, ACPI PM timer, channel 2 of the PIT.
 *
 * Each probe runs once, on the boot CPU, and fills in `c` when the counter is there and moves.  The read
 * functions may then be called from anywhere; that of the PIT only by the boot CPU during calibration.
 */
#ifndef ARCH_CLOCK_COUNTERS_H
#define ARCH_CLOCK_COUNTERS_H

#include "clock_math.h"

bool clock_probe_tsc(clock_counter_t *c);
bool clock_probe_hpet(clock_counter_t *c);
bool clock_probe_pm_timer(clock_counter_t *c);
bool clock_probe_pit(clock_counter_t *c);

/* The TSC in program order: not read before what stands before it is done. */
uint64_t clock_read_tsc(void);

/* NULL, or the reason why the TSC's rate cannot be relied on. */
const char *clock_tsc_fault(void);

#endif
