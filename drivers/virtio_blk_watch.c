/* SPDX-License-Identifier: MIT */
/*
 * A disk's own thread: time-outs, polling, changes of configuration, and the end of a disk.
 *
 * It sleeps for ever while nothing is in flight.  Order: a submitter adds its part under the queue's
 * lock and then reads wake_at; the watcher sets wake_at to "never" and then looks at the queues under
 * their locks.  So either the watcher sees the part, or the submitter sees "never" and wakes it.
 */
#include <ggmk/error.h>

#include <stdarg.h>

#include "clock.h"
#include "drivers/virtio_blk_int.h"
#include "kprintf.h"

#define COMPLAINTS_MAX 16u /* lines about one disk */

void blk_complain(virtio_blk_t *b, const char *fmt, ...)
{
    uint32_t n = gmk_add32(&b->complaints, 1, GMK_RLX, GMK_KERNEL);
    char text[160];
    va_list ap;

    if (n >= COMPLAINTS_MAX)
        return;
    va_start(ap, fmt);
    (void)kvsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    kprintf("%s: %s%s\n", b->name, text, n + 1 == COMPLAINTS_MAX ? " (further lines are left out)" : "");
}

/* Lowers wake_at to `when`; false: it is that early already. */
static bool lower(virtio_blk_t *b, uint64_t when)
{
    uint64_t at = gmk_load64(&b->wake_at, GMK_RLX, GMK_KERNEL);

    while (when < at)
        if (gmk_cas64(&b->wake_at, &at, when, GMK_SEQ, GMK_KERNEL))
            return true;
    return false;
}

void blk_wake(virtio_blk_t *b, uint64_t when)
{
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    if (lower(b, when))
        thread_unblock(b->watcher);
}

void blk_config_changed(void *disk)
{
    virtio_blk_t *b = disk;

    gmk_store32(&b->config_changed, 1, GMK_REL, GMK_KERNEL);
    thread_unblock(b->watcher);
}

/* Takes the disk away from the device and ends all requests. */
static void switch_off(virtio_blk_t *b, int code)
{
    gmk_store32(&b->failed, 1, GMK_SEQ, GMK_KERNEL);
    for (uint32_t i = 0; i < b->queues; i++)
        blk_queue_close(&b->queue[i]);
    virtio_stop(&b->dev);
    for (uint32_t i = 0; i < b->queues; i++)
        blk_queue_abandon(&b->queue[i], code);
}

static void look_at_config(virtio_blk_t *b)
{
    uint64_t sectors;

    if (gmk_xchg32(&b->config_changed, 0, GMK_ACQ_REL, GMK_KERNEL) == 0)
        return;
    if (b->dev.ops->status(&b->dev) & VIRTIO_NEEDS_RESET) {
        blk_complain(b, "the device met an error it cannot recover from; the disk is switched off");
        switch_off(b, GMK_ERR_IO);
        return;
    }
    sectors = blk_read_capacity(b);
    if (sectors != gmk_xchg64(&b->sectors, sectors, GMK_RLX, GMK_KERNEL))
        kprintf("%s: now has %llu sectors\n", b->name, (unsigned long long)sectors);
}

/* A queue whose rings make no sense ends the whole disk. */
static void look_at_rings(virtio_blk_t *b)
{
    for (uint32_t i = 0; i < b->queues; i++) {
        uint32_t value;
        vq_fault_t f = blk_queue_fault(&b->queue[i], &value);

        if (f == VQ_SOUND)
            continue;
        blk_complain(b, "queue %u: %s %u; the disk is switched off", i, vq_fault_text(f), value);
        switch_off(b, GMK_ERR_IO);
        return;
    }
}

/* Serves the queues; returns when to look again. */
static uint64_t look_at_queues(virtio_blk_t *b)
{
    uint64_t next = UINT64_MAX;

    for (uint32_t i = 0; i < b->queues; i++) {
        uint64_t deadline;

        blk_queue_service(&b->queue[i]);
        deadline = blk_queue_deadline(&b->queue[i]);
        next = deadline < next ? deadline : next;
    }
    return next;
}

static bool off(virtio_blk_t *b) { return gmk_load32(&b->failed, GMK_RLX, GMK_KERNEL) != 0; }

static uint64_t look(virtio_blk_t *b)
{
    uint64_t next = look_at_queues(b), now = clock_now_ns();

    if (!off(b))
        look_at_config(b);
    if (!off(b))
        look_at_rings(b);
    if (!off(b) && next <= now) {
        blk_complain(b, "no answer within %llu ms; the disk is switched off",
                     (unsigned long long)(gmk_load64(&b->timeout_ns, GMK_RLX, GMK_KERNEL) / 1000000u));
        switch_off(b, GMK_ERR_TIMEOUT);
    }
    if (off(b))
        return UINT64_MAX;
    return b->polled && next != UINT64_MAX && now + BLK_POLL_NS < next ? now + BLK_POLL_NS : next;
}

void blk_watch(void *disk)
{
    virtio_blk_t *b = disk;

    for (;;) {
        (void)gmk_xchg64(&b->wake_at, UINT64_MAX, GMK_SEQ, GMK_KERNEL);
        (void)lower(b, look(b));
        (void)thread_block(gmk_load64(&b->wake_at, GMK_RLX, GMK_KERNEL));
    }
}
