/* SPDX-License-Identifier: MIT */
/*
 * virtio_blk.h — disks behind virtio (virtio 1.2 §5.2).
 *
 * Sectors have 512 bytes.  A buffer may lie anywhere in kernel memory and need not be aligned; it
 * stays in place until its request is done.  Every request ends: a device that does not answer
 * within the time-out, or whose answers make no sense, is reset and switched off, all its requests
 * end with an error, and later ones fail at once.  Nothing is ever written but by a write request.
 *
 * Any thread may call these, on any CPU, with interrupts on and no spinlock held.
 */
#ifndef DRIVERS_VIRTIO_BLK_H
#define DRIVERS_VIRTIO_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIRTIO_BLK_SECTOR 512u
#define VIRTIO_BLK_ID_SIZE 21u /* 20 characters and a 0 */

typedef struct virtio_blk virtio_blk_t;

enum virtio_blk_op { VIRTIO_BLK_READ, VIRTIO_BLK_WRITE, VIRTIO_BLK_FLUSH };

/* The caller's from its done() on, the driver's until then. */
typedef struct virtio_blk_req {
    uint32_t op; /* enum virtio_blk_op */
    uint32_t sectors;
    uint64_t sector;
    void *buf; /* sectors * 512 bytes; not used by a flush */
    /*
     * Runs once, in an interrupt thread or in the driver's own, never inside virtio_blk_submit.  It
     * may submit again, r included, but must not block.  code as of the synchronous calls.
     */
    void (*done)(void *arg, int code);
    void *arg;
    /* the driver's */
    struct virtio_blk_req *next;
    uint64_t issued; /* sectors given to the device */
    uint32_t parts;  /* in flight */
    int32_t code;    /* the first error */
    bool waiting;    /* not all of it is issued */
} virtio_blk_req_t;

typedef struct virtio_blk_stats {
    uint64_t reads, writes, flushes; /* requests that ended well */
    uint64_t bytes_read, bytes_written;
    uint64_t errors;   /* requests that ended badly */
    uint64_t services; /* turns of taking what the device has done */
    uint32_t in_flight;
} virtio_blk_stats_t;

typedef struct virtio_blk_info {
    char name[16];               /* "vda", "vdb" .. */
    char id[VIRTIO_BLK_ID_SIZE]; /* what GET_ID answers: QEMU's serial=; may be empty */
    char pci[16];                /* "00:03.0" */
    const char *transport;       /* "modern" or "legacy" */
    uint32_t queues, depth;      /* requests in flight at most: queues * depth */
    uint32_t block_size;         /* what the disk likes best: 512, 4096 .. */
    bool msix;                   /* else polled */
    bool readonly;
    bool failed; /* switched off */
} virtio_blk_info_t;

/* Finds and starts every disk, and prints a line for each.  Returns their number. */
int virtio_blk_init(void);

int virtio_blk_count(void);
virtio_blk_t *virtio_blk_at(uint32_t i); /* NULL: there is none */
uint64_t virtio_blk_sectors(const virtio_blk_t *b);
bool virtio_blk_readonly(const virtio_blk_t *b);
void virtio_blk_info(virtio_blk_t *b, virtio_blk_info_t *out);
void virtio_blk_stats(virtio_blk_t *b, virtio_blk_stats_t *out);

/*
 * Block the calling thread until the sectors are read, written, or, all that was written by calls that
 * have returned and requests that are done, on stable storage.
 * GMK_ERR_RANGE: beyond the end.  GMK_ERR_UNSUPPORTED: a write to a read-only disk.
 * GMK_ERR_IO: the device reports an error or is switched off.  GMK_ERR_TIMEOUT: it does not answer.
 * GMK_ERR_INVAL: no buffer.
 */
int virtio_blk_read(virtio_blk_t *b, uint64_t sector, void *buf, uint32_t sectors);
int virtio_blk_write(virtio_blk_t *b, uint64_t sector, const void *buf, uint32_t sectors);
int virtio_blk_flush(virtio_blk_t *b);

/*
 * Starts r and returns.  GMK_OK: done() will be called.  GMK_ERR_FULL: as many requests are in flight
 * as the queue of this CPU takes; submit again when one is done.  Others as above; then done() is not called.
 */
int virtio_blk_submit(virtio_blk_t *b, virtio_blk_req_t *r);

/* GMK_OK, or why a request would be refused, with a line for people in text. */
int virtio_blk_check(const virtio_blk_t *b, uint32_t op, uint64_t sector, uint64_t sectors, char *text,
                     size_t size);

/* Time a request may take before the disk counts as dead; 10 seconds at the start. */
void virtio_blk_set_timeout(virtio_blk_t *b, uint64_t ns);

#endif
