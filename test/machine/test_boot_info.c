/* SPDX-License-Identifier: MIT */
/* What the loader said: a map of memory that cannot be trusted, and the words of the command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "boot_info.h"

static boot_info_t info;
const boot_info_t *boot_info(void) { return &info; }

static boot_range_t out[BOOT_RANGES];

static uint32_t normalise(const boot_range_t *in, uint32_t n, uint32_t *repaired)
{
    memset(out, 0xff, sizeof out);
    return boot_map_normalise(in, n, out, repaired);
}

static void assert_range(uint32_t i, uint64_t base, uint64_t length, uint32_t type)
{
    assert_int_equal(out[i].base, base);
    assert_int_equal(out[i].length, length);
    assert_int_equal(out[i].type, type);
}

static void a_good_map_stays(void **state)
{
    (void)state;
    const boot_range_t in[] = {
        {0x1000, 0x9e000, BOOT_USABLE}, {0x9fc00, 0x400, BOOT_RESERVED}, {0x100000, 0x700000, BOOT_USABLE}};
    uint32_t repaired;
    assert_int_equal(normalise(in, 3, &repaired), 3);
    assert_int_equal(repaired, 0);
    assert_range(0, 0x1000, 0x9e000, BOOT_USABLE);
    assert_range(1, 0x9fc00, 0x400, BOOT_RESERVED);
    assert_range(2, 0x100000, 0x700000, BOOT_USABLE);
}

static void a_bad_map_is_put_right(void **state)
{
    (void)state;
    const boot_range_t in[] = {
        {0x200000, 0x100000, BOOT_USABLE},          /* not sorted */
        {0x100800, 0x1000, BOOT_USABLE},            /* no whole page */
        {0x300000, 0, BOOT_USABLE},                 /* empty */
        {0x240000, 0x1000, BOOT_RESERVED},          /* within a usable one */
        {UINT64_MAX - 0xfff, 0x10000, BOOT_USABLE}, /* wraps */
        {0x2ff000, 0x2000, BOOT_ACPI_NVS},          /* overlaps its end */
        {0x400000, 0x1000, 77},                     /* unknown kind */
    };
    uint32_t repaired, n = normalise(in, 7, &repaired);
    assert_true(repaired > 0);
    uint64_t end = 0, usable = 0;
    for (uint32_t i = 0; i < n; i++) {
        assert_true(out[i].length > 0 && out[i].base >= end && out[i].base + out[i].length > out[i].base);
        assert_true(out[i].type < BOOT_KINDS);
        end = out[i].base + out[i].length;
        if (out[i].type != BOOT_USABLE)
            continue;
        assert_int_equal((out[i].base | out[i].length) & 0xfff, 0);
        assert_true(out[i].base >= 0x200000 && end <= 0x2ff000);
        assert_true(end <= 0x240000 || out[i].base >= 0x241000);
        usable += out[i].length;
    }
    assert_int_equal(usable, 0xff000 - 0x1000);
}

/* The more reserved kind wins wherever two lie over each other, for every pair of places. */
static void no_byte_is_usable_that_somebody_reserves(void **state)
{
    (void)state;
    uint32_t rng = 1;
    for (uint32_t round = 0; round < 2000; round++) {
        boot_range_t in[8];
        uint32_t repaired;
        for (uint32_t i = 0; i < 8; i++) {
            rng = rng * 1664525 + 1013904223;
            in[i].base = (uint64_t)(rng >> 8 & 63) * 0x400;
            in[i].length = (uint64_t)(rng >> 16 & 63) * 0x400;
            in[i].type = (rng >> 24) % BOOT_KINDS;
        }
        uint32_t n = normalise(in, 8, &repaired);
        assert_true(n <= 16);
        for (uint64_t at = 0; at < 128 * 0x400; at += 0x400) {
            bool reserved = false, usable = false;
            for (uint32_t i = 0; i < 8; i++)
                reserved |= in[i].type != BOOT_USABLE && at - in[i].base < in[i].length && at >= in[i].base;
            for (uint32_t i = 0; i < n; i++)
                usable |= out[i].type == BOOT_USABLE && at - out[i].base < out[i].length && at >= out[i].base;
            assert_false(reserved && usable);
        }
    }
}

static void words_of_the_command_line(void **state)
{
    (void)state;
    char value[8];
    strcpy(info.cmdline,
           "  test arena=32M top=5\ttop=7 arenas=1 name=averylongone x=0x1f bad=12q big=17179869184G");
    assert_true(boot_flag("test"));
    assert_true(boot_flag("arena"));
    assert_false(boot_flag("tes"));
    assert_false(boot_flag("est"));
    assert_false(boot_flag(""));
    assert_int_equal(boot_number("arena", 1), (uint64_t)32 << 20);
    assert_int_equal(boot_number("top", 1), 7);
    assert_int_equal(boot_number("x", 1), 31);
    assert_int_equal(boot_number("bad", 9), 9);
    assert_int_equal(boot_number("big", 9), 9);
    assert_int_equal(boot_number("test", 9), 9);
    assert_int_equal(boot_number("none", 9), 9);
    assert_true(boot_option("name", value, sizeof value));
    assert_string_equal(value, "averylo");
    assert_false(boot_option("test", value, sizeof value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_map_stays),
        cmocka_unit_test(a_bad_map_is_put_right),
        cmocka_unit_test(no_byte_is_usable_that_somebody_reserves),
        cmocka_unit_test(words_of_the_command_line),
    };
    return cmocka_run_group_tests_name("boot_info", tests, NULL, NULL);
}
