/* SPDX-License-Identifier: MIT */
/* kprintf.c — formatted text on COM1, one call in one piece. */
#include "kprintf.h"

#include "panic.h"
#include "serial.h"

void (*kprintf_around)(bool after);

static const char cut[] = " [cut]\n";

/* text with "\r\n" for "\n"; out has twice the room. */
static size_t with_returns(char *out, const char *text, size_t n)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n')
            out[used++] = '\r';
        out[used++] = text[i];
    }
    return used;
}

void kprintf(const char *fmt, ...)
{
    char text[KPRINTF_MAX], raw[2 * KPRINTF_MAX];
    va_list ap;

    va_start(ap, fmt);
    size_t n = (size_t)kvsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= sizeof text) {
        n = sizeof text - 1;
        for (size_t i = 0; i < sizeof cut - 1; i++)
            text[n - (sizeof cut - 1) + i] = cut[i];
    }
    void (*around)(bool after) = panicking() ? NULL : kprintf_around;
    if (around != NULL)
        around(false);
    serial_write(SERIAL_COM1, raw, with_returns(raw, text, n));
    if (around != NULL)
        around(true);
}
