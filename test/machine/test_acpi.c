/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables from buffers: good ones, and every way in which firmware can be wrong.
 *
 * Each table under test lies at the end of a page that an inaccessible page follows, so reading one
 * byte too many ends the test.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <ggmk/error.h>

#include "acpi_parse.h"

#define PAGE 4096u

/* A table being written; the length field and the checksum come last. */
typedef struct table {
    uint8_t b[PAGE];
    uint32_t length;
} table_t;

static void put(table_t *t, uint32_t at, uint64_t v, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        t->b[at + i] = (uint8_t)(v >> (8 * i));
    if (at + bytes > t->length)
        t->length = at + bytes;
}

static void append(table_t *t, const void *bytes, uint32_t n)
{
    memcpy(t->b + t->length, bytes, n);
    t->length += n;
}

static void start(table_t *t, const char *signature, uint32_t length)
{
    memset(t, 0, sizeof *t);
    memcpy(t->b, signature, 4);
    t->length = length;
}

static void sum(uint8_t *b, uint32_t length, uint32_t at)
{
    uint8_t s = 0;
    b[at] = 0;
    for (uint32_t i = 0; i < length; i++)
        s = (uint8_t)(s + b[i]);
    b[at] = (uint8_t)-s;
}

static void finish(table_t *t)
{
    put(t, 4, t->length, 4);
    sum(t->b, t->length, 9);
}

/* The bytes right before an inaccessible page. */
static const uint8_t *fenced(const void *bytes, uint32_t n)
{
    static uint8_t *pages;
    if (pages == NULL) {
        pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(pages != MAP_FAILED);
        assert_int_equal(mprotect(pages + 2 * PAGE, PAGE, PROT_NONE), 0);
    }
    memcpy(pages + 2 * PAGE - n, bytes, n);
    return pages + 2 * PAGE - n;
}

static const uint8_t *fence(const table_t *t) { return fenced(t->b, t->length); }

/* Each parser must refuse a table cut anywhere: cut in the buffer, and with a length field that fits. */
static void refuses_cuts(const table_t *t, int (*parse)(const void *, size_t, void *), void *out,
                         uint32_t least)
{
    for (uint32_t n = 0; n < t->length; n++) {
        table_t cut = *t;
        assert_int_equal(parse(fenced(t->b, n), n, out), GMK_ERR_INVAL);
        if (n < ACPI_HEADER_SIZE)
            continue;
        cut.length = n;
        finish(&cut);
        int rc = parse(fence(&cut), n, out);
        if (n < least)
            assert_int_equal(rc, GMK_ERR_INVAL);
        else
            assert_int_equal(rc, GMK_OK);
    }
}

/* ---- RSDP ---------------------------------------------------------------------------------------- */

static table_t rsdp(uint8_t revision, uint32_t rsdt, uint64_t xsdt)
{
    table_t t;
    start(&t, "RSD ", 20);
    memcpy(t.b, "RSD PTR ", 8);
    t.b[15] = revision;
    put(&t, 16, rsdt, 4);
    sum(t.b, 20, 8);
    if (revision >= 2) {
        put(&t, 20, 36, 4);
        put(&t, 24, xsdt, 8);
        t.length = 36;
        sum(t.b, 36, 32);
    }
    return t;
}

static void rsdp_good(void **state)
{
    acpi_rsdp_t r;
    (void)state;
    table_t old = rsdp(0, 0x1234, 0), now = rsdp(2, 0x1234, 0x123456789a);
    assert_int_equal(acpi_parse_rsdp(fence(&old), 20, &r), GMK_OK);
    assert_int_equal(r.rsdt, 0x1234);
    assert_int_equal(r.xsdt, 0);
    assert_int_equal(acpi_parse_rsdp(fence(&now), 36, &r), GMK_OK);
    assert_int_equal(r.revision, 2);
    assert_int_equal(r.xsdt, 0x123456789a);
}

static void rsdp_bad(void **state)
{
    acpi_rsdp_t r;
    (void)state;
    table_t t = rsdp(0, 0x1234, 0);
    for (uint32_t n = 0; n < 20; n++)
        assert_int_equal(acpi_parse_rsdp(fenced(t.b, n), n, &r), GMK_ERR_INVAL);
    for (uint32_t i = 0; i < 20; i++) {
        table_t flipped = t;
        flipped.b[i] ^= 1;
        assert_int_equal(acpi_parse_rsdp(fence(&flipped), 20, &r), GMK_ERR_INVAL);
    }
    assert_int_equal(acpi_parse_rsdp(NULL, 0, &r), GMK_ERR_INVAL);
    t = rsdp(0, 0, 0);
    assert_int_equal(acpi_parse_rsdp(fence(&t), 20, &r), GMK_ERR_INVAL);
}

/* The second half is wrong: what the first half says still counts. */
static void rsdp_half(void **state)
{
    acpi_rsdp_t r;
    (void)state;
    for (uint32_t i = 20; i < 36; i++) {
        table_t t = rsdp(2, 0x1234, 0x99);
        t.b[i] ^= 0x80;
        assert_int_equal(acpi_parse_rsdp(fence(&t), 36, &r), GMK_OK);
        assert_int_equal(r.rsdt, 0x1234);
        assert_int_equal(r.xsdt, 0);
    }
    table_t only_x = rsdp(2, 0, 0x99);
    only_x.b[24] ^= 1;
    assert_int_equal(acpi_parse_rsdp(fence(&only_x), 36, &r), GMK_ERR_INVAL);
    table_t cut = rsdp(2, 0x1234, 0x99);
    assert_int_equal(acpi_parse_rsdp(fenced(cut.b, 20), 20, &r), GMK_OK);
    assert_int_equal(r.xsdt, 0);
}

/* ---- headers ------------------------------------------------------------------------------------- */

static void header_checked(void **state)
{
    table_t t;
    (void)state;
    start(&t, "TEST", 100);
    finish(&t);
    assert_int_equal(acpi_check_table(fence(&t), t.length, "TEST"), GMK_OK);
    assert_int_equal(acpi_check_table(fence(&t), t.length, NULL), GMK_OK);
    assert_int_equal(acpi_check_table(fence(&t), t.length, "TESU"), GMK_ERR_INVAL);
    for (uint32_t i = 0; i < t.length; i++) {
        table_t flipped = t;
        flipped.b[i] ^= 0x10;
        assert_int_equal(acpi_check_table(fence(&flipped), t.length, NULL), GMK_ERR_INVAL);
    }
    static const uint32_t wrong[] = {0, 1, 35, 101, 4096, 0x80000000u, UINT32_MAX};
    for (uint32_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put(&t, 4, wrong[i], 4);
        sum(t.b, 100, 9);
        assert_int_equal(acpi_check_table(fenced(t.b, 100), 100, NULL), GMK_ERR_INVAL);
    }
}

/* ---- the walk ------------------------------------------------------------------------------------ */

/* Physical memory: some tables at made-up addresses; nothing else can be mapped. */
typedef struct memory {
    struct {
        uint64_t physical;
        const table_t *table;
    } piece[200];
    uint32_t count;
    int32_t mapped;
} memory_t;

static const void *map_piece(void *context, uint64_t physical, uint32_t bytes)
{
    memory_t *m = context;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->piece[i].physical == physical && bytes <= PAGE) {
            m->mapped++;
            return m->piece[i].table->b;
        }
    return NULL;
}

static void unmap_piece(void *context, const void *p, uint32_t bytes)
{
    (void)bytes;
    assert_non_null(p);
    ((memory_t *)context)->mapped--;
}

static void add(memory_t *m, uint64_t physical, const table_t *t)
{
    m->piece[m->count].physical = physical;
    m->piece[m->count++].table = t;
}

static int walk(memory_t *m, acpi_tables_t *out)
{
    acpi_memory_t memory = {map_piece, unmap_piece, m};
    m->mapped = 0;
    int rc = acpi_walk(&memory, 0x1000, out);
    assert_int_equal(m->mapped, rc == GMK_OK ? (int)out->count : 0);
    return rc;
}

static table_t root(const char *signature, uint32_t n, const uint64_t *entries)
{
    table_t t;
    uint32_t width = signature[0] == 'X' ? 8 : 4;
    start(&t, signature, 36);
    for (uint32_t i = 0; i < n; i++)
        put(&t, t.length, entries[i], width);
    finish(&t);
    return t;
}

static acpi_tables_t found;

static void walk_finds(void **state)
{
    (void)state;
    table_t p = rsdp(2, 0x2000, 0x3000), r = root("RSDT", 1, (uint64_t[]){0x9000}), a, b, dsdt, fadt;
    table_t x = root("XSDT", 5, (uint64_t[]){0x4000, 0x500000000, 0x6000, 0x4000, 0});
    start(&a, "AAAA", 60), finish(&a);
    start(&b, "AAAA", 61), finish(&b);
    start(&dsdt, "DSDT", 99), finish(&dsdt);
    start(&fadt, "FACP", 116), put(&fadt, 40, 0x7000, 4), finish(&fadt);
    memory_t m = {0};
    add(&m, 0x1000, &p), add(&m, 0x2000, &r), add(&m, 0x3000, &x), add(&m, 0x4000, &a);
    add(&m, 0x500000000, &b), add(&m, 0x6000, &fadt), add(&m, 0x7000, &dsdt);
    assert_int_equal(walk(&m, &found), GMK_OK);
    assert_int_equal(found.count, 4);
    assert_int_equal(found.skipped, 1);
    assert_int_equal(found.damaged, 0);
    assert_int_equal(acpi_find(&found, "AAAA", 0)->length, 60);
    assert_int_equal(acpi_find(&found, "AAAA", 1)->physical, 0x500000000);
    assert_null(acpi_find(&found, "AAAA", 2));
    assert_int_equal(acpi_find(&found, "DSDT", 0)->length, 99);
}

/* Tables that name themselves or each other: each is listed once, and the walk ends. */
static void walk_loops(void **state)
{
    (void)state;
    uint64_t entries[200];
    for (uint32_t i = 0; i < 200; i++)
        entries[i] = i % 3 == 0 ? 0x2000 : 0x4000;
    table_t p = rsdp(0, 0x2000, 0), r = root("RSDT", 200, entries),
            self = root("RSDT", 1, (uint64_t[]){0x2000});
    memory_t m = {0};
    add(&m, 0x1000, &p), add(&m, 0x2000, &r), add(&m, 0x4000, &self);
    assert_int_equal(walk(&m, &found), GMK_OK);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.skipped, 199);
}

static void walk_many(void **state)
{
    static table_t many[190];
    uint64_t entries[190];
    memory_t m = {0};
    (void)state;
    for (uint32_t i = 0; i < 190; i++) {
        entries[i] = 0x10000 + i * 0x1000;
        start(&many[i], "MANY", 40), finish(&many[i]);
        add(&m, entries[i], &many[i]);
    }
    table_t p = rsdp(2, 0, 0x3000), x = root("XSDT", 190, entries);
    add(&m, 0x1000, &p), add(&m, 0x3000, &x);
    assert_int_equal(walk(&m, &found), GMK_OK);
    assert_int_equal(found.count, ACPI_MAX_TABLES);
    assert_int_equal(found.skipped, 190 - ACPI_MAX_TABLES);
}

static void walk_damage(void **state)
{
    (void)state;
    table_t p = rsdp(2, 0x2000, 0x3000), x = root("XSDT", 1, (uint64_t[]){0x4000});
    table_t r = root("RSDT", 4, (uint64_t[]){0x4000, 0x5000, 0x6000, 0xffffffff}), a, b, c;
    x.b[36] ^= 1; /* the XSDT's sum is wrong: the RSDT serves */
    start(&a, "GOOD", 40), finish(&a);
    start(&b, "SUMS", 40), finish(&b), b.b[39]++;
    start(&c, "HUGE", 40), finish(&c), put(&c, 4, 0xfffffff0u, 4);
    memory_t m = {0};
    add(&m, 0x1000, &p), add(&m, 0x2000, &r), add(&m, 0x3000, &x);
    add(&m, 0x4000, &a), add(&m, 0x5000, &b), add(&m, 0x6000, &c);
    assert_int_equal(walk(&m, &found), GMK_OK);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.damaged, 3);
    r.b[0] = 'Q';
    assert_int_equal(walk(&m, &found), GMK_ERR_INVAL);
    memory_t nothing = {0};
    assert_int_equal(walk(&nothing, &found), GMK_ERR_INVAL);
}

/* ---- MADT ---------------------------------------------------------------------------------------- */

static acpi_madt_t madt;

static int parse_madt(const void *b, size_t n, void *out) { return acpi_parse_madt(b, n, out); }
static int parse_fadt(const void *b, size_t n, void *out) { return acpi_parse_fadt(b, n, out); }
static int parse_hpet(const void *b, size_t n, void *out) { return acpi_parse_hpet(b, n, out); }

static void start_madt(table_t *t)
{
    start(t, "APIC", 44);
    put(t, 36, 0xfee00000, 4);
    put(t, 40, 1, 4);
}

static void madt_reads(void **state)
{
    table_t t;
    (void)state;
    start_madt(&t);
    append(&t, (uint8_t[]){0, 8, 0, 4, 1, 0, 0, 0}, 8);                            /* CPU, enabled */
    append(&t, (uint8_t[]){0, 8, 1, 6, 0, 0, 0, 0}, 8);                            /* CPU, off */
    append(&t, (uint8_t[]){0, 8, 2, 8, 2, 0, 0, 0}, 8);                            /* CPU, online capable */
    append(&t, (uint8_t[]){0, 8, 9, 0xff, 0, 0, 0, 0}, 8);                         /* no CPU */
    append(&t, (uint8_t[]){9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 77, 0, 0, 0}, 16); /* x2APIC 0x100 */
    append(&t, (uint8_t[]){9, 16, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}, 16);  /* CPU 4 again */
    append(&t, (uint8_t[]){1, 12, 3, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0}, 12);        /* IOAPIC */
    append(&t, (uint8_t[]){1, 12, 4, 0, 0, 0x10, 0xc0, 0xfe, 24, 0, 0, 0}, 12);    /* IOAPIC */
    append(&t, (uint8_t[]){5, 12, 0, 0, 0, 0, 0xe0, 0xfe, 1, 0, 0, 0}, 12);        /* LAPIC address */
    append(&t, (uint8_t[]){200, 6, 1, 2, 3, 4}, 6);                                /* unknown */
    finish(&t);
    assert_int_equal(acpi_parse_madt(fence(&t), t.length, &madt), GMK_OK);
    assert_int_equal(madt.cpu_count, 4);
    assert_true(madt.cpu[0].enabled && !madt.cpu[1].enabled && !madt.cpu[2].enabled && madt.cpu[3].enabled);
    assert_true(!madt.cpu[0].online_capable && !madt.cpu[1].online_capable && madt.cpu[2].online_capable);
    assert_int_equal(madt.cpu[0].apic_id, 4);
    assert_int_equal(madt.cpu[3].apic_id, 0x100);
    assert_int_equal(madt.cpu[3].uid, 77);
    assert_int_equal(madt.ioapic_count, 2);
    assert_int_equal(madt.ioapic[1].address, 0xfec01000);
    assert_int_equal(madt.ioapic[1].gsi_base, 24);
    assert_int_equal(madt.lapic_address, 0x1fee00000);
    assert_true(madt.has_8259);
    assert_int_equal(madt.ignored, 0);
    refuses_cuts(&t, parse_madt, &madt, 44);
}

static void madt_overrides(void **state)
{
    table_t t;
    (void)state;
    start_madt(&t);
    append(&t, (uint8_t[]){2, 10, 0, 0, 2, 0, 0, 0, 0, 0}, 10);     /* 0 -> 2, as the bus has it */
    append(&t, (uint8_t[]){2, 10, 0, 9, 9, 0, 0, 0, 0x0f, 0}, 10);  /* low, level */
    append(&t, (uint8_t[]){2, 10, 0, 4, 4, 1, 0, 0, 0x05, 0}, 10);  /* high, edge, far away */
    append(&t, (uint8_t[]){2, 10, 0, 5, 20, 0, 0, 0, 0x0d, 0}, 10); /* high, level */
    append(&t, (uint8_t[]){2, 10, 0, 3, 3, 0, 0, 0, 0x02, 0}, 10);  /* reserved polarity */
    append(&t, (uint8_t[]){2, 10, 0, 16, 3, 0, 0, 0, 0, 0}, 10);    /* no ISA interrupt */
    append(&t, (uint8_t[]){2, 10, 1, 3, 7, 0, 0, 0, 0, 0}, 10);     /* no ISA bus */
    finish(&t);
    assert_int_equal(acpi_parse_madt(fence(&t), t.length, &madt), GMK_OK);
    assert_int_equal(madt.override_count, 4);
    assert_int_equal(madt.ignored, 3);
    acpi_override_t r = acpi_isa_route(&madt, 0);
    assert_true(r.gsi == 2 && !r.active_low && !r.level);
    r = acpi_isa_route(&madt, 9);
    assert_true(r.gsi == 9 && r.active_low && r.level);
    r = acpi_isa_route(&madt, 4);
    assert_true(r.gsi == 0x104 && !r.active_low && !r.level);
    r = acpi_isa_route(&madt, 5);
    assert_true(r.gsi == 20 && !r.active_low && r.level);
    r = acpi_isa_route(&madt, 3);
    assert_true(r.gsi == 3 && !r.active_low && !r.level);
    r = acpi_isa_route(NULL, 4);
    assert_true(r.gsi == 4 && r.irq == 4);
}

/* Entries of length 0, 1, too short for their kind, longer than the rest; too many. */
static void madt_hostile(void **state)
{
    table_t t;
    (void)state;
    for (uint32_t length = 0; length < 64; length++)
        for (uint32_t type = 0; type < 12; type++) {
            start_madt(&t);
            append(&t, (uint8_t[]){(uint8_t)type, (uint8_t)length, 0, 0, 1, 0, 0, 0}, 8);
            finish(&t);
            assert_int_equal(acpi_parse_madt(fence(&t), t.length, &madt), GMK_OK);
            assert_int_equal(madt.ioapic_count + madt.override_count, 0);
            assert_int_equal(madt.cpu_count, type == 0 && length == 8);
            if (length < 2 || length > 8)
                assert_int_equal(madt.ignored, 1);
        }
    start_madt(&t);
    for (uint32_t i = 0; i < 40; i++)
        append(&t, (uint8_t[]){1, 12, (uint8_t)i, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0}, 12);
    for (uint32_t i = 0; i < 40; i++)
        append(&t, (uint8_t[]){2, 10, 0, 4, 4, 0, 0, 0, 0, 0}, 10);
    finish(&t);
    assert_int_equal(acpi_parse_madt(fence(&t), t.length, &madt), GMK_OK);
    assert_int_equal(madt.ioapic_count, ACPI_MAX_IOAPICS);
    assert_int_equal(madt.override_count, ACPI_MAX_OVERRIDES);
    assert_int_equal(madt.ignored, 40 - ACPI_MAX_IOAPICS + 40 - ACPI_MAX_OVERRIDES);
}

static void madt_many_cpus(void **state)
{
    static uint8_t big[44 + 300 * 16];
    (void)state;
    memcpy(big, "APIC", 4);
    big[4] = (uint8_t)sizeof big, big[5] = (uint8_t)(sizeof big >> 8);
    for (uint32_t i = 0; i < 300; i++) {
        uint8_t *e = big + 44 + i * 16;
        e[0] = 9, e[1] = 16, e[4] = (uint8_t)i, e[5] = (uint8_t)(i >> 8), e[8] = 1;
    }
    sum(big, sizeof big, 9);
    assert_int_equal(acpi_parse_madt(fenced(big, sizeof big), sizeof big, &madt), GMK_OK);
    assert_int_equal(madt.cpu_count, ACPI_MAX_CPUS);
    assert_int_equal(madt.cpu[255].apic_id, 255);
    assert_int_equal(madt.ignored, 300 - ACPI_MAX_CPUS);
}

/* ---- FADT, HPET, MCFG ---------------------------------------------------------------------------- */

static void put_reg(table_t *t, uint32_t at, uint8_t space, uint64_t address)
{
    put(t, at, space, 1);
    put(t, at + 1, 32, 1);
    put(t, at + 4, address, 8);
}

static table_t fadt_table(uint32_t length, uint32_t flags)
{
    table_t t;
    start(&t, "FACP", length);
    put(&t, 40, 0x11110000, 4);
    put(&t, 46, 9, 2);
    put(&t, 48, 0xb2, 4);
    put(&t, 52, 2, 1);
    put(&t, 53, 3, 1);
    put(&t, 64, 0x604, 4);
    put(&t, 76, 0x608, 4);
    put(&t, 112, flags, 4);
    return t;
}

static void fadt_old(void **state)
{
    acpi_fadt_t f;
    (void)state;
    table_t t = fadt_table(116, 1u << 10);
    finish(&t);
    assert_int_equal(acpi_parse_fadt(fence(&t), t.length, &f), GMK_OK);
    assert_int_equal(f.dsdt, 0x11110000);
    assert_int_equal(f.smi_command, 0xb2);
    assert_int_equal(f.acpi_enable, 2);
    assert_int_equal(f.pm1a_control.address, 0x604);
    assert_int_equal(f.pm1a_control.space, ACPI_SPACE_IO);
    assert_int_equal(f.pm1b_control.address, 0);
    assert_int_equal(f.pm_timer.address, 0x608);
    assert_false(f.pm_timer_32);
    assert_int_equal(f.reset.address, 0); /* the flag is set, the field is not there */
    refuses_cuts(&t, parse_fadt, &f, 116);
}

static void fadt_new(void **state)
{
    acpi_fadt_t f;
    (void)state;
    table_t t = fadt_table(276, 1u << 8 | 1u << 10);
    put_reg(&t, 116, ACPI_SPACE_IO, 0xcf9);
    put(&t, 128, 0x0f, 1);
    put(&t, 140, 0x2233445566, 8);
    put_reg(&t, 172, ACPI_SPACE_MEMORY, 0xfed00000);
    put_reg(&t, 208, ACPI_SPACE_IO, 0x1808);
    put_reg(&t, 244, ACPI_SPACE_IO, 0x1900);
    finish(&t);
    assert_int_equal(acpi_parse_fadt(fence(&t), t.length, &f), GMK_OK);
    assert_int_equal(f.dsdt, 0x2233445566);
    assert_int_equal(f.reset.address, 0xcf9);
    assert_int_equal(f.reset_value, 0x0f);
    assert_int_equal(f.pm1a_control.space, ACPI_SPACE_MEMORY);
    assert_int_equal(f.pm1a_control.address, 0xfed00000);
    assert_int_equal(f.pm_timer.address, 0x1808);
    assert_true(f.pm_timer_32);
    assert_int_equal(f.sleep_control.address, 0); /* not a hardware-reduced machine */
    refuses_cuts(&t, parse_fadt, &f, 116);
    put(&t, 112, 1u << 20, 4);
    finish(&t);
    assert_int_equal(acpi_parse_fadt(fence(&t), t.length, &f), GMK_OK);
    assert_int_equal(f.sleep_control.address, 0x1900);
    assert_int_equal(f.reset.address, 0); /* the field is there, the flag is not */
}

static void hpet_reads(void **state)
{
    acpi_hpet_t h;
    table_t t;
    (void)state;
    start(&t, "HPET", 56);
    put_reg(&t, 40, ACPI_SPACE_MEMORY, 0xfed00000);
    finish(&t);
    assert_int_equal(acpi_parse_hpet(fence(&t), t.length, &h), GMK_OK);
    assert_int_equal(h.address, 0xfed00000);
    refuses_cuts(&t, parse_hpet, &h, 56);
    put_reg(&t, 40, ACPI_SPACE_IO, 0xfed00000);
    finish(&t);
    assert_int_equal(acpi_parse_hpet(fence(&t), t.length, &h), GMK_ERR_INVAL);
    put_reg(&t, 40, ACPI_SPACE_MEMORY, 0);
    finish(&t);
    assert_int_equal(acpi_parse_hpet(fence(&t), t.length, &h), GMK_ERR_INVAL);
    put_reg(&t, 40, ACPI_SPACE_MEMORY, 0xfed00001);
    finish(&t);
    assert_int_equal(acpi_parse_hpet(fence(&t), t.length, &h), GMK_ERR_INVAL);
}

static void mcfg_reads(void **state)
{
    acpi_mcfg_t m;
    table_t t;
    (void)state;
    start(&t, "MCFG", 44);
    append(&t, (uint8_t[]){0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0}, 16);
    append(&t, (uint8_t[]){0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 4, 3, 0, 0, 0, 0}, 16); /* end before start */
    append(&t, (uint8_t[]){0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 4, 4, 0, 0, 0, 0}, 16);
    append(&t, (uint8_t[]){0, 0x10, 0, 0xb0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, 16); /* crooked */
    append(&t, (uint8_t[]){0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0}, 16);    /* beyond 52 bits */
    append(&t, (uint8_t[]){1, 2, 3, 4, 5}, 5); /* less than an entry */
    finish(&t);
    assert_int_equal(acpi_parse_mcfg(fence(&t), t.length, &m), GMK_OK);
    assert_int_equal(m.count, 2);
    assert_int_equal(m.ignored, 3);
    assert_int_equal(m.segment[0].base, 0xb0000000);
    assert_int_equal(m.segment[0].end_bus, 0xff);
    assert_int_equal(m.segment[1].base, 0x100000000);
    assert_int_equal(m.segment[1].segment, 1);
    start(&t, "MCFG", 44);
    for (uint32_t i = 0; i < 30; i++)
        append(&t, (uint8_t[]){0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0}, 16);
    finish(&t);
    assert_int_equal(acpi_parse_mcfg(fence(&t), t.length, &m), GMK_OK);
    assert_int_equal(m.count, ACPI_MAX_SEGMENTS);
}

/* ---- _S5 ----------------------------------------------------------------------------------------- */

static int s5_of(const void *aml, uint32_t n, acpi_s5_t *out)
{
    table_t t;
    start(&t, "DSDT", 36);
    append(&t, aml, n);
    return acpi_parse_s5(fence(&t), t.length, out);
}

#define S5(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})

static void s5_good(void **state)
{
    acpi_s5_t s;
    (void)state;
    assert_int_equal(s5_of(S5(8, '_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0), &s), GMK_OK);
    assert_true(s.type_a == 0 && s.type_b == 0);
    assert_int_equal(s5_of(S5(8, '_', 'S', '5', '_', 0x12, 8, 4, 0x0a, 5, 0x0a, 7, 0, 0), &s), GMK_OK);
    assert_true(s.type_a == 5 && s.type_b == 7);
    assert_int_equal(s5_of(S5(8, '\\', '_', 'S', '5', '_', 0x12, 4, 2, 1, 0x0b, 6, 0), &s), GMK_OK);
    assert_true(s.type_a == 1 && s.type_b == 6);
    assert_int_equal(s5_of(S5(8, '_', 'S', '5', '_', 0x12, 0x48, 0, 2, 0x0c, 3, 0, 0, 0, 1), &s), GMK_OK);
    assert_true(s.type_a == 3 && s.type_b == 1);
    assert_int_equal(s5_of(S5(8, '_', 'S', '5', '_', 0x12, 3, 1, 1), &s), GMK_OK);
    assert_true(s.type_a == 1 && s.type_b == 1);
    /* the first that makes sense */
    assert_int_equal(s5_of(S5(8, '_', 'S', '5', '_', 1, 8, '_', 'S', '5', '_', 0x12, 4, 2, 1, 1), &s),
                     GMK_OK);
    assert_int_equal(s.type_a, 1);
}

static void s5_bad(void **state)
{
    static const uint8_t good[] = {8, '_', 'S', '5', '_', 0x12, 8, 4, 0x0e, 5, 0, 0, 0, 0, 0, 0, 0, 0x0a, 7};
    acpi_s5_t s;
    (void)state;
    assert_int_equal(s5_of(good, sizeof good, &s), GMK_OK);
    for (uint32_t n = 0; n < sizeof good; n++)
        assert_int_equal(s5_of(good, n, &s), GMK_ERR_NOTFOUND);
    assert_int_equal(s5_of(S5('_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0), &s), GMK_ERR_NOTFOUND);
    assert_int_equal(s5_of(S5(8, '_', 'S', '5', '_', 0x12, 6, 0), &s), GMK_ERR_NOTFOUND);
    assert_int_equal(s5_of(S5(8, '_', 'S', '5', '_', 0x12, 6, 4, 0x0a, 8, 0, 0), &s), GMK_ERR_NOTFOUND);
    assert_int_equal(s5_of(S5(8, '_', 'S', '5', '_', 0x12, 0xc0), &s), GMK_ERR_NOTFOUND);
    assert_int_equal(s5_of(S5(8, '_', 'S', '5', '_', 0x14, 6, 4, 0, 0), &s), GMK_ERR_NOTFOUND);
    for (uint32_t n = 0; n < sizeof good; n++)
        assert_int_equal(acpi_parse_s5(fenced(good, n), n, &s), GMK_ERR_INVAL);
    assert_int_equal(acpi_parse_s5(NULL, 100, &s), GMK_ERR_INVAL);
}

/* Whatever the bytes are, nothing beyond them is read and nothing takes long. */
static void noise(void **state)
{
    uint32_t rng = 12345;
    (void)state;
    for (uint32_t round = 0; round < 3000; round++) {
        static const char *const names[] = {"APIC", "FACP", "HPET", "MCFG", "DSDT"};
        acpi_fadt_t f;
        acpi_hpet_t h;
        acpi_mcfg_t m;
        acpi_s5_t s;
        table_t t;
        start(&t, names[round % 5], 36 + round % 400);
        for (uint32_t i = 36; i < t.length; i++) {
            rng = rng * 1664525u + 1013904223u;
            t.b[i] = (uint8_t)((rng >> 24) % ((round & 8) != 0 ? 16 : 256));
        }
        finish(&t);
        const uint8_t *p = fence(&t);
        (void)acpi_parse_madt(p, t.length, &madt);
        (void)acpi_parse_fadt(p, t.length, &f);
        (void)acpi_parse_hpet(p, t.length, &h);
        (void)acpi_parse_mcfg(p, t.length, &m);
        (void)acpi_parse_s5(p, t.length, &s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rsdp_good),      cmocka_unit_test(rsdp_bad),     cmocka_unit_test(rsdp_half),
        cmocka_unit_test(header_checked), cmocka_unit_test(walk_finds),   cmocka_unit_test(walk_loops),
        cmocka_unit_test(walk_many),      cmocka_unit_test(walk_damage),  cmocka_unit_test(madt_reads),
        cmocka_unit_test(madt_overrides), cmocka_unit_test(madt_hostile), cmocka_unit_test(madt_many_cpus),
        cmocka_unit_test(fadt_old),       cmocka_unit_test(fadt_new),     cmocka_unit_test(hpet_reads),
        cmocka_unit_test(mcfg_reads),     cmocka_unit_test(s5_good),      cmocka_unit_test(s5_bad),
        cmocka_unit_test(noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
