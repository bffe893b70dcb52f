/* SPDX-License-Identifier: MIT */
/*
 * The virtio-blk driver on a host: the kernel beneath it is made of the functions below, the device of
 * test code that keeps the rules or breaks one of them.  Time moves only when everybody waits.
 *
 * The driver is included, not linked, so that each test can let it start afresh.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <asm/prctl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "drivers/virtio.c"
#include "drivers/virtio_blk.c"
#include "drivers/virtio_blk_dma.c"
#include "drivers/virtio_blk_init.c"
#include "drivers/virtio_blk_mem.c"
#include "drivers/virtio_blk_queue.c"
#include "drivers/virtio_blk_watch.c"

#define SECTORS 4096u
#define QUEUES 4u
#define QUEUE_DESCS 64u
#define PAGE 4096u
#define SECOND UINT64_C(1000000000)

/* ---- the kernel ------------------------------------------------------------------------------------- */

/* A thread runs only while the test hands control to it, until it blocks again. */
struct thread {
    pthread_t pthread;
    sem_t go, back;
    void (*fn)(void *);
    void *arg;
    bool token;
    uint64_t deadline;
};

static struct thread main_thread, *watcher;
static __thread struct thread *self;
static cpu_t cpu0 = {.self = &cpu0};
static uint64_t now;
static int locks_held;
static int64_t memory_held; /* allocations not freed */
static char console[65536];

static void use_fake_cpu(void) { assert_int_equal(syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu0), 0); }

static void world(void);

cpu_t *cpu_at(uint32_t i) { return i == 0 ? &cpu0 : NULL; }
uint32_t cpu_count(void) { return QUEUES; }
uint64_t clock_now_ns(void) { return now; }
void clock_delay_us(uint32_t us) { now += (uint64_t)us * 1000u; }

uint64_t spin_lock(spinlock_t *l)
{
    (void)l;
    assert_int_equal(locks_held++, 0);
    return 0;
}

void spin_unlock(spinlock_t *l, uint64_t flags)
{
    (void)l;
    (void)flags;
    locks_held--;
}

static void *thread_run(void *arg)
{
    self = arg;
    use_fake_cpu();
    (void)sem_wait(&self->go);
    self->fn(self->arg);
    return NULL;
}

thread_t *thread_start(const char *name, uint32_t cpu, void (*fn)(void *), void *arg)
{
    struct thread *t = calloc(1, sizeof *t);

    (void)name;
    (void)cpu;
    t->fn = fn;
    t->arg = arg;
    (void)sem_init(&t->go, 0, 0);
    (void)sem_init(&t->back, 0, 0);
    assert_int_equal(pthread_create(&t->pthread, NULL, thread_run, t), 0);
    (void)pthread_detach(t->pthread);
    watcher = t;
    return t;
}

thread_t *thread_self(void) { return self; }

void thread_unblock(thread_t *t)
{
    assert_int_equal(locks_held, 0);
    t->token = true;
}

bool thread_block(uint64_t deadline)
{
    bool token;

    assert_int_equal(locks_held, 0);
    self->deadline = deadline;
    if (self == &main_thread) {
        while (!self->token && now < deadline)
            world();
    } else {
        (void)sem_post(&self->back);
        (void)sem_wait(&self->go);
    }
    token = self->token;
    self->token = false;
    return token;
}

static void run_watcher(void)
{
    (void)sem_post(&watcher->go);
    (void)sem_wait(&watcher->back);
}

int kvsnprintf(char *out, size_t size, const char *fmt, va_list ap) { return vsnprintf(out, size, fmt, ap); }

int ksnprintf(char *out, size_t size, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(out, size, fmt, ap);
    va_end(ap);
    return n;
}

void kprintf(const char *fmt, ...)
{
    size_t at = strlen(console);
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(console + at, sizeof console - at, fmt, ap);
    va_end(ap);
}

static bool said(const char *text) { return strstr(console, text) != NULL; }

/* Physical addresses: neighbouring pages of buffers are exchanged, so that nothing is in one piece. */
#define DMA_BIT (UINT64_C(1) << 50)

uint64_t vmm_phys(const void *p) { return (uint64_t)(uintptr_t)p ^ PAGE; }

void *phys_to_virt(uint64_t a) { return (void *)(uintptr_t)(a & DMA_BIT ? a & ~DMA_BIT : a ^ PAGE); }

void *vmm_alloc(size_t bytes, uint32_t flags)
{
    void *p = aligned_alloc(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);

    (void)flags;
    memset(p, 0, bytes);
    memory_held++;
    return p;
}

void vmm_free(void *p, size_t bytes)
{
    (void)bytes;
    free(p);
    memory_held--;
}

uint64_t pmm_alloc(uint64_t pages, uint64_t align)
{
    void *p = aligned_alloc(PAGE, pages * PAGE);

    (void)align;
    memset(p, 0xa5, pages * PAGE);
    memory_held++;
    return (uint64_t)(uintptr_t)p | DMA_BIT;
}

void pmm_free(uint64_t phys, uint64_t pages)
{
    (void)pages;
    free(phys_to_virt(phys));
    memory_held--;
}

/* ---- the machine's buses ---------------------------------------------------------------------------- */

#define VECTORS 16u

static pci_dev_t function = {.vendor = 0x1af4, .device = 0x1042};
static struct {
    irq_fn fn;
    void *arg;
} vectors[VECTORS];
static uint32_t entry_vector[VECTORS], n_vectors;
static bool bus_master;

int irq_register(uint32_t cpu, irq_fn bottom, void *arg)
{
    (void)cpu;
    vectors[n_vectors].fn = bottom;
    vectors[n_vectors].arg = arg;
    return (int)n_vectors++;
}

void irq_unregister(uint32_t cpu, uint32_t vector)
{
    (void)cpu;
    vectors[vector].fn = NULL;
}

uint32_t pci_count(void) { return 1; }
pci_dev_t *pci_at(uint32_t i) { return i == 0 ? &function : NULL; }

const char *pci_name(const pci_dev_t *d, char text[PCI_NAME_SIZE])
{
    (void)d;
    return strcpy(text, "00:03.0");
}

uint16_t pci_command(const pci_dev_t *d, uint16_t set, uint16_t clear)
{
    (void)d;
    bus_master = (bus_master || (set & PCI_COMMAND_MASTER)) && !(clear & PCI_COMMAND_MASTER);
    return 0;
}

int pci_msix_enable(pci_dev_t *d, uint32_t entry, uint32_t cpu, uint32_t vector)
{
    (void)cpu;
    if (entry >= d->msix.entries)
        return GMK_ERR_UNSUPPORTED;
    entry_vector[entry] = vector;
    return GMK_OK;
}

void pci_msix_disable(pci_dev_t *d) { (void)d; }

/* ---- the device ------------------------------------------------------------------------------------- */

typedef enum lie {
    HONEST,
    SILENT,       /* takes requests and never answers */
    NO_INTERRUPT, /* answers, but nobody hears of it */
    IO_ERROR,
    NO_STATUS, /* done, but the status byte was never written */
    SHORT,     /* says that it wrote nothing */
    WILD_ID,
    TWICE,
    JUMP,
    TOO_LONG,
} lie_t;

typedef struct fake_queue {
    uint32_t size, vector;
    uint8_t *desc, *avail, *used;
    uint16_t seen, done;
} fake_queue_t;

static struct {
    uint64_t offered, accepted;
    uint8_t status, generation;
    bool stuck_in_reset, forgets_features, legacy;
    uint32_t queue_max, size_max, seg_max, block_size;
    uint64_t capacity;
    lie_t lie;
    uint32_t lie_after; /* requests that are answered honestly before */
    fake_queue_t queue[QUEUES];
    uint32_t reads, writes, flushes, kicks, resets, most_in_one;
    uint8_t disk[SECTORS * VIRTIO_BLK_SECTOR];
} dev;

static uint8_t dev_status(virtio_dev_t *v)
{
    (void)v;
    return dev.status;
}

static void dev_set_status(virtio_dev_t *v, uint8_t s)
{
    (void)v;
    if (s == 0 && !dev.stuck_in_reset) {
        memset(dev.queue, 0, sizeof dev.queue);
        dev.resets++;
    }
    if (s == 0 && dev.stuck_in_reset)
        return;
    dev.status = dev.forgets_features ? s & (uint8_t)~VIRTIO_FEATURES_OK : s;
}

static uint64_t dev_offered(virtio_dev_t *v)
{
    (void)v;
    return dev.offered;
}

static void dev_accept(virtio_dev_t *v, uint64_t features)
{
    (void)v;
    assert_int_equal(features & ~dev.offered, 0);
    dev.accepted = features;
}

static void dev_config(virtio_dev_t *v, uint32_t offset, void *out, uint32_t bytes)
{
    uint8_t c[64] = {0};
    uint16_t queues = QUEUES;

    (void)v;
    memcpy(c, &dev.capacity, 8);
    memcpy(c + 8, &dev.size_max, 4);
    memcpy(c + 12, &dev.seg_max, 4);
    memcpy(c + 20, &dev.block_size, 4);
    memcpy(c + 34, &queues, 2);
    memcpy(out, c + offset, bytes);
}

static uint8_t dev_generation(virtio_dev_t *v)
{
    (void)v;
    return dev.generation;
}

static uint32_t dev_queue_max(virtio_dev_t *v, uint32_t q)
{
    (void)v;
    return q < QUEUES ? dev.queue_max : 0;
}

static bool dev_queue_start(virtio_dev_t *v, uint32_t q, uint32_t size, const virtio_rings_t *r,
                            uint32_t vector)
{
    (void)v;
    assert_true(q < QUEUES && size <= dev.queue_max);
    assert_int_equal(r->desc % PAGE, 0);
    dev.queue[q] = (fake_queue_t){.size = size,
                                  .vector = vector,
                                  .desc = phys_to_virt(r->desc),
                                  .avail = phys_to_virt(r->avail),
                                  .used = phys_to_virt(r->used)};
    return true;
}

static bool dev_config_vector(virtio_dev_t *v, uint32_t vector)
{
    (void)v;
    return vector == 0;
}

static void dev_notify(virtio_dev_t *v, uint32_t q)
{
    (void)v;
    assert_true(q < QUEUES);
    dev.kicks++;
}

static virtio_ops_t dev_ops = {
    .name = "modern",
    .status = dev_status,
    .set_status = dev_set_status,
    .offered = dev_offered,
    .accept = dev_accept,
    .config = dev_config,
    .generation = dev_generation,
    .queue_max = dev_queue_max,
    .queue_start = dev_queue_start,
    .config_vector = dev_config_vector,
    .notify = dev_notify,
};

bool virtio_modern_open(virtio_dev_t *v)
{
    dev_ops.legacy = dev.legacy;
    v->ops = &dev_ops;
    return true;
}

bool virtio_legacy_open(virtio_dev_t *v)
{
    (void)v;
    return false;
}

static uint16_t word(const uint8_t *ring, uint32_t i)
{
    uint16_t v;

    memcpy(&v, ring + 2u * i, sizeof v);
    return v;
}

static void complete(fake_queue_t *q, uint32_t id, uint32_t length)
{
    uint32_t element[2] = {id, length};

    memcpy(q->used + 4 + 8u * (q->done % q->size), element, sizeof element);
    q->done++;
    memcpy(q->used + 2, &q->done, sizeof q->done);
}

typedef struct chain {
    vq_desc_t d[QUEUE_DESCS + 2];
    uint32_t n, in; /* descriptors; bytes the device may write */
} chain_t;

/* Collects a chain and checks it as strictly as a device may (§2.7.5, §5.2.6). */
static void collect(const fake_queue_t *q, uint32_t head, chain_t *c)
{
    const vq_desc_t *table = (const vq_desc_t *)q->desc;
    uint32_t i = head, entries = q->size;
    bool writes = false;

    *c = (chain_t){0};
    assert_true(head < q->size);
    if (table[head].flags & VQ_DESC_INDIRECT) {
        assert_true(dev.accepted & VIRTIO_F_INDIRECT_DESC);
        entries = table[head].length / (uint32_t)sizeof(vq_desc_t);
        table = phys_to_virt(table[head].addr);
        i = 0;
    }
    for (;; i = table[i].next) {
        assert_true(i < entries && c->n < q->size);
        c->d[c->n] = table[i];
        assert_true(table[i].length > 0);
        assert_true(!writes || (table[i].flags & VQ_DESC_WRITE));
        writes = table[i].flags & VQ_DESC_WRITE;
        c->in += writes ? table[i].length : 0;
        c->n++;
        if (!(table[i].flags & VQ_DESC_NEXT))
            break;
    }
    assert_true(c->n >= 2 && c->d[0].length == 16 && !(c->d[0].flags & VQ_DESC_WRITE));
    assert_true(c->d[c->n - 1].length == 1 && (c->d[c->n - 1].flags & VQ_DESC_WRITE));
    if (c->n - 2 > dev.most_in_one)
        dev.most_in_one = c->n - 2;
}

static void move_data(const chain_t *c, uint8_t *disk, bool to_disk)
{
    for (uint32_t i = 1; i + 1 < c->n; i++) {
        assert_true(c->d[i].length <= dev.size_max);
        if (to_disk)
            memcpy(disk, phys_to_virt(c->d[i].addr), c->d[i].length);
        else
            memcpy(phys_to_virt(c->d[i].addr), disk, c->d[i].length);
        disk += c->d[i].length;
    }
}

static uint32_t data_bytes(const chain_t *c)
{
    uint32_t sum = 0;

    for (uint32_t i = 1; i + 1 < c->n; i++)
        sum += c->d[i].length;
    return sum;
}

static void transfer(const chain_t *c, uint64_t sector, bool to_disk)
{
    uint32_t bytes = data_bytes(c);

    assert_true(bytes > 0 && bytes % VIRTIO_BLK_SECTOR == 0);
    assert_true(sector + bytes / VIRTIO_BLK_SECTOR <= dev.capacity);
    move_data(c, dev.disk + sector * VIRTIO_BLK_SECTOR, to_disk);
    dev.reads += !to_disk;
    dev.writes += to_disk;
}

static void execute(const chain_t *c)
{
    struct {
        uint32_t type, reserved;
        uint64_t sector;
    } header;

    memcpy(&header, phys_to_virt(c->d[0].addr), sizeof header);
    switch (header.type) {
    case 0: transfer(c, header.sector, false); break;
    case 1: transfer(c, header.sector, true); break;
    case 4: dev.flushes++; break;
    case 8:
        assert_int_equal(data_bytes(c), 20);
        move_data(c, (uint8_t[20]){"serial\tnumber"}, false);
        break;
    default: fail();
    }
}

/* Answers the request, in the way of the day. */
static void answer(fake_queue_t *q, uint32_t head)
{
    lie_t lie = dev.lie_after != 0 ? HONEST : dev.lie;
    chain_t c;

    dev.lie_after -= dev.lie_after != 0;
    if (lie == SILENT)
        return;
    collect(q, head, &c);
    execute(&c);
    if (lie != NO_STATUS)
        *(uint8_t *)phys_to_virt(c.d[c.n - 1].addr) = lie == IO_ERROR;
    complete(q, lie == WILD_ID ? q->size + head : head, lie == SHORT ? 0 : lie == TOO_LONG ? c.in + 1 : c.in);
    if (lie == TWICE)
        complete(q, head, c.in);
    if (lie == JUMP) {
        q->done = (uint16_t)(q->done + 1000);
        memcpy(q->used + 2, &q->done, sizeof q->done);
    }
    if (lie >= WILD_ID)
        dev.lie = SILENT; /* one lie is enough */
}

static void interrupt(uint32_t entry)
{
    uint32_t v = entry_vector[entry];

    if (entry < function.msix.entries && vectors[v].fn)
        vectors[v].fn(vectors[v].arg);
}

/* True: it did something. */
static bool run_queue(fake_queue_t *q)
{
    bool did = false;

    if (q->size == 0 || !(dev.status & VIRTIO_DRIVER_OK))
        return false;
    assert_true(bus_master);
    for (; q->seen != word(q->avail, 1); did = true)
        answer(q, word(q->avail, 2u + q->seen++ % q->size));
    if (did && dev.lie != NO_INTERRUPT && q->vector != VIRTIO_NO_VECTOR)
        interrupt(q->vector);
    return did;
}

/* Everybody else goes one step on; if nobody can, time does. */
static void world(void)
{
    bool did = false;

    for (uint32_t i = 0; i < QUEUES; i++)
        did |= run_queue(&dev.queue[i]);
    if (watcher && (watcher->token || now >= watcher->deadline)) {
        run_watcher();
        did = true;
    }
    if (!did && main_thread.token)
        return;
    if (!did) {
        assert_true(watcher && watcher->deadline != UINT64_MAX); /* else everybody waits for ever */
        now = watcher->deadline;
    }
}

/* ---- set-up ----------------------------------------------------------------------------------------- */

static uint8_t *buf; /* larger than the disk, page-aligned */

static int setup(void **state)
{
    (void)state;
    self = &main_thread;
    use_fake_cpu();
    memset(&main_thread, 0, sizeof main_thread);
    memset(&dev, 0, sizeof dev);
    memset(vectors, 0, sizeof vectors);
    n_disks = n_vectors = 0;
    watcher = NULL;
    locks_held = 0;
    memory_held = 0;
    bus_master = false;
    console[0] = 0;
    now = SECOND;
    function.msix.entries = 8;
    function.device = 0x1042;
    dev.offered = WANTED | VIRTIO_F_VERSION_1;
    dev.queue_max = QUEUE_DESCS;
    dev.size_max = UINT32_MAX;
    dev.seg_max = QUEUE_DESCS - 2;
    dev.block_size = 512;
    dev.capacity = SECTORS;
    for (size_t i = 0; i < sizeof dev.disk; i++)
        dev.disk[i] = (uint8_t)(i / VIRTIO_BLK_SECTOR * 31 + i);
    buf = aligned_alloc(PAGE, (SECTORS + 16) * VIRTIO_BLK_SECTOR);
    return buf ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    free(buf);
    return 0;
}

static virtio_blk_t *disk(void)
{
    assert_int_equal(virtio_blk_init(), 1);
    return virtio_blk_at(0);
}

static void expect_read(virtio_blk_t *b, uint64_t sector, uint32_t sectors, uint32_t offset)
{
    size_t bytes = (size_t)sectors * VIRTIO_BLK_SECTOR;

    memset(buf, 0xee, offset + bytes + 64);
    assert_int_equal(virtio_blk_read(b, sector, buf + offset, sectors), GMK_OK);
    assert_memory_equal(buf + offset, dev.disk + sector * VIRTIO_BLK_SECTOR, bytes);
    assert_int_equal(buf[offset + bytes], 0xee);
    if (offset > 0)
        assert_int_equal(buf[offset - 1], 0xee);
}

static void expect_reads(virtio_blk_t *b)
{
    expect_read(b, 0, 1, 0);
    expect_read(b, SECTORS - 1, 1, 0);
    expect_read(b, 17, 8, 0);
    expect_read(b, 3, 9, 4095);
    expect_read(b, 0, SECTORS, 0);
    expect_read(b, 0, SECTORS, 33);
}

/* ---- requests --------------------------------------------------------------------------------------- */

static void test_introduction(void **state)
{
    virtio_blk_t *b = disk();
    virtio_blk_info_t info;

    (void)state;
    virtio_blk_info(b, &info);
    assert_string_equal(info.name, "vda");
    assert_string_equal(info.id, "serial.number");
    assert_string_equal(info.pci, "00:03.0");
    assert_int_equal(info.queues, QUEUES);
    assert_int_equal(info.depth, QUEUE_DESCS);
    assert_true(info.msix && info.readonly && !info.failed);
    assert_int_equal(virtio_blk_sectors(b), SECTORS);
    assert_null(virtio_blk_at(1));
    assert_true(said("vda: virtio-blk 00:03.0 (modern), 4096 sectors"));
}

static void test_reads(void **state)
{
    virtio_blk_stats_t s;
    virtio_blk_t *b = disk();

    (void)state;
    expect_reads(b);
    virtio_blk_stats(b, &s);
    assert_int_equal(s.reads, 6);
    assert_int_equal(s.bytes_read, (1 + 1 + 8 + 9 + SECTORS + SECTORS) * VIRTIO_BLK_SECTOR);
    assert_true(s.errors == 0 && s.in_flight == 0 && s.writes == 0);
    assert_int_equal(dev.writes, 0);
    assert_true(dev.most_in_one > 8 && dev.most_in_one <= BLK_SEGS);
}

static void test_reads_without_indirect(void **state)
{
    (void)state;
    dev.offered &= ~VIRTIO_F_INDIRECT_DESC;
    dev.queue_max = 16;
    expect_reads(disk());
    assert_true(dev.most_in_one <= 14);
}

static void test_reads_in_a_tiny_queue(void **state)
{
    (void)state;
    dev.offered &= ~(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX);
    dev.queue_max = 4;
    expect_reads(disk());
    assert_true(dev.most_in_one <= 2);
}

static void test_reads_one_segment_at_a_time(void **state)
{
    (void)state;
    dev.offered &= ~(F_SEG_MAX);
    expect_reads(disk());
    assert_int_equal(dev.most_in_one, 1);
}

static void test_reads_in_small_pieces(void **state)
{
    (void)state;
    dev.size_max = 700;
    dev.seg_max = 3;
    expect_reads(disk());
    assert_int_equal(dev.most_in_one, 3);
}

static void test_polled(void **state)
{
    virtio_blk_info_t info;
    virtio_blk_t *b;

    (void)state;
    function.msix.entries = 0;
    b = disk();
    virtio_blk_info(b, &info);
    assert_false(info.msix);
    expect_reads(b);
    while (watcher->token || watcher->deadline != UINT64_MAX)
        world();
}

static void test_too_few_vectors(void **state)
{
    virtio_blk_info_t info;
    virtio_blk_t *b;

    (void)state;
    function.msix.entries = 3;
    b = disk();
    virtio_blk_info(b, &info);
    assert_true(info.msix && info.queues == 2);
    expect_reads(b);
}

static void test_writes(void **state)
{
    virtio_blk_t *b;

    (void)state;
    dev.offered &= ~(F_RO | F_SEG_MAX);
    b = disk();
    for (uint32_t i = 0; i < 300 * VIRTIO_BLK_SECTOR; i++)
        buf[i + 3] = (uint8_t)(i * 7);
    assert_int_equal(virtio_blk_write(b, 100, buf + 3, 300), GMK_OK);
    assert_memory_equal(dev.disk + 100 * VIRTIO_BLK_SECTOR, buf + 3, 300 * VIRTIO_BLK_SECTOR);
    assert_int_equal(virtio_blk_flush(b), GMK_OK);
    assert_int_equal(dev.flushes, 1);
    expect_read(b, 99, 302, 1);
}

static void test_readonly(void **state)
{
    virtio_blk_t *b = disk();

    (void)state;
    assert_true(virtio_blk_readonly(b));
    assert_int_equal(virtio_blk_write(b, 0, buf, 1), GMK_ERR_UNSUPPORTED);
    assert_int_equal(dev.writes, 0);
    assert_true(said("the disk is read-only"));
}

static void test_flush_without_the_feature(void **state)
{
    virtio_blk_t *b;

    (void)state;
    dev.offered &= ~F_FLUSH;
    b = disk();
    assert_int_equal(virtio_blk_flush(b), GMK_OK);
    assert_int_equal(dev.flushes, 0);
}

static void test_refusals(void **state)
{
    virtio_blk_req_t r = {.op = 9, .sectors = 1, .buf = buf};
    virtio_blk_t *b;
    char text[96];

    (void)state;
    dev.capacity = 904;
    b = disk();
    assert_int_equal(virtio_blk_check(b, VIRTIO_BLK_READ, 900, 8, text, sizeof text), GMK_ERR_RANGE);
    assert_string_equal(text, "sector 900 + 8 is beyond the end, 904 sectors");
    assert_int_equal(virtio_blk_read(b, 904, buf, 1), GMK_ERR_RANGE);
    assert_int_equal(virtio_blk_read(b, UINT64_MAX, buf, UINT32_MAX), GMK_ERR_RANGE);
    assert_int_equal(virtio_blk_read(b, 0, buf, 0), GMK_ERR_INVAL);
    assert_int_equal(virtio_blk_read(b, 0, NULL, 1), GMK_ERR_INVAL);
    assert_int_equal(virtio_blk_submit(b, &r), GMK_ERR_INVAL);
    assert_int_equal(virtio_blk_check(b, VIRTIO_BLK_READ, 0, 904, NULL, 0), GMK_OK);
    assert_int_equal(virtio_blk_check(b, VIRTIO_BLK_READ, 1, UINT64_MAX, NULL, 0), GMK_ERR_RANGE);
    assert_int_equal(dev.reads, 0);
    assert_true(said("vda: request refused: sector 904 + 1 is beyond the end, 904 sectors"));
}

/* ---- many at once ----------------------------------------------------------------------------------- */

#define MANY 200u

static virtio_blk_req_t many[MANY];
static uint32_t calls[MANY];
static int codes[MANY];
static uint32_t finished;

static void count_done(void *arg, int code)
{
    virtio_blk_req_t *r = arg;

    calls[r - many]++;
    codes[r - many] = code;
    finished++;
}

/* Submits until the queue is full; returns how many. */
static uint32_t submit_all(virtio_blk_t *b, uint32_t sectors)
{
    uint32_t n = 0;
    int code = GMK_OK;

    memset(calls, 0, sizeof calls);
    finished = 0;
    while (n < MANY && code == GMK_OK) {
        many[n] = (virtio_blk_req_t){.op = VIRTIO_BLK_READ,
                                     .sector = n * sectors,
                                     .sectors = sectors,
                                     .buf = buf + (size_t)n * sectors * VIRTIO_BLK_SECTOR,
                                     .done = count_done,
                                     .arg = &many[n]};
        code = virtio_blk_submit(b, &many[n]);
        n += code == GMK_OK;
    }
    assert_int_equal(finished, 0);
    return n;
}

static void finish_all(uint32_t n, int code)
{
    while (finished < n)
        world();
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(calls[i], 1);
        assert_int_equal(codes[i], code);
    }
}

static void test_deep_queue(void **state)
{
    virtio_blk_t *b = disk();
    virtio_blk_stats_t s;
    uint32_t n;

    (void)state;
    for (uint32_t round = 0; round < 3; round++) {
        n = submit_all(b, 8);
        assert_int_equal(n, QUEUE_DESCS);
        virtio_blk_stats(b, &s);
        assert_int_equal(s.in_flight, n);
        finish_all(n, GMK_OK);
        assert_memory_equal(buf, dev.disk, n * 8 * VIRTIO_BLK_SECTOR);
    }
}

static void test_full_queue_and_a_waiting_call(void **state)
{
    virtio_blk_t *b = disk();
    uint32_t n = submit_all(b, 8);

    (void)state;
    assert_int_equal(virtio_blk_read(b, 5, buf + n * 8 * VIRTIO_BLK_SECTOR, 700), GMK_OK);
    finish_all(n, GMK_OK);
    assert_memory_equal(buf + n * 8 * VIRTIO_BLK_SECTOR, dev.disk + 5 * VIRTIO_BLK_SECTOR,
                        700 * VIRTIO_BLK_SECTOR);
}

/* While not all of a request is issued, others have to come back. */
static void test_nobody_overtakes(void **state)
{
    virtio_blk_t *b = disk();
    virtio_blk_req_t other = {.op = VIRTIO_BLK_READ, .sectors = 1, .buf = buf, .done = count_done};

    (void)state;
    memset(calls, 0, sizeof calls);
    finished = 0;
    many[0] = (virtio_blk_req_t){
        .op = VIRTIO_BLK_READ, .sectors = SECTORS, .buf = buf, .done = count_done, .arg = &many[0]};
    assert_int_equal(virtio_blk_submit(b, &many[0]), GMK_OK);
    assert_int_equal(virtio_blk_submit(b, &other), GMK_ERR_FULL);
    finish_all(1, GMK_OK);
    assert_memory_equal(buf, dev.disk, sizeof dev.disk);
}

static void test_nothing_ticks_afterwards(void **state)
{
    virtio_blk_t *b = disk();

    (void)state;
    expect_read(b, 0, 1, 0);
    while (watcher->token || watcher->deadline != UINT64_MAX)
        world();
    assert_true(now <= 12 * SECOND);
}

/* ---- a device that misbehaves ----------------------------------------------------------------------- */

static void test_io_errors(void **state)
{
    static const lie_t lies[] = {IO_ERROR, NO_STATUS, SHORT};

    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        virtio_blk_stats_t s;
        virtio_blk_t *b;

        (void)teardown(state);
        (void)setup(state);
        b = disk();
        dev.lie = lies[i];
        assert_int_equal(virtio_blk_read(b, 7, buf, 300), GMK_ERR_IO);
        assert_true(said("vda: read of sector 7 + 300: the device reports an error"));
        dev.lie = HONEST;
        expect_reads(b);
        virtio_blk_stats(b, &s);
        assert_int_equal(s.errors, 1);
    }
}

static void test_legacy_lengths_do_not_count(void **state)
{
    virtio_blk_t *b;

    (void)state;
    dev.legacy = true;
    dev.offered &= UINT32_MAX;
    b = disk();
    dev.lie = SHORT;
    expect_reads(b);
}

static void expect_off(virtio_blk_t *b)
{
    virtio_blk_info_t info;
    virtio_blk_stats_t s;
    uint64_t before = now;

    virtio_blk_info(b, &info);
    assert_true(info.failed);
    assert_int_equal(virtio_blk_read(b, 0, buf, 1), GMK_ERR_IO);
    many[0] = (virtio_blk_req_t){.op = VIRTIO_BLK_READ, .sectors = 1, .buf = buf, .done = count_done};
    assert_int_equal(virtio_blk_submit(b, &many[0]), GMK_ERR_IO);
    assert_int_equal(virtio_blk_flush(b), GMK_ERR_IO);
    assert_true(now == before);
    assert_false(bus_master);
    virtio_blk_stats(b, &s);
    assert_int_equal(s.in_flight, 0);
    while (watcher->token)
        run_watcher();
    assert_true(watcher->deadline == UINT64_MAX);
}

static void test_wild_rings(void **state)
{
    static const struct {
        lie_t lie;
        const char *text;
    } lies[] = {{WILD_ID, "beyond the queue"},
                {TWICE, "not in flight"},
                {JUMP, "ahead of what is in flight"},
                {TOO_LONG, "more than it was given"}};

    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint32_t n, good = 0;
        virtio_blk_t *b;

        (void)teardown(state);
        (void)setup(state);
        b = disk();
        n = submit_all(b, 8);
        dev.lie = lies[i].lie;
        dev.lie_after = 10;
        while (finished < n)
            world();
        for (uint32_t k = 0; k < n; k++) {
            assert_int_equal(calls[k], 1);
            assert_true(codes[k] == GMK_OK || codes[k] == GMK_ERR_IO);
            good += codes[k] == GMK_OK;
        }
        assert_true(good < n);
        assert_true(said(lies[i].text) && said("the disk is switched off"));
        assert_int_equal(dev.resets, 2);
        expect_off(b);
    }
}

static void test_silence(void **state)
{
    virtio_blk_t *b = disk();
    uint64_t before = now;
    uint32_t n;

    (void)state;
    dev.lie = SILENT;
    n = submit_all(b, 8);
    finish_all(n, GMK_ERR_TIMEOUT);
    assert_int_equal(now - before, 10 * SECOND);
    assert_true(said("vda: no answer within 10000 ms; the disk is switched off"));
    expect_off(b);
}

static void test_silence_in_a_waiting_call(void **state)
{
    virtio_blk_t *b = disk();
    uint64_t before = now;

    (void)state;
    virtio_blk_set_timeout(b, SECOND / 2);
    dev.lie = SILENT;
    dev.lie_after = 3;
    assert_int_equal(virtio_blk_read(b, 0, buf, SECTORS), GMK_ERR_TIMEOUT);
    assert_int_equal(now - before, SECOND / 2);
    expect_off(b);
}

static void test_silence_that_is_polled(void **state)
{
    virtio_blk_t *b;

    (void)state;
    function.msix.entries = 0;
    b = disk();
    dev.lie = SILENT;
    assert_int_equal(virtio_blk_read(b, 0, buf, 1), GMK_ERR_TIMEOUT);
    expect_off(b);
}

static void test_lost_interrupt(void **state)
{
    virtio_blk_t *b = disk();

    (void)state;
    dev.lie = NO_INTERRUPT;
    expect_read(b, 0, 1, 0); /* the look at the time-out finds it */
    assert_false(said("switched off"));
}

static void test_stuck_in_reset_later(void **state)
{
    virtio_blk_t *b = disk();

    (void)state;
    dev.lie = SILENT;
    dev.stuck_in_reset = true;
    assert_int_equal(virtio_blk_read(b, 0, buf, 1), GMK_ERR_TIMEOUT);
    assert_true(said("it does not take a reset; cut off from memory"));
    expect_off(b);
}

static void test_needs_reset(void **state)
{
    virtio_blk_t *b = disk();
    uint32_t n;

    (void)state;
    dev.lie = SILENT;
    n = submit_all(b, 8);
    dev.status |= VIRTIO_NEEDS_RESET;
    interrupt(0);
    finish_all(n, GMK_ERR_IO);
    assert_true(now < 2 * SECOND);
    expect_off(b);
}

static void test_new_capacity(void **state)
{
    virtio_blk_t *b = disk();

    (void)state;
    dev.capacity = 1000;
    interrupt(0);
    while (watcher->token)
        world();
    assert_int_equal(virtio_blk_sectors(b), 1000);
    assert_true(said("vda: now has 1000 sectors"));
    assert_int_equal(virtio_blk_read(b, 1000, buf, 1), GMK_ERR_RANGE);
}

static void test_complaints_are_few(void **state)
{
    virtio_blk_t *b = disk();

    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        (void)virtio_blk_read(b, SECTORS, buf, 1);
    assert_true(said("(further lines are left out)"));
    assert_true(strlen(console) < 3000);
}

/* ---- devices that are not used ---------------------------------------------------------------------- */

static void expect_refused(const char *why)
{
    assert_int_equal(virtio_blk_init(), 0);
    assert_null(virtio_blk_at(0));
    assert_true(said(why));
    assert_int_equal(memory_held, 0);
    for (uint32_t i = 0; i < VECTORS; i++)
        assert_null(vectors[i].fn);
    assert_false(bus_master);
}

static void test_refuses_access_platform(void **state)
{
    (void)state;
    dev.offered |= VIRTIO_F_ACCESS_PLATFORM;
    expect_refused("ACCESS_PLATFORM");
}

static void test_refuses_without_version_1(void **state)
{
    (void)state;
    dev.offered &= ~VIRTIO_F_VERSION_1;
    expect_refused("does not offer VERSION_1");
}

static void test_refuses_without_features_ok(void **state)
{
    (void)state;
    dev.forgets_features = true;
    expect_refused("does not accept the features");
}

static void test_refuses_stuck_in_reset(void **state)
{
    (void)state;
    dev.status = 1;
    dev.stuck_in_reset = true;
    expect_refused("does not come out of reset");
}

static void test_refuses_tiny_pieces(void **state)
{
    (void)state;
    dev.size_max = 511;
    expect_refused("pieces of 511 bytes");
}

static void test_refuses_queue_sizes(void **state)
{
    static const struct {
        uint32_t size;
        bool legacy;
    } bad[] = {{0, false}, {1, false}, {2, false},   {5, false},
               {0, true},  {48, true}, {2048, true}, {65535, true}};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)teardown(state);
        (void)setup(state);
        dev.queue_max = bad[i].size;
        dev.legacy = bad[i].legacy;
        expect_refused("cannot be used");
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_introduction),
        T(test_reads),
        T(test_reads_without_indirect),
        T(test_reads_in_a_tiny_queue),
        T(test_reads_one_segment_at_a_time),
        T(test_reads_in_small_pieces),
        T(test_polled),
        T(test_too_few_vectors),
        T(test_writes),
        T(test_readonly),
        T(test_flush_without_the_feature),
        T(test_refusals),
        T(test_deep_queue),
        T(test_full_queue_and_a_waiting_call),
        T(test_nobody_overtakes),
        T(test_nothing_ticks_afterwards),
        T(test_io_errors),
        T(test_legacy_lengths_do_not_count),
        T(test_wild_rings),
        T(test_silence),
        T(test_silence_in_a_waiting_call),
        T(test_silence_that_is_polled),
        T(test_lost_interrupt),
        T(test_stuck_in_reset_later),
        T(test_needs_reset),
        T(test_new_capacity),
        T(test_complaints_are_few),
        T(test_refuses_access_platform),
        T(test_refuses_without_version_1),
        T(test_refuses_without_features_ok),
        T(test_refuses_stuck_in_reset),
        T(test_refuses_tiny_pieces),
        T(test_refuses_queue_sizes),
    };

    return cmocka_run_group_tests_name("virtio-blk", tests, NULL, NULL);
}
