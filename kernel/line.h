/* SPDX-License-Identifier: MIT */
/*
 * line.h — a line editor for a terminal that understands a few ECMA-48 sequences.
 *
 * A state machine over bytes: whoever reads the terminal calls line_key for each byte and gets the line
 * when it is complete.  It touches nothing but its line_t and what it writes; one thread at a time.
 * Prompt and text fit one row of 80 columns, so nothing ever wraps.
 */
#ifndef GGMK_KERNEL_LINE_H
#define GGMK_KERNEL_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_MAX 72u
#define LINE_HISTORY 32u

typedef struct line {
    void (*write)(void *arg, const char *text, size_t n);
    void *arg;
    const char *prompt; /* at most 7 columns */
    char text[LINE_MAX + 1];
    uint32_t len, at;         /* bytes, and where the cursor stands */
    char cut[LINE_MAX + 1];   /* what ^K, ^U or ^W took last; ^Y gives it back */
    char done[LINE_MAX + 1];  /* the line handed out */
    char fresh[LINE_MAX + 1]; /* what was being typed when the history was entered */
    char history[LINE_HISTORY][LINE_MAX + 1];
    uint32_t entered; /* lines that ever went into the history */
    uint32_t back;    /* 0: the fresh line, n: the n-th last of the history */
    uint32_t escape;  /* within an escape sequence: its state */
    uint32_t number;  /* its parameter */
    bool after_cr;    /* a \n that follows a \r ends no other line */
} line_t;

void line_init(line_t *l, const char *prompt, void (*write)(void *, const char *, size_t), void *arg);

/*
 * Shows the prompt, and what has been typed so far: at the start, and after something else was printed.
 * Another thread may call it too: at worst it shows a line that is just being changed.
 */
void line_show(line_t *l);

/* One byte from the terminal.  The line, without its end, when this byte ended it; else NULL. */
const char *line_key(line_t *l, uint8_t byte);

#endif
