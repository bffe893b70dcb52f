/* SPDX-License-Identifier: MIT */
/*
 * virtio_blk_int.h — inside the virtio-blk driver; nobody else includes it.
 *
 * A request is served in parts: what fits into one request to the device.  A part has a slot of DMA
 * memory (header, status, indirect descriptors) and is one chain in a queue.  A request waits in its
 * queue's list until all of it is issued, and is finished when all of its parts are done.
 *
 * All of a queue changes under its lock.  Finished requests go through the list `finished`; their
 * done() runs without the lock, in the interrupt thread of the queue's CPU or in the disk's own thread.
 * That thread (the watcher) sleeps until the earliest deadline; it also polls disks without MSI-X,
 * handles changes of configuration, and is the only one that switches a disk off.
 */
#ifndef DRIVERS_VIRTIO_BLK_INT_H
#define DRIVERS_VIRTIO_BLK_INT_H

#include <ggmk/hal.h>

#include "drivers/virtio.h"
#include "drivers/virtio_blk.h"
#include "spinlock.h"
#include "thread.h"

#define BLK_DEPTH 256u            /* parts in flight in one queue, at most */
#define BLK_SEGS 30u              /* pieces of memory in one part, at most */
#define BLK_PART_BYTES (4u << 20) /* bytes in one part, at most */

#define BLK_POLL_NS 100000u /* how often a disk without MSI-X is looked at */

/* Operations that only the driver itself asks for, after those of enum virtio_blk_op. */
#define BLK_GET_ID 3u
#define BLK_ID_BYTES 20u

/* What the device reads and writes besides data, one for each part. */
typedef struct blk_dma {
    vq_desc_t table[BLK_SEGS + 2];
    uint32_t type, reserved; /* struct virtio_blk_req (virtio 1.2 §5.2.6): 16 bytes */
    uint64_t sector;
    volatile uint8_t status;
    uint8_t unused[15];
} blk_dma_t;

typedef struct blk_part {
    struct blk_part *next; /* free */
    virtio_blk_req_t *req; /* NULL = free */
    blk_dma_t *dma;
    uint64_t dma_addr;
    uint8_t *bounce; /* a sector of memory in one piece, on disks that need one */
    uint64_t bounce_addr;
    void *copy_to;  /* where to copy from bounce when it is done; else NULL */
    uint32_t bytes; /* of data */
    uint64_t deadline_ns;
} blk_part_t;

typedef struct blk_queue {
    spinlock_t lock;
    struct virtio_blk *disk;
    uint32_t index, cpu, vector;
    virtqueue_t vq;
    vq_slot_t *slots;
    blk_part_t *parts, *free_parts;
    uint32_t depth;
    virtio_blk_req_t *waiting, **waiting_end;
    virtio_blk_req_t *finished, **finished_end;
    virtio_blk_stats_t stats;
    void *memory; /* slots and parts */
    size_t memory_bytes;
    uint64_t dma, dma_pages; /* rings, blk_dma_t[], bounce sectors */
} blk_queue_t;

struct virtio_blk {
    virtio_dev_t dev;
    char name[16], id[VIRTIO_BLK_ID_SIZE];
    gmk_a64_t sectors;
    uint32_t seg_max, size_max, block_size;
    bool readonly, indirect, flush, polled;
    uint32_t queues;
    blk_queue_t queue[VIRTIO_QUEUES_MAX];
    uint32_t config_vector;
    thread_t *watcher;
    gmk_a64_t wake_at; /* when the watcher wakes; earlier for those who lower it and unblock it */
    gmk_a64_t timeout_ns;
    gmk_a32_t config_changed; /* the device said so */
    gmk_a32_t failed;         /* switched off */
    gmk_a32_t complaints;     /* lines printed */
};

/* virtio_blk_dma.c: the pieces of a part's data, at most max; *bytes is what they cover. */
uint32_t blk_gather(const virtio_blk_t *b, const uint8_t *buf, uint64_t left, bool device_writes,
                    vq_seg_t *seg, uint32_t max, uint32_t *bytes);

/* virtio_blk_queue.c */
/* Memory for `size` descriptors; disk and index are set.  GMK_ERR_RANGE, GMK_ERR_LIMIT (no memory). */
int blk_queue_init(blk_queue_t *q, uint32_t size, virtio_rings_t *rings);
void blk_queue_free(blk_queue_t *q);
int blk_queue_submit(blk_queue_t *q, virtio_blk_req_t *r, bool wait);
/* Takes what is done, issues what waits, runs done().  The bottom function of a queue; arg is the queue. */
void blk_queue_service(void *q);
/* Nothing is given to the device or taken from it any more. */
void blk_queue_close(blk_queue_t *q);
/* Ends all requests with `code`; the disk is off. */
void blk_queue_abandon(blk_queue_t *q, int code);
/* The earliest deadline in flight; UINT64_MAX: none. */
uint64_t blk_queue_deadline(blk_queue_t *q);

void blk_queue_add_stats(blk_queue_t *q, virtio_blk_stats_t *sum);
vq_fault_t blk_queue_fault(blk_queue_t *q, uint32_t *value);

/* virtio_blk_watch.c */
void blk_watch(void *disk);                    /* the watcher's thread */
void blk_wake(virtio_blk_t *b, uint64_t when); /* at that time at the latest */
void blk_config_changed(void *disk);           /* bottom function */
void blk_complain(virtio_blk_t *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* virtio_blk_init.c */
uint64_t blk_read_capacity(virtio_blk_t *b);

/* virtio_blk.c */
int blk_run(virtio_blk_t *b, uint32_t op, uint64_t sector, void *buf, uint32_t sectors);

#endif
