/* SPDX-License-Identifier: MIT
 *
 * What the loader has to say goes to COM1, 115200 8N1, and only when something is wrong.
 */
#ifndef GMK_BOOT_SAY_H
#define GMK_BOOT_SAY_H

#include "fail.h"

/* One line: "loader: what: 0xvalue; advice". */
void say_error(const struct boot_error *e);

/* The same, and the end: under a hypervisor QEMU's isa-debug-exit is told 0x7f (so QEMU ends with status
 * 255), and wherever that is not there, the CPU halts. */
_Noreturn void die(const struct boot_error *e);
_Noreturn void die_of(const char *what, uint64_t value, const char *advice);

#endif
