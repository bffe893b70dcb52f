/* SPDX-License-Identifier: MIT */
/*
 * power.h — the end of a session: off, restart, or leaving an emulator with a status.
 *
 * Any context; interrupts are turned off and never come back.
 */
#ifndef ARCH_POWER_H
#define ARCH_POWER_H

#include <stdint.h>

/* ACPI S5 (ACPI 6.4 §4.8.3.2, §16.1.7).  Where the machine cannot be switched off: says so and halts. */
_Noreturn void power_off(void);

/* The FADT's reset register, then port 0xCF9, then the keyboard controller, then a triple fault. */
_Noreturn void power_reboot(void);

/* QEMU's isa-debug-exit at port 0xf4: ends QEMU with status (code << 1) | 1.  Returns where there is none. */
void power_debug_exit(uint32_t code);

#endif
