/* SPDX-License-Identifier: MIT */
/* PVH's start_info and Multiboot2's tags: what is read, and what is refused. */
#include "bytes.h"
#include "../../boot/source.h"

#define AT 0x8000u
#define SIZE 0x4000u

static uint8_t memory[SIZE];
static struct bytes_view buffer = {memory, AT, SIZE};
static const struct phys_view view = {bytes_at, &buffer};
static struct boot_source source;
static struct boot_error error;

/* Offsets in memory of what start_info points to. */
enum { LIST = 0x100, MAP = 0x200, LINE = 0x300, MODULE_LINE = 0x400 };

static int good_pvh(void **state)
{
    (void)state;
    memset(memory, 0, sizeof memory);
    put32(memory, PVH_MAGIC);
    put32(memory + 4, 1);
    put32(memory + 12, 1);
    put64(memory + 16, AT + LIST);
    put64(memory + 24, AT + LINE);
    put64(memory + 32, 0xf5a00);
    put64(memory + 40, AT + MAP);
    put32(memory + 48, 2);
    put64(memory + LIST, 0x7e00000);
    put64(memory + LIST + 8, 0x1234);
    put64(memory + LIST + 16, AT + MODULE_LINE);
    put64(memory + MAP + 8, 0x9fc00);
    put32(memory + MAP + 16, 1);
    put64(memory + MAP + 24, 0x100000);
    put64(memory + MAP + 32, 0x7f00000);
    put32(memory + MAP + 40, 1);
    strcpy((char *)memory + LINE, "loader line");
    strcpy((char *)memory + MODULE_LINE, "test");
    return 0;
}

static void pvh_refused(const char *what)
{
    assert_false(source_from_pvh(&view, AT, &source, &error));
    assert_non_null(strstr(error.what, what));
}

static void pvh_is_read(void **state)
{
    (void)state;
    assert_true(source_from_pvh(&view, AT, &source, &error));
    assert_int_equal(source.rsdp, 0xf5a00);
    assert_false(source.rsdp_copied);
    assert_int_equal(source.module_count, 1);
    assert_int_equal(source.module[0].base, 0x7e00000);
    assert_int_equal(source.module[0].size, 0x1234);
    assert_string_equal(source.module[0].cmdline, "test");
    assert_string_equal(source.cmdline, "loader line");
    assert_int_equal(source.map.count, 2);
    assert_int_equal(source.map.entry[1].base, 0x100000);
}

static void pvh_without_lines(void **state)
{
    (void)state;
    put64(memory + 24, 0);
    put64(memory + LIST + 16, 0);
    put32(memory + 12, 0);
    assert_true(source_from_pvh(&view, AT, &source, &error));
    assert_int_equal(source.module_count, 0);
    assert_string_equal(source.cmdline, "");
}

static void pvh_flaws(void **state)
{
    put32(memory, 0);
    pvh_refused("not where it should be");
    good_pvh(state);
    assert_false(source_from_pvh(&view, AT + SIZE - 55, &source, &error));
    assert_false(source_from_pvh(&view, 0, &source, &error));
    put32(memory + 4, 0);
    pvh_refused("no memory map");
    good_pvh(state);
    put32(memory + 48, 0xffffffff);
    pvh_refused("too long");
    good_pvh(state);
    put64(memory + 40, UINT64_MAX - 8);
    pvh_refused("map lies outside");
    good_pvh(state);
    put64(memory + 16, AT + SIZE - 31);
    pvh_refused("list lies outside");
    good_pvh(state);
    put64(memory + LIST + 8, UINT64_MAX);
    pvh_refused("wraps");
}

static void pvh_too_many_modules(void **state)
{
    (void)state;
    put32(memory + 12, 0xffffffff);
    put64(memory + 16, AT + 0x1000);
    pvh_refused("more modules");
}

/* A line without an end: as much as is memory; longer than there is room for: refused. */
static void pvh_endless_line(void **state)
{
    (void)state;
    memset(memory + SIZE - 16, 'x', 16);
    put64(memory + 24, AT + SIZE - 16);
    assert_true(source_from_pvh(&view, AT, &source, &error));
    assert_string_equal(source.cmdline, "xxxxxxxxxxxxxxxx");
    memset(memory + SIZE - 9000, 'x', 9000);
    put64(memory + 24, AT + SIZE - 9000);
    pvh_refused("too long");
}

static uint8_t *tag(uint8_t *p, uint32_t type, uint32_t size)
{
    put32(p, type);
    put32(p + 4, size);
    return p + 8;
}

enum { T_LINE = 8, T_MODULE = 32, T_MMAP = 56, T_RSDP2 = 120, T_RSDP1 = 168, T_UNKNOWN = 200, T_END = 216 };

static int good_mb2(void **state)
{
    (void)state;
    memset(memory, 0, sizeof memory);
    put32(memory, T_END + 8);
    strcpy((char *)tag(memory + T_LINE, 1, 8 + 12), "loader line");
    uint8_t *p = tag(memory + T_MODULE, 3, 16 + 5);
    put32(p, 0x400000);
    put32(p + 4, 0x401234);
    strcpy((char *)p + 8, "test");
    p = tag(memory + T_MMAP, 6, 16 + 2 * 24);
    put32(p, 24);
    put64(p + 16, 0x9fc00);
    put32(p + 24, 1);
    put64(p + 32, 0x100000);
    put64(p + 40, 0x7f00000);
    put32(p + 48, 1);
    memset(tag(memory + T_RSDP2, 15, 8 + 36), 2, 36);
    memset(tag(memory + T_RSDP1, 14, 8 + 20), 1, 20);
    tag(memory + T_UNKNOWN, 99, 16);
    tag(memory + T_END, 0, 8);
    return 0;
}

static void mb2_refused(const char *what)
{
    assert_false(source_from_mb2(memory, T_END + 8, &source, &error));
    assert_non_null(strstr(error.what, what));
}

static void mb2_is_read(void **state)
{
    (void)state;
    assert_true(source_from_mb2(memory, T_END + 8, &source, &error));
    assert_string_equal(source.cmdline, "loader line");
    assert_int_equal(source.module_count, 1);
    assert_int_equal(source.module[0].base, 0x400000);
    assert_int_equal(source.module[0].size, 0x1234);
    assert_string_equal(source.module[0].cmdline, "test");
    assert_int_equal(source.map.count, 2);
    assert_int_equal(source.map.entry[1].length, 0x7f00000);
    assert_true(source.rsdp_copied);
    assert_int_equal(source.rsdp_copy[0], 2);
    assert_int_equal(source.rsdp_copy[35], 2);
}

static void mb2_old_rsdp(void **state)
{
    (void)state;
    put32(memory + T_RSDP2, 99);
    assert_true(source_from_mb2(memory, T_END + 8, &source, &error));
    assert_true(source.rsdp_copied);
    assert_int_equal(source.rsdp_copy[19], 1);
    assert_int_equal(source.rsdp_copy[20], 0);
}

static void mb2_flaws(void **state)
{
    static const struct {
        uint32_t at, value;
        const char *what;
    } flaw[] = {
        {T_LINE + 4, 7, "tag has a wrong size"},
        {T_LINE + 4, 0xffffffff, "tag has a wrong size"},
        {T_MODULE + 4, 15, "module tag"},
        {T_MODULE + 12, 0x3fffff, "module tag"},
        {T_MMAP + 8, 0, "entries of a wrong size"},
        {T_MMAP + 8, 23, "entries of a wrong size"},
        {T_MMAP + 4, 12, "entries of a wrong size"},
        {T_MMAP, 99, "no memory map"},
    };
    for (uint32_t i = 0; i < sizeof flaw / sizeof *flaw; i++) {
        good_mb2(state);
        put32(memory + flaw[i].at, flaw[i].value);
        mb2_refused(flaw[i].what);
    }
}

static void mb2_truncated_anywhere(void **state)
{
    (void)state;
    for (uint32_t size = 0; size < T_END; size++) {
        uint8_t *copy = test_malloc(size + 1);
        memcpy(copy, memory, size);
        if (source_from_mb2(copy, size, &source, &error))
            assert_int_equal(source.map.count, 2);
        test_free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(pvh_is_read, good_pvh),
        cmocka_unit_test_setup(pvh_without_lines, good_pvh),
        cmocka_unit_test_setup(pvh_flaws, good_pvh),
        cmocka_unit_test_setup(pvh_too_many_modules, good_pvh),
        cmocka_unit_test_setup(pvh_endless_line, good_pvh),
        cmocka_unit_test_setup(mb2_is_read, good_mb2),
        cmocka_unit_test_setup(mb2_old_rsdp, good_mb2),
        cmocka_unit_test(mb2_flaws),
        cmocka_unit_test_setup(mb2_truncated_anywhere, good_mb2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
