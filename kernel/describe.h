/* SPDX-License-Identifier: MIT */
/*
 * describe.h — what a thread works on, in a few words, for the report of a panic.
 *
 * Reads only, takes no lock, and follows pointers of the core only once it is booted.
 */
#ifndef GGMK_KERNEL_DESCRIBE_H
#define GGMK_KERNEL_DESCRIBE_H

#include <stddef.h>

struct thread;

/* Leaves `out` alone when there is nothing to say.  For panic_describe (panic.h). */
void describe_thread(const struct thread *t, char *out, size_t size);

/* kmain.c: the step of the boot under way, and the thread that takes it (NULL before there are threads). */
const char *boot_step(void);
const struct thread *boot_thread(void);

#endif
