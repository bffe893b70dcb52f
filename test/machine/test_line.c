/* SPDX-License-Identifier: MIT */
/* The line editor: what a person types, what lands in the line, and what stands on the screen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/line.h"

/* One row of a terminal: enough of one for what the editor sends. */
static struct {
    char row[81];
    uint32_t at, escape, number;
} screen;

static void clear_from(uint32_t at) { memset(screen.row + at, ' ', 80 - at); }

static void on_screen(void *arg, const char *text, size_t n)
{
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (screen.escape == 1) {
            screen.escape = c == '[' ? 2 : 0;
            screen.number = 0;
        } else if (screen.escape == 2 && c >= '0' && c <= '9') {
            screen.number = screen.number * 10 + (uint32_t)(c - '0');
        } else if (screen.escape == 2) {
            uint32_t by = screen.number != 0 ? screen.number : 1;
            screen.escape = 0;
            if (c == 'K')
                clear_from(screen.at);
            else if (c == 'D')
                screen.at -= by < screen.at ? by : screen.at;
            else if (c == 'C')
                screen.at += by;
            else if (c == 'G')
                screen.at = by - 1;
        } else if (c == 27) {
            screen.escape = 1;
        } else if (c == '\r') {
            screen.at = 0;
        } else if (c == '\n') {
            clear_from(0);
        } else if (c == '\b') {
            screen.at -= screen.at > 0;
        } else if (c >= ' ') {
            assert_true(screen.at < 80);
            screen.row[screen.at++] = c;
        }
    }
}

static line_t l;

static const char *type(const char *keys)
{
    const char *line = NULL;
    for (size_t i = 0; i < strlen(keys); i++) {
        const char *got = line_key(&l, (uint8_t)keys[i]);
        if (got != NULL)
            line = got;
    }
    return line;
}

static int begin(void **state)
{
    (void)state;
    clear_from(0);
    screen.at = screen.escape = 0;
    line_init(&l, "ggmk> ", on_screen, NULL);
    line_show(&l);
    return 0;
}

static void assert_shown(const char *text, uint32_t at)
{
    char want[81];
    memset(want, ' ', 80);
    want[80] = screen.row[80] = 0;
    memcpy(want, "ggmk> ", 6);
    memcpy(want + 6, text, strlen(text));
    assert_string_equal(screen.row, want);
    assert_int_equal(screen.at, 6 + at);
}

static void typing_and_editing(void **state)
{
    (void)state;
    assert_null(type("chxan"));
    assert_null(type("\033[D\033[D\177"));
    assert_shown("chan", 2);
    assert_null(type("\001>\005<"));
    assert_shown(">chan<", 6);
    assert_null(type("\002\002\013"));
    assert_shown(">cha", 4);
    assert_null(type("\033[H\033[3~"));
    assert_shown("cha", 0);
    assert_null(type("\033[F two words\027"));
    assert_shown("cha two ", 8);
    assert_null(type("\025"));
    assert_shown("", 0);
    assert_string_equal(type("stats\r"), "stats");
}

static void ends_of_lines(void **state)
{
    (void)state;
    assert_string_equal(type("a\r"), "a");
    assert_null(type("\n")); /* the second half of \r\n */
    assert_string_equal(type("b\n"), "b");
    assert_string_equal(type("\r"), "");
}

static void history(void **state)
{
    (void)state;
    char text[8];
    for (int i = 0; i < 40; i++) {
        text[0] = (char)('A' + i / 10);
        text[1] = (char)('0' + i % 10);
        strcpy(text + 2, "\r");
        assert_non_null(type(text));
    }
    assert_null(type("new\033[A"));
    assert_shown("D9", 2);
    assert_null(type("\020"));
    assert_shown("D8", 2);
    assert_null(type("\033[B\033[B"));
    assert_shown("new", 3);
    for (int i = 0; i < 50; i++)
        (void)type("\033[A");
    assert_string_equal(type("\r"), "A8"); /* 32 of 40 are kept */
}

static void a_line_has_an_end(void **state)
{
    (void)state;
    char want[LINE_MAX + 1];
    for (int i = 0; i < 200; i++)
        (void)line_key(&l, 'x');
    memset(want, 'x', LINE_MAX);
    want[LINE_MAX] = 0;
    assert_string_equal(type("\r"), want);
}

/* Whatever comes in, the line stays one and the screen shows it. */
static void noise(void **state)
{
    (void)state;
    uint32_t rng = 7;
    for (uint32_t i = 0; i < 200000; i++) {
        rng = rng * 1664525 + 1013904223;
        static const char often[] = "\033[ABCDHF3~\001\002\005\006\013\025\027\031 xy";
        uint8_t key = (rng >> 30) != 0 ? (uint8_t)often[(rng >> 16) % (sizeof often - 1)]
                                       : (uint8_t)(rng >> 16);
        const char *line = line_key(&l, key);
        assert_true(l.at <= l.len && l.len <= LINE_MAX);
        if (line != NULL)
            assert_true(strlen(line) <= LINE_MAX);
    }
    (void)type("zz"); /* ends an escape sequence, whatever its state */
    (void)type("\025");
    (void)type("\005\025");
    assert_string_equal(type("ps\r"), "ps");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(typing_and_editing, begin),
        cmocka_unit_test_setup(ends_of_lines, begin),
        cmocka_unit_test_setup(history, begin),
        cmocka_unit_test_setup(a_line_has_an_end, begin),
        cmocka_unit_test_setup(noise, begin),
    };
    return cmocka_run_group_tests_name("line", tests, NULL, NULL);
}
