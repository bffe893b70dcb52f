/* SPDX-License-Identifier: MIT */
/* The requests in an image, page tables, and the order of INIT, SIPI and waiting. */
#include "bytes.h"
#include "../../boot/paging.h"
#include "../../boot/requests.h"
#include "../../boot/smp.h"

#define BASE 0xffffffff80000000u
#define WORDS 512u

static uint64_t words[WORDS];
static struct elf_image image;
static struct requests asked;
static struct boot_error error;

static int empty_image(void **state)
{
    (void)state;
    memset(words, 0, sizeof words);
    image = (struct elf_image){.base = BASE, .length = sizeof words, .count = 1};
    image.segment[0] = (struct elf_segment){.vaddr = BASE, .memsz = sizeof words, .filesz = sizeof words};
    return 0;
}

static void place(uint32_t at, const uint64_t *id, uint32_t n) { memcpy(words + at, id, n * 8); }

static const uint64_t hhdm[] = LIMINE_ID_HHDM, mp[] = LIMINE_ID_MP, stack[] = LIMINE_ID_STACK_SIZE;
static const uint64_t revision[] = LIMINE_BASE_REVISION(2);
static const uint64_t first[] = LIMINE_REQUESTS_START, last[] = LIMINE_REQUESTS_END;

static bool find(void) { return requests_find(&image, words, &asked, &error); }

static void finds_requests(void **state)
{
    (void)state;
    place(10, hhdm, 4);
    place(20, revision, 3);
    place(30, stack, 4);
    words[36] = 0x20000;
    assert_true(find());
    assert_ptr_equal(asked.found[REQUEST_HHDM], words + 10);
    assert_ptr_equal(asked.base_revision, words + 22);
    assert_int_equal(request_extra(asked.found[REQUEST_STACK_SIZE]), 0x20000);
    assert_null(asked.found[REQUEST_MP]);
}

static void markers_bind(void **state)
{
    (void)state;
    place(2, hhdm, 4);
    place(20, first, 4);
    place(40, mp, 4);
    place(60, last, 2);
    place(70, stack, 4);
    assert_true(find());
    assert_null(asked.found[REQUEST_HHDM]);
    assert_null(asked.found[REQUEST_STACK_SIZE]);
    assert_ptr_equal(asked.found[REQUEST_MP], words + 40);
    words[60] = 0; /* one alone does not */
    assert_true(find());
    assert_non_null(asked.found[REQUEST_HHDM]);
}

static void refuses_doubles(void **state)
{
    place(2, hhdm, 4);
    place(20, hhdm, 4);
    assert_false(find());
    assert_int_equal(error.value, hhdm[3]);
    empty_image(state);
    place(2, revision, 3);
    place(20, revision, 3);
    assert_false(find());
    assert_int_equal(error.value, 2);
}

/* A request that the end of the segment's file part cuts off has no room for its answer. */
static void ignores_what_is_cut_off(void **state)
{
    (void)state;
    place(WORDS - 6, mp, 4);
    assert_true(find());
    assert_null(asked.found[REQUEST_MP]);
    memset(words, 0, sizeof words);
    place(WORDS - 6, hhdm, 4);
    assert_true(find());
    assert_non_null(asked.found[REQUEST_HHDM]);
    image.segment[0].filesz -= 8;
    assert_true(find());
    assert_null(asked.found[REQUEST_HHDM]);
    image.segment[0].filesz = 5;
    assert_true(find());
}

static uint64_t tables[64][512] __attribute__((aligned(4096)));
static uint32_t tables_used, tables_max;

static void *next_table(void *ctx)
{
    (void)ctx;
    return tables_used < tables_max ? memset(tables[tables_used++], 0, 4096) : NULL;
}

static struct paging new_tables(bool gib_pages, uint32_t max)
{
    tables_used = 0;
    tables_max = max;
    return (struct paging){next_table(NULL), gib_pages, next_table, NULL};
}

/* The leaf entry for virt, and its level. */
static uint64_t leaf(const struct paging *p, uint64_t virt, uint32_t *level)
{
    const uint64_t *table = p->root;
    for (*level = 3;; --*level) {
        uint64_t e = table[virt >> (12 + 9 * *level) & 511];
        if ((e & 1) == 0 || *level == 0 || (e & 0x80) != 0)
            return e;
        table = (const uint64_t *)(uintptr_t)(e & 0x000ffffffffff000u);
    }
}

static void maps_with_the_largest_pages(void **state)
{
    uint32_t level;
    struct paging p = new_tables(true, 64);
    (void)state;
    assert_true(paging_map(&p, 0xffff800000000000u, 0, 0x40000000u + 0x200000u + 0x3000u, PAGING_WRITE));
    assert_int_equal(leaf(&p, 0xffff800000000000u, &level), 0x83);
    assert_int_equal(level, 2);
    assert_int_equal(leaf(&p, 0xffff800040000000u, &level), 0x40000083);
    assert_int_equal(level, 1);
    assert_int_equal(leaf(&p, 0xffff800040202000u, &level), 0x40202003);
    assert_int_equal(level, 0);
    assert_int_equal(leaf(&p, 0xffff800040203000u, &level), 0);
}

static void maps_without_gib_pages(void **state)
{
    uint32_t level;
    struct paging p = new_tables(false, 64);
    (void)state;
    assert_true(paging_map(&p, 0xffff800000000000u, 0, 0x40000000u, PAGING_WRITE | PAGING_NO_EXEC));
    assert_int_equal(leaf(&p, 0xffff80003fe00000u, &level), 0x3fe00083u | PAGING_NO_EXEC);
    assert_int_equal(level, 1);
}

/* As around the handoff page: a small page inside of a large one keeps its rights. */
static void keeps_what_is_mapped(void **state)
{
    uint32_t level;
    struct paging p = new_tables(true, 64);
    (void)state;
    assert_true(paging_map(&p, 0x5000, 0x5000, 0x1000, 0));
    assert_true(paging_map(&p, 0, 0, 0x40000000u, PAGING_WRITE));
    assert_int_equal(leaf(&p, 0x5000, &level), 0x5001);
    assert_int_equal(leaf(&p, 0x4000, &level), 0x4003);
    assert_int_equal(leaf(&p, 0x6000, &level), 0x6003);
    assert_int_equal(leaf(&p, 0x3fe00000, &level), 0x3fe00083);
    assert_int_equal(level, 1);
}

static void says_when_tables_run_out(void **state)
{
    struct paging p = new_tables(true, 3);
    (void)state;
    assert_false(paging_map(&p, BASE, 0x1000, 0x1000, 0));
}

/* Simulated CPUs: each becomes ready so many SIPIs after its INIT, a dead one never. */
struct cpus {
    uint32_t needs[8], sipis[8], inits[8];
    uint64_t waited_us;
};

static void sim_init(void *ctx, uint32_t cpu)
{
    ((struct cpus *)ctx)->inits[cpu]++;
    ((struct cpus *)ctx)->sipis[cpu] = 0;
}
static void sim_sipi(void *ctx, uint32_t cpu) { ((struct cpus *)ctx)->sipis[cpu]++; }
static bool sim_ready(void *ctx, uint32_t cpu)
{
    const struct cpus *c = ctx;
    return c->sipis[cpu] >= c->needs[cpu];
}
static void sim_wait(void *ctx, uint32_t us) { ((struct cpus *)ctx)->waited_us += us; }

static void starts_all(void **state)
{
    struct cpus c = {.needs = {1, 1, 2, 1, 3, 1, 1, 1}};
    const struct smp_ops ops = {sim_init, sim_sipi, sim_ready, sim_wait, &c, 200};
    (void)state;
    assert_int_equal(smp_bring_up(&ops, 8), 8);
    assert_int_equal(c.sipis[0], 1); /* one that runs gets no second SIPI */
    assert_int_equal(c.sipis[4], 3);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(c.inits[i], 1);
    assert_in_range(c.waited_us, 100000, 110200);
}

static void leaves_the_dead_behind(void **state)
{
    struct cpus c = {.needs = {1, 99, 1, 99, 1, 1, 1, 1}};
    const struct smp_ops ops = {sim_init, sim_sipi, sim_ready, sim_wait, &c, 200};
    (void)state;
    assert_int_equal(smp_bring_up(&ops, 8), 6);
    assert_int_equal(c.inits[0], 1);
    assert_int_equal(c.inits[1], 2); /* so that it does not turn up later */
    assert_in_range(c.waited_us, 2000000, 2100000);
}

static void starts_none(void **state)
{
    struct cpus c = {.needs = {0}};
    const struct smp_ops ops = {sim_init, sim_sipi, sim_ready, sim_wait, &c, 200};
    (void)state;
    assert_int_equal(smp_bring_up(&ops, 0), 0);
    assert_int_equal(c.waited_us, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(finds_requests, empty_image),
        cmocka_unit_test_setup(markers_bind, empty_image),
        cmocka_unit_test_setup(refuses_doubles, empty_image),
        cmocka_unit_test_setup(ignores_what_is_cut_off, empty_image),
        cmocka_unit_test(maps_with_the_largest_pages),
        cmocka_unit_test(maps_without_gib_pages),
        cmocka_unit_test(keeps_what_is_mapped),
        cmocka_unit_test(says_when_tables_run_out),
        cmocka_unit_test(starts_all),
        cmocka_unit_test(leaves_the_dead_behind),
        cmocka_unit_test(starts_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
