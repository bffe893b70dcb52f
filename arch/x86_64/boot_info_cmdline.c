/* SPDX-License-Identifier: MIT */
/* boot_info_cmdline.c — the words of the command line: `name` or `name=value`, separated by blanks. */
#include "boot_info.h"

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* The text behind the word `name`, at its '=' or at its end; NULL: no such word.  The last one counts. */
static const char *find_word(const char *line, const char *name)
{
    const char *found = NULL;

    while (*line) {
        size_t i = 0;
        while (is_blank(*line))
            line++;
        while (name[i] && line[i] == name[i])
            i++;
        if (i > 0 && !name[i] && (line[i] == '=' || line[i] == 0 || is_blank(line[i])))
            found = line + i;
        while (*line && !is_blank(*line))
            line++;
    }
    return found;
}

bool boot_flag(const char *name) { return find_word(boot_info()->cmdline, name) != NULL; }

bool boot_option(const char *name, char *value, size_t room)
{
    const char *at = find_word(boot_info()->cmdline, name);
    size_t n = 0;

    if (!at || *at != '=' || room == 0)
        return false;
    for (at++; *at && !is_blank(*at) && n + 1 < room; at++)
        value[n++] = *at;
    value[n] = 0;
    return true;
}

static uint32_t digit(char c)
{
    if (c >= '0' && c <= '9')
        return (uint32_t)(c - '0');
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10 : 99;
}

static uint32_t suffix_shift(char c)
{
    switch (c) {
    case 'k':
    case 'K': return 10;
    case 'm':
    case 'M': return 20;
    case 'g':
    case 'G': return 30;
    default: return 0;
    }
}

bool parse_number(const char *text, uint64_t *value)
{
    uint32_t base = text[0] == '0' && (text[1] | 0x20) == 'x' ? 16 : 10, shift;
    const char *at = base == 16 ? text + 2 : text;
    uint64_t v = 0;

    if (digit(*at) >= base)
        return false;
    for (; digit(*at) < base; at++)
        if (__builtin_mul_overflow(v, (uint64_t)base, &v) || __builtin_add_overflow(v, digit(*at), &v))
            return false;
    shift = suffix_shift(*at);
    if (shift) {
        if (v >> (64 - shift))
            return false;
        v <<= shift;
        at++;
    }
    *value = v;
    return *at == 0;
}

uint64_t boot_number(const char *name, uint64_t missing)
{
    char text[32];
    uint64_t v;

    return boot_option(name, text, sizeof(text)) && parse_number(text, &v) ? v : missing;
}
