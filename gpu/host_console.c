/* SPDX-License-Identifier: MIT */
/* host_console.c — lines out of copies of the kernel's console. */
#include "host_console.h"

#include <string.h>

console_copy_t *console_next(console_t *c) { return &c->copies[c->taken % CONSOLE_COPIES]; }

/* Counted from the last: 0 is the last copy, 1 the one before it.  Before there were any, all are zero. */
static const console_copy_t *copy(const console_t *c, uint64_t back)
{
    return &c->copies[(c->taken + CONSOLE_COPIES - 1 - back) % CONSOLE_COPIES];
}

/* What a GPU says is shown, not obeyed: no control characters. */
static void print(const console_copy_t *from, uint64_t number, void (*say)(const char *line))
{
    char text[CONSOLE_WORDS * sizeof(uint64_t)];

    memcpy(text, from->line[number % CONSOLE_LINES].text, sizeof(text));
    text[sizeof(text) - 1] = 0;
    for (char *t = text; *t; t++)
        if (*t < ' ' || *t > '~')
            *t = '?';
    say(text);
}

/* What was overwritten in `after` already: at most one lap of lines is left. */
static void skip_lost(console_t *c, const console_copy_t *after)
{
    if (after->next > c->printed && after->next - c->printed > CONSOLE_LINES) {
        c->lost += after->next - CONSOLE_LINES - c->printed;
        c->printed = after->next - CONSOLE_LINES;
    }
}

/*
 * Lines in their order, as far as they are whole: their commit, which never comes twice, is in both `before`
 * and `after`.  A line whose slot has a later one's is lost.
 */
static void print_whole(console_t *c, const console_copy_t *before, const console_copy_t *text,
                        const console_copy_t *after, void (*say)(const char *line))
{
    for (skip_lost(c, after); c->printed < after->next; c->printed++) {
        uint64_t slot = c->printed % CONSOLE_LINES, commit = c->printed + 1;

        if (before->line[slot].commit == commit && after->line[slot].commit == commit)
            print(text, c->printed, say);
        else if (after->line[slot].commit > commit)
            c->lost++;
        else
            return;
    }
}

static void count_dropped(console_t *c)
{
    uint64_t now = copy(c, 0)->dropped;

    c->lost += now - c->dropped;
    c->dropped = now;
}

void console_take(console_t *c, void (*say)(const char *line))
{
    c->taken++;
    print_whole(c, copy(c, 2), copy(c, 1), copy(c, 0), say);
    count_dropped(c);
}

void console_end(console_t *c, void (*say)(const char *line))
{
    const console_copy_t *last = copy(c, 0);

    while (c->printed < last->next) {
        print_whole(c, last, last, last, say);
        if (c->printed < last->next) {
            c->printed++;
            c->lost++;
        }
    }
}
