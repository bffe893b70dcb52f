/* SPDX-License-Identifier: MIT */
/*
 * kprintf.h — formatted text for the console (COM1).
 *
 * %d %i %u %x %X %p %s %c %%, the lengths hh h l ll z, a width (or *), a precision for %s (or .*), and the
 * flags 0 and -.  %p prints 0x and 16 digits.  A conversion that is none of these is printed as it stands.
 * A NULL string prints "(null)".  Any context, interrupts included; the text of one call appears in one
 * piece, at most KPRINTF_MAX bytes of it.  "\n" goes out as "\r\n".
 */
#ifndef ARCH_KPRINTF_H
#define ARCH_KPRINTF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define KPRINTF_MAX 512u

/* As C's snprintf: ends with a NUL when size > 0, returns the length the whole text has. */
int kvsnprintf(char *out, size_t size, const char *fmt, va_list ap);
int ksnprintf(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void kprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Set once, by the kernel above; NULL: nobody.  Called before a text is
 * written (false) and after it (true), in the same context, so that a prompt can make room and come back.
 * Not during a panic.
 */
extern void (*kprintf_around)(bool after);

#endif
