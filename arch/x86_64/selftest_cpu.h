/* SPDX-License-Identifier: MIT */
/*
 * selftest_cpu.h — what the parts of the self-test of CPU, threads and faults share.
 *
 * A thread of the running kernel calls selftest_cpu; each check waits for what it wants to see, with a
 * bound far above what the slowest emulator needs.  Returns the number of checks that failed.
 */
#ifndef ARCH_SELFTEST_CPU_H
#define ARCH_SELFTEST_CPU_H

#include "thread.h"

#include <stdbool.h>

int selftest_cpu(void (*ok)(int good, const char *what));

#define SELFTEST_SECOND UINT64_C(1000000000)

void selftest_check(bool good, const char *what);

/* fn(arg) in a thread of its own on that CPU, to its end; false: it did not start. */
bool selftest_on_cpu(uint32_t cpu, void (*fn)(void *), void *arg);
/* The same on all CPUs at once. */
bool selftest_on_all(void (*fn)(void *), void *arg);

void selftest_threads(void);
void selftest_faults(void);
void selftest_hal(void);

#endif
