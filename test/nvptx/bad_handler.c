/* SPDX-License-Identifier: MIT */
/* bad_handler.c — a handler that is called through a table, which nobody can see through; the check must report it. */
#include <stdint.h>

int bad_handler(void *ctx);
int bad_dispatch(uint32_t type, void *ctx);

int bad_handler(void *ctx) { return ctx != 0; }

int (*bad_table[2])(void *) = {0, bad_handler};

int bad_dispatch(uint32_t type, void *ctx) { return bad_table[type & 1](ctx); }
