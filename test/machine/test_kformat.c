/* SPDX-License-Identifier: MIT */
/* The console's formatting against the C library's, and where the two differ by intent. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kprintf.h"

/* Both say the same, into every size of room. */
#define SAME(...)                                                                                            \
    do {                                                                                                     \
        char want[256], got[256];                                                                            \
        int n = snprintf(want, sizeof want, __VA_ARGS__);                                                    \
        assert_int_equal(ksnprintf(got, sizeof got, __VA_ARGS__), n);                                        \
        assert_string_equal(got, want);                                                                      \
        for (size_t room = 1; room <= (size_t)n + 1; room++) {                                               \
            memset(got, '#', sizeof got);                                                                    \
            assert_int_equal(ksnprintf(got, room, __VA_ARGS__), n);                                          \
            assert_int_equal(strlen(got), room <= (size_t)n ? room - 1 : (size_t)n);                         \
            assert_memory_equal(got, want, strlen(got));                                                     \
            assert_int_equal(got[room], '#');                                                                \
        }                                                                                                    \
    } while (0)

static void numbers(void **state)
{
    (void)state;
    SAME("%d %i %u", -1, 7, 4000000000u);
    SAME("%d %d", INT_MIN, INT_MAX);
    SAME("%ld %lu %lx", LONG_MIN, ULONG_MAX, ULONG_MAX);
    SAME("%lld %llu %llX", LLONG_MIN, ULLONG_MAX, 0xABCDEFull);
    SAME("%zu %zx", SIZE_MAX, (size_t)255);
    SAME("%hhd %hhu %hd %hu %hx", (signed char)-5, (unsigned char)250, (short)-300, (unsigned short)65000,
         (unsigned short)0xBEEF);
    SAME("%x %X %x", 0u, 0xFFFFFFFFu, 16u);
}

static void widths(void **state)
{
    (void)state;
    for (int w = 0; w < 24; w++) {
        SAME("%*d|%*u|%*x", w, -42, w, 42u, w, 0xABu);
        SAME("%-*d|%-*u|%-*x", w, -42, w, 42u, w, 0xABu);
        SAME("%0*d|%0*u|%0*x", w, -42, w, 42u, w, 0xABu);
        SAME("%*s|%-*s|%c|%*c|%-*c", w, "text", w, "text", 'c', w, 'r', w, 'l');
        SAME("%.*s|%*.*s", w, "some text", 12, w, "some text");
    }
    SAME("%*d|%*s", -8, 1, -8, "x");
    SAME("%%|%%");
}

static void texts(void **state)
{
    (void)state;
    const char open_ended[4] = {'a', 'b', 'c', 'd'};
    SAME("nothing");
    SAME("%s%s%s", "", "a", "bc");
    SAME("%.4s", open_ended);
    SAME("%.0s|%.s", "x", "y");
}

static void random_numbers(void **state)
{
    (void)state;
    static const char *const formats[] = {"%lld",    "%llu",    "%llx",    "%llX",  "%20lld",
                                          "%-20llu", "%020llx", "%025lld", "%3lld", "%-3llX|"};
    srandom(4);
    for (int i = 0; i < 200000; i++) {
        const char *f = formats[(size_t)random() % (sizeof formats / sizeof formats[0])];
        unsigned long long v = (unsigned long long)random() << 33 ^ (unsigned long long)random() << 11 ^
                               (unsigned long long)random();
        char want[64], got[64];
        v >>= random() % 64;
        v = random() % 2 ? v : 0 - v;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        int n = snprintf(want, sizeof want, f, v);
        assert_int_equal(ksnprintf(got, sizeof got, f, v), n);
#pragma GCC diagnostic pop
        assert_string_equal(got, want);
    }
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
#pragma GCC diagnostic ignored "-Wformat-zero-length"

static void says(const char *want, const char *fmt, ...)
{
    char got[128];
    va_list ap;
    va_start(ap, fmt);
    assert_int_equal(kvsnprintf(got, sizeof got, fmt, ap), strlen(want));
    va_end(ap);
    assert_string_equal(got, want);
}

/* The whole length; the text is cut to the room. */
static int length(const char *fmt, ...)
{
    static char got[64];
    va_list ap;
    va_start(ap, fmt);
    int n = kvsnprintf(got, sizeof got, fmt, ap);
    va_end(ap);
    assert_true(strlen(got) < sizeof got);
    return n;
}

static void our_own(void **state)
{
    (void)state;
    says("(null)", "%s", NULL);
    says("0x0000000000000000|0xffffffff80000000", "%p|%p", NULL, (void *)0xffffffff80000000);
    says("%f %q", "%f %q", 1);
    says("100%", "100%");
    says("%-", "%-");
    says("%l", "%l");
    says("", "");
    assert_int_equal(ksnprintf(NULL, 0, "%d", 12345), 5);
}

/* Absurd widths are cut, not obeyed: 4095. */
static void absurd(void **state)
{
    (void)state;
    assert_int_equal(length("%99999999999999999999d", 1), 4095);
    assert_int_equal(length("%*d", INT_MAX, 1), 4095);
    assert_int_equal(length("%*d|", INT_MIN, 1), 4096);
    assert_int_equal(length("%.*s", INT_MIN, "abc"), 3);
}
#pragma GCC diagnostic pop

/* Any bytes as a format that takes nothing from the arguments it is not given. */
static void any_format(void **state)
{
    static const char letters[] = "%-0123456789.*hlzdiuxXcq ";
    (void)state;
    srandom(7);
    for (int i = 0; i < 200000; i++) {
        char fmt[16], got[64];
        size_t n = (size_t)random() % (sizeof fmt - 1);
        for (size_t k = 0; k < n; k++)
            fmt[k] = letters[(size_t)random() % (sizeof letters - 1)];
        fmt[n] = '\0';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
        int length = ksnprintf(got, sizeof got, fmt, 1l, 2l, 3l, 4l, 5l, 6l, 7l, 8l, 9l, 10l, 11l, 12l, 13l,
                               14l, 15l, 16l);
#pragma GCC diagnostic pop
        assert_true(length >= 0);
        assert_true(strlen(got) < sizeof got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),        cmocka_unit_test(widths),  cmocka_unit_test(texts),
        cmocka_unit_test(random_numbers), cmocka_unit_test(our_own), cmocka_unit_test(absurd),
        cmocka_unit_test(any_format),
    };
    return cmocka_run_group_tests_name("kformat", tests, NULL, NULL);
}
