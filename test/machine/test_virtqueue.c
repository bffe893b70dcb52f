/* SPDX-License-Identifier: MIT */
/*
 * Split virtqueues against a device made of the rings' memory: one that keeps the rules, and one that
 * breaks each.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include <ggmk/error.h>

#include "drivers/virtqueue.h"

#define SIZE 8u
#define LONG_RUN 70000u /* more than 16 bits of indices */

static virtqueue_t vq;
static vq_slot_t *slots;
static uint8_t *rings;

/* ---- the device: virtio 1.2 §2.7, read from the other side -------------------------------------- */

static uint16_t seen, done; /* its avail and used index */

static vq_desc_t *desc(uint32_t i) { return (vq_desc_t *)rings + i; }

static uint16_t *avail(uint32_t word) { return (uint16_t *)(rings + vq_avail_offset(vq.size)) + word; }

static uint16_t *used(uint32_t word) { return (uint16_t *)(rings + vq_used_offset(vq.size)) + word; }

static uint32_t waiting(void) { return (uint16_t)(*avail(1) - seen); }

static uint32_t next_head(void) { return *avail(2u + seen++ % vq.size); }

static void give_back(uint32_t id, uint32_t length)
{
    uint32_t element[2] = {id, length};

    memcpy(used(2u + 4u * (done % vq.size)), element, sizeof element);
    *used(1) = ++done;
}

static void want_notify_from(uint16_t index) { *used(2u + 4u * vq.size) = index; }

/* ---- set-up ----------------------------------------------------------------------------------------- */

static void make(uint32_t size, bool event_index)
{
    free(rings);
    free(slots);
    rings = aligned_alloc(VQ_ALIGN, (vq_bytes(size) + VQ_ALIGN - 1) / VQ_ALIGN * VQ_ALIGN);
    slots = calloc(size, sizeof *slots);
    assert_true(rings && slots);
    memset(rings, 0xa5, vq_bytes(size));
    seen = done = 0;
    assert_int_equal(vq_init(&vq, size, rings, slots, event_index), GMK_OK);
}

static int setup(void **state)
{
    (void)state;
    make(SIZE, false);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(rings);
    free(slots);
    rings = NULL;
    slots = NULL;
    return 0;
}

static int cookies[64];

/* A chain of a 16-byte header, `data` bytes and a status byte. */
static int add_read(uint32_t data, void *cookie)
{
    vq_seg_t s[] = {{0x1000, 16, false}, {0x2000, data, true}, {0x3000, 1, true}};

    return vq_add(&vq, s, 3, NULL, 0, cookie);
}

static int add_one(void *cookie)
{
    vq_seg_t s = {0x4000, 8, true};

    return vq_add(&vq, &s, 1, NULL, 0, cookie);
}

static void *take(uint32_t *written)
{
    void *cookie = NULL;

    assert_int_equal(vq_take(&vq, &cookie, written), 1);
    return cookie;
}

static void expect_broken(vq_fault_t f)
{
    void *cookie;
    uint32_t written;

    assert_int_equal(vq_take(&vq, &cookie, &written), GMK_ERR_IO);
    assert_int_equal(vq.fault, f);
    assert_int_equal(add_one(&cookies[0]), GMK_ERR_IO);
    assert_int_equal(vq_take(&vq, &cookie, &written), GMK_ERR_IO);
}

/* ---- the rules -------------------------------------------------------------------------------------- */

static void test_layout(void **state)
{
    (void)state;
    assert_int_equal(vq_avail_offset(256), 4096);
    assert_int_equal(vq_used_offset(256), 8192);
    assert_int_equal(vq_bytes(256), 8192 + 6 + 8 * 256);
    for (uint32_t size = 2; size <= VQ_SIZE_MAX; size *= 2) {
        assert_true(vq_used_offset(size) % VQ_ALIGN == 0);
        assert_true(vq_used_offset(size) >= vq_avail_offset(size) + 6 + 2u * size);
    }
}

static void test_sizes_refused(void **state)
{
    static const uint32_t bad[] = {0, 1, 3, 6, 1000, VQ_SIZE_MAX * 2, 0x80000000u, UINT32_MAX};
    virtqueue_t q;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(vq_init(&q, bad[i], rings, slots, false), GMK_ERR_RANGE);
}

static void test_chain_as_the_device_sees_it(void **state)
{
    uint32_t head, second, third;

    (void)state;
    head = (uint32_t)add_read(512, &cookies[0]);
    assert_int_equal(waiting(), 0);
    assert_true(vq_publish(&vq));
    assert_int_equal(waiting(), 1);
    assert_int_equal(next_head(), head);
    assert_true(desc(head)->addr == 0x1000 && desc(head)->length == 16 && desc(head)->flags == VQ_DESC_NEXT);
    second = desc(head)->next;
    assert_true(desc(second)->addr == 0x2000 && desc(second)->length == 512);
    assert_int_equal(desc(second)->flags, VQ_DESC_NEXT | VQ_DESC_WRITE);
    third = desc(second)->next;
    assert_true(third != second && third != head && second != head);
    assert_true(desc(third)->addr == 0x3000 && desc(third)->length == 1 &&
                desc(third)->flags == VQ_DESC_WRITE);
}

static void test_completion(void **state)
{
    void *cookie;
    uint32_t written = 0;

    (void)state;
    (void)add_read(512, &cookies[7]);
    (void)vq_publish(&vq);
    assert_int_equal(vq_take(&vq, &cookie, &written), 0);
    give_back(next_head(), 513);
    assert_ptr_equal(take(&written), &cookies[7]);
    assert_int_equal(written, 513);
    assert_int_equal(vq_take(&vq, &cookie, &written), 0);
    assert_int_equal(vq.free, SIZE);
    assert_int_equal(vq.in_flight, 0);
}

static void test_zero_length_is_allowed(void **state)
{
    uint32_t written = 1;

    (void)state;
    (void)add_read(512, &cookies[0]);
    (void)vq_publish(&vq);
    give_back(next_head(), 0);
    assert_ptr_equal(take(&written), &cookies[0]);
    assert_int_equal(written, 0);
}

static void test_bad_chains_refused(void **state)
{
    static const vq_seg_t empty[] = {{0x1000, 0, false}};
    static const vq_seg_t order[] = {{0x1000, 1, true}, {0x2000, 1, false}};
    static const vq_seg_t large[] = {{0, UINT32_MAX, true}, {0, UINT32_MAX, true}};
    static const vq_seg_t good[] = {{0x1000, 1, false}};

    (void)state;
    assert_int_equal(vq_add(&vq, good, 0, NULL, 0, &cookies[0]), GMK_ERR_INVAL);
    assert_int_equal(vq_add(&vq, empty, 1, NULL, 0, &cookies[0]), GMK_ERR_INVAL);
    assert_int_equal(vq_add(&vq, order, 2, NULL, 0, &cookies[0]), GMK_ERR_INVAL);
    assert_int_equal(vq_add(&vq, large, 2, NULL, 0, &cookies[0]), GMK_ERR_INVAL);
    assert_int_equal(vq_add(&vq, good, 1, NULL, 0, NULL), GMK_ERR_INVAL);
    assert_int_equal(vq.free, SIZE);
    assert_false(vq_publish(&vq));
}

static void test_full(void **state)
{
    (void)state;
    assert_true(add_read(512, &cookies[0]) >= 0);
    assert_true(add_read(512, &cookies[1]) >= 0);
    assert_int_equal(add_read(512, &cookies[2]), GMK_ERR_FULL);
    assert_true(add_one(&cookies[3]) >= 0);
    assert_true(add_one(&cookies[4]) >= 0);
    assert_int_equal(add_one(&cookies[5]), GMK_ERR_FULL);
    assert_true(vq_publish(&vq));
    assert_int_equal(waiting(), 4);
}

static void test_any_order(void **state)
{
    uint32_t heads[SIZE], written;

    (void)state;
    for (uint32_t i = 0; i < SIZE; i++)
        assert_true(add_one(&cookies[i]) >= 0);
    (void)vq_publish(&vq);
    for (uint32_t i = 0; i < SIZE; i++)
        heads[i] = next_head();
    for (uint32_t i = 0; i < SIZE; i++)
        give_back(heads[SIZE - 1 - i], i);
    for (uint32_t i = 0; i < SIZE; i++) {
        assert_ptr_equal(take(&written), &cookies[SIZE - 1 - i]);
        assert_int_equal(written, i);
    }
}

/* Chains of different lengths, past the end of the indices; each comes back once, none is lost. */
static void test_long_run(void **state)
{
    uint32_t pending[SIZE], n = 0, written;

    (void)state;
    srand(1);
    for (uint32_t round = 0; round < LONG_RUN; round++) {
        if (rand() % 2 && add_read(64, &cookies[round % 64]) >= 0) {
            (void)vq_publish(&vq);
            pending[n++] = next_head();
        }
        if (n != 0 && rand() % 2) {
            uint32_t which = (uint32_t)rand() % n;

            give_back(pending[which], 65);
            pending[which] = pending[--n];
            assert_non_null(take(&written));
        }
        assert_int_equal(vq.in_flight, n);
        assert_int_equal(vq.free, SIZE - 3 * n);
    }
    assert_true(done > 10000);
}

static void test_indirect(void **state)
{
    vq_seg_t s[] = {{0x1000, 16, false}, {0x2000, 4096, true}, {0x3000, 1, true}};
    vq_desc_t table[3];
    uint32_t head, written;

    (void)state;
    for (uint32_t i = 0; i < SIZE; i++)
        assert_true(vq_add(&vq, s, 3, table, 0x9000, &cookies[i]) >= 0);
    assert_int_equal(vq_add(&vq, s, 3, table, 0x9000, &cookies[SIZE]), GMK_ERR_FULL);
    (void)vq_publish(&vq);
    head = next_head();
    assert_true(desc(head)->addr == 0x9000 && desc(head)->length == sizeof table);
    assert_int_equal(desc(head)->flags, VQ_DESC_INDIRECT);
    assert_true(table[0].addr == 0x1000 && table[0].flags == VQ_DESC_NEXT && table[0].next == 1);
    assert_true(table[1].length == 4096 && table[1].flags == (VQ_DESC_NEXT | VQ_DESC_WRITE) &&
                table[1].next == 2);
    assert_true(table[2].addr == 0x3000 && table[2].flags == VQ_DESC_WRITE);
    give_back(head, 4097);
    assert_ptr_equal(take(&written), &cookies[0]);
}

/* ---- notifications ---------------------------------------------------------------------------------- */

static void test_notify_flag(void **state)
{
    (void)state;
    (void)add_one(&cookies[0]);
    assert_true(vq_publish(&vq));
    assert_false(vq_publish(&vq)); /* nothing new */
    *used(0) = 1;
    (void)add_one(&cookies[1]);
    assert_false(vq_publish(&vq));
    *used(0) = 0;
    (void)add_one(&cookies[2]);
    assert_true(vq_publish(&vq));
}

static void test_notify_index(void **state)
{
    (void)state;
    make(SIZE, true);
    want_notify_from(1);
    (void)add_one(&cookies[0]);
    assert_false(vq_publish(&vq));
    (void)add_one(&cookies[1]);
    assert_true(vq_publish(&vq));
    (void)add_one(&cookies[2]);
    assert_false(vq_publish(&vq));
    want_notify_from(4);
    for (uint32_t i = 3; i < 6; i++)
        (void)add_one(&cookies[i]);
    assert_true(vq_publish(&vq)); /* the event lies among those published at once */
}

static void test_events_flag(void **state)
{
    uint32_t written;

    (void)state;
    vq_events_off(&vq);
    assert_int_equal(*avail(0), 1);
    (void)add_one(&cookies[0]);
    (void)vq_publish(&vq);
    assert_false(vq_events_on(&vq));
    assert_int_equal(*avail(0), 0);
    vq_events_off(&vq);
    give_back(next_head(), 8);
    assert_true(vq_events_on(&vq)); /* it was done while nobody listened */
    (void)take(&written);
    assert_false(vq_events_on(&vq));
}

static void test_events_index(void **state)
{
    uint32_t written;

    (void)state;
    make(SIZE, true);
    assert_false(vq_events_on(&vq));
    assert_int_equal(*avail(2u + SIZE), 0);
    (void)add_one(&cookies[0]);
    (void)vq_publish(&vq);
    give_back(next_head(), 8);
    (void)take(&written);
    assert_false(vq_events_on(&vq));
    assert_int_equal(*avail(2u + SIZE), 1);
    vq_events_off(&vq);
    assert_int_equal(*avail(0), 0);
}

/* ---- a device that lies ----------------------------------------------------------------------------- */

static void test_wild_id(void **state)
{
    static const uint32_t wild[] = {SIZE, 0xffff, 0x10000, UINT32_MAX};

    for (size_t i = 0; i < sizeof wild / sizeof wild[0]; i++) {
        (void)setup(state);
        (void)add_read(512, &cookies[0]);
        (void)vq_publish(&vq);
        give_back(wild[i], 0);
        expect_broken(VQ_WILD_ID);
        assert_int_equal(vq.fault_value, wild[i]);
    }
}

static void test_double_completion(void **state)
{
    uint32_t head, written;

    (void)state;
    (void)add_one(&cookies[0]);
    (void)add_one(&cookies[1]);
    (void)vq_publish(&vq);
    head = next_head();
    give_back(head, 8);
    give_back(head, 8);
    (void)take(&written);
    expect_broken(VQ_NOT_IN_FLIGHT);
}

static void test_middle_of_a_chain(void **state)
{
    uint32_t head;

    (void)state;
    (void)add_read(512, &cookies[0]);
    (void)vq_publish(&vq);
    head = next_head();
    give_back(desc(head)->next, 0);
    expect_broken(VQ_NOT_IN_FLIGHT);
}

static void test_index_jump(void **state)
{
    static const uint16_t ahead[] = {2, SIZE, SIZE + 1, 0x7fff, 0xffff};

    for (size_t i = 0; i < sizeof ahead / sizeof ahead[0]; i++) {
        (void)setup(state);
        (void)add_one(&cookies[0]);
        (void)vq_publish(&vq);
        *used(1) = ahead[i];
        expect_broken(VQ_INDEX_JUMP);
        assert_int_equal(vq.fault_value, ahead[i]);
    }
}

static void test_completion_of_nothing(void **state)
{
    (void)state;
    give_back(0, 0);
    expect_broken(VQ_INDEX_JUMP);
}

static void test_index_goes_back(void **state)
{
    uint32_t written;

    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        (void)add_one(&cookies[i]);
    (void)vq_publish(&vq);
    give_back(next_head(), 8);
    give_back(next_head(), 8);
    (void)take(&written);
    (void)take(&written);
    *used(1) = 1;
    expect_broken(VQ_INDEX_JUMP);
}

static void test_too_long(void **state)
{
    (void)state;
    (void)add_read(512, &cookies[0]);
    (void)vq_publish(&vq);
    give_back(next_head(), 514);
    expect_broken(VQ_TOO_LONG);
    assert_int_equal(vq.fault_value, 514);
}

/* What it scribbles over descriptors and avail ring changes nothing of ours. */
static void test_scribbled_descriptors(void **state)
{
    uint32_t head, written;

    (void)state;
    for (uint32_t round = 0; round < 100; round++) {
        assert_true(add_read(512, &cookies[0]) >= 0);
        (void)vq_publish(&vq);
        head = next_head();
        memset(rings, 0xff, vq_avail_offset(SIZE));
        memset(avail(2), 0xff, 2u * SIZE);
        give_back(head, 1);
        assert_ptr_equal(take(&written), &cookies[0]);
    }
    assert_int_equal(vq.free, SIZE);
}

/* ---- the end ---------------------------------------------------------------------------------------- */

static void expect_abandoned(uint32_t n)
{
    uint32_t back[64] = {0};

    for (uint32_t i = 0; i < n; i++) {
        int *cookie = vq_abandon(&vq);

        assert_non_null(cookie);
        back[cookie - cookies]++;
    }
    assert_null(vq_abandon(&vq));
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(back[i], 1);
}

static void test_abandon(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 5; i++)
        (void)add_one(&cookies[i]);
    (void)vq_publish(&vq);
    expect_abandoned(5);
    assert_int_equal(add_one(&cookies[0]), GMK_ERR_IO);
}

static void test_abandon_after_a_lie(void **state)
{
    (void)state;
    (void)add_read(64, &cookies[0]);
    (void)add_read(64, &cookies[1]);
    (void)vq_publish(&vq);
    give_back(77, 0);
    expect_broken(VQ_WILD_ID);
    expect_abandoned(2);
    assert_int_equal(vq.fault, VQ_WILD_ID);
}

static void test_close(void **state)
{
    void *cookie;
    uint32_t written;

    (void)state;
    (void)add_one(&cookies[0]);
    (void)vq_publish(&vq);
    give_back(next_head(), 8);
    vq_close(&vq);
    assert_int_equal(vq_take(&vq, &cookie, &written), GMK_ERR_IO);
    expect_abandoned(1);
}

static void test_words(void **state)
{
    (void)state;
    for (int i = VQ_SOUND; i <= VQ_CLOSED; i++)
        assert_non_null(vq_fault_text((vq_fault_t)i));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_layout),
        T(test_sizes_refused),
        T(test_chain_as_the_device_sees_it),
        T(test_completion),
        T(test_zero_length_is_allowed),
        T(test_bad_chains_refused),
        T(test_full),
        T(test_any_order),
        T(test_long_run),
        T(test_indirect),
        T(test_notify_flag),
        T(test_notify_index),
        T(test_events_flag),
        T(test_events_index),
        T(test_wild_id),
        T(test_double_completion),
        T(test_middle_of_a_chain),
        T(test_index_jump),
        T(test_completion_of_nothing),
        T(test_index_goes_back),
        T(test_too_long),
        T(test_scribbled_descriptors),
        T(test_abandon),
        T(test_abandon_after_a_lie),
        T(test_close),
        T(test_words),
    };

    return cmocka_run_group_tests_name("virtqueue", tests, NULL, NULL);
}
