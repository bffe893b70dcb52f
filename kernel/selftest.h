/* SPDX-License-Identifier: MIT */
/*
 * selftest.h — the kernel tests itself, and says so in TAP.
 *
 * One group of checks for each part of the kernel; a group calls ok() for each of its checks.  Any thread
 * but not a handler, one run at a time, with the machine fully up.
 */
#ifndef GGMK_KERNEL_SELFTEST_H
#define GGMK_KERNEL_SELFTEST_H

#include <stdbool.h>
#include <stdint.h>

typedef void (*selftest_ok_fn)(int good, const char *what);
typedef int (*selftest_fn)(selftest_ok_fn ok);

/* Runs the groups in the list (names, commas between), or all (NULL).  How many checks failed; -1: no such group. */
int selftest_run(const char *list);

/* Runs those that test= lists, or all, and ends the machine with the result: isa-debug-exit 0x10 = passed, 0x11 = failed. */
_Noreturn void selftest_and_exit(void);

/* The core on this machine; the other parts declare theirs in their own headers. */
int selftest_core(selftest_ok_fn ok);

#endif
