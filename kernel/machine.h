/* SPDX-License-Identifier: MIT */
/*
 * machine.h — the GGMK kernel of this machine, "cpu.0": all CPUs are its workers, worker i on CPU i.
 *
 * machine_start runs once, on the boot CPU, when all CPUs are up.  Afterwards any thread may use
 * machine_core(); machine_stop and what follows it belong to one thread.
 */
#ifndef GGMK_KERNEL_MACHINE_H
#define GGMK_KERNEL_MACHINE_H

#include <ggmk.h>

#define MACHINE_TYPES 256u

/* Handler types of this machine; the word counter's are below these. */
enum {
    TYPE_ON_ERROR = 32, /* journal.c */
    TYPE_ON_DROPPED,
    TYPE_ECHO,
    TYPE_INJECT = 40, /* inject.c: and above */
    TYPE_TEST = 64    /* selftest_core.c: and above */
};

/* Boots it, or panics with what is missing. */
void machine_start(void);
gmk_kernel_t *machine_core(void);

/* Lets queued work run, stops the workers, and says what is left: before the machine goes off. */
void machine_stop(void);

#endif
