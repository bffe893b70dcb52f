/* SPDX-License-Identifier: MIT */
/* One queue of a disk: requests in, parts to the device and back, requests out. */
#include <ggmk/error.h>

#include "clock.h"
#include "drivers/virtio_blk_int.h"
#include "vmm.h"

#define STATUS_OK 0u
#define STATUS_NONE 0xffu /* until the device writes another */
#define ISSUE_AT_ONCE 8u  /* parts built or taken without giving the lock up */
#define TAKE_AT_ONCE 32u

/* Requests to the device (virtio 1.2 §5.2.6), by our operation. */
static const uint8_t device_op[] = {
    [VIRTIO_BLK_READ] = 0, [VIRTIO_BLK_WRITE] = 1, [VIRTIO_BLK_FLUSH] = 4, [BLK_GET_ID] = 8};

static bool has_sectors(const virtio_blk_req_t *r)
{
    return r->op == VIRTIO_BLK_READ || r->op == VIRTIO_BLK_WRITE;
}

/* What has to be issued, in sectors; other requests are one whole. */
static uint64_t units(const virtio_blk_req_t *r) { return has_sectors(r) ? r->sectors : 1; }

/* ---- lists, all under the lock ------------------------------------------------------------- */

static void count_finished(blk_queue_t *q, const virtio_blk_req_t *r)
{
    virtio_blk_stats_t *s = &q->stats;
    uint64_t bytes = (uint64_t)r->sectors * VIRTIO_BLK_SECTOR;

    s->in_flight--;
    if (r->code != GMK_OK) {
        s->errors++;
    } else if (r->op == VIRTIO_BLK_READ) {
        s->reads++;
        s->bytes_read += bytes;
    } else if (r->op == VIRTIO_BLK_WRITE) {
        s->writes++;
        s->bytes_written += bytes;
    } else if (r->op == VIRTIO_BLK_FLUSH) {
        s->flushes++;
    }
}

static void finish(blk_queue_t *q, virtio_blk_req_t *r)
{
    count_finished(q, r);
    r->next = NULL;
    *q->finished_end = r;
    q->finished_end = &r->next;
}

static void pop_waiting(blk_queue_t *q)
{
    virtio_blk_req_t *r = q->waiting;

    q->waiting = r->next;
    if (!q->waiting)
        q->waiting_end = &q->waiting;
    r->waiting = false;
    if (r->parts == 0)
        finish(q, r);
}

static void end_part(blk_queue_t *q, blk_part_t *p, int code)
{
    virtio_blk_req_t *r = p->req;

    if (r->code == GMK_OK)
        r->code = code;
    r->parts--;
    p->req = NULL;
    p->next = q->free_parts;
    q->free_parts = p;
    if (r->parts == 0 && !r->waiting)
        finish(q, r);
}

/* ---- to the device -------------------------------------------------------------------------- */

/* The pieces of memory for what comes next of r.  0 with *bytes 0: its buffer is not mapped. */
static uint32_t gather(blk_queue_t *q, blk_part_t *p, virtio_blk_req_t *r, vq_seg_t *seg)
{
    const virtio_blk_t *b = q->disk;
    uint8_t *buf = (uint8_t *)r->buf + r->issued * VIRTIO_BLK_SECTOR;
    uint64_t left = r->op == BLK_GET_ID ? BLK_ID_BYTES : (r->sectors - r->issued) * VIRTIO_BLK_SECTOR;
    bool in = r->op != VIRTIO_BLK_WRITE;
    uint32_t n = blk_gather(b, buf, left, in, seg, b->seg_max, &p->bytes);

    p->copy_to = NULL;
    if (n != 0 || !p->bounce || vmm_phys(buf) == 0)
        return n;
    p->bytes = (uint32_t)(left < VIRTIO_BLK_SECTOR ? left : VIRTIO_BLK_SECTOR);
    if (in)
        p->copy_to = buf;
    else
        gmk_hal_memcpy(p->bounce, buf, p->bytes);
    seg[0] = (vq_seg_t){p->bounce_addr, p->bytes, in};
    return 1;
}

/* GMK_OK, GMK_ERR_FULL when there is no room now, or why r cannot go on. */
static int issue_part(blk_queue_t *q, virtio_blk_req_t *r, uint64_t now)
{
    blk_part_t *p = q->free_parts;
    vq_seg_t seg[BLK_SEGS + 2];
    uint32_t n = 0;
    int code;

    if (!p)
        return GMK_ERR_FULL;
    p->bytes = 0;
    p->copy_to = NULL;
    if (r->op != VIRTIO_BLK_FLUSH) {
        n = gather(q, p, r, seg + 1);
        if (n == 0)
            return GMK_ERR_INVAL;
    }
    p->dma->type = device_op[r->op];
    p->dma->sector = has_sectors(r) ? r->sector + r->issued : 0;
    p->dma->status = STATUS_NONE;
    seg[0] = (vq_seg_t){p->dma_addr + offsetof(blk_dma_t, type), 16, false};
    seg[n + 1] = (vq_seg_t){p->dma_addr + offsetof(blk_dma_t, status), 1, true};
    code = vq_add(&q->vq, seg, n + 2, q->disk->indirect ? p->dma->table : NULL, p->dma_addr, p);
    if (code < 0)
        return code;
    q->free_parts = p->next;
    p->req = r;
    uint64_t patience = gmk_load64(&q->disk->timeout_ns, GMK_RLX, GMK_KERNEL);
    p->deadline_ns = patience < UINT64_MAX - 1 - now ? now + patience : UINT64_MAX - 1;
    r->parts++;
    r->issued += has_sectors(r) ? p->bytes / VIRTIO_BLK_SECTOR : 1;
    return GMK_OK;
}

/* Issues of the waiting requests what fits; true: there is more to do than one turn should. */
static bool issue_waiting(blk_queue_t *q, uint64_t now)
{
    for (uint32_t i = 0; q->waiting; i++) {
        virtio_blk_req_t *r = q->waiting;
        int code;

        if (r->op == VIRTIO_BLK_FLUSH && !q->disk->flush)
            r->issued = 1; /* without the feature every write is on stable storage when it is done */
        if (r->code != GMK_OK || r->issued == units(r)) {
            pop_waiting(q);
            continue;
        }
        if (i >= ISSUE_AT_ONCE)
            return true;
        code = issue_part(q, r, now);
        if (code == GMK_ERR_FULL)
            break;
        r->code = code;
    }
    return false;
}

/* ---- from the device ------------------------------------------------------------------------ */

/* How the part went, by its status and the bytes the device says it wrote. */
static int part_result(const blk_queue_t *q, const blk_part_t *p, uint32_t written)
{
    if (p->dma->status != STATUS_OK)
        return GMK_ERR_IO;
    /* Legacy devices are known for wrong lengths (§2.7.8.2). */
    if (p->req->op == VIRTIO_BLK_READ && written < p->bytes && !q->disk->dev.ops->legacy)
        return GMK_ERR_IO;
    return GMK_OK;
}

/* True: there may be more. */
static bool take_done(blk_queue_t *q)
{
    uint32_t written;
    void *cookie;

    for (uint32_t i = 0; i < TAKE_AT_ONCE; i++) {
        blk_part_t *p;

        if (vq_take(&q->vq, &cookie, &written) != 1)
            return false;
        p = cookie;
        if (p->copy_to)
            gmk_hal_memcpy(p->copy_to, p->bounce, p->bytes);
        end_part(q, p, part_result(q, p, written));
    }
    return true;
}

static virtio_blk_req_t *grab_finished(blk_queue_t *q)
{
    virtio_blk_req_t *r = q->finished;

    q->finished = NULL;
    q->finished_end = &q->finished;
    return r;
}

static void run_finished(virtio_blk_t *b, virtio_blk_req_t *r)
{
    static const char *const verb[] = {"read", "write", "flush", "identification"};

    while (r) {
        virtio_blk_req_t *next = r->next; /* r may be gone after done() */

        if (r->code == GMK_ERR_IO && gmk_load32(&b->failed, GMK_RLX, GMK_KERNEL) == 0)
            blk_complain(b, "%s of sector %llu + %u: the device reports an error", verb[r->op],
                         (unsigned long long)r->sector, r->sectors);
        r->done(r->arg, r->code);
        r = next;
    }
}

void blk_queue_service(void *arg)
{
    blk_queue_t *q = arg;
    virtio_blk_req_t *finished;
    bool more, kick, broken;

    do {
        uint64_t flags = spin_lock(&q->lock);

        q->stats.services++;
        vq_events_off(&q->vq);
        more = take_done(q);
        more |= q->waiting && issue_waiting(q, clock_now_ns());
        kick = vq_publish(&q->vq);
        if (!more && !q->disk->polled)
            more = vq_events_on(&q->vq) && q->vq.fault == VQ_SOUND;
        finished = grab_finished(q);
        broken = q->vq.fault != VQ_SOUND;
        spin_unlock(&q->lock, flags);
        if (kick)
            q->disk->dev.ops->notify(&q->disk->dev, q->index);
        run_finished(q->disk, finished);
    } while (more);
    if (broken && gmk_load32(&q->disk->failed, GMK_RLX, GMK_KERNEL) == 0)
        thread_unblock(q->disk->watcher);
}

/* ---- requests ------------------------------------------------------------------------------- */

static void append_waiting(blk_queue_t *q, virtio_blk_req_t *r)
{
    r->next = NULL;
    r->waiting = true;
    *q->waiting_end = r;
    q->waiting_end = &r->next;
    q->stats.in_flight++;
}

/* Takes r, alone in the list and not begun, out again. */
static void withdraw(blk_queue_t *q)
{
    q->waiting = NULL;
    q->waiting_end = &q->waiting;
    q->stats.in_flight--;
}

/* Under the lock.  GMK_ERR_FULL: r is not begun and may not wait. */
static int accept(blk_queue_t *q, virtio_blk_req_t *r, bool wait)
{
    if (gmk_load32(&q->disk->failed, GMK_ACQ, GMK_KERNEL) != 0)
        return GMK_ERR_IO;
    if (q->waiting && !wait)
        return GMK_ERR_FULL;
    r->issued = 0;
    r->parts = 0;
    r->code = GMK_OK;
    append_waiting(q, r);
    return GMK_OK;
}

/* Has the watcher look after the queue: soon where it is polled, else for the time-out. */
static void watch(blk_queue_t *q, uint64_t now, bool at_once)
{
    virtio_blk_t *b = q->disk;
    uint64_t after = b->polled ? BLK_POLL_NS : gmk_load64(&b->timeout_ns, GMK_RLX, GMK_KERNEL);

    if (at_once)
        thread_unblock(b->watcher);
    else
        blk_wake(b, now + after);
}

int blk_queue_submit(blk_queue_t *q, virtio_blk_req_t *r, bool wait)
{
    uint64_t now = clock_now_ns(), flags = spin_lock(&q->lock);
    bool more, kick, finished;
    int code = accept(q, r, wait);

    if (code != GMK_OK) {
        spin_unlock(&q->lock, flags);
        return code;
    }
    more = issue_waiting(q, now);
    if (!wait && q->waiting == r && r->issued == 0) {
        withdraw(q);
        spin_unlock(&q->lock, flags);
        return GMK_ERR_FULL;
    }
    kick = vq_publish(&q->vq);
    finished = q->finished != NULL;
    spin_unlock(&q->lock, flags);
    if (kick)
        q->disk->dev.ops->notify(&q->disk->dev, q->index);
    watch(q, now, finished || more);
    return GMK_OK;
}

void blk_queue_close(blk_queue_t *q)
{
    uint64_t flags = spin_lock(&q->lock);

    vq_close(&q->vq);
    spin_unlock(&q->lock, flags);
}

void blk_queue_abandon(blk_queue_t *q, int code)
{
    uint64_t flags = spin_lock(&q->lock);
    virtio_blk_req_t *finished;
    blk_part_t *p;

    while (q->waiting) {
        if (q->waiting->code == GMK_OK)
            q->waiting->code = code;
        pop_waiting(q);
    }
    while ((p = vq_abandon(&q->vq)) != NULL)
        end_part(q, p, code);
    finished = grab_finished(q);
    spin_unlock(&q->lock, flags);
    run_finished(q->disk, finished);
}
