/* SPDX-License-Identifier: MIT */
/* kformat.c — the formatting behind kprintf; kprintf.h says which conversions there are. */
#include "kprintf.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct out {
    char *text;
    size_t size, n; /* n counts on when the room is used up */
} out_t;

typedef struct spec {
    bool left, zero, upper;
    int width, precision; /* precision < 0: none */
    char length;          /* 'H' hh, 'h', 0, 'l', 'L' ll, 'z' */
    char conversion;
} spec_t;

static void put(out_t *o, char c)
{
    if (o->n + 1 < o->size)
        o->text[o->n] = c;
    o->n++;
}

static void put_many(out_t *o, char c, int count)
{
    while (count-- > 0)
        put(o, c);
}

static void put_field(out_t *o, const spec_t *s, const char *text, int n)
{
    if (!s->left)
        put_many(o, ' ', s->width - n);
    for (int i = 0; i < n; i++)
        put(o, text[i]);
    if (s->left)
        put_many(o, ' ', s->width - n);
}

/* Digits of v backwards from end; returns how many. */
static int digits_of(char *end, uint64_t v, unsigned base, bool upper)
{
    const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    int n = 0;
    do {
        *--end = set[v % base];
        v /= base;
        n++;
    } while (v != 0);
    return n;
}

/* prefix: "", "-" or "0x"; zeros go between it and the digits. */
static void put_number(out_t *o, spec_t s, uint64_t v, unsigned base, const char *prefix)
{
    char digits[24];
    char *end = digits + sizeof digits;
    int n = digits_of(end, v, base, s.upper), before = 0;
    while (prefix[before] != '\0')
        before++;
    int fill = s.width - n - before;
    if (!s.left && !s.zero)
        put_many(o, ' ', fill);
    for (int i = 0; i < before; i++)
        put(o, prefix[i]);
    if (!s.left && s.zero)
        put_many(o, '0', fill);
    for (int i = 0; i < n; i++)
        put(o, end[i - n]);
    if (s.left)
        put_many(o, ' ', fill);
}

static uint64_t unsigned_argument(const spec_t *s, va_list *ap)
{
    switch (s->length) {
    case 'H': return (unsigned char)va_arg(*ap, unsigned int);
    case 'h': return (unsigned short)va_arg(*ap, unsigned int);
    case 'l': return va_arg(*ap, unsigned long);
    case 'L': return va_arg(*ap, unsigned long long);
    case 'z': return va_arg(*ap, size_t);
    default: return va_arg(*ap, unsigned int);
    }
}

static int64_t signed_argument(const spec_t *s, va_list *ap)
{
    switch (s->length) {
    case 'H': return (signed char)va_arg(*ap, int);
    case 'h': return (short)va_arg(*ap, int);
    case 'l': return va_arg(*ap, long);
    case 'L': return va_arg(*ap, long long);
    case 'z': return (int64_t)va_arg(*ap, size_t);
    default: return va_arg(*ap, int);
    }
}

static void put_signed(out_t *o, const spec_t *s, int64_t v)
{
    put_number(o, *s, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, v < 0 ? "-" : "");
}

static void put_string(out_t *o, const spec_t *s, const char *text)
{
    int n = 0;
    if (text == NULL)
        text = "(null)";
    while ((s->precision < 0 || n < s->precision) && text[n] != '\0' && n < 65536)
        n++;
    put_field(o, s, text, n);
}

static void put_pointer(out_t *o, spec_t s, const void *p)
{
    s.zero = !s.left;
    s.width = s.left ? s.width : 18;
    put_number(o, s, (uint64_t)(uintptr_t)p, 16, "0x");
}

/* A number of the format, or the argument a '*' stands for; at most 4095. */
static int parse_count(const char **f, va_list *ap)
{
    int v = 0;
    if (**f == '*') {
        (*f)++;
        v = va_arg(*ap, int);
    }
    for (; **f >= '0' && **f <= '9'; (*f)++)
        v = v > 4095 ? v : v * 10 + (**f - '0');
    return v > 4095 ? 4095 : v;
}

static void parse_length(const char **f, spec_t *s)
{
    char c = **f;
    if (c != 'h' && c != 'l' && c != 'z')
        return;
    (*f)++;
    s->length = c;
    if (c != 'z' && **f == c) {
        (*f)++;
        s->length = c == 'h' ? 'H' : 'L';
    }
}

/* f stands behind the '%'; afterwards behind the conversion. */
static spec_t parse_spec(const char **f, va_list *ap)
{
    spec_t s = {.precision = -1};
    for (; **f == '-' || **f == '0'; (*f)++) {
        s.left = s.left || **f == '-';
        s.zero = s.zero || **f == '0';
    }
    s.width = parse_count(f, ap);
    if (s.width < 0) {
        s.left = true;
        s.width = s.width < -4095 ? 4095 : -s.width;
    }
    if (**f == '.') {
        (*f)++;
        s.precision = parse_count(f, ap);
    }
    parse_length(f, &s);
    s.conversion = **f;
    if (s.conversion != '\0')
        (*f)++;
    return s;
}

/* False: no conversion of ours. */
static bool convert(out_t *o, spec_t *s, va_list *ap)
{
    char c;
    switch (s->conversion) {
    case 'd':
    case 'i': put_signed(o, s, signed_argument(s, ap)); return true;
    case 'u': put_number(o, *s, unsigned_argument(s, ap), 10, ""); return true;
    case 'X': s->upper = true; __attribute__((fallthrough));
    case 'x': put_number(o, *s, unsigned_argument(s, ap), 16, ""); return true;
    case 'p': put_pointer(o, *s, va_arg(*ap, const void *)); return true;
    case 's': put_string(o, s, va_arg(*ap, const char *)); return true;
    case 'c':
        c = (char)va_arg(*ap, int);
        put_field(o, s, &c, 1);
        return true;
    case '%': put(o, '%'); return true;
    default: return false;
    }
}

int kvsnprintf(char *out, size_t size, const char *fmt, va_list ap)
{
    out_t o = {.text = out, .size = size};
    va_list args;
    va_copy(args, ap);
    while (*fmt != '\0') {
        if (*fmt != '%') {
            put(&o, *fmt++);
            continue;
        }
        const char *start = fmt++;
        spec_t s = parse_spec(&fmt, &args);
        if (!convert(&o, &s, &args))
            while (start < fmt)
                put(&o, *start++);
    }
    va_end(args);
    if (size > 0)
        out[o.n < size ? o.n : size - 1] = '\0';
    return (int)o.n;
}

int ksnprintf(char *out, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = kvsnprintf(out, size, fmt, ap);
    va_end(ap);
    return n;
}
