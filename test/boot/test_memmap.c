/* SPDX-License-Identifier: MIT */
/* The memory map: every order, overlap and hole that firmware can think of, and memory handed out of it. */
#include "bytes.h"
#include "../../boot/memmap.h"

#define PAGE 0x1000u
#define PAGES 64u

static struct memmap map;
static struct boot_error error;

static int empty_map(void **state)
{
    (void)state;
    map.count = 0;
    return 0;
}

static void add(uint64_t base, uint64_t length, uint32_t type)
{
    assert_true(memmap_add_e820(&map, base, length, type, &error));
}

static void tidy(void) { assert_true(memmap_tidy(&map, &error)); }

static void entry_is(uint32_t i, uint64_t base, uint64_t end, uint64_t type)
{
    assert_in_range(i, 0, map.count - 1);
    assert_int_equal(map.entry[i].base, base);
    assert_int_equal(map.entry[i].base + map.entry[i].length, end);
    assert_int_equal(map.entry[i].type, type);
}

static void check_promises(void)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < map.count; i++) {
        const struct limine_memmap_entry *m = &map.entry[i];
        assert_true(m->base >= end && m->length > 0);
        if (m->type == LIMINE_MEM_USABLE || m->type == LIMINE_MEM_RECLAIMABLE)
            assert_int_equal((m->base | m->length) % PAGE, 0);
        end = m->base + m->length;
    }
}

static void sorts_and_joins(void **state)
{
    (void)state;
    add(0x300000, 0x100000, 1);
    add(0x100000, 0x100000, 1);
    add(0x200000, 0x100000, 1);
    add(0, 0x1000, 2);
    tidy();
    assert_int_equal(map.count, 2);
    entry_is(0, 0, 0x1000, LIMINE_MEM_RESERVED);
    entry_is(1, 0x100000, 0x400000, LIMINE_MEM_USABLE);
}

static void translates_types(void **state)
{
    static const uint64_t expected[] = {1, 0, 1, 2, 3, 4, 1, 1};
    (void)state;
    for (uint32_t type = 0; type < 8; type++)
        add(type * 0x2000, 0x1000, type);
    tidy();
    assert_int_equal(map.count, 8);
    for (uint32_t type = 0; type < 8; type++)
        assert_int_equal(map.entry[type].type, expected[type]);
}

static void the_worst_type_wins(void **state)
{
    (void)state;
    add(0, 0x10000, 1);
    add(0x2000, 0x4000, 3);
    add(0x4000, 0x4000, 2);
    add(0x5000, 0x1000, 5);
    tidy();
    assert_int_equal(map.count, 6);
    entry_is(0, 0, 0x2000, LIMINE_MEM_USABLE);
    entry_is(1, 0x2000, 0x4000, LIMINE_MEM_ACPI_RECLAIMABLE);
    entry_is(2, 0x4000, 0x5000, LIMINE_MEM_RESERVED);
    entry_is(3, 0x5000, 0x6000, LIMINE_MEM_BAD);
    entry_is(4, 0x6000, 0x8000, LIMINE_MEM_RESERVED);
    entry_is(5, 0x8000, 0x10000, LIMINE_MEM_USABLE);
}

static void drops_torn_pages(void **state)
{
    (void)state;
    add(0, 0x9fc00, 1);
    add(0x9fc00, 0x400, 2);
    add(0x100800, 0x7ff, 1); /* no whole page */
    add(0x200001, 0x2000, 1);
    tidy();
    assert_int_equal(map.count, 3);
    entry_is(0, 0, 0x9f000, LIMINE_MEM_USABLE);
    entry_is(1, 0x9fc00, 0xa0000, LIMINE_MEM_RESERVED);
    entry_is(2, 0x201000, 0x202000, LIMINE_MEM_USABLE);
}

static void survives_absurd_entries(void **state)
{
    (void)state;
    add(0x1000, 0, 1);
    add(UINT64_MAX, UINT64_MAX, 1);
    add(1ull << 52, 0x1000, 1);
    add(0x100000, UINT64_MAX, 1);
    tidy();
    assert_int_equal(map.count, 1);
    entry_is(0, 0x100000, 1ull << 52, LIMINE_MEM_USABLE);
}

static void refuses_too_many(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MEMMAP_MAX; i++)
        add(i * 0x2000ull, 0x1000, 1);
    assert_false(memmap_add_e820(&map, 1ull << 40, 0x1000, 1, &error));
    assert_int_equal(error.value, MEMMAP_MAX);
    tidy();
    assert_int_equal(map.count, MEMMAP_MAX);
    map.entry[5].length += 0x1000; /* so that a claim splits it */
    assert_false(memmap_claim(&map, map.entry[5].base, 0x1000, LIMINE_MEM_RECLAIMABLE, &error));
    assert_int_equal(map.count, MEMMAP_MAX);
    assert_true(memmap_holds(&map, map.entry[5].base, 0x2000, LIMINE_MEM_USABLE));
    check_promises();
}

static void claims_whole_usable_pages(void **state)
{
    (void)state;
    add(0, 0x4000, 1);
    add(0x4000, 0x1000, 2);
    tidy();
    assert_true(memmap_claim(&map, 0x2800, 0x1900, LIMINE_MEM_KERNEL_AND_MODULES, &error));
    assert_true(
        memmap_claim(&map, 0x100000, 0x1000, LIMINE_MEM_KERNEL_AND_MODULES, &error)); /* no memory there */
    assert_true(memmap_claim(&map, 0x1000, 0, LIMINE_MEM_RECLAIMABLE, &error));
    assert_int_equal(map.count, 3);
    entry_is(0, 0, 0x2000, LIMINE_MEM_USABLE);
    entry_is(1, 0x2000, 0x4000, LIMINE_MEM_KERNEL_AND_MODULES);
    entry_is(2, 0x4000, 0x5000, LIMINE_MEM_RESERVED);
}

static void allocates_from_the_top(void **state)
{
    (void)state;
    add(0x1000, 0xf000, 1);
    add(0x100000, 0x700000, 1);
    tidy();
    assert_int_equal(memmap_alloc(&map, 0x1000, PAGE, UINT64_MAX, LIMINE_MEM_RECLAIMABLE), 0x7ff000);
    assert_int_equal(memmap_alloc(&map, 0x1000, PAGE, UINT64_MAX, LIMINE_MEM_RECLAIMABLE), 0x7fe000);
    assert_int_equal(memmap_alloc(&map, 0x3000, 0x200000, UINT64_MAX, LIMINE_MEM_KERNEL_AND_MODULES),
                     0x600000);
    assert_int_equal(memmap_alloc(&map, 0x1000, PAGE, 0x100000, LIMINE_MEM_RECLAIMABLE), 0xf000);
    assert_int_equal(memmap_alloc(&map, 0x600000, PAGE, UINT64_MAX, LIMINE_MEM_RECLAIMABLE), 0);
    assert_int_equal(memmap_alloc(&map, 0x1000, PAGE, 0x1000, LIMINE_MEM_RECLAIMABLE), 0);
    assert_int_equal(memmap_alloc(&map, UINT64_MAX, PAGE, UINT64_MAX, LIMINE_MEM_RECLAIMABLE), 0);
    entry_is(map.count - 1, 0x7fe000, 0x800000, LIMINE_MEM_RECLAIMABLE);
    check_promises();
}

static void never_hands_out_address_0(void **state)
{
    (void)state;
    add(0, 0x1000, 1);
    tidy();
    assert_int_equal(memmap_alloc(&map, 0x1000, PAGE, UINT64_MAX, LIMINE_MEM_RECLAIMABLE), 0);
}

static void holds_only_within_one_entry(void **state)
{
    (void)state;
    add(0x1000, 0x2000, 1);
    tidy();
    assert_true(memmap_holds(&map, 0x1000, 0x2000, LIMINE_MEM_USABLE));
    assert_false(memmap_holds(&map, 0x1000, 0x2001, LIMINE_MEM_USABLE));
    assert_false(memmap_holds(&map, 0x1000, UINT64_MAX, LIMINE_MEM_USABLE));
    assert_false(memmap_holds(&map, 0xfff, 1, LIMINE_MEM_USABLE));
    assert_false(memmap_holds(&map, 0x1000, 1, LIMINE_MEM_RESERVED));
}

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* Random page-aligned entries against an array of the worst type per page. */
static void agrees_with_a_simple_model(void **state)
{
    static const int order[] = {[0] = 0, [1] = 6, [2] = 4, [3] = 5, [4] = 7};
    static const int limine[] = {1, 0, 1, 2, 3, 4};
    uint64_t x = 88172645463325252u;
    (void)state;
    for (uint32_t round = 0; round < 500; round++) {
        int page[PAGES], n = (int)(next_random(&x) % 20);
        memset(page, 0xff, sizeof page);
        map.count = 0;
        while (n-- > 0) {
            uint64_t base = next_random(&x) % PAGES, length = next_random(&x) % (PAGES - base + 1);
            uint32_t type = (uint32_t)(next_random(&x) % 5 + 1);
            add(base * PAGE, length * PAGE, type);
            for (uint64_t i = base; i < base + length; i++) {
                if (page[i] < 0 || order[limine[type]] > order[page[i]])
                    page[i] = limine[type];
            }
        }
        tidy();
        check_promises();
        for (uint32_t i = 0; i < PAGES; i++) {
            for (int type = 0; type < 5; type++)
                assert_int_equal(memmap_holds(&map, i * PAGE, PAGE, (uint64_t)type), page[i] == type);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sorts_and_joins, empty_map),
        cmocka_unit_test_setup(translates_types, empty_map),
        cmocka_unit_test_setup(the_worst_type_wins, empty_map),
        cmocka_unit_test_setup(drops_torn_pages, empty_map),
        cmocka_unit_test_setup(survives_absurd_entries, empty_map),
        cmocka_unit_test_setup(refuses_too_many, empty_map),
        cmocka_unit_test_setup(claims_whole_usable_pages, empty_map),
        cmocka_unit_test_setup(allocates_from_the_top, empty_map),
        cmocka_unit_test_setup(never_hands_out_address_0, empty_map),
        cmocka_unit_test_setup(holds_only_within_one_entry, empty_map),
        cmocka_unit_test_setup(agrees_with_a_simple_model, empty_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
