/* SPDX-License-Identifier: MIT */
/* Requests from outside: their checks, and those that wait for the answer. */
#include <ggmk/error.h>

#include "cpu.h"
#include "drivers/pci.h"
#include "drivers/virtio_blk_int.h"
#include "kprintf.h"
#include "vmm.h"

uint64_t virtio_blk_sectors(const virtio_blk_t *b) { return gmk_load64(&b->sectors, GMK_RLX, GMK_KERNEL); }

bool virtio_blk_readonly(const virtio_blk_t *b) { return b->readonly; }

void virtio_blk_set_timeout(virtio_blk_t *b, uint64_t ns)
{
    gmk_store64(&b->timeout_ns, ns, GMK_RLX, GMK_KERNEL);
}

void virtio_blk_info(virtio_blk_t *b, virtio_blk_info_t *out)
{
    *out = (virtio_blk_info_t){.transport = b->dev.ops->name,
                               .queues = b->queues,
                               .depth = b->queue[0].depth,
                               .block_size = b->block_size,
                               .msix = !b->polled,
                               .readonly = b->readonly,
                               .failed = gmk_load32(&b->failed, GMK_RLX, GMK_KERNEL) != 0};
    gmk_hal_memcpy(out->name, b->name, sizeof out->name);
    gmk_hal_memcpy(out->id, b->id, sizeof out->id);
    (void)pci_name(b->dev.pci, out->pci);
}

void virtio_blk_stats(virtio_blk_t *b, virtio_blk_stats_t *out)
{
    *out = (virtio_blk_stats_t){0};
    for (uint32_t i = 0; i < b->queues; i++)
        blk_queue_add_stats(&b->queue[i], out);
}

int virtio_blk_check(const virtio_blk_t *b, uint32_t op, uint64_t sector, uint64_t sectors, char *text,
                     size_t size)
{
    uint64_t all = virtio_blk_sectors(b);

    if (size > 0)
        text[0] = 0;
    if (op == VIRTIO_BLK_FLUSH)
        return GMK_OK;
    if (op != VIRTIO_BLK_READ && op != VIRTIO_BLK_WRITE) {
        (void)ksnprintf(text, size, "operation %u is none of read, write, flush", op);
        return GMK_ERR_INVAL;
    }
    if (op == VIRTIO_BLK_WRITE && b->readonly) {
        (void)ksnprintf(text, size, "the disk is read-only");
        return GMK_ERR_UNSUPPORTED;
    }
    if (sectors == 0) {
        (void)ksnprintf(text, size, "no sectors asked for");
        return GMK_ERR_INVAL;
    }
    if (sector > all || sectors > all - sector) {
        (void)ksnprintf(text, size, "sector %llu + %llu is beyond the end, %llu sectors",
                        (unsigned long long)sector, (unsigned long long)sectors, (unsigned long long)all);
        return GMK_ERR_RANGE;
    }
    return GMK_OK;
}

/* Refuses what is wrong with r, with a line on the console. */
static int check(virtio_blk_t *b, const virtio_blk_req_t *r)
{
    char text[96];
    int code = virtio_blk_check(b, r->op, r->sector, r->sectors, text, sizeof text);

    if (code != GMK_OK)
        blk_complain(b, "request refused: %s", text);
    else if (r->op != VIRTIO_BLK_FLUSH && !r->buf)
        code = GMK_ERR_INVAL;
    return code;
}

/* Pages that are supplied on demand have to be there before the queue's lock is taken. */
static void touch(const void *buf, uint64_t bytes)
{
    uintptr_t first = (uintptr_t)buf, end = first + bytes;

    for (uintptr_t p = first; p < end; p = (p | (VMM_PAGE - 1)) + 1)
        (void)*(const volatile uint8_t *)p;
}

static blk_queue_t *queue_here(virtio_blk_t *b) { return &b->queue[cpu_this()->index % b->queues]; }

int virtio_blk_submit(virtio_blk_t *b, virtio_blk_req_t *r)
{
    int code = check(b, r);

    if (code != GMK_OK)
        return code;
    if (r->op != VIRTIO_BLK_FLUSH)
        touch(r->buf, (uint64_t)r->sectors * VIRTIO_BLK_SECTOR);
    return blk_queue_submit(queue_here(b), r, false);
}

/* ---- requests that wait ---------------------------------------------------------------------- */

typedef struct waiter {
    thread_t *thread;
    int code;
    gmk_a32_t done;
} waiter_t;

/* The waiter's stack may be gone as soon as done is set; its thread structure never is. */
static void wake_waiter(void *arg, int code)
{
    waiter_t *w = arg;
    thread_t *t = w->thread;

    w->code = code;
    gmk_store32(&w->done, 1, GMK_REL, GMK_KERNEL);
    thread_unblock(t);
}

int blk_run(virtio_blk_t *b, uint32_t op, uint64_t sector, void *buf, uint32_t sectors)
{
    waiter_t w = {.thread = thread_self()};
    virtio_blk_req_t r = {
        .op = op, .sector = sector, .sectors = sectors, .buf = buf, .done = wake_waiter, .arg = &w};
    int code = op == BLK_GET_ID ? GMK_OK : check(b, &r);

    if (code == GMK_OK && op != VIRTIO_BLK_FLUSH)
        touch(buf, op == BLK_GET_ID ? BLK_ID_BYTES : (uint64_t)sectors * VIRTIO_BLK_SECTOR);
    if (code == GMK_OK)
        code = blk_queue_submit(queue_here(b), &r, true);
    if (code != GMK_OK)
        return code;
    while (gmk_load32(&w.done, GMK_ACQ, GMK_KERNEL) == 0)
        (void)thread_block(THREAD_NEVER);
    return w.code;
}

int virtio_blk_read(virtio_blk_t *b, uint64_t sector, void *buf, uint32_t sectors)
{
    return blk_run(b, VIRTIO_BLK_READ, sector, buf, sectors);
}

/* The device only reads from buf. */
int virtio_blk_write(virtio_blk_t *b, uint64_t sector, const void *buf, uint32_t sectors)
{
    return blk_run(b, VIRTIO_BLK_WRITE, sector, (void *)(uintptr_t)buf, sectors);
}

int virtio_blk_flush(virtio_blk_t *b) { return blk_run(b, VIRTIO_BLK_FLUSH, 0, NULL, 0); }
