/* SPDX-License-Identifier: MIT */
/*
 * string.c — memory and strings.
 *
 * Long moves are `rep` instructions of 8 bytes, which run at full speed on every CPU and take few steps on
 * an emulated one; short ones are two loads and two stores that overlap.  Neither form is one that the
 * compiler could take for a call of the function itself.
 */
#include "string.h"

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t __attribute__((may_alias, aligned(1))) u64_any;
typedef uint32_t __attribute__((may_alias, aligned(1))) u32_any;
typedef uint16_t __attribute__((may_alias, aligned(1))) u16_any;

#define U64(p) (*(u64_any *)(p))
#define U32(p) (*(u32_any *)(p))
#define U16(p) (*(u16_any *)(p))
#define C64(p) (*(const u64_any *)(p))
#define C32(p) (*(const u32_any *)(p))
#define C16(p) (*(const u16_any *)(p))

/* Up to 16 bytes, overlap or not: everything is read before anything is written. */
static void copy_short(uint8_t *to, const uint8_t *from, size_t n)
{
    if (n >= 8) {
        uint64_t head = C64(from), tail = C64(from + n - 8);
        U64(to) = head;
        U64(to + n - 8) = tail;
    } else if (n >= 4) {
        uint32_t head = C32(from), tail = C32(from + n - 4);
        U32(to) = head;
        U32(to + n - 4) = tail;
    } else if (n >= 2) {
        uint16_t head = C16(from), tail = C16(from + n - 2);
        U16(to) = head;
        U16(to + n - 2) = tail;
    } else if (n == 1) {
        *to = *from;
    }
}

/* More than 16 bytes, upwards.  The last 8 are read first: the words may run over them. */
static void copy_up(uint8_t *to, const uint8_t *from, size_t n)
{
    uint8_t *last = to + n - 8;
    uint64_t tail = C64(from + n - 8);
    size_t words = (n - 1) / 8;
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    U64(last) = tail;
}

/* More than 16 bytes, downwards, for a target that lies above its source and overlaps it. */
static void copy_down(uint8_t *to, const uint8_t *from, size_t n)
{
    uint64_t head = C64(from);
    size_t words = (n - 1) / 8;
    uint8_t *d = to + n - 8;
    const uint8_t *s = from + n - 8;
    __asm__ volatile("std; rep movsq; cld" : "+D"(d), "+S"(s), "+c"(words) : : "memory");
    U64(to) = head;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    if (n <= 16)
        copy_short(to, from, n);
    else
        copy_up(to, from, n);
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    if (n <= 16)
        copy_short(to, from, n);
    else if ((uintptr_t)to - (uintptr_t)from >= n)
        copy_up(to, from, n);
    else
        copy_down(to, from, n);
    return to;
}

static void set_short(uint8_t *to, uint64_t pattern, size_t n)
{
    if (n >= 8) {
        U64(to) = pattern;
        U64(to + n - 8) = pattern;
    } else if (n >= 4) {
        U32(to) = (uint32_t)pattern;
        U32(to + n - 4) = (uint32_t)pattern;
    } else if (n >= 2) {
        U16(to) = (uint16_t)pattern;
        U16(to + n - 2) = (uint16_t)pattern;
    } else if (n == 1) {
        *to = (uint8_t)pattern;
    }
}

void *memset(void *to, int c, size_t n)
{
    uint64_t pattern = UINT64_C(0x0101010101010101) * (uint8_t)c;
    if (n <= 16) {
        set_short(to, pattern, n);
        return to;
    }
    uint8_t *d = to;
    size_t words = n / 8;
    U64(d + n - 8) = pattern;
    __asm__ volatile("rep stosq" : "+D"(d), "+c"(words) : "a"(pattern) : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    size_t i = 0;
    while (i + 8 <= n && C64(x + i) == C64(y + i))
        i += 8;
    while (i < n && x[i] == y[i])
        i++;
    return i == n ? 0 : x[i] - y[i];
}

void *memchr(const void *p, int c, size_t n)
{
    const uint8_t *s = p;
    for (size_t i = 0; i < n; i++)
        if (s[i] == (uint8_t)c)
            return (void *)(uintptr_t)(s + i);
    return NULL;
}

size_t strnlen(const char *s, size_t max)
{
    size_t n = 0;
    while (n < max && s[n] != '\0')
        n++;
    return n;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    while (((const volatile char *)s)[n] != '\0') /* volatile: else the loop is taken for strlen */
        n++;
    return n;
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i])
            return (unsigned char)a[i] - (unsigned char)b[i];
        if (a[i] == '\0')
            break;
    }
    return 0;
}

int strcmp(const char *a, const char *b) { return strncmp(a, b, SIZE_MAX); }

char *strchr(const char *s, int c)
{
    for (;; s++) {
        if (*s == (char)c)
            return (char *)(uintptr_t)s;
        if (*s == '\0')
            return NULL;
    }
}

size_t strlcpy(char *restrict to, const char *restrict from, size_t size)
{
    size_t n = strlen(from);
    if (size > 0) {
        size_t take = n < size ? n : size - 1;
        memcpy(to, from, take);
        to[take] = '\0';
    }
    return n;
}
