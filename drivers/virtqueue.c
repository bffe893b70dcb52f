/* SPDX-License-Identifier: MIT */
/*
 * Split virtqueues (virtio 1.2 §2.7).
 *
 * Order.  A chain's descriptors and its place in the avail ring are written before the avail index
 * (release fence); the avail index before the device's wish for notifications is read (full fence,
 * against a device that writes its wish and then reads the index).  The used index is read before the
 * used elements (acquire fence); our wish for interrupts is written before the used index is read
 * again (full fence).
 */
#include <ggmk/error.h>
#include <ggmk/hal.h>

#include "drivers/virtqueue.h"

/* Places in the rings, in 16-bit words. */
enum { FLAGS = 0, INDEX = 1, RING = 2 };
#define USED_WORDS 4u /* of a used element: id and length, 32 bits each */
#define AVAIL_NO_INTERRUPT 1u
#define USED_NO_NOTIFY 1u

size_t vq_avail_offset(uint32_t size) { return sizeof(vq_desc_t) * size; }

size_t vq_used_offset(uint32_t size)
{
    size_t avail_end = vq_avail_offset(size) + 2u * (RING + size + 1);

    return (avail_end + VQ_ALIGN - 1) / VQ_ALIGN * VQ_ALIGN;
}

size_t vq_bytes(uint32_t size) { return vq_used_offset(size) + 2u * (RING + USED_WORDS * size + 1); }

/* Where an index leads; sizes are powers of two. */
static uint32_t place(const virtqueue_t *vq, uint16_t index) { return index & (vq->size - 1u); }

int vq_init(virtqueue_t *vq, uint32_t size, void *rings, vq_slot_t *slots, bool event_index)
{
    if (size < 2 || size > VQ_SIZE_MAX || (size & (size - 1)) != 0)
        return GMK_ERR_RANGE;
    gmk_hal_memset(rings, 0, vq_bytes(size));
    *vq = (virtqueue_t){.desc = rings,
                        .avail = (volatile uint16_t *)((char *)rings + vq_avail_offset(size)),
                        .used = (volatile uint16_t *)((char *)rings + vq_used_offset(size)),
                        .slot = slots,
                        .size = (uint16_t)size,
                        .free = (uint16_t)size,
                        .event_index = event_index};
    for (uint32_t i = 0; i < size; i++)
        slots[i] = (vq_slot_t){.next = (uint16_t)(i + 1)};
    return GMK_OK;
}

/* The bytes the device may write into these segments; false when they are no valid chain. */
static bool chain_valid(const vq_seg_t *seg, uint32_t n, uint32_t *capacity)
{
    bool writes = false;
    uint64_t sum = 0, total = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (seg[i].length == 0 || (writes && !seg[i].device_writes))
            return false;
        writes = seg[i].device_writes;
        total += seg[i].length;
        sum += writes ? seg[i].length : 0;
    }
    *capacity = (uint32_t)sum;
    return n != 0 && total <= UINT32_MAX;
}

static void write_desc(volatile vq_desc_t *d, const vq_seg_t *s, bool last, uint32_t next)
{
    d->addr = s->addr;
    d->length = s->length;
    d->flags = (uint16_t)((s->device_writes ? VQ_DESC_WRITE : 0) | (last ? 0 : VQ_DESC_NEXT));
    d->next = last ? 0 : (uint16_t)next;
}

static void write_indirect(virtqueue_t *vq, const vq_seg_t *seg, uint32_t n, vq_desc_t *table, uint64_t addr)
{
    volatile vq_desc_t *d = &vq->desc[vq->free_head];

    for (uint32_t i = 0; i < n; i++)
        write_desc(&table[i], &seg[i], i + 1 == n, i + 1);
    d->addr = addr;
    d->length = (uint32_t)(n * sizeof *table);
    d->flags = VQ_DESC_INDIRECT;
    d->next = 0;
}

/* Takes n descriptors off the free list and returns the last of them. */
static uint32_t take_free(virtqueue_t *vq, uint32_t n)
{
    uint32_t last = vq->free_head;

    for (uint32_t i = 1; i < n; i++)
        last = vq->slot[last].next;
    vq->free_head = vq->slot[last].next;
    vq->free = (uint16_t)(vq->free - n);
    return last;
}

static void write_chain(virtqueue_t *vq, const vq_seg_t *seg, uint32_t n)
{
    uint32_t at = vq->free_head;

    for (uint32_t i = 0; i < n; i++) {
        write_desc(&vq->desc[at], &seg[i], i + 1 == n, vq->slot[at].next);
        at = vq->slot[at].next;
    }
}

int vq_add(virtqueue_t *vq, const vq_seg_t *seg, uint32_t n, vq_desc_t *table, uint64_t table_addr,
           void *cookie)
{
    uint32_t need = table ? 1 : n, head = vq->free_head, capacity;

    if (vq->fault != VQ_SOUND)
        return GMK_ERR_IO;
    if (!cookie || !chain_valid(seg, n, &capacity))
        return GMK_ERR_INVAL;
    if (need > vq->free)
        return GMK_ERR_FULL;
    if (table)
        write_indirect(vq, seg, n, table, table_addr);
    else
        write_chain(vq, seg, n);
    (void)take_free(vq, need);
    vq->slot[head].cookie = cookie;
    vq->slot[head].capacity = capacity;
    vq->slot[head].count = (uint16_t)need;
    vq->in_flight++;
    vq->avail[RING + place(vq, vq->added)] = (uint16_t)head;
    vq->added++;
    return (int)head;
}

/* Whether an index that moved from `from` to `to` passed `event` (§2.7.7.1, §2.7.10). */
static bool passed(uint16_t event, uint16_t from, uint16_t to)
{
    return (uint16_t)(to - event - 1) < (uint16_t)(to - from);
}

bool vq_publish(virtqueue_t *vq)
{
    uint16_t from = vq->published, to = vq->added;

    if (from == to)
        return false;
    gmk_fence(GMK_REL, GMK_KERNEL);
    vq->avail[INDEX] = to;
    vq->published = to;
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    if (vq->event_index)
        return passed(vq->used[RING + USED_WORDS * vq->size], from, to);
    return !(vq->used[FLAGS] & USED_NO_NOTIFY);
}

static int break_queue(virtqueue_t *vq, vq_fault_t f, uint32_t value)
{
    vq->fault = f;
    vq->fault_value = value;
    return GMK_ERR_IO;
}

/* Gives the chain that begins at head, which is in flight, back to the free list. */
static void release(virtqueue_t *vq, uint32_t head)
{
    uint32_t last = head, n = vq->slot[head].count;

    for (uint32_t i = 1; i < n; i++)
        last = vq->slot[last].next;
    vq->slot[last].next = vq->free_head;
    vq->free_head = (uint16_t)head;
    vq->free = (uint16_t)(vq->free + n);
    vq->slot[head].cookie = NULL;
    vq->in_flight--;
}

int vq_take(virtqueue_t *vq, void **cookie, uint32_t *written)
{
    uint16_t ahead = (uint16_t)(vq->used[INDEX] - vq->taken);
    const volatile uint32_t *element;
    uint32_t id, length;

    if (vq->fault != VQ_SOUND)
        return GMK_ERR_IO;
    if (ahead == 0)
        return 0;
    if (ahead > vq->in_flight)
        return break_queue(vq, VQ_INDEX_JUMP, ahead);
    gmk_fence(GMK_ACQ, GMK_KERNEL);
    element = (const volatile uint32_t *)&vq->used[RING + USED_WORDS * place(vq, vq->taken)];
    id = element[0];
    length = element[1];
    if (id >= vq->size)
        return break_queue(vq, VQ_WILD_ID, id);
    if (!vq->slot[id].cookie)
        return break_queue(vq, VQ_NOT_IN_FLIGHT, id);
    if (length > vq->slot[id].capacity && !vq->any_length)
        return break_queue(vq, VQ_TOO_LONG, length);
    *cookie = vq->slot[id].cookie;
    *written = length;
    release(vq, id);
    vq->taken++;
    return 1;
}

bool vq_events_on(virtqueue_t *vq)
{
    if (vq->event_index)
        vq->avail[RING + vq->size] = vq->taken;
    vq->avail[FLAGS] = 0;
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    return vq->used[INDEX] != vq->taken;
}

/* With event indexes there is nothing to write: the event lies behind us until vq_events_on. */
void vq_events_off(virtqueue_t *vq)
{
    if (!vq->event_index)
        vq->avail[FLAGS] = AVAIL_NO_INTERRUPT;
}

void vq_close(virtqueue_t *vq)
{
    if (vq->fault == VQ_SOUND)
        vq->fault = VQ_CLOSED;
}

void *vq_abandon(virtqueue_t *vq)
{
    vq_close(vq);
    for (uint32_t i = 0; i < vq->size && vq->in_flight != 0; i++) {
        void *cookie = vq->slot[i].cookie;

        if (cookie) {
            release(vq, i);
            return cookie;
        }
    }
    return NULL;
}

const char *vq_fault_text(vq_fault_t f)
{
    switch (f) {
    case VQ_SOUND: return "sound";
    case VQ_INDEX_JUMP: return "the used index is ahead of what is in flight, by";
    case VQ_WILD_ID: return "the device returned a descriptor beyond the queue,";
    case VQ_NOT_IN_FLIGHT: return "the device returned a descriptor that is not in flight,";
    case VQ_TOO_LONG: return "the device says that it wrote more than it was given,";
    default: return "closed";
    }
}
