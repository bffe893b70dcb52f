/* SPDX-License-Identifier: MIT */
/*
 * demo.h — the word counter of examples/wordcount over the first disk.
 *
 * Runs when the command line has input_bytes=N, the length of the text; top=N says how many words to
 * print (20 without it, 0 = all).
 */
#ifndef GGMK_KERNEL_DEMO_H
#define GGMK_KERNEL_DEMO_H

#include <stdbool.h>

bool demo_asked(void);

/* Counts, and prints the report or why there is none.  GMK_OK or the code it ended with.  One thread, once. */
int demo_run(void);

#endif
