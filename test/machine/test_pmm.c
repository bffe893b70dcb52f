/* SPDX-License-Identifier: MIT */
/* Physical memory of the bare machine: bitmaps of runs, zones made from memory maps, frames. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "boot_info.h"
#include "frames.h"
#include "runs.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define LIMIT ((uint64_t)1 << 46)

static uint64_t seed;

static uint64_t dice(uint64_t sides)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % sides;
}

/* ---- runs --------------------------------------------------------------------------------- */

#define MOST 700u

/* What a bitmap should look like, one byte an item. */
typedef struct model {
    runs_t runs;
    uint64_t words[RUNS_WORDS(MOST)];
    unsigned char used[MOST];
} model_t;

static void model_init(model_t *m, uint64_t count)
{
    memset(m, 0, sizeof *m);
    runs_init(&m->runs, m->words, count);
    assert_true(runs_free(&m->runs, 0, count));
}

static void model_check(const model_t *m)
{
    uint64_t free = 0, run = 0, largest = 0;

    for (uint64_t i = 0; i < m->runs.count; i++) {
        assert_int_equal(m->words[i / 64] >> (i % 64) & 1, m->used[i]);
        run = m->used[i] ? 0 : run + 1;
        largest = run > largest ? run : largest;
        free += !m->used[i];
    }
    assert_int_equal(m->runs.free, free);
    assert_int_equal(runs_largest(&m->runs), largest);
}

static bool model_fits(const model_t *m, uint64_t n, uint64_t align, uint64_t phase)
{
    for (uint64_t at = 0; at + n <= m->runs.count; at++) {
        uint64_t k = 0;
        while (k < n && !m->used[at + k])
            k++;
        if (k == n && (at + phase) % align == 0)
            return true;
    }
    return false;
}

static void model_step(model_t *m)
{
    uint64_t n = 1 + dice(dice(4) ? 8 : 150), align = (uint64_t)1 << dice(7), phase = dice(100);

    if (dice(2)) {
        uint64_t at = runs_alloc(&m->runs, n, align, phase);
        assert_int_equal(at != RUNS_NONE, model_fits(m, n, align, phase));
        if (at == RUNS_NONE)
            return;
        assert_int_equal((at + phase) % align, 0);
        if (n == 1 && align == 1)
            assert_ptr_equal(memchr(m->used, 0, m->runs.count), &m->used[at]);
        for (uint64_t k = 0; k < n; k++)
            assert_int_equal(m->used[at + k]++, 0);
    } else {
        uint64_t at = dice(m->runs.count + 5);
        bool good = at + n <= m->runs.count && !memchr(&m->used[at], 0, n);
        assert_int_equal(runs_free(&m->runs, at, n), good);
        if (good)
            memset(&m->used[at], 0, n);
    }
}

static void runs_agree_with_a_simple_model(void **state)
{
    static const uint64_t counts[] = {1, 63, 64, 65, 128, 200, MOST};
    model_t m;

    (void)state;
    seed = 42;
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        model_init(&m, counts[c]);
        for (int i = 0; i < 4000; i++) {
            model_step(&m);
            if (i % 16 == 0)
                model_check(&m);
        }
        model_check(&m);
    }
}

static void runs_refuse_nonsense(void **state)
{
    model_t m;

    (void)state;
    model_init(&m, 100);
    assert_true(runs_alloc(&m.runs, 0, 1, 0) == RUNS_NONE);
    assert_true(runs_alloc(&m.runs, 101, 1, 0) == RUNS_NONE);
    assert_true(runs_alloc(&m.runs, UINT64_MAX, 1, 0) == RUNS_NONE);
    assert_true(runs_alloc(&m.runs, 1, 0, 0) == RUNS_NONE);
    assert_true(runs_alloc(&m.runs, 1, 3, 0) == RUNS_NONE);
    assert_true(runs_alloc(&m.runs, 1, (uint64_t)1 << 63, 1) == RUNS_NONE);
    assert_int_equal(runs_alloc(&m.runs, 100, 1, 0), 0);
    assert_false(runs_free(&m.runs, 0, 0));
    assert_false(runs_free(&m.runs, 100, 1));
    assert_false(runs_free(&m.runs, 99, 2));
    assert_false(runs_free(&m.runs, 1, UINT64_MAX));
    assert_true(runs_free(&m.runs, 7, 1));
    assert_false(runs_free(&m.runs, 0, 100)); /* one of them is free */
    assert_int_equal(m.runs.free, 1);
}

static void runs_search_on_from_the_last(void **state)
{
    model_t m;

    (void)state;
    model_init(&m, 128);
    assert_int_equal(runs_alloc(&m.runs, 10, 1, 0), 0);
    assert_true(runs_free(&m.runs, 0, 10));
    assert_int_equal(runs_alloc(&m.runs, 10, 1, 0), 10); /* what was just freed rests */
    assert_int_equal(runs_alloc(&m.runs, 100, 1, 0), 20);
    assert_int_equal(runs_alloc(&m.runs, 10, 1, 0), 0); /* and round again */
    runs_reserve(&m.runs, 118, 500);
    runs_reserve(&m.runs, 5000, 2);
    assert_int_equal(m.runs.free, 0);
}

static void single_ones_lie_low(void **state)
{
    model_t m;

    (void)state;
    model_init(&m, 200);
    assert_int_equal(runs_alloc(&m.runs, 1, 1, 0), 0);
    assert_int_equal(runs_alloc(&m.runs, 10, 1, 0), 1);
    assert_int_equal(runs_alloc(&m.runs, 1, 1, 0), 11);
    assert_true(runs_free(&m.runs, 3, 2));
    assert_int_equal(runs_alloc(&m.runs, 1, 1, 0), 3);
    assert_int_equal(runs_alloc(&m.runs, 1, 1, 0), 4);
    assert_int_equal(runs_alloc(&m.runs, 1, 1, 0), 12);
}

/* ---- maps --------------------------------------------------------------------------------- */

typedef struct machine {
    boot_range_t clean[256];
    mem_map_t map;
    frames_t frames;
    uint64_t *bitmaps;
    uint64_t place, bytes;
} machine_t;

/* Boots on such a map; false when it has no room. */
static bool machine_init(machine_t *m, const boot_range_t *in, uint32_t n)
{
    uint32_t repaired;

    assert_true(n * 2 <= sizeof m->clean / sizeof *m->clean);
    m->map = (mem_map_t){.ranges = m->clean, .limit = LIMIT};
    m->map.count = boot_map_normalise(in, n, m->clean, &repaired);
    m->bytes = frames_plan(&m->frames, &m->map);
    m->place = m->bytes ? frames_place(&m->map, m->bytes) : 0;
    m->bitmaps = NULL;
    if (m->place == 0)
        return false;
    m->bitmaps = malloc(m->bytes);
    assert_non_null(m->bitmaps);
    frames_init(&m->frames, &m->map, m->bitmaps, m->place, m->bytes);
    return true;
}

static uint64_t free_frames(const machine_t *m)
{
    pmm_stats_t s;
    frames_stats(&m->frames, &s);
    assert_int_equal(s.total, s.free + s.used);
    return s.free;
}

/* ---- a small world, in which the fate of every byte is known ------------------------------- */

#define WORLD 128u /* pages of a small world in which every byte's fate is known */

static boot_range_t random_range(void)
{
    uint64_t base = dice(WORLD) * 4096, length = dice(12) * 4096;

    if (dice(3) == 0)
        base += dice(4096);
    if (dice(3) == 0)
        length += dice(4096);
    if (dice(20) == 0)
        length = 0;
    if (dice(40) == 0)
        return (boot_range_t){base, UINT64_MAX - dice(8192), BOOT_RESERVED};
    return (boot_range_t){base, length, dice(3) ? BOOT_USABLE : (uint32_t)dice(11)};
}

static bool covers(const boot_range_t *r, uint64_t address)
{
    return address >= r->base && address - r->base < r->length;
}

/* Each byte of a frame that is handed out is usable, and nothing else. */
static void check_byte(const boot_range_t *in, uint32_t n, uint64_t address, bool reclaimed)
{
    bool usable = false;

    for (uint32_t i = 0; i < n; i++) {
        bool good = in[i].type == BOOT_USABLE || (reclaimed && in[i].type == BOOT_LOADER);
        assert_false(!good && covers(&in[i], address));
        usable = usable || covers(&in[i], address);
    }
    assert_true(usable);
}

static void check_frame(const boot_range_t *in, uint32_t n, uint64_t at, bool reclaimed)
{
    check_byte(in, n, at, reclaimed);
    check_byte(in, n, at + 4095, reclaimed);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t end = in[i].base + in[i].length;
        if (in[i].base - at < 4096)
            check_byte(in, n, in[i].base, reclaimed);
        if (end - at < 4096)
            check_byte(in, n, end, reclaimed);
        if (end - 1 - at < 4096)
            check_byte(in, n, end - 1, reclaimed);
    }
}

static void take_all(machine_t *m, const boot_range_t *in, uint32_t n, bool reclaimed)
{
    unsigned char seen[WORLD * 2] = {0};
    uint64_t at;

    while ((at = frames_alloc(&m->frames, 1, 1)) != 0) {
        bool bookkeeping = at + 4096 > m->place && at < m->place + m->bytes;
        assert_false(bookkeeping);
        assert_in_range(at / 4096, 1, sizeof seen - 1);
        assert_int_equal(seen[at / 4096]++, 0);
        check_frame(in, n, at, reclaimed);
    }
}

static void an_ordinary_machine(void **state)
{
    static const boot_range_t map[] = {
        {0, KIB(640), BOOT_USABLE},
        {KIB(960), KIB(64), BOOT_RESERVED},
        {MIB(1), MIB(127), BOOT_USABLE},
        {MIB(128), MIB(8), BOOT_LOADER},
        {MIB(136), MIB(119), BOOT_USABLE},
        {MIB(255), MIB(1), BOOT_ACPI_RECLAIM},
        {0xfffc0000u, KIB(256), BOOT_RESERVED},
    };
    machine_t m;
    pmm_stats_t s;

    (void)state;
    assert_true(machine_init(&m, map, 7));
    frames_stats(&m.frames, &s);
    assert_int_equal(s.zones, 2);
    assert_int_equal(s.total, (KIB(640) + MIB(254)) / 4096);
    assert_int_equal(s.reclaimable, MIB(8) / 4096);
    assert_int_equal(m.place, MIB(1));
    assert_int_equal(s.used, 1 + (m.bytes + 4095) / 4096 + MIB(8) / 4096);
    assert_int_equal(s.largest, MIB(127) / 4096 - (m.bytes + 4095) / 4096);
    assert_int_equal(frames_reclaim(&m.frames, &m.map), MIB(8) / 4096);
    assert_int_equal(frames_reclaim(&m.frames, &m.map), 0);
    frames_stats(&m.frames, &s);
    assert_int_equal(s.largest, MIB(254) / 4096 - (m.bytes + 4095) / 4096);
    assert_int_equal(s.reclaimable, 0);
    free(m.bitmaps);
}

static void alignment_is_of_the_address(void **state)
{
    static const boot_range_t map[] = {{MIB(1) + 0x3000, MIB(30), BOOT_USABLE}};
    machine_t m;

    (void)state;
    assert_true(machine_init(&m, map, 1));
    for (uint64_t align = 1; align <= 512; align *= 2) {
        uint64_t at = frames_alloc(&m.frames, 3, align);
        assert_int_not_equal(at, 0);
        assert_int_equal(at % (align * 4096), 0);
        assert_true(frames_free(&m.frames, at, 3));
    }
    assert_int_equal(frames_alloc(&m.frames, 1, 1u << 20), 0);
    assert_int_equal(frames_alloc(&m.frames, 1, 3), 0);
    assert_int_equal(frames_alloc(&m.frames, 0, 1), 0);
    free(m.bitmaps);
}

static void wrong_frees_change_nothing(void **state)
{
    static const boot_range_t map[] = {{0, MIB(4), BOOT_USABLE}, {MIB(8), MIB(4), BOOT_USABLE}};
    machine_t m;
    uint64_t at, before;

    (void)state;
    assert_true(machine_init(&m, map, 2));
    at = frames_alloc(&m.frames, 4, 1);
    before = free_frames(&m);
    assert_false(frames_free(&m.frames, at, 5));
    assert_false(frames_free(&m.frames, at + 1, 1));
    assert_false(frames_free(&m.frames, 0, 1)); /* frame 0 is never anybody's */
    assert_false(frames_free(&m.frames, MIB(6), 1));
    assert_false(frames_free(&m.frames, MIB(12), 1));
    assert_false(frames_free(&m.frames, UINT64_MAX - 4095, 1));
    assert_false(frames_free(&m.frames, at, UINT64_MAX));
    assert_int_equal(free_frames(&m), before);
    assert_true(frames_free(&m.frames, at + 4096, 2)); /* a part is fine */
    assert_false(frames_free(&m.frames, at, 4));
    assert_true(frames_free(&m.frames, at, 1));
    assert_true(frames_free(&m.frames, at + 3 * 4096, 1));
    assert_int_equal(free_frames(&m), before + 4);
    free(m.bitmaps);
}

static void far_memory_costs_what_it_holds(void **state)
{
    static const boot_range_t map[] = {
        {MIB(1), MIB(63), BOOT_USABLE},
        {GIB(4), GIB(92), BOOT_USABLE},
        {LIMIT - GIB(1), GIB(2), BOOT_USABLE}}; /* the last half is out of reach */
    machine_t m;
    uint64_t n = 0;

    (void)state;
    assert_true(machine_init(&m, map, 3));
    assert_int_equal(m.frames.total * 4096, MIB(63) + GIB(93));
    assert_true(m.bytes <= (m.frames.total / 64 + 3) * 8);
    while (frames_alloc(&m.frames, 1u << 18, 1u << 18))
        n++; /* whole GiBs: the bookkeeping lies in one of them */
    assert_int_equal(n, 92);
    free(m.bitmaps);
}

/* An entry that claims everything costs bookkeeping for what the CPU can address, and no more. */
static void memory_without_end(void **state)
{
    static const boot_range_t map[] = {{MIB(1), UINT64_MAX, BOOT_USABLE}};
    mem_map_t m = {.ranges = map, .count = 1, .limit = LIMIT};
    boot_range_t clean[2];
    uint32_t repaired;
    frames_t f;

    (void)state;
    m.count = boot_map_normalise(map, 1, clean, &repaired);
    m.ranges = clean;
    assert_int_equal(frames_plan(&f, &m), (LIMIT - MIB(1)) / 4096 / 8);
    assert_int_equal(frames_place(&m, LIMIT / 4096 / 8), MIB(1));
}

static void the_loader_at_the_bottom(void **state)
{
    static const boot_range_t map[] = {{0, KIB(16), BOOT_LOADER},
                                       {KIB(16) + 5, 9000, BOOT_LOADER},
                                       {KIB(64), KIB(64), BOOT_USABLE},
                                       {KIB(128), KIB(16), BOOT_LOADER}};
    machine_t m;
    pmm_stats_t s;

    (void)state;
    assert_true(machine_init(&m, map, 4));
    frames_stats(&m.frames, &s);
    assert_int_equal(s.reclaimable, 3 + 1 + 4); /* not frame 0, and whole frames only */
    assert_int_equal(frames_reclaim(&m.frames, &m.map), 3 + 1 + 4);
    assert_false(frames_free(&m.frames, 0, 1));
    frames_stats(&m.frames, &s);
    assert_int_equal(s.used, 1 + 1); /* frame 0, the bookkeeping */
    take_all(&m, map, 4, true);
    free(m.bitmaps);
}

static void machines_without_memory(void **state)
{
    static const boot_range_t none[] = {{0, 4096, BOOT_USABLE}}, loader[] = {{MIB(1), MIB(1), BOOT_LOADER}};
    static const boot_range_t crumbs[] = {{0x1800, 0x1000, BOOT_USABLE}, {0x5001, 0x1fff, BOOT_USABLE}};
    machine_t m;

    (void)state;
    assert_false(machine_init(&m, none, 0));
    assert_false(machine_init(&m, none, 1));   /* frame 0 alone */
    assert_false(machine_init(&m, loader, 1)); /* no room for the bitmaps */
    assert_false(machine_init(&m, crumbs, 1)); /* half pages make no page */
    assert_true(machine_init(&m, crumbs, 2));
    assert_int_equal(free_frames(&m), 0); /* the only page holds the bitmap */
    free(m.bitmaps);
}

static void more_pieces_than_zones(void **state)
{
    boot_range_t many[FRAMES_ZONES + 20];
    frames_t f;
    pmm_stats_t s;
    uint64_t words[FRAMES_ZONES];

    (void)state;
    for (uint32_t i = 0; i < FRAMES_ZONES + 20; i++)
        many[i] = (boot_range_t){MIB(1) * (i + 1), 8192, BOOT_USABLE};
    mem_map_t m = {.ranges = many, .count = FRAMES_ZONES + 20, .limit = LIMIT};
    assert_int_equal(frames_plan(&f, &m), sizeof words);
    assert_int_equal(frames_place(&m, 4096), MIB(1));
    frames_init(&f, &m, words, MIB(1), 4096);
    frames_stats(&f, &s);
    assert_int_equal(s.unmanaged, 40);
    assert_int_equal(s.free, 2 * FRAMES_ZONES - 1);
    assert_false(frames_free(&f, MIB(FRAMES_ZONES + 5), 1));
}

static void any_map_at_all(void **state)
{
    boot_range_t in[24];
    unsigned booted = 0;

    (void)state;
    seed = 7;
    for (int round = 0; round < 3000; round++) {
        machine_t m;
        uint32_t n = (uint32_t)dice(25);
        for (uint32_t i = 0; i < n; i++)
            in[i] = random_range();
        if (!machine_init(&m, in, n))
            continue;
        booted++;
        take_all(&m, in, n, false);
        frames_reclaim(&m.frames, &m.map);
        take_all(&m, in, n, true);
        free(m.bitmaps);
    }
    assert_true(booted > 1000);
}

static void ten_thousand_and_none_lost(void **state)
{
    static const boot_range_t map[] = {{0, KIB(640), BOOT_USABLE}, {MIB(1), MIB(31), BOOT_USABLE}};
    static struct {
        uint64_t at, n;
    } held[200];
    machine_t m;
    uint64_t before;

    (void)state;
    seed = 99;
    memset(held, 0, sizeof held);
    assert_true(machine_init(&m, map, 2));
    before = free_frames(&m);
    for (int i = 0; i < 10000; i++) {
        size_t k = dice(200);
        if (held[k].at) {
            assert_true(frames_free(&m.frames, held[k].at, held[k].n));
            held[k].at = 0;
        } else {
            held[k].n = 1 + dice(64);
            held[k].at = frames_alloc(&m.frames, held[k].n, (uint64_t)1 << dice(6));
        }
    }
    for (size_t k = 0; k < 200; k++)
        assert_true(held[k].at == 0 || frames_free(&m.frames, held[k].at, held[k].n));
    assert_int_equal(free_frames(&m), before);
    free(m.bitmaps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_agree_with_a_simple_model),
        cmocka_unit_test(runs_refuse_nonsense),
        cmocka_unit_test(runs_search_on_from_the_last),
        cmocka_unit_test(single_ones_lie_low),
        cmocka_unit_test(an_ordinary_machine),
        cmocka_unit_test(alignment_is_of_the_address),
        cmocka_unit_test(wrong_frees_change_nothing),
        cmocka_unit_test(far_memory_costs_what_it_holds),
        cmocka_unit_test(memory_without_end),
        cmocka_unit_test(the_loader_at_the_bottom),
        cmocka_unit_test(machines_without_memory),
        cmocka_unit_test(more_pieces_than_zones),
        cmocka_unit_test(any_map_at_all),
        cmocka_unit_test(ten_thousand_and_none_lost),
    };
    return cmocka_run_group_tests_name("pmm", tests, NULL, NULL);
}
