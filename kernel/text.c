/* SPDX-License-Identifier: MIT */
/* text.c — words, and numbers with units. */
#include "kernel/text.h"

#include "kprintf.h"
#include "string.h"

bool text_in_list(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (; *list; list++) {
        if (strncmp(list, word, n) == 0 && (list[n] == 0 || list[n] == ','))
            return true;
        while (*list && *list != ',')
            list++;
        if (!*list)
            break;
    }
    return false;
}

/* `whole`.`part of unit`, with three digits in all. */
static const char *three_digits(char to[TEXT_SHORT], uint64_t value, uint64_t unit, const char *name)
{
    uint64_t whole = value / unit, rest = value % unit;

    if (unit > (uint64_t)1 << 50) { /* so that a hundred times the rest is a number */
        rest >>= 10;
        unit >>= 10;
    }
    if (rest == 0 && unit > 1 && whole < 10000)
        (void)ksnprintf(to, TEXT_SHORT, "%lu %s", whole, name);
    else if (whole >= 100 || unit == 1)
        (void)ksnprintf(to, TEXT_SHORT, "%lu %s", whole, name);
    else if (whole >= 10)
        (void)ksnprintf(to, TEXT_SHORT, "%lu.%lu %s", whole, rest * 10 / unit, name);
    else
        (void)ksnprintf(to, TEXT_SHORT, "%lu.%02lu %s", whole, rest * 100 / unit, name);
    return to;
}

const char *text_bytes(char to[TEXT_SHORT], uint64_t bytes)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    uint32_t i = 0;

    while (i < 6 && bytes >> (10 * i) >= 1024)
        i++;
    return three_digits(to, bytes, (uint64_t)1 << 10 * i, names[i]);
}

const char *text_ns(char to[TEXT_SHORT], uint64_t ns)
{
    static const char *const names[] = {"ns", "us", "ms", "s"};
    uint64_t unit = 1;
    uint32_t i = 0;

    for (; i < 3 && ns / unit >= 1000; i++)
        unit *= 1000;
    return three_digits(to, ns, unit, names[i]);
}

const char *text_percent(char to[TEXT_SHORT], uint64_t part, uint64_t whole)
{
    while (whole > UINT64_MAX / 1000 || part > UINT64_MAX / 1000) {
        part >>= 1;
        whole >>= 1;
    }
    uint64_t tenths = whole ? part * 1000 / whole : 0;

    (void)ksnprintf(to, TEXT_SHORT, "%lu.%lu", (tenths / 10), (tenths % 10));
    return to;
}

int text_words(char *line, char **words, int max)
{
    int n = 0;

    while (n < max) {
        while (*line == ' ')
            line++;
        if (!*line)
            break;
        words[n++] = line;
        while (*line && *line != ' ')
            line++;
        if (*line)
            *line++ = 0;
    }
    return n;
}
