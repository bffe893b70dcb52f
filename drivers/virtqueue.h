/* SPDX-License-Identifier: MIT */
/*
 * virtqueue.h — the driver's side of a split virtqueue (virtio 1.2 §2.7).
 *
 * Pure: rings in memory that the caller supplies, no registers, so that it runs on a host against a
 * made-up device.  One caller at a time per queue.
 *
 * The device is not trusted.  What it writes is copied once and checked before use: an index that
 * runs ahead of what is in flight, a number that is no descriptor's or that is not in flight, a length
 * beyond what it was given.  Any of these makes the queue broken for good: nothing more is added or
 * taken, and vq_abandon gives back what was in flight.  What the driver itself must remember (chains,
 * the free list) is kept outside the memory that the device can write.
 */
#ifndef DRIVERS_VIRTQUEUE_H
#define DRIVERS_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VQ_SIZE_MAX 1024u /* descriptors; the specification allows 32768 */
#define VQ_ALIGN 4096u    /* of the rings' memory, and of the used ring in it, as legacy devices want it */

/* As the device sees it (§2.7.5). */
typedef struct vq_desc {
    uint64_t addr;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
} vq_desc_t;

enum { VQ_DESC_NEXT = 1, VQ_DESC_WRITE = 2, VQ_DESC_INDIRECT = 4 };

/* A piece of a buffer, in physical memory. */
typedef struct vq_seg {
    uint64_t addr;
    uint32_t length;
    bool device_writes;
} vq_seg_t;

/* What the driver remembers of one descriptor. */
typedef struct vq_slot {
    void *cookie;      /* of the head of a chain in flight, else NULL */
    uint32_t capacity; /* bytes the device may write into the chain */
    uint16_t count;    /* descriptors in the chain */
    uint16_t next;     /* the next of the chain, or of the free list */
} vq_slot_t;

typedef enum vq_fault {
    VQ_SOUND,
    VQ_INDEX_JUMP,
    VQ_WILD_ID,
    VQ_NOT_IN_FLIGHT,
    VQ_TOO_LONG,
    VQ_CLOSED
} vq_fault_t;

typedef struct virtqueue {
    volatile vq_desc_t *desc;
    volatile uint16_t *avail; /* flags, index, ring[size], used_event */
    volatile uint16_t *used;  /* flags, index, {id, length}[size], avail_event */
    vq_slot_t *slot;
    uint16_t size;
    uint16_t free_head, free; /* descriptors nobody uses */
    uint16_t in_flight;       /* chains */
    uint16_t added;           /* avail index with everything added */
    uint16_t published;       /* avail index the device has been shown */
    uint16_t taken;           /* used index up to which was taken */
    bool any_length;          /* set by the owner, for legacy devices: the lengths they report mean nothing */
    bool event_index;         /* VIRTIO_F_EVENT_IDX was negotiated */
    vq_fault_t fault;         /* why it is broken */
    uint32_t fault_value;     /* what the device wrote */
} virtqueue_t;

/* Bytes of the rings of a queue, and where in them the avail and used ring begin. */
size_t vq_bytes(uint32_t size);
size_t vq_avail_offset(uint32_t size);
size_t vq_used_offset(uint32_t size);

/*
 * Makes an empty queue in vq_bytes(size) bytes at rings, aligned to VQ_ALIGN, and size slots.
 * GMK_ERR_RANGE: size is not a power of two from 2 to VQ_SIZE_MAX.
 */
int vq_init(virtqueue_t *vq, uint32_t size, void *rings, vq_slot_t *slots, bool event_index);

/*
 * Adds a chain of n segments, those that the device reads first (§2.7.4.2).  With a table (n
 * descriptors, at physical table_addr) it is indirect and takes one descriptor of the queue.  The
 * device sees it from vq_publish on.  cookie, not NULL, comes back from vq_take.
 * Returns the head's number; GMK_ERR_FULL: not enough descriptors; GMK_ERR_INVAL: no segment, an
 * empty one, or the wrong order; GMK_ERR_IO: the queue is broken.
 */
int vq_add(virtqueue_t *vq, const vq_seg_t *seg, uint32_t n, vq_desc_t *table, uint64_t table_addr,
           void *cookie);

/* Shows the device what was added; true = it wants to be notified. */
bool vq_publish(virtqueue_t *vq);

/*
 * Takes one finished chain: 1 and its cookie and the bytes that the device says it wrote; 0 when
 * there is none; GMK_ERR_IO when the queue is broken.
 */
int vq_take(virtqueue_t *vq, void **cookie, uint32_t *written);

/* Asks for an interrupt at the next finished chain; true = there is one already, which may raise none. */
bool vq_events_on(virtqueue_t *vq);
/* The device need not interrupt; it still may. */
void vq_events_off(virtqueue_t *vq);

/* Breaks the queue from our side: nothing is added or taken any more. */
void vq_close(virtqueue_t *vq);

/* Breaks the queue and returns the cookie of one chain that was in flight, NULL when there is none left. */
void *vq_abandon(virtqueue_t *vq);

const char *vq_fault_text(vq_fault_t f);

#endif
