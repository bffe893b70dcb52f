/* SPDX-License-Identifier: MIT */
/* console.c — the console of the bare-metal HAL: COM1, one line in one piece. */
#include <ggmk/hal.h>

#include "kprintf.h"

void gmk_hal_console(const char *line) { kprintf("%s\n", line); }
