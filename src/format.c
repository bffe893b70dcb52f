/* SPDX-License-Identifier: MIT */
#include "format.h"

#define DIGITS_MAX 20u

void gmk_out_begin(gmk_out_t *o, gmk_write_fn write, void *arg)
{
    o->write = write;
    o->arg = arg;
    o->used = 0;
    o->failed = false;
}

static void flush(gmk_out_t *o)
{
    if (!o->failed && o->used != 0 && o->write(o->arg, o->buf, o->used) < 0)
        o->failed = true;
    o->used = 0;
}

int gmk_out_end(gmk_out_t *o)
{
    flush(o);
    return o->failed ? GMK_ERR_IO : GMK_OK;
}

void gmk_out_bytes(gmk_out_t *o, const void *data, size_t n)
{
    const unsigned char *from = data;
    while (n != 0) {
        if (o->used == GMK_OUT_BYTES)
            flush(o);
        size_t room = GMK_OUT_BYTES - o->used;
        size_t part = n < room ? n : room;
        gmk_hal_memcpy(o->buf + o->used, from, part);
        o->used += (uint32_t)part;
        from += part;
        n -= part;
    }
}

uint32_t gmk_text_len(const char *s, uint32_t max)
{
    uint32_t n = 0;
    while (n < max && s[n] != '\0')
        n++;
    return n;
}

void gmk_out_str(gmk_out_t *o, const char *s) { gmk_out_bytes(o, s, gmk_text_len(s, UINT32_MAX)); }

/* The decimal digits of v, at least `least` of them, at the end of buf; returns the first. */
static char *digits(char buf[DIGITS_MAX], uint64_t v, uint32_t least)
{
    char *p = buf + DIGITS_MAX;
    while (v != 0 || p > buf + DIGITS_MAX - least) {
        *--p = (char)('0' + v % 10);
        v /= 10;
    }
    return p;
}

static void out_digits(gmk_out_t *o, uint64_t v, uint32_t least)
{
    char buf[DIGITS_MAX];
    const char *p = digits(buf, v, least);
    gmk_out_bytes(o, p, (size_t)(buf + DIGITS_MAX - p));
}

void gmk_out_u64(gmk_out_t *o, uint64_t v) { out_digits(o, v, 1); }

void gmk_out_i64(gmk_out_t *o, int64_t v)
{
    if (v < 0)
        gmk_out_str(o, "-");
    out_digits(o, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 1);
}

void gmk_out_seconds(gmk_out_t *o, uint64_t ns)
{
    gmk_out_u64(o, ns / 1000000000u);
    gmk_out_str(o, ".");
    out_digits(o, ns % 1000000000u, 9);
}

void gmk_out_quoted(gmk_out_t *o, const char *s)
{
    gmk_out_str(o, "\"");
    for (; *s != '\0'; s++) {
        if (*s == '\\' || *s == '"')
            gmk_out_str(o, "\\");
        if (*s == '\n')
            gmk_out_str(o, "\\n");
        else
            gmk_out_bytes(o, s, 1);
    }
    gmk_out_str(o, "\"");
}

void gmk_put_le(unsigned char *to, uint64_t v, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        to[i] = (unsigned char)(v >> (8 * i));
}

void gmk_out_le(gmk_out_t *o, uint64_t v, uint32_t bytes)
{
    unsigned char b[8];
    gmk_put_le(b, v, bytes);
    gmk_out_bytes(o, b, bytes);
}

void gmk_numbered_name(char to[GMK_NAME_MAX + 1], const char *name, uint32_t number)
{
    char buf[DIGITS_MAX];
    const char *p = digits(buf, number, 1);
    uint32_t nd = (uint32_t)(buf + DIGITS_MAX - p);
    uint32_t n = gmk_text_len(name, GMK_NAME_MAX - nd);
    gmk_hal_memcpy(to, name, n);
    gmk_hal_memcpy(to + n, p, nd);
    to[n + nd] = '\0';
}

void gmk_name_copy(char to[GMK_NAME_MAX + 1], const char *name)
{
    uint32_t n = gmk_text_len(name, GMK_NAME_MAX);
    gmk_hal_memcpy(to, name, n);
    to[n] = '\0';
}

bool gmk_name_same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}
