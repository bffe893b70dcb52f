/* SPDX-License-Identifier: MIT */
/*
 * selftest_mem.h — the memory managers test themselves on the running machine.
 *
 * Any thread, with all CPUs online; one run at a time.  ok() is called once for each check; returns how
 * many failed.  All memory is back at the end.
 */
#ifndef GMK_X86_SELFTEST_MEM_H
#define GMK_X86_SELFTEST_MEM_H

int selftest_mem(void (*ok)(int good, const char *what));

#endif
