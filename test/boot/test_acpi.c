/* SPDX-License-Identifier: MIT */
/* From the RSDP to the MADT, and the CPUs in it. */
#include "bytes.h"
#include "../../boot/acpi.h"

#define AT 0xe0000u

enum { RSDP = 0, RSDT = 0x100, XSDT = 0x200, OTHER = 0x300, MADT = 0x400, SIZE = 0x1000 };

static uint8_t memory[SIZE];
static struct bytes_view buffer = {memory, AT, SIZE};
static const struct phys_view view = {bytes_at, &buffer};
static const uint8_t *found;
static uint32_t length;
static struct madt madt;
static struct boot_error error;

static void sum(uint8_t *p, uint32_t n, uint32_t at)
{
    uint8_t s = 0;
    p[at] = 0;
    for (uint32_t i = 0; i < n; i++)
        s = (uint8_t)(s + p[i]);
    p[at] = (uint8_t)-s;
}

static void table(uint32_t at, const char *signature, uint32_t size)
{
    memcpy(memory + at, signature, 4);
    put32(memory + at + 4, size);
    sum(memory + at, size, 9);
}

static void finish_rsdp(uint8_t revision)
{
    memcpy(memory, "RSD PTR ", 8);
    memory[15] = revision;
    put32(memory + 16, AT + RSDT);
    put32(memory + 20, 36);
    put64(memory + 24, AT + XSDT);
    sum(memory, 20, 8);
    sum(memory, 36, 32);
}

static int good_tables(void **state)
{
    (void)state;
    memset(memory, 0, sizeof memory);
    put32(memory + RSDT + 36, AT + MADT);
    put64(memory + XSDT + 36, AT + OTHER);
    put64(memory + XSDT + 44, AT + MADT);
    table(RSDT, "RSDT", 40);
    table(XSDT, "XSDT", 52);
    table(OTHER, "FACP", 64);
    table(MADT, "APIC", 44);
    finish_rsdp(2);
    return 0;
}

static bool find(void) { return acpi_find_madt(&view, AT, &found, &length, &error); }

static void found_by_xsdt_and_rsdt(void **state)
{
    (void)state;
    assert_true(find());
    assert_ptr_equal(found, memory + MADT);
    assert_int_equal(length, 44);
    finish_rsdp(0);
    memset(memory + XSDT, 0, 52);
    assert_true(find());
}

static void skips_broken_tables(void **state)
{
    (void)state;
    put64(memory + XSDT + 36, 0);
    sum(memory + XSDT, 52, 9);
    assert_true(find());
    put64(memory + XSDT + 36, UINT64_MAX - 3);
    sum(memory + XSDT, 52, 9);
    assert_true(find());
    put32(memory + MADT + 4, 0xffffffff);
    assert_false(find());
    assert_non_null(strstr(error.what, "no valid MADT"));
    assert_int_equal(error.value, AT);
}

static void refuses_wrong_checksums(void **state)
{
    (void)state;
    memory[MADT + 40] ^= 1;
    assert_false(find());
    good_tables(state);
    memory[XSDT + 10] ^= 1;
    assert_false(find());
    good_tables(state);
    memory[10] ^= 1;
    assert_false(find());
    assert_non_null(strstr(error.what, "no valid RSDP"));
    good_tables(state);
    put32(memory + XSDT + 4, 35);
    assert_false(find());
}

static void refuses_memory_that_is_not_there(void **state)
{
    (void)state;
    assert_false(acpi_find_madt(&view, AT + SIZE - 10, &found, &length, &error));
    assert_false(acpi_find_madt(&view, 0, &found, &length, &error));
    assert_false(acpi_find_madt(&view, UINT64_MAX, &found, &length, &error));
}

static uint8_t *lapic(uint8_t *p, uint8_t uid, uint8_t id, uint32_t flags)
{
    p[0] = 0;
    p[1] = 8;
    p[2] = uid;
    p[3] = id;
    put32(p + 4, flags);
    return p + 8;
}

static uint8_t *x2apic(uint8_t *p, uint32_t uid, uint32_t id, uint32_t flags)
{
    p[0] = 9;
    p[1] = 16;
    put32(p + 4, id);
    put32(p + 8, flags);
    put32(p + 12, uid);
    return p + 16;
}

static uint8_t *ioapic(uint8_t *p, uint32_t address)
{
    p[0] = 1;
    p[1] = 12;
    put32(p + 4, address);
    return p + 12;
}

static void lists_cpus(void **state)
{
    uint8_t *p = memory + MADT + 44;
    (void)state;
    p = lapic(p, 1, 0, 1);
    p = lapic(p, 2, 4, 1);
    p = lapic(p, 3, 6, 0);    /* not enabled */
    p = lapic(p, 4, 8, 2);    /* could be, later */
    p = lapic(p, 5, 0xff, 1); /* the broadcast ID */
    p = x2apic(p, 2, 4, 1);   /* listed already */
    p = x2apic(p, 300, 300, 1);
    p = ioapic(p, 0xfec00000);
    madt_parse(memory + MADT, (uint32_t)(p - (memory + MADT)), &madt);
    assert_int_equal(madt.cpu_count, 3);
    assert_int_equal(madt.cpu[0].uid, 1);
    assert_int_equal(madt.cpu[1].lapic_id, 4);
    assert_int_equal(madt.cpu[2].lapic_id, 300);
    assert_int_equal(madt.cpu[2].uid, 300);
    assert_int_equal(madt.ioapic_count, 1);
    assert_int_equal(madt.ioapic[0], 0xfec00000);
}

static void ends_at_what_cannot_be(void **state)
{
    static const uint8_t sizes[] = {0, 1, 200};
    (void)state;
    for (uint32_t i = 0; i < sizeof sizes; i++) {
        uint8_t *p = lapic(memory + MADT + 44, 1, 7, 1);
        lapic(p, 2, 8, 1);
        p[1] = sizes[i];
        madt_parse(memory + MADT, 60, &madt);
        assert_int_equal(madt.cpu_count, 1);
    }
    madt_parse(memory + MADT, 36, &madt);
    assert_int_equal(madt.cpu_count, 0);
}

static void counts_what_has_no_room(void **state)
{
    static uint8_t large[44 + 300 * 16];
    uint8_t *p = large + 44;
    (void)state;
    for (uint32_t i = 0; i < 300; i++)
        p = x2apic(p, i, i, 1);
    madt_parse(large, sizeof large, &madt);
    assert_int_equal(madt.cpu_count, MADT_CPUS);
    assert_int_equal(madt.more_cpus, 300 - MADT_CPUS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(found_by_xsdt_and_rsdt, good_tables),
        cmocka_unit_test_setup(skips_broken_tables, good_tables),
        cmocka_unit_test_setup(refuses_wrong_checksums, good_tables),
        cmocka_unit_test_setup(refuses_memory_that_is_not_there, good_tables),
        cmocka_unit_test_setup(lists_cpus, good_tables),
        cmocka_unit_test_setup(ends_at_what_cannot_be, good_tables),
        cmocka_unit_test(counts_what_has_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
