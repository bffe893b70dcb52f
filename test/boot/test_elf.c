/* SPDX-License-Identifier: MIT */
/* The kernel's ELF file: what is accepted, how it is loaded, and each reason to refuse one. */
#include "bytes.h"
#include "../../boot/elf.h"

#define BASE 0xffffffff80000000u
#define SIZE 0x4000u

enum { ENTRY = 24, PHOFF = 32, PHENTSIZE = 54, PHNUM = 56 };
enum { P_TYPE = 0, P_FLAGS = 4, P_OFFSET = 8, P_VADDR = 16, P_FILESZ = 32, P_MEMSZ = 40, P_ALIGN = 48 };

static uint8_t file[SIZE];
static struct elf_image image;
static struct boot_error error;

static uint8_t *phdr(uint32_t i) { return file + 64 + 56 * i; }

static void segment(uint32_t i, uint32_t flags, uint64_t offset, uint64_t vaddr, uint64_t filesz,
                    uint64_t memsz)
{
    put32(phdr(i) + P_TYPE, 1);
    put32(phdr(i) + P_FLAGS, flags);
    put64(phdr(i) + P_OFFSET, offset);
    put64(phdr(i) + P_VADDR, vaddr);
    put64(phdr(i) + P_FILESZ, filesz);
    put64(phdr(i) + P_MEMSZ, memsz);
    put64(phdr(i) + P_ALIGN, 0x1000);
}

/* Data first in the table, so that sorting is seen; the third is empty. */
static int good_file(void **state)
{
    (void)state;
    memset(file, 0, sizeof file);
    memcpy(file, "\177ELF\2\1\1", 7);
    put16(file + 16, 2);
    put16(file + 18, 62);
    put64(file + ENTRY, BASE + 0x10);
    put64(file + PHOFF, 64);
    put16(file + PHENTSIZE, 56);
    put16(file + PHNUM, 3);
    segment(0, 6, 0x2000, BASE + 0x3000, 0x800, 0x1800);
    segment(1, 5, 0x1000, BASE, 0x1000, 0x1000);
    segment(2, 6, 0, 0, 0, 0);
    memset(file + 0x1000, 0xc0, 0x1000);
    memset(file + 0x2000, 0xda, 0x800);
    return 0;
}

static void accepts_a_good_file(void **state)
{
    (void)state;
    assert_true(elf_check(file, SIZE, &image, &error));
    assert_int_equal(image.count, 2);
    assert_int_equal(image.segment[0].vaddr, BASE);
    assert_true(image.segment[0].exec && !image.segment[0].write);
    assert_true(image.segment[1].write && !image.segment[1].exec);
    assert_int_equal(image.base, BASE);
    assert_int_equal(image.length, 0x5000);
    assert_int_equal(image.align, 0x1000);
    assert_int_equal(image.entry, BASE + 0x10);
}

static void loads_and_clears(void **state)
{
    static uint8_t memory[0x5000];
    (void)state;
    memset(memory, 0xee, sizeof memory);
    assert_true(elf_check(file, SIZE, &image, &error));
    elf_load(&image, file, memory);
    for (uint32_t i = 0; i < sizeof memory; i++)
        assert_int_equal(memory[i], i < 0x1000 ? 0xc0 : i >= 0x3000 && i < 0x3800 ? 0xda : 0);
}

static void knows_its_code(void **state)
{
    (void)state;
    assert_true(elf_check(file, SIZE, &image, &error));
    assert_true(elf_is_code(&image, BASE));
    assert_true(elf_is_code(&image, BASE + 0xfff));
    assert_false(elf_is_code(&image, BASE + 0x1000));
    assert_false(elf_is_code(&image, BASE - 1));
    assert_false(elf_is_code(&image, BASE + 0x3000));
}

static void keeps_the_largest_alignment(void **state)
{
    (void)state;
    put64(phdr(1) + P_ALIGN, 0x200000);
    put64(phdr(1) + P_OFFSET, 0);
    assert_true(elf_check(file, SIZE, &image, &error));
    assert_int_equal(image.align, 0x200000);
}

struct refusal {
    uint32_t at, width;
    uint64_t value;
    const char *what; /* part of the error's text */
    uint64_t said;    /* its value */
};

#define PH(I, FIELD) (64 + 56 * (I) + (FIELD))

static const struct refusal refusals[] = {
    {0, 4, 0x464c4500, "not ELF", 0x464c4500},
    {4, 1, 1, "not 64-bit", 0x101},
    {5, 1, 2, "not 64-bit", 0x202},
    {6, 1, 0, "unknown version", 0},
    {16, 2, 3, "not of type EXEC", 3},
    {18, 2, 3, "another machine", 3},
    {PHENTSIZE, 2, 32, "wrong size", 32},
    {PHOFF, 8, SIZE, "outside of the file", SIZE},
    {PHOFF, 8, UINT64_MAX - 8, "outside of the file", UINT64_MAX - 8},
    {PHNUM, 2, 0xffff, "outside of the file", 64},
    {PHNUM, 2, 0, "nothing to load", 0},
    {ENTRY, 8, BASE + 0x3000, "entry point", BASE + 0x3000},
    {ENTRY, 8, 0, "entry point", 0},
    {PH(1, P_TYPE), 4, 2, "dynamically", 2},
    {PH(1, P_TYPE), 4, 3, "dynamically", 3},
    {PH(0, P_FLAGS), 4, 7, "writable and executable", BASE + 0x3000},
    {PH(0, P_VADDR), 8, BASE + 0x3008, "start on a page", BASE + 0x3008},
    {PH(0, P_VADDR), 8, 0x100000, "below 0xffffffff80000000", 0x100000},
    {PH(0, P_VADDR), 8, BASE, "overlap", BASE},
    {PH(1, P_MEMSZ), 8, 0x3001, "overlap", BASE + 0x3000},
    {PH(0, P_MEMSZ), 8, 0x7fffc001, "too large", 0x7fffc001},
    {PH(0, P_MEMSZ), 8, UINT64_MAX, "too large", UINT64_MAX},
    {PH(0, P_MEMSZ), 8, 0x7ff, "larger in the file", 0x800},
    {PH(0, P_FILESZ), 8, UINT64_MAX, "larger in the file", UINT64_MAX},
    {PH(0, P_OFFSET), 8, SIZE - 0x7ff, "beyond the file", SIZE},
    {PH(0, P_OFFSET), 8, UINT64_MAX, "beyond the file", SIZE},
    {PH(0, P_ALIGN), 8, 0x3000, "alignment", 0x3000},
    {PH(0, P_ALIGN), 8, 0x80000000, "alignment", 0x80000000},
    {PH(0, P_OFFSET), 8, 0x2008, "offset does not match", 0x2008},
};

static void refuses(const struct refusal *r, uint64_t size)
{
    assert_false(elf_check(file, size, &image, &error));
    if (strstr(error.what, r->what) == NULL || error.value != r->said)
        fail_msg("expected \"%s\" 0x%llx, got \"%s\" 0x%llx", r->what, (unsigned long long)r->said,
                 error.what, (unsigned long long)error.value);
    assert_true(strlen(error.advice) > 0);
}

static void refuses_each_flaw(void **state)
{
    for (uint32_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        good_file(state);
        memcpy(file + refusals[i].at, &refusals[i].value, refusals[i].width);
        refuses(&refusals[i], SIZE);
    }
}

/* Cut anywhere: refused, without a look beyond the end (the copy ends where it ends). */
static void refuses_every_truncation(void **state)
{
    (void)state;
    for (uint64_t size = 0; size < 0x2800; size += size < 300 ? 1 : 97) {
        uint8_t *copy = test_malloc(size + 1);
        memcpy(copy, file, size);
        assert_false(elf_check(copy, size, &image, &error));
        test_free(copy);
    }
}

static void refuses_too_many_segments(void **state)
{
    const struct refusal r = {0, 0, 0, "more loadable segments", ELF_SEGMENTS_MAX};
    (void)state;
    put16(file + PHNUM, ELF_SEGMENTS_MAX + 1);
    for (uint32_t i = 0; i <= ELF_SEGMENTS_MAX; i++)
        segment(i, 5, 0, BASE + i * 0x1000, 0, 0x1000);
    refuses(&r, SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(accepts_a_good_file, good_file),
        cmocka_unit_test_setup(loads_and_clears, good_file),
        cmocka_unit_test_setup(knows_its_code, good_file),
        cmocka_unit_test_setup(keeps_the_largest_alignment, good_file),
        cmocka_unit_test(refuses_each_flaw),
        cmocka_unit_test_setup(refuses_every_truncation, good_file),
        cmocka_unit_test_setup(refuses_too_many_segments, good_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
