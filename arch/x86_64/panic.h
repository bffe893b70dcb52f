/* SPDX-License-Identifier: MIT */
/*
 * panic.h — the end of a kernel that cannot trust itself any more.
 *
 * Any context.  The first CPU that panics stops all others by NMI and prints: the message, its
 * registers where an exception led here, and for each CPU the thread it ran and a symbolised backtrace.
 * Then it leaves an emulator with failure (power_debug_exit), or halts.
 */
#ifndef ARCH_PANIC_H
#define ARCH_PANIC_H

#include "irq.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

_Noreturn void panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The same with the registers of an exception. */
_Noreturn void panic_frame(const frame_t *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

bool panicking(void);

/* NMI: stops this CPU if a panic is under way, keeping f for its report. */
void panic_on_nmi(const frame_t *f);

/* Code that leads to QEMU's exit status: (PANIC_EXIT << 1) | 1. */
#define PANIC_EXIT 3u

/*
 * Set once, by the kernel above: says in a few words what a thread works on ("worker 2, task type 7"), or
 * leaves *out alone.  Called during a panic: reads only, follows no pointer it does not know.
 */
struct thread;
extern void (*panic_describe)(const struct thread *t, char *out, size_t size);

/* Prints one line per caller, following frame pointers as far as they can be trusted. */
void backtrace_print(uint64_t rip, uint64_t rbp);

/* ---- symbols (symbols.c) ------------------------------------------------------------------ */

/* The function that holds addr, and how far into it; NULL when addr is not in the kernel's code. */
const char *symbol_of(uint64_t addr, uint64_t *offset);

/* Bounds of the image, from kernel.ld. */
extern const char kernel_begin[], kernel_end[], text_begin[], text_end[], rodata_begin[], rodata_end[];
extern const char data_begin[], data_end[], bss_begin[], bss_end[];

#endif
