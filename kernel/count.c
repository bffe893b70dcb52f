/* SPDX-License-Identifier: MIT */
/*
 * count.c — counts instructions.
 *
 * A figure is the difference of a long and a short run, so that what happens once cancels out.  A CPU that
 * halts lets virtual time jump, so while the disk is counted a thread spins: its turns, whose cost is
 * measured alone, are taken off.
 */
#include "kernel/count.h"

#include "bench/count/work.h"
#include "kernel/machine.h"

#include "clock.h"
#include "cpu.h"
#include "drivers/virtio_blk.h"
#include "kprintf.h"
#include "pmm.h"
#include "thread.h"
#include "vmm.h"

#include <ggmk/hal.h>

#define SHORT_RUN 10000u
#define LONG_RUN 110000u
#define READ_BYTES 4096u
#define READ_SECTORS (READ_BYTES / VIRTIO_BLK_SECTOR)
#define READS_SHORT 32u
#define READS_LONG 288u
#define READS_TIMED 20000u
#define DEPTH 32u
#define WAKES 500u

static void say(const char *what, uint64_t n) { kprintf("count: %s %lu\n", what, n); }

/* ---- tasks -------------------------------------------------------------------------------- */

static uint64_t tasks(uint32_t kind, uint64_t n)
{
    uint64_t begin = clock_cycles();
    int rc = count_run(machine_core(), kind, n);
    if (rc != GMK_OK)
        kprintf("count: %s\n", gmk_strerror(rc));
    return clock_cycles() - begin;
}

static void count_tasks(const char *what, uint32_t kind)
{
    (void)tasks(kind, SHORT_RUN); /* caches of the core fill */
    uint64_t few = tasks(kind, SHORT_RUN), many = tasks(kind, LONG_RUN);
    say(what, (many - few) / (LONG_RUN - SHORT_RUN));
}

/* ---- a CPU that never halts --------------------------------------------------------------- */

static struct {
    gmk_a32_t stop;
    gmk_a64_t turns;
} spinner;

static void spin(void *arg)
{
    (void)arg;
    for (uint64_t n = 1; gmk_load32(&spinner.stop, GMK_RLX, GMK_KERNEL) == 0; n++)
        gmk_store64(&spinner.turns, n, GMK_RLX, GMK_KERNEL);
}

static uint64_t turns(void) { return gmk_load64(&spinner.turns, GMK_RLX, GMK_KERNEL); }

/* Instructions of a thousand turns. */
static uint64_t cost_of_turns(void)
{
    thread_sleep_ns(1000000);
    uint64_t n = turns(), at = clock_cycles();
    thread_sleep_ns(50000000);
    return (clock_cycles() - at) * 1000 / (turns() - n);
}

/* ---- the disk ----------------------------------------------------------------------------- */

static struct {
    virtio_blk_req_t req[DEPTH];
    thread_t *waiter;
    gmk_a32_t left, flying;
    uint64_t sector;
} disk;

static void read_done(void *arg, int code)
{
    virtio_blk_req_t *r = arg;
    (void)code;
    if (gmk_load32(&disk.left, GMK_RLX, GMK_KERNEL) != 0) {
        (void)gmk_sub32(&disk.left, 1, GMK_RLX, GMK_KERNEL);
        if (virtio_blk_submit(virtio_blk_at(0), r) == GMK_OK)
            return;
    }
    if (gmk_sub32(&disk.flying, 1, GMK_ACQ_REL, GMK_KERNEL) == 1)
        thread_unblock(disk.waiter);
}

/* Keeps 32 reads in flight until n are done. */
static void read_deep(unsigned char *buf, uint32_t n)
{
    disk.waiter = thread_self();
    gmk_store32(&disk.left, n - DEPTH, GMK_RLX, GMK_KERNEL);
    gmk_store32(&disk.flying, DEPTH, GMK_REL, GMK_KERNEL);
    for (uint32_t i = 0; i < DEPTH; i++) {
        disk.req[i] = (virtio_blk_req_t){.op = VIRTIO_BLK_READ, .sector = (uint64_t)i * READ_SECTORS};
        disk.req[i].sectors = READ_SECTORS;
        disk.req[i].buf = buf + (uint64_t)i * READ_BYTES;
        disk.req[i].done = read_done;
        disk.req[i].arg = &disk.req[i];
        if (virtio_blk_submit(virtio_blk_at(0), &disk.req[i]) != GMK_OK)
            (void)gmk_sub32(&disk.flying, 1, GMK_ACQ_REL, GMK_KERNEL);
    }
    while (gmk_load32(&disk.flying, GMK_ACQ, GMK_KERNEL) != 0)
        (void)thread_block(THREAD_NEVER);
}

static void read_one_by_one(unsigned char *buf, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        (void)virtio_blk_read(virtio_blk_at(0), (uint64_t)(i % DEPTH) * READ_SECTORS, buf, READ_SECTORS);
}

static uint64_t reads(void (*fn)(unsigned char *, uint32_t), unsigned char *buf, uint32_t n, uint64_t turn)
{
    uint64_t spun = turns(), begin = clock_cycles();
    fn(buf, n);
    return clock_cycles() - begin - (turns() - spun) * turn / 1000;
}

static void count_reads(const char *what, void (*fn)(unsigned char *, uint32_t), unsigned char *buf,
                        uint64_t turn)
{
    uint64_t few = reads(fn, buf, READS_SHORT, turn), many = reads(fn, buf, READS_LONG, turn);
    say(what, (many - few) / (READS_LONG - READS_SHORT));
}

static void count_disk(void)
{
    unsigned char *buf = vmm_alloc((size_t)DEPTH * READ_BYTES, VMM_RW);
    if (virtio_blk_count() == 0 || buf == NULL)
        return;
    thread_t *t = thread_start("spinner", 0, spin, NULL);
    uint64_t turn = cost_of_turns();
    count_reads("read-4k", read_one_by_one, buf, turn);
    count_reads("read-4k-depth-32", read_deep, buf, turn);
    gmk_store32(&spinner.stop, 1, GMK_RLX, GMK_KERNEL);
    thread_join(t);
}

/* ---- in time ------------------------------------------------------------------------------ */

void bench_disk(uint64_t seconds)
{
    unsigned char *buf = vmm_alloc((size_t)DEPTH * READ_BYTES, VMM_RW);
    uint64_t begin = clock_now_ns(), n = 0, spent = 0;
    if (virtio_blk_count() == 0 || buf == NULL) {
        kprintf("bench-disk: there is no disk, or no memory\n");
        return;
    }
    while (spent < seconds * 1000000000) {
        read_deep(buf, READS_TIMED);
        n += READS_TIMED;
        spent = clock_now_ns() - begin;
    }
    vmm_free(buf, (size_t)DEPTH * READ_BYTES);
    kprintf("reads-per-second %lu\n", n * 1000000 / (spent / 1000));
}

static struct {
    gmk_a64_t called, took; /* took: 0 = not awake yet */
    uint64_t ns[WAKES];
} halted;

static void wake_up(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < WAKES; i++) {
        (void)thread_block(THREAD_NEVER);
        uint64_t took = clock_now_ns() - gmk_load64(&halted.called, GMK_ACQ, GMK_KERNEL);
        gmk_store64(&halted.took, took + 1, GMK_REL, GMK_KERNEL);
    }
}

static void sort(uint64_t *v, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t j = i; j > 0 && v[j - 1] > v[j]; j--) {
            uint64_t t = v[j];
            v[j] = v[j - 1];
            v[j - 1] = t;
        }
}

void bench_wake(void)
{
    if (cpu_count() < 2) {
        kprintf("bench-wake: it takes two CPUs\n");
        return;
    }
    thread_t *t = thread_start("sleeper", 1, wake_up, NULL);
    for (uint32_t i = 0; i < WAKES; i++) {
        thread_sleep_ns(2000000); /* the other CPU halts meanwhile */
        gmk_store64(&halted.called, clock_now_ns(), GMK_REL, GMK_KERNEL);
        thread_unblock(t);
        while ((halted.ns[i] = gmk_xchg64(&halted.took, 0, GMK_ACQ, GMK_KERNEL)) == 0)
            cpu_pause();
    }
    thread_join(t);
    sort(halted.ns, WAKES);
    kprintf("wake-ns p50 %lu p99 %lu\n", halted.ns[WAKES / 2], halted.ns[WAKES * 99 / 100]);
}

/* ---- all ---------------------------------------------------------------------------------- */

void count_instructions(void)
{
    pmm_stats_t memory;
    say("ready", clock_cycles());
    pmm_stats(&memory);
    say("memory-kib", (memory.total - memory.free) * 4);
    if (gmk_module_load(machine_core(), &count_module) != GMK_OK)
        kprintf("count: the module does not load\n");
    count_tasks("task-chain", COUNT_CHAIN);
    count_tasks("task-fan", COUNT_FAN);
    count_disk();
}
