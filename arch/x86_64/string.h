/* SPDX-License-Identifier: MIT */
/*
 * string.h — memory and strings without a C library; the functions mean what C11 §7.24 says.
 *
 * Any context.  The first four are also what the compiler calls by itself.
 */
#ifndef ARCH_STRING_H
#define ARCH_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *p, int c, size_t n);

size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);

/* Copies at most size - 1 bytes and ends with a NUL; returns the length of from. */
size_t strlcpy(char *restrict to, const char *restrict from, size_t size);

#endif
