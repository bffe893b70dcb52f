/* SPDX-License-Identifier: MIT */
/* The monitor's texts, and the frames of the second serial port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "kernel/frame.h"
#include "kernel/text.h"

static void amounts(void **state)
{
    (void)state;
    char t[TEXT_SHORT];
    assert_string_equal(text_bytes(t, 0), "0 B");
    assert_string_equal(text_bytes(t, 655360), "640 KiB");
    assert_string_equal(text_bytes(t, 66584576), "63.5 MiB");
    assert_string_equal(text_bytes(t, (uint64_t)64 << 20), "64 MiB");
    assert_true(strlen(text_bytes(t, UINT64_MAX)) < TEXT_SHORT);
    assert_string_equal(text_ns(t, 999), "999 ns");
    assert_string_equal(text_ns(t, 12345), "12.3 us");
    assert_string_equal(text_ns(t, 1500000000), "1.50 s");
    assert_true(strlen(text_ns(t, UINT64_MAX)) < TEXT_SHORT);
    assert_string_equal(text_percent(t, 1, 8), "12.5");
    assert_string_equal(text_percent(t, 0, 0), "0.0");
}

static void words(void **state)
{
    (void)state;
    char line[] = "  emit  a 1 ", full[] = "a b c", *word[3];
    assert_int_equal(text_words(line, word, 3), 3);
    assert_string_equal(word[0], "emit");
    assert_string_equal(word[2], "1");
    assert_int_equal(text_words(full, word, 2), 2);
    assert_string_equal(word[0], "a");
    char empty[] = "   ";
    assert_int_equal(text_words(empty, word, 3), 0);
    assert_true(text_in_list("metrics,trace", "trace"));
    assert_false(text_in_list("metrics,traces", "trace"));
    assert_false(text_in_list("", "trace"));
}

static void frames(void **state)
{
    (void)state;
    uint8_t header[FRAME_HEADER];
    assert_int_equal(frame_crc("123456789", 9), 0xcbf43926); /* the check value of CRC-32 */
    frame_pack(header, FRAME_TRACE, FRAME_FIRST, 0x01020304, "123456789", 9);
    const uint8_t want[16] = {'G', 'M', 'K', 1, 9,    0,    FRAME_TRACE, FRAME_FIRST,
                              4,   3,   2,   1, 0x26, 0x39, 0xf4,        0xcb};
    assert_memory_equal(header, want, 16);
    uint32_t check = frame_crc(header, 16);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(header[16 + i], check >> 8 * i & 0xff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(amounts), cmocka_unit_test(words),
                                       cmocka_unit_test(frames)};
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
