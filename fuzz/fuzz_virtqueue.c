/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the driver's side of a virtqueue: the input is what a driver asks for and what a device that may
 * do anything writes into the rings meanwhile.  Every chain must come back exactly once, and the
 * queue's own books must balance after every step.
 */
#include <stdlib.h>
#include <string.h>

#include "drivers/virtqueue.h"

#define SIZE_MOST 16u
#define SEGS_MOST 4u

static _Alignas(VQ_ALIGN) uint8_t rings[3 * VQ_ALIGN];
static vq_slot_t slots[SIZE_MOST];
static vq_desc_t table[SEGS_MOST];
static virtqueue_t vq;
static bool out[SIZE_MOST]; /* cookies that are in flight */

static const uint8_t *input;
static size_t left;

static void require(bool holds)
{
    if (!holds)
        abort();
}

static uint32_t next(uint32_t bytes)
{
    uint32_t v = 0;

    if (bytes > left)
        bytes = (uint32_t)left;
    memcpy(&v, input, bytes);
    input += bytes;
    left -= bytes;
    return v;
}

static bool *free_cookie(void)
{
    for (uint32_t i = 0; i < SIZE_MOST; i++)
        if (!out[i])
            return &out[i];
    return NULL;
}

static void add(void)
{
    uint32_t n = next(1) % (SEGS_MOST + 1), mode = next(1);
    vq_seg_t seg[SEGS_MOST];
    bool *cookie = free_cookie();
    uint16_t before = vq.in_flight;
    int head;

    for (uint32_t i = 0; i < n; i++)
        seg[i] = (vq_seg_t){0x1000 * i, next(1), (mode >> i & 1u) != 0};
    head = vq_add(&vq, seg, n, mode & 0x80u ? table : NULL, 0x9000, cookie);
    if (head >= 0) {
        require((uint32_t)head < vq.size && vq.in_flight == before + 1);
        *cookie = true;
    } else {
        require(vq.in_flight == before);
    }
}

static void came_back(void *cookie)
{
    bool *c = cookie;

    require(c >= out && c < out + SIZE_MOST && *c);
    *c = false;
}

static void take(void)
{
    uint32_t written = 0;
    void *cookie = NULL;
    int code = vq_take(&vq, &cookie, &written);

    require(code == 1 || code == 0 || vq.fault != VQ_SOUND);
    if (code == 1) {
        require(written <= SEGS_MOST * 255u);
        came_back(cookie);
    }
}

/* As an honest device: gives back what is in flight, one after the other. */
static void complete_one(void)
{
    uint16_t *used = (uint16_t *)(void *)(rings + vq_used_offset(vq.size));
    uint32_t element[2] = {next(1) % vq.size, next(1) % 4};

    for (uint32_t i = 0; i < vq.size && !slots[element[0]].cookie; i++)
        element[0] = (element[0] + 1) % vq.size;
    memcpy(used + 2 + 4u * (used[1] % vq.size), element, sizeof element);
    used[1]++;
}

/* As a hostile one: writes anything anywhere. */
static void scribble(void)
{
    uint32_t at = next(2) % (uint32_t)vq_bytes(vq.size);

    rings[at] = (uint8_t)next(1);
}

static void check_books(void)
{
    uint32_t cookies = 0, chained = 0, free_now = 0, at = vq.free_head;

    for (uint32_t i = 0; i < SIZE_MOST; i++)
        cookies += out[i];
    for (uint32_t i = 0; i < vq.size; i++)
        chained += slots[i].cookie ? slots[i].count : 0;
    for (; free_now < vq.free; free_now++, at = slots[at].next)
        require(at < vq.size && !slots[at].cookie);
    require(cookies == vq.in_flight && chained + vq.free == vq.size);
}

static void step(void)
{
    switch (next(1) % 7) {
    case 0: add(); break;
    case 1: (void)vq_publish(&vq); break;
    case 2: take(); break;
    case 3: complete_one(); break;
    case 4: scribble(); break;
    case 5: (void)vq_events_on(&vq); break;
    default: vq_events_off(&vq); break;
    }
    check_books();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *cookie;

    input = data;
    left = size;
    memset(out, 0, sizeof out);
    if (vq_init(&vq, 2u << next(1) % 4, rings, slots, next(1) & 1u) != 0)
        abort();
    while (left != 0)
        step();
    while ((cookie = vq_abandon(&vq)) != NULL)
        came_back(cookie);
    check_books();
    require(vq.in_flight == 0 && vq.free == vq.size);
    return 0;
}
