/* SPDX-License-Identifier: MIT */
/*
 * host_console.h — the lines that the kernel on the GPU writes, taken out of copies of its console.
 *
 * The console (hal/nvptx/hal_nvptx.h) is a ring that the kernel overwrites while it is copied.  A copy reads
 * its words in any order, so one is not enough: a line is whole when the copies before and after have
 * its commit, and then the one between them has its text.  One thread.
 */
#ifndef GMK_GPU_HOST_CONSOLE_H
#define GMK_GPU_HOST_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#define CONSOLE_LINES 64u
#define CONSOLE_WORDS 15u

/* The layout of struct gmk_hal_nvptx_console; the driver's word for its size is compared with this one's. */
typedef struct console_copy {
    uint64_t next, dropped;
    struct {
        uint64_t text[CONSOLE_WORDS];
        uint64_t commit; /* number of the line + 1; 0 while it is written */
    } line[CONSOLE_LINES];
} console_copy_t;

enum { CONSOLE_COPIES = 3 };

/* Zeroed before the kernel starts, as the copies are. */
typedef struct console {
    console_copy_t *copies; /* CONSOLE_COPIES of them, taken in turn */
    uint64_t taken;         /* copies there have been */
    uint64_t printed;       /* number of the next line to print */
    uint64_t lost;          /* lines that were overwritten unseen, or that the kernel dropped */
    uint64_t dropped;       /* the kernel's own count of them, as last seen */
} console_t;

/* Where the next copy goes.  When it is there, console_take prints, by say, what is whole by now. */
console_copy_t *console_next(console_t *c);
void console_take(console_t *c, void (*say)(const char *line));

/* After the last copy: the kernel writes no more, so what is there is whole, or never will be. */
void console_end(console_t *c, void (*say)(const char *line));

#endif
