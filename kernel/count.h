/* SPDX-License-Identifier: MIT */
/*
 * count.h — what things cost, in readings of the time-stamp counter: under QEMU's -icount shift=0 that is
 * instructions, exactly.
 *
 * With `count` on the command line the kernel prints the figures and switches off (kmain).  One CPU; a disk of 4 MiB
 * or more for those of the disk.
 */
#ifndef GGMK_KERNEL_COUNT_H
#define GGMK_KERNEL_COUNT_H

#include <stdint.h>

void count_instructions(void);

/* `bench-disk=SECONDS`: prints how many reads of 4 KiB a second the first disk answers, 32 in flight. */
void bench_disk(uint64_t seconds);
/* `bench-wake`: prints how long a thread on a halted CPU takes to run after thread_unblock. */
void bench_wake(void);

#endif
