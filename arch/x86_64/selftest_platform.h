/* SPDX-License-Identifier: MIT */
/*
 * selftest_platform.h — the kernel's checks of clock, timer, IPIs, barriers and CPUs.
 *
 * Any thread, one at a time, with all CPUs up; takes about a second.  Calls ok() for each check and returns
 * how many failed.
 */
#ifndef ARCH_SELFTEST_PLATFORM_H
#define ARCH_SELFTEST_PLATFORM_H

int selftest_platform(void (*ok)(int good, const char *what));

#endif
