/* SPDX-License-Identifier: MIT */
/*
 * text.h — small things with text for what the monitor prints.  Pure functions; buffers belong to the caller.
 */
#ifndef GGMK_KERNEL_TEXT_H
#define GGMK_KERNEL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_SHORT 24u /* room for what the functions below write */

/* Is the word one of those in the list, which are separated by commas? */
bool text_in_list(const char *list, const char *word);

/* "640 KiB", "63.5 MiB": three or four digits and a unit. */
const char *text_bytes(char to[TEXT_SHORT], uint64_t bytes);
/* "12.3 us", "1.50 s". */
const char *text_ns(char to[TEXT_SHORT], uint64_t ns);
/* Parts of a whole in percent: "12.5". */
const char *text_percent(char to[TEXT_SHORT], uint64_t part, uint64_t whole);

/*
 * Splits a line at its blanks, in place, into at most `max` words (the last one is then cut off there)
 * and returns how many there are.
 */
int text_words(char *line, char **words, int max);

#endif
