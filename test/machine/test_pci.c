/* SPDX-License-Identifier: MIT */
/*
 * The PCI scan against made-up machines: buses, BARs, capabilities, MSI-X, and the registers of virtio 1.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "drivers/pci_scan.h"
#include "drivers/virtio.h"

#define FUNCTIONS 300u
#define SPACE 256u
#define GIB (UINT64_C(1) << 30)
#define LIMIT (UINT64_C(1) << 40)

typedef struct fake_fn {
    pci_addr_t addr;
    uint8_t space[SPACE];
    uint32_t ones[PCI_BARS]; /* what a BAR reads after all ones were written */
} fake_fn_t;

typedef struct fake {
    fake_fn_t fn[FUNCTIONS];
    uint32_t n;
    uint64_t reads;
    uint32_t notes[PCI_NOTES];
    uint64_t value[PCI_NOTES]; /* of the last note of each kind */
    uint64_t memory, memory_end;
    bool sized_while_decoding;
} fake_t;

static fake_t f;
static pci_dev_t dev[FUNCTIONS];
static uint32_t count;

/* ---- the machine ------------------------------------------------------------------------------------ */

static fake_fn_t *fn_at(pci_addr_t a)
{
    for (uint32_t i = 0; i < f.n; i++)
        if (f.fn[i].addr == a)
            return &f.fn[i];
    return NULL;
}

static void put(fake_fn_t *fn, uint32_t at, uint32_t bytes, uint32_t v)
{
    assert_true(at + bytes <= SPACE);
    memcpy(fn->space + at, &v, bytes);
}

static uint32_t peek(const fake_fn_t *fn, uint32_t at, uint32_t bytes)
{
    uint32_t v = 0;

    assert_true(at + bytes <= SPACE);
    memcpy(&v, fn->space + at, bytes);
    return v;
}

static uint32_t fake_read(void *ctx, pci_addr_t a, uint32_t offset, uint32_t bytes)
{
    const fake_fn_t *fn = fn_at(a);

    (void)ctx;
    f.reads++;
    assert_true(offset % bytes == 0 && offset + bytes <= SPACE);
    return fn ? peek(fn, offset, bytes) : UINT32_MAX >> (32 - 8 * bytes);
}

static void fake_write(void *ctx, pci_addr_t a, uint32_t offset, uint32_t bytes, uint32_t value)
{
    fake_fn_t *fn = fn_at(a);
    uint32_t i = (offset - PCI_BAR0) / 4;

    (void)ctx;
    assert_non_null(fn);
    assert_true(offset % bytes == 0);
    if (offset >= PCI_BAR0 && i < PCI_BARS) {
        if (value == UINT32_MAX)
            f.sized_while_decoding |= (peek(fn, PCI_COMMAND, 2) & 3u) != 0;
        value = value == UINT32_MAX ? fn->ones[i] : value;
    }
    put(fn, offset, bytes, value);
}

static void fake_note(void *ctx, pci_addr_t a, pci_note_t what, uint32_t index, uint64_t value)
{
    (void)ctx;
    (void)a;
    (void)index;
    assert_true(what < PCI_NOTES);
    f.notes[what]++;
    f.value[what] = value;
}

static bool fake_is_memory(void *ctx, uint64_t base, uint64_t size)
{
    (void)ctx;
    return base < f.memory_end && base + size > f.memory;
}

static const pci_config_t config = {
    .read = fake_read, .write = fake_write, .note = fake_note, .is_memory = fake_is_memory, .limit = LIMIT};

static fake_fn_t *add(uint32_t bus, uint32_t slot, uint32_t function)
{
    fake_fn_t *fn = &f.fn[f.n++];

    assert_true(f.n <= FUNCTIONS);
    fn->addr = PCI_ADDR(0, bus, slot, function);
    put(fn, PCI_VENDOR, 2, 0x1af4);
    put(fn, PCI_DEVICE, 2, 0x1000 + f.n);
    put(fn, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    return fn;
}

static fake_fn_t *add_bridge(uint32_t bus, uint32_t slot, uint32_t to)
{
    fake_fn_t *fn = add(bus, slot, 0);

    put(fn, PCI_HEADER, 1, 1);
    put(fn, PCI_CLASS, 1, 6);
    put(fn, PCI_SUBCLASS, 1, 4);
    put(fn, PCI_SECONDARY, 1, to);
    return fn;
}

static void set_bar(fake_fn_t *fn, uint32_t i, uint32_t value, uint32_t ones)
{
    put(fn, PCI_BAR0 + 4 * i, 4, value);
    fn->ones[i] = ones;
}

static void set_bar64(fake_fn_t *fn, uint32_t i, uint64_t value, uint64_t ones)
{
    set_bar(fn, i, (uint32_t)value, (uint32_t)ones);
    set_bar(fn, i + 1, (uint32_t)(value >> 32), (uint32_t)(ones >> 32));
}

static void set_cap(fake_fn_t *fn, uint32_t at, uint32_t id, uint32_t next)
{
    put(fn, at, 1, id);
    put(fn, at + 1, 1, next);
    put(fn, PCI_STATUS, 2, 0x10);
}

static int setup(void **state)
{
    (void)state;
    memset(&f, 0, sizeof f);
    memset(dev, 0, sizeof dev);
    count = 0;
    return 0;
}

static void scan(void) { pci_scan(&config, 0, 0, dev, FUNCTIONS, &count); }

static const pci_dev_t *found(uint32_t bus, uint32_t slot, uint32_t function)
{
    for (uint32_t i = 0; i < count; i++)
        if (dev[i].addr == PCI_ADDR(0, bus, slot, function))
            return &dev[i];
    return NULL;
}

static uint32_t all_notes(void)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < PCI_NOTES; i++)
        sum += f.notes[i];
    return sum;
}

/* ---- buses ------------------------------------------------------------------------------------------ */

static void test_empty_machine(void **state)
{
    (void)state;
    scan();
    assert_int_equal(count, 0);
    assert_int_equal(all_notes(), 0);
}

static void test_identity(void **state)
{
    fake_fn_t *fn = add(0, 3, 0);

    (void)state;
    put(fn, PCI_REVISION, 1, 7);
    put(fn, PCI_PROG_IF, 1, 0x30);
    put(fn, PCI_SUBCLASS, 1, 3);
    put(fn, PCI_CLASS, 1, 12);
    put(fn, PCI_SUBVENDOR, 2, 0x1111);
    put(fn, PCI_SUBDEVICE, 2, 0x2222);
    scan();
    assert_int_equal(count, 1);
    assert_int_equal(dev[0].addr, PCI_ADDR(0, 0, 3, 0));
    assert_int_equal(dev[0].vendor, 0x1af4);
    assert_int_equal(dev[0].device, 0x1001);
    assert_int_equal(dev[0].revision, 7);
    assert_int_equal(dev[0].prog_if, 0x30);
    assert_int_equal(dev[0].subclass, 3);
    assert_int_equal(dev[0].class_code, 12);
    assert_int_equal(dev[0].subvendor, 0x1111);
    assert_int_equal(dev[0].subdevice, 0x2222);
}

static void test_functions(void **state)
{
    (void)state;
    put(add(0, 1, 0), PCI_HEADER, 1, 0x80);
    (void)add(0, 1, 3);
    (void)add(0, 1, 7);
    (void)add(0, 2, 0); /* not multi-function: its function 1 is an echo */
    (void)add(0, 2, 1);
    (void)add(0, 4, 1); /* without a function 0 there is nothing */
    put(add(0, 31, 0), PCI_VENDOR, 2, 0);
    scan();
    assert_int_equal(count, 4);
    assert_non_null(found(0, 1, 3));
    assert_non_null(found(0, 1, 7));
    assert_null(found(0, 2, 1));
    assert_null(found(0, 4, 1));
}

static void test_bridges(void **state)
{
    (void)state;
    (void)add_bridge(0, 1, 5);
    put(add_bridge(5, 0, 9), PCI_HEADER, 1, 0x81);
    (void)add(5, 0, 1);
    (void)add(9, 31, 0);
    (void)add(8, 0, 0); /* nothing leads there */
    scan();
    assert_int_equal(count, 4);
    assert_non_null(found(9, 31, 0));
    assert_null(found(8, 0, 0));
    assert_int_equal(all_notes(), 0);
}

static void test_bridges_that_lead_astray(void **state)
{
    (void)state;
    (void)add_bridge(0, 1, 0); /* no bus */
    (void)add_bridge(0, 2, 3);
    (void)add_bridge(0, 3, 3); /* the same one again */
    (void)add_bridge(3, 0, 3); /* to itself */
    (void)add_bridge(3, 1, 4);
    (void)add_bridge(4, 0, 3); /* back */
    (void)add(4, 1, 0);
    scan();
    assert_int_equal(count, 7);
    assert_int_equal(f.notes[PCI_NOTE_BUS_NONE], 1);
    assert_int_equal(f.notes[PCI_NOTE_BUS_AGAIN], 3);
}

static void test_every_bus(void **state)
{
    (void)state;
    for (uint32_t bus = 0; bus < 255; bus++)
        (void)add_bridge(bus, 0, bus + 1);
    (void)add_bridge(255, 0, 1);
    scan();
    assert_int_equal(count, 256);
    assert_int_equal(f.notes[PCI_NOTE_BUS_AGAIN], 1);
    assert_true(f.reads < 256 * 32 * 20);
}

static void test_table_full(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 20; i++)
        (void)add(0, i, 0);
    pci_scan(&config, 0, 0, dev, 16, &count);
    assert_int_equal(count, 16);
    assert_int_equal(dev[16].vendor, 0);
    assert_int_equal(f.notes[PCI_NOTE_TABLE_FULL], 1);
    assert_int_equal(f.value[PCI_NOTE_TABLE_FULL], 4);
}

static void test_unknown_header(void **state)
{
    (void)state;
    put(add(0, 0, 0), PCI_HEADER, 1, 0x45);
    scan();
    assert_int_equal(count, 1);
    assert_int_equal(f.notes[PCI_NOTE_HEADER], 1);
}

/* ---- BARs ------------------------------------------------------------------------------------------- */

static void test_bars(void **state)
{
    fake_fn_t *fn = add(0, 0, 0);
    const pci_bar_t *b = dev[0].bar;

    (void)state;
    set_bar(fn, 0, 0xc001, 0xffffff81);                           /* 128 ports */
    set_bar(fn, 1, 0xfebf0000, 0xfffff000);                       /* 4 KiB */
    set_bar64(fn, 2, 0x810000000c, UINT64_C(0xffffffff0000000c)); /* 4 GiB, prefetchable */
    set_bar(fn, 4, 0xc081, 0x0000ffe1);                           /* 32 ports, 16 bits decoded */
    scan();
    assert_true(b[0].io && b[0].base == 0xc000 && b[0].size == 128);
    assert_true(!b[1].io && b[1].base == 0xfebf0000 && b[1].size == 4096 && !b[1].wide && !b[1].prefetchable);
    assert_true(b[2].wide && b[2].prefetchable && b[2].base == UINT64_C(0x8100000000) &&
                b[2].size == 4 * GIB);
    assert_int_equal(b[3].size, 0);
    assert_true(b[4].io && b[4].base == 0xc080 && b[4].size == 32);
    assert_int_equal(b[5].size, 0);
    assert_int_equal(all_notes(), 0);
}

static void test_sizing_leaves_no_trace(void **state)
{
    fake_fn_t *fn = add(0, 0, 0);

    (void)state;
    put(fn, PCI_COMMAND, 2, 0x507);
    set_bar(fn, 0, 0xfebf0000, 0xfffff000);
    set_bar64(fn, 2, 0x8100000004, UINT64_C(0xffffffffffff0004));
    scan();
    assert_false(f.sized_while_decoding);
    assert_int_equal(peek(fn, PCI_COMMAND, 2), 0x507);
    assert_int_equal(peek(fn, PCI_BAR0, 4), 0xfebf0000);
    assert_int_equal(peek(fn, PCI_BAR0 + 8, 4), 4);
    assert_int_equal(peek(fn, PCI_BAR0 + 12, 4), 0x81);
}

static void test_bridge_has_two_bars(void **state)
{
    fake_fn_t *fn = add_bridge(0, 0, 1);

    (void)state;
    set_bar64(fn, 0, 0x8100000004, UINT64_C(0xffffffffffff0004));
    set_bar(fn, 2, 0x00010100, 0x00ffffff); /* its bus numbers */
    scan();
    assert_int_equal(dev[0].bar[0].size, 0x10000);
    assert_int_equal(dev[0].bar[2].size, 0);
    assert_int_equal(peek(fn, PCI_SECONDARY, 1), 1);
}

typedef struct absurd {
    uint64_t value, ones;
    pci_note_t why;
} absurd_t;

static void test_absurd_bars(void **state)
{
    static const absurd_t table[] = {
        {0xfebf0000, 0xfff0f000, PCI_NOTE_BAR_SIZE},  {0xfebf0000, 0x0000000f, PCI_NOTE_BAR_SIZE},
        {0xfebf0000, 0x00000100, PCI_NOTE_BAR_SIZE},  {0xc001, 0x0000f0f1, PCI_NOTE_BAR_SIZE},
        {0xfebf0002, 0xfffff002, PCI_NOTE_BAR_TYPE},  {0xfebf0006, 0xfffff006, PCI_NOTE_BAR_TYPE},
        {0xfebf1000, 0xfffe0000, PCI_NOTE_BAR_ALIGN}, {0xfebf0000, 0x80000000, PCI_NOTE_BAR_ALIGN},
        {0, 0xfffff000, PCI_NOTE_BAR_UNASSIGNED},     {1, 0xfffffff1, PCI_NOTE_BAR_UNASSIGNED},
        {0x1c001, 0xffffff81, PCI_NOTE_BAR_RANGE},    {0x00800000, 0xfffff000, PCI_NOTE_BAR_MEMORY},
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        (void)setup(state);
        f.memory_end = 16 << 20;
        set_bar(add(0, 0, 0), 0, (uint32_t)table[i].value, (uint32_t)table[i].ones);
        scan();
        assert_int_equal(f.notes[table[i].why], 1);
        assert_int_equal(all_notes(), 1);
        assert_int_equal(dev[0].bar[0].size, 0);
    }
}

static void test_absurd_wide_bars(void **state)
{
    static const absurd_t table[] = {
        {UINT64_C(0x10000000004), UINT64_C(0xffffffffffff0004), PCI_NOTE_BAR_RANGE},
        {UINT64_C(0x8000000000000004), UINT64_C(0x8000000000000004), PCI_NOTE_BAR_RANGE},
        {UINT64_C(0xfffffffffffff004), UINT64_C(0xfffffffffffff004), PCI_NOTE_BAR_RANGE},
        {UINT64_C(0x8100000004), UINT64_C(0xff00ffffffff0004), PCI_NOTE_BAR_SIZE},
        {UINT64_C(0x8100000004), UINT64_C(0x0000000000000004), PCI_NOTE_BAR_SIZE},
        {UINT64_C(0x0000000004), UINT64_C(0xffffffffffff0004), PCI_NOTE_BAR_UNASSIGNED},
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        (void)setup(state);
        set_bar64(add(0, 0, 0), 0, table[i].value, table[i].ones);
        scan();
        assert_int_equal(f.notes[table[i].why], 1);
        assert_int_equal(all_notes(), 1);
        assert_int_equal(dev[0].bar[0].size, 0);
    }
}

static void test_wide_bar_without_upper_half(void **state)
{
    (void)state;
    set_bar(add(0, 0, 0), 5, 0xfebf0004, 0xfffff004);
    scan();
    assert_int_equal(f.notes[PCI_NOTE_BAR_HALF], 1);
    assert_int_equal(dev[0].bar[5].size, 0);
}

/* ---- capabilities ----------------------------------------------------------------------------------- */

static void test_caps(void **state)
{
    fake_fn_t *fn = add(0, 0, 0);

    (void)state;
    put(fn, PCI_CAP_FIRST, 1, 0x50);
    set_cap(fn, 0x50, PCI_CAP_VENDOR, 0x83); /* the two lowest bits do not count */
    set_cap(fn, 0x80, PCI_CAP_PM, 0x40);
    set_cap(fn, 0x40, PCI_CAP_VENDOR, 0);
    scan();
    assert_int_equal(dev[0].caps, 3);
    assert_int_equal(pci_cap_find(&dev[0], PCI_CAP_VENDOR, 0), 0x50);
    assert_int_equal(pci_cap_find(&dev[0], PCI_CAP_VENDOR, 0x50), 0x40);
    assert_int_equal(pci_cap_find(&dev[0], PCI_CAP_VENDOR, 0x40), 0);
    assert_int_equal(pci_cap_find(&dev[0], PCI_CAP_PM, 0), 0x80);
    assert_int_equal(pci_cap_find(&dev[0], PCI_CAP_PM, 0x77), 0);
    assert_int_equal(pci_cap_find(&dev[0], PCI_CAP_MSIX, 0), 0);
    assert_int_equal(all_notes(), 0);
}

static void test_no_caps(void **state)
{
    (void)state;
    put(add(0, 0, 0), PCI_CAP_FIRST, 1, 0x40); /* but the status says that there is no list */
    scan();
    assert_int_equal(dev[0].caps, 0);
}

static void test_cap_loops(void **state)
{
    fake_fn_t *fn = add(0, 0, 0);

    (void)state;
    put(fn, PCI_CAP_FIRST, 1, 0x40);
    set_cap(fn, 0x40, PCI_CAP_VENDOR, 0x60);
    set_cap(fn, 0x60, PCI_CAP_PM, 0x40);
    fn = add(0, 1, 0);
    put(fn, PCI_CAP_FIRST, 1, 0xfc);
    set_cap(fn, 0xfc, PCI_CAP_VENDOR, 0xff);
    scan();
    assert_int_equal(dev[0].caps, 2);
    assert_int_equal(dev[1].caps, 1);
    assert_int_equal(f.notes[PCI_NOTE_CAP_LOOP], 2);
}

static void test_longest_list(void **state)
{
    fake_fn_t *fn = add(0, 0, 0);

    (void)state;
    put(fn, PCI_CAP_FIRST, 1, 0x40);
    for (uint32_t at = 0x40; at < 0x100; at += 4)
        set_cap(fn, at, PCI_CAP_VENDOR, at == 0xfc ? 0x40 : at + 4);
    scan();
    assert_int_equal(dev[0].caps, PCI_CAPS);
    assert_int_equal(f.notes[PCI_NOTE_CAP_LOOP], 1);
}

static void test_cap_in_header(void **state)
{
    fake_fn_t *fn = add(0, 0, 0);

    (void)state;
    put(fn, PCI_CAP_FIRST, 1, 0x40);
    set_cap(fn, 0x40, PCI_CAP_VENDOR, 0x10);
    scan();
    assert_int_equal(dev[0].caps, 1);
    assert_int_equal(f.notes[PCI_NOTE_CAP_OFFSET], 1);
}

/* ---- MSI-X ------------------------------------------------------------------------------------------ */

static fake_fn_t *add_msix(uint32_t at, uint32_t control, uint32_t table)
{
    fake_fn_t *fn = add(0, 0, 0);

    set_bar(fn, 0, 0xc001, 0xfffff001);
    set_bar(fn, 1, 0xfebf0000, 0xfffff000);
    put(fn, PCI_CAP_FIRST, 1, at);
    set_cap(fn, at, PCI_CAP_MSIX, 0);
    put(fn, at + 2, 2, control);
    if (at + 8 <= SPACE)
        put(fn, at + 4, 4, table);
    return fn;
}

static void test_msix(void **state)
{
    (void)state;
    (void)add_msix(0x40, 0x8000 | 4, 0x800 | 1);
    scan();
    assert_int_equal(dev[0].msix.entries, 5);
    assert_int_equal(dev[0].msix.cap, 0x40);
    assert_int_equal(dev[0].msix.bar, 1);
    assert_int_equal(dev[0].msix.offset, 0x800);
    assert_int_equal(all_notes(), 0);
}

static void test_msix_fills_its_bar(void **state)
{
    (void)state;
    (void)add_msix(0x40, 255, 1);
    scan();
    assert_int_equal(dev[0].msix.entries, 256);
}

static void test_absurd_msix(void **state)
{
    static const uint32_t tables[][2] = {
        {256, 1},            /* one entry too many */
        {0, 0x1000 | 1},     /* behind its BAR */
        {0, 0xfffffff8 | 1}, /* its end wraps */
        {0, 0},              /* in ports */
        {0, 2},              /* in no BAR */
        {0, 7},              /* BAR 7 */
    };

    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        (void)setup(state);
        (void)add_msix(0x40, tables[i][0], tables[i][1]);
        scan();
        assert_int_equal(dev[0].msix.entries, 0);
        assert_int_equal(f.notes[PCI_NOTE_MSIX], 1);
    }
}

static void test_msix_at_the_end_of_the_space(void **state)
{
    (void)state;
    (void)add_msix(0xf8, 0, 1);
    scan();
    assert_int_equal(dev[0].msix.entries, 0);
}

/* ---- virtio 1 --------------------------------------------------------------------------------------- */

typedef struct vcap {
    uint32_t length, type, bar, offset, region;
} vcap_t;

static void set_vcap(fake_fn_t *fn, uint32_t at, uint32_t next, const vcap_t *c)
{
    set_cap(fn, at, PCI_CAP_VENDOR, next);
    put(fn, at + 2, 1, c->length);
    put(fn, at + 3, 1, c->type);
    put(fn, at + 4, 1, c->bar);
    put(fn, at + 8, 4, c->offset);
    put(fn, at + 12, 4, c->region);
    if (c->type == 2 && at + 20 <= SPACE)
        put(fn, at + 16, 4, 4);
}

static bool read_vcaps(const vcap_t *c, uint32_t n, virtio_caps_t *out)
{
    fake_fn_t *fn = add(0, 0, 0);

    set_bar(fn, 0, 0xc001, 0xfffff001);
    set_bar64(fn, 4, 0x810000000c, UINT64_C(0xffffffffffffc00c)); /* 16 KiB */
    put(fn, PCI_CAP_FIRST, 1, 0x40);
    for (uint32_t i = 0; i < n; i++)
        set_vcap(fn, 0x40 + 0x18 * i, i + 1 < n ? 0x58 + 0x18 * i : 0, &c[i]);
    scan();
    return virtio_caps_read(&config, &dev[0], out);
}

static void test_virtio_caps(void **state)
{
    static const vcap_t c[] = {
        {16, 1, 4, 0, 0x1000},      {16, 3, 4, 0x1000, 0x1000}, {16, 4, 4, 0x2000, 0x1000},
        {20, 2, 4, 0x3000, 0x1000}, {16, 1, 4, 0x100, 64}, /* a second one does not count */
    };
    virtio_caps_t v;

    (void)state;
    assert_true(read_vcaps(c, 5, &v));
    assert_true(v.common.bar == 4 && v.common.offset == 0 && v.common.length == 0x1000);
    assert_true(v.device.offset == 0x2000 && v.notify.offset == 0x3000);
    assert_int_equal(v.notify_multiplier, 4);
}

static void test_unusable_virtio_caps(void **state)
{
    static const vcap_t good_notify = {20, 2, 4, 0x3000, 0x1000};
    static const vcap_t bad[] = {
        {16, 1, 4, 0x3fff, 56},       /* reaches beyond its BAR, and crooked */
        {16, 1, 4, 0x3ff0, 56},       /* reaches beyond its BAR */
        {16, 1, 4, 0xfffffff0, 0x20}, /* wraps */
        {16, 1, 4, 0, 55},            /* too short */
        {16, 1, 4, 2, 56},            /* misaligned */
        {16, 1, 0, 0, 56},            /* in ports */
        {16, 1, 5, 0, 56},            /* in an upper half */
        {16, 1, 6, 0, 56},            /* in no BAR */
        {15, 1, 4, 0, 56},            /* a capability too short for its fields */
        {16, 9, 4, 0, 56},            /* of no known type */
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        vcap_t c[2] = {bad[i], good_notify};
        virtio_caps_t v;

        (void)setup(state);
        assert_false(read_vcaps(c, 2, &v));
        assert_int_equal(v.common.length, 0);
    }
}

static void test_virtio_notify_needs_its_multiplier(void **state)
{
    static const vcap_t c[] = {{16, 1, 4, 0, 0x1000}, {16, 2, 4, 0x3000, 0x1000}};
    virtio_caps_t v;

    (void)state;
    assert_false(read_vcaps(c, 2, &v));
    assert_int_equal(v.notify.length, 0);
}

static void test_virtio_cap_at_the_end_of_the_space(void **state)
{
    fake_fn_t *fn = add(0, 0, 0);
    virtio_caps_t v;

    (void)state;
    put(fn, PCI_CAP_FIRST, 1, 0xfc);
    set_cap(fn, 0xfc, PCI_CAP_VENDOR, 0);
    put(fn, 0xfe, 1, 0xff);
    put(fn, 0xff, 1, 1);
    scan();
    assert_int_equal(dev[0].caps, 1);
    assert_false(virtio_caps_read(&config, &dev[0], &v));
}

/* ---- words ------------------------------------------------------------------------------------------ */

static void test_words(void **state)
{
    (void)state;
    assert_string_equal(pci_class_name(1, 0), "SCSI storage controller");
    assert_string_equal(pci_class_name(1, 0x77), "Mass storage controller");
    assert_string_equal(pci_class_name(0x77, 0), "Device of an unknown class");
    for (uint32_t n = 0; n < PCI_NOTES; n++)
        assert_non_null(pci_note_text((pci_note_t)n));
    assert_non_null(pci_note_text(PCI_NOTES));
    assert_true(pci_note_is_bar(PCI_NOTE_BAR_SIZE) && pci_note_is_bar(PCI_NOTE_BAR_UNASSIGNED));
    assert_false(pci_note_is_bar(PCI_NOTE_CAP_LOOP) || pci_note_is_bar(PCI_NOTE_BUS_NONE));
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_empty_machine),
        T(test_identity),
        T(test_functions),
        T(test_bridges),
        T(test_bridges_that_lead_astray),
        T(test_every_bus),
        T(test_table_full),
        T(test_unknown_header),
        T(test_bars),
        T(test_sizing_leaves_no_trace),
        T(test_bridge_has_two_bars),
        T(test_absurd_bars),
        T(test_absurd_wide_bars),
        T(test_wide_bar_without_upper_half),
        T(test_caps),
        T(test_no_caps),
        T(test_cap_loops),
        T(test_longest_list),
        T(test_cap_in_header),
        T(test_msix),
        T(test_msix_fills_its_bar),
        T(test_absurd_msix),
        T(test_msix_at_the_end_of_the_space),
        T(test_virtio_caps),
        T(test_unusable_virtio_caps),
        T(test_virtio_notify_needs_its_multiplier),
        T(test_virtio_cap_at_the_end_of_the_space),
        T(test_words),
    };

    return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
