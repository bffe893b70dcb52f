/* SPDX-License-Identifier: MIT */
/*
 * Tests of the PCI and virtio-blk drivers on the machine itself.
 *
 * Disk 0 is expected to begin each sector with its number, 8 bytes, little-endian; it is only read.
 * Only a disk whose id is "ggmk-scratch" is written to.
 */
#include <ggmk/error.h>

#include "clock.h"
#include "cpu.h"
#include "drivers/pci.h"
#include "drivers/selftest_dev.h"
#include "drivers/virtio_blk.h"
#include "kprintf.h"
#include "string.h"
#include "thread.h"
#include "vmm.h"

#define SCRATCH_ID "ggmk-scratch"
#define DEPTH 32u
#define ROUNDS 256u    /* asynchronous requests in all */
#define PIECE 8u       /* sectors of one of them */
#define LARGE 2048u    /* sectors of a request that has to be split */
#define READERS 8u     /* threads */
#define READS 32u      /* of each */
#define READ_MOST 128u /* sectors of one of them */
#define WAIT_NS UINT64_C(30000000000)

static void (*report)(int good, const char *what);
static int failures;

static void ok(bool good, const char *what)
{
    failures += !good;
    report(good, what);
}

/* ---- patterns -------------------------------------------------------------------------------- */

static uint64_t number_at(const uint8_t *sector)
{
    uint64_t n;

    memcpy(&n, sector, sizeof n);
    return n;
}

/* How many of the sectors do not begin with their number. */
static uint32_t wrong_sectors(const uint8_t *buf, uint64_t first, uint32_t sectors)
{
    uint32_t wrong = 0;

    for (uint32_t i = 0; i < sectors; i++)
        wrong += number_at(buf + (size_t)i * VIRTIO_BLK_SECTOR) != first + i;
    return wrong;
}

static bool reads_right(virtio_blk_t *b, uint64_t first, uint8_t *buf, uint32_t sectors)
{
    memset(buf, 0xee, (size_t)sectors * VIRTIO_BLK_SECTOR);
    return virtio_blk_read(b, first, buf, sectors) == GMK_OK && wrong_sectors(buf, first, sectors) == 0;
}

/* ---- PCI ------------------------------------------------------------------------------------- */

static void test_pci(void)
{
    const pci_dev_t *bridge = pci_find_class(6, 0, 0);
    bool sane = true;

    ok(pci_count() > 0, "the scan found PCI functions");
    ok(bridge && bridge->addr == PCI_ADDR(0, 0, 0, 0), "there is a host bridge at 00:00.0");
    for (uint32_t i = 0; i < pci_count(); i++)
        sane = sane && pci_read16(pci_at(i), PCI_VENDOR) == pci_at(i)->vendor;
    ok(sane, "each function still answers with its vendor id");
    ok(pci_at(pci_count()) == NULL && pci_find(0xffff, 0xffff, 0) == NULL, "what is not there is not found");
}

/* ---- reading ----------------------------------------------------------------------------------- */

static void test_reads(virtio_blk_t *b, uint8_t *buf)
{
    uint64_t all = virtio_blk_sectors(b);
    uint32_t large = all < LARGE ? (uint32_t)all : LARGE;

    ok(reads_right(b, 0, buf, 1), "one sector");
    ok(reads_right(b, all - 1, buf, 1), "the last sector");
    ok(reads_right(b, 0, buf, large), "a request that has to be split");
    ok(reads_right(b, 0, buf + 1, large), "the same into a buffer at an odd address");
    ok(reads_right(b, all - large, buf + 4096 - 3, large), "and across pages to the end of the disk");
}

static void test_ranges(virtio_blk_t *b, uint8_t *buf)
{
    uint64_t all = virtio_blk_sectors(b);
    char text[96];

    ok(virtio_blk_read(b, all, buf, 1) == GMK_ERR_RANGE, "a sector beyond the end is refused");
    ok(virtio_blk_read(b, all - 1, buf, 2) == GMK_ERR_RANGE, "so is a range that ends beyond it");
    ok(virtio_blk_read(b, UINT64_MAX, buf, 2) == GMK_ERR_RANGE, "so is one that wraps");
    ok(virtio_blk_read(b, 0, buf, 0) == GMK_ERR_INVAL, "nothing to read is refused");
    ok(virtio_blk_read(b, 0, NULL, 1) == GMK_ERR_INVAL, "no buffer is refused");
    (void)virtio_blk_check(b, VIRTIO_BLK_READ, all, 8, text, sizeof text);
    ok(strchr(text, '+') != NULL, "the refusal says which sectors");
    if (virtio_blk_readonly(b))
        ok(virtio_blk_write(b, 0, buf, 1) == GMK_ERR_UNSUPPORTED, "a read-only disk refuses writes");
}

/* ---- many at once ------------------------------------------------------------------------------ */

typedef struct run run_t;

typedef struct job {
    virtio_blk_req_t req;
    run_t *run;
    uint64_t number;
} job_t;

/* Jobs take the next piece of the disk when theirs is done. */
struct run {
    virtio_blk_t *disk;
    uint8_t *buf;
    thread_t *owner;
    job_t job[DEPTH];
    gmk_a32_t next, left, wrong;
};

static void job_done(void *arg, int code);

/* The pieces follow each other round and round the disk. */
static uint64_t piece_at(const run_t *r, uint64_t number)
{
    return number * PIECE % (virtio_blk_sectors(r->disk) - PIECE + 1);
}

/* Starts the job on the next piece; false: all pieces are given away. */
static bool job_next(job_t *j)
{
    run_t *r = j->run;

    j->number = gmk_add32(&r->next, 1, GMK_RLX, GMK_KERNEL);
    if (j->number >= ROUNDS)
        return false;
    j->req = (virtio_blk_req_t){.op = VIRTIO_BLK_READ,
                                .sector = piece_at(r, j->number),
                                .sectors = PIECE,
                                .buf = r->buf + (size_t)(j - r->job) * PIECE * VIRTIO_BLK_SECTOR,
                                .done = job_done,
                                .arg = j};
    if (virtio_blk_submit(r->disk, &j->req) == GMK_OK)
        return true;
    gmk_add32(&r->wrong, 1, GMK_RLX, GMK_KERNEL);
    return false;
}

static void job_ended(run_t *r)
{
    thread_t *owner = r->owner;

    if (gmk_sub32(&r->left, 1, GMK_ACQ_REL, GMK_KERNEL) == 1)
        thread_unblock(owner);
}

static void job_done(void *arg, int code)
{
    job_t *j = arg;

    if (code != GMK_OK || wrong_sectors(j->req.buf, j->req.sector, PIECE) != 0)
        gmk_add32(&j->run->wrong, 1, GMK_RLX, GMK_KERNEL);
    if (!job_next(j))
        job_ended(j->run);
}

/* As many jobs at once as the queue takes: each goes on in the queue of the CPU on which it was done. */
static void start_jobs(run_t *r)
{
    virtio_blk_info_t info;
    uint32_t jobs;

    virtio_blk_info(r->disk, &info);
    jobs = info.depth < DEPTH ? info.depth : DEPTH;
    gmk_store32(&r->left, jobs, GMK_RLX, GMK_KERNEL);
    for (uint32_t i = 0; i < jobs; i++) {
        r->job[i].run = r;
        if (!job_next(&r->job[i]))
            job_ended(r);
    }
}

static void test_depth(virtio_blk_t *b, uint8_t *buf)
{
    run_t *r = vmm_alloc(sizeof *r, VMM_RW);
    uint64_t until = clock_now_ns() + WAIT_NS;

    ok(r != NULL, "memory for a deep queue");
    if (!r)
        return;
    *r = (run_t){.disk = b, .buf = buf, .owner = thread_self()};
    start_jobs(r);
    while (gmk_load32(&r->left, GMK_ACQ, GMK_KERNEL) != 0 && clock_now_ns() < until)
        (void)thread_block(until);
    ok(gmk_load32(&r->left, GMK_ACQ, GMK_KERNEL) == 0, "up to 32 requests in flight: all complete");
    ok(gmk_load32(&r->wrong, GMK_RLX, GMK_KERNEL) == 0, "each with the right sectors");
    if (gmk_load32(&r->left, GMK_ACQ, GMK_KERNEL) == 0)
        vmm_free(r, sizeof *r);
}

/* ---- many threads ------------------------------------------------------------------------------ */

typedef struct reader {
    virtio_blk_t *disk;
    uint8_t *buf;
    uint32_t seed, wrong;
    thread_t *thread;
} reader_t;

static uint32_t random_below(uint32_t *seed, uint32_t limit)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % limit;
}

static void reader_main(void *arg)
{
    reader_t *r = arg;
    uint64_t all = virtio_blk_sectors(r->disk);
    uint32_t places = all > UINT32_MAX ? UINT32_MAX : (uint32_t)all;

    for (uint32_t i = 0; i < READS; i++) {
        uint32_t first = random_below(&r->seed, places), most = places - first;
        uint32_t sectors = 1 + random_below(&r->seed, most < READ_MOST ? most : READ_MOST);

        r->wrong += !reads_right(r->disk, first, r->buf, sectors);
    }
}

static void test_threads(virtio_blk_t *b, uint8_t *buf)
{
    reader_t r[READERS];
    uint32_t wrong = 0;

    for (uint32_t i = 0; i < READERS; i++) {
        r[i] = (reader_t){.disk = b, .buf = buf + (size_t)i * READ_MOST * VIRTIO_BLK_SECTOR + i, .seed = i};
        r[i].thread = thread_start("reader", i % cpu_count(), reader_main, &r[i]);
    }
    for (uint32_t i = 0; i < READERS; i++) {
        if (r[i].thread)
            thread_join(r[i].thread);
        wrong += r[i].thread ? r[i].wrong : READS;
    }
    ok(wrong == 0, "threads on all CPUs read at the same time");
}

static void test_statistics(virtio_blk_t *b)
{
    virtio_blk_stats_t s;

    virtio_blk_stats(b, &s);
    ok(s.reads >= ROUNDS && s.bytes_read >= (uint64_t)ROUNDS * PIECE * VIRTIO_BLK_SECTOR,
       "reads are counted");
    ok(s.writes == 0 && s.bytes_written == 0, "nothing was written to the disk that is only read");
    ok(s.in_flight == 0 && s.errors == 0, "nothing is left in flight, nothing failed");
}

/* ---- writing ----------------------------------------------------------------------------------- */

static void fill(uint8_t *buf, uint64_t first, uint32_t sectors, uint8_t with)
{
    memset(buf, with, (size_t)sectors * VIRTIO_BLK_SECTOR);
    for (uint32_t i = 0; i < sectors; i++) {
        uint64_t n = first + i;

        memcpy(buf + (size_t)i * VIRTIO_BLK_SECTOR, &n, sizeof n);
    }
}

static void test_writes(virtio_blk_t *b, uint8_t *buf)
{
    uint64_t all = virtio_blk_sectors(b);
    uint32_t n = all < LARGE ? (uint32_t)all : LARGE;
    uint8_t *out = buf + 5;

    fill(out, all - n, n, 0x5a);
    ok(virtio_blk_write(b, all - n, out, n) == GMK_OK, "scratch disk: a large write from an odd address");
    ok(virtio_blk_flush(b) == GMK_OK, "scratch disk: a flush");
    memset(buf, 0, (size_t)n * VIRTIO_BLK_SECTOR + 8);
    ok(virtio_blk_read(b, all - n, buf, n) == GMK_OK && wrong_sectors(buf, all - n, n) == 0 &&
           buf[VIRTIO_BLK_SECTOR - 1] == 0x5a,
       "scratch disk: what was written is read back");
    ok(virtio_blk_write(b, all, buf, 1) == GMK_ERR_RANGE, "scratch disk: a write beyond the end is refused");
}

static virtio_blk_t *scratch_disk(void)
{
    for (uint32_t i = 0; i < (uint32_t)virtio_blk_count(); i++) {
        virtio_blk_info_t info;

        virtio_blk_info(virtio_blk_at(i), &info);
        if (strcmp(info.id, SCRATCH_ID) == 0 && !info.readonly)
            return virtio_blk_at(i);
    }
    return NULL;
}

/* ---- all of them ------------------------------------------------------------------------------- */

static void test_disks(uint8_t *buf)
{
    virtio_blk_t *first = virtio_blk_at(0), *scratch = scratch_disk();
    uint64_t sectors = first && first != scratch ? virtio_blk_sectors(first) : 0;

    if (sectors > 0)
        ok(virtio_blk_read(first, 0, buf, sectors < PIECE ? 1 : PIECE) == GMK_OK, "disk 0 can be read");
    if (sectors >= PIECE && wrong_sectors(buf, 0, PIECE) == 0) {
        test_reads(first, buf);
        test_ranges(first, buf);
        test_depth(first, buf);
        test_threads(first, buf);
        test_statistics(first);
    } else {
        ok(true, "disk 0 # SKIP no disk whose sectors begin with their numbers");
    }
    if (scratch)
        test_writes(scratch, buf);
    else
        ok(true, "writes # SKIP no disk with the id " SCRATCH_ID);
}

int selftest_dev(void (*ok_line)(int good, const char *what))
{
    size_t bytes = (LARGE + 16) * (size_t)VIRTIO_BLK_SECTOR;
    uint8_t *buf = vmm_alloc(bytes, VMM_DEMAND);

    report = ok_line;
    failures = 0;
    test_pci();
    ok(buf != NULL, "memory for the disk tests");
    if (buf) {
        test_disks(buf);
        vmm_free(buf, bytes);
    }
    return failures;
}
