/* SPDX-License-Identifier: MIT */
/* Finding disks and starting them (virtio 1.2 §5.2.5). */
#include <ggmk/error.h>

#include "cpu.h"
#include "drivers/pci.h"
#include "drivers/virtio_blk_int.h"
#include "kprintf.h"
#include "vmm.h"

#define DISKS_MAX 16u
#define TIMEOUT_NS UINT64_C(10000000000)
#define QUEUE_SIZE 256u /* as many descriptors as we ask for */

/* Feature bits (§5.2.3). */
#define F_SIZE_MAX (UINT64_C(1) << 1)
#define F_SEG_MAX (UINT64_C(1) << 2)
#define F_RO (UINT64_C(1) << 5)
#define F_BLK_SIZE (UINT64_C(1) << 6)
#define F_FLUSH (UINT64_C(1) << 9)
#define F_MQ (UINT64_C(1) << 12)
#define WANTED                                                                                               \
    (F_SIZE_MAX | F_SEG_MAX | F_RO | F_BLK_SIZE | F_FLUSH | F_MQ | VIRTIO_F_INDIRECT_DESC |                  \
     VIRTIO_F_EVENT_IDX)

/* struct virtio_blk_config (§5.2.4) */
enum {
    CONFIG_CAPACITY = 0,
    CONFIG_SIZE_MAX = 8,
    CONFIG_SEG_MAX = 12,
    CONFIG_BLK_SIZE = 20,
    CONFIG_QUEUES = 34
};

static virtio_blk_t *disks[DISKS_MAX];
static uint32_t n_disks;

int virtio_blk_count(void) { return (int)n_disks; }

virtio_blk_t *virtio_blk_at(uint32_t i) { return i < n_disks ? disks[i] : NULL; }

static uint32_t config32(virtio_blk_t *b, uint32_t offset)
{
    uint32_t v = 0;

    virtio_config(&b->dev, offset, &v, sizeof v);
    return v;
}

static uint32_t config16(virtio_blk_t *b, uint32_t offset)
{
    uint16_t v = 0;

    virtio_config(&b->dev, offset, &v, sizeof v);
    return v;
}

uint64_t blk_read_capacity(virtio_blk_t *b)
{
    uint64_t v = 0;

    virtio_config(&b->dev, CONFIG_CAPACITY, &v, sizeof v);
    return v;
}

static bool has(const virtio_blk_t *b, uint64_t feature) { return (b->dev.features & feature) != 0; }

static uint32_t within(uint32_t v, uint32_t low, uint32_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* False, after a line: the device's limits do not let a sector through. */
static bool read_limits(virtio_blk_t *b)
{
    b->readonly = has(b, F_RO);
    b->flush = has(b, F_FLUSH);
    b->indirect = has(b, VIRTIO_F_INDIRECT_DESC);
    b->block_size = has(b, F_BLK_SIZE) ? config32(b, CONFIG_BLK_SIZE) : VIRTIO_BLK_SECTOR;
    b->seg_max = has(b, F_SEG_MAX) ? within(config32(b, CONFIG_SEG_MAX), 1, BLK_SEGS) : 1;
    b->size_max = has(b, F_SIZE_MAX) ? config32(b, CONFIG_SIZE_MAX) : UINT32_MAX;
    gmk_store64(&b->sectors, blk_read_capacity(b), GMK_RLX, GMK_KERNEL);
    if (b->size_max >= VIRTIO_BLK_SECTOR)
        return true;
    kprintf("%s: the device takes pieces of %u bytes, less than a sector; the disk is not used\n", b->name,
            b->size_max);
    return false;
}

/* As many queues as the device has, but not more than CPUs and than there are vectors for. */
static uint32_t queues_wanted(virtio_blk_t *b)
{
    uint32_t offered = has(b, F_MQ) ? config16(b, CONFIG_QUEUES) : 1;
    uint32_t most = within(cpu_count(), 1, VIRTIO_QUEUES_MAX);

    if (b->dev.pci->msix.entries > 1)
        most = within(b->dev.pci->msix.entries - 1u, 1, most);
    return within(offered, 1, most);
}

static void drop_vectors(virtio_blk_t *b, uint32_t queues)
{
    virtio_irqs_off(&b->dev);
    irq_unregister(0, b->config_vector);
    for (uint32_t i = 0; i < queues; i++)
        irq_unregister(b->queue[i].cpu, b->queue[i].vector);
}

/* Entry 0 for changes of configuration, entry 1 + q for queue q.  False: the disk has to be polled. */
static bool take_vectors(virtio_blk_t *b)
{
    if (virtio_irq(&b->dev, 0, 0, blk_config_changed, b, &b->config_vector) != GMK_OK)
        return false;
    for (uint32_t i = 0; i < b->queues; i++) {
        blk_queue_t *q = &b->queue[i];

        q->cpu = i % cpu_count();
        if (virtio_irq(&b->dev, 1 + i, q->cpu, blk_queue_service, q, &q->vector) != GMK_OK) {
            drop_vectors(b, i);
            return false;
        }
    }
    if (b->dev.ops->config_vector(&b->dev, 0))
        return true;
    drop_vectors(b, b->queues);
    return false;
}

static bool start_queue(virtio_blk_t *b, uint32_t i)
{
    blk_queue_t *q = &b->queue[i];
    uint32_t most = b->dev.ops->queue_max(&b->dev, i);
    uint32_t size = b->dev.ops->legacy ? most : within(most, 0, QUEUE_SIZE);
    virtio_rings_t rings;

    q->disk = b;
    q->index = i;
    if (blk_queue_init(q, size, &rings) == GMK_OK &&
        b->dev.ops->queue_start(&b->dev, i, size, &rings, b->polled ? VIRTIO_NO_VECTOR : 1 + i))
        return true;
    kprintf("%s: queue %u of %u descriptors cannot be used; the disk is not used\n", b->name, i, most);
    return false;
}

static bool start_queues(virtio_blk_t *b)
{
    for (uint32_t i = 0; i < b->queues; i++)
        if (!start_queue(b, i))
            return false;
    return true;
}

/* The id is foreign text: what cannot be printed becomes a dot. */
static void read_id(virtio_blk_t *b)
{
    char id[VIRTIO_BLK_ID_SIZE] = "";

    if (blk_run(b, BLK_GET_ID, 0, id, 0) != GMK_OK)
        return;
    for (uint32_t i = 0; i < BLK_ID_BYTES && id[i]; i++)
        b->id[i] = id[i] >= ' ' && id[i] <= '~' ? id[i] : '.';
}

static void introduce(virtio_blk_t *b)
{
    char pci[PCI_NAME_SIZE];
    uint64_t sectors = virtio_blk_sectors(b);

    kprintf("%s: virtio-blk %s (%s), %llu sectors, %llu KiB, %s, %u %s of %u, %s%s%s\n", b->name,
            pci_name(b->dev.pci, pci), b->dev.ops->name, (unsigned long long)sectors,
            (unsigned long long)(sectors / 2), b->readonly ? "read-only" : "writable", b->queues,
            b->queues == 1 ? "queue" : "queues", b->queue[0].depth, b->polled ? "polled" : "MSI-X",
            b->id[0] ? ", id " : "", b->id);
}

static bool start(virtio_blk_t *b, pci_dev_t *pci)
{
    gmk_store64(&b->timeout_ns, TIMEOUT_NS, GMK_RLX, GMK_KERNEL);
    gmk_store64(&b->wake_at, UINT64_MAX, GMK_RLX, GMK_KERNEL);
    if (virtio_open(&b->dev, pci) != GMK_OK || virtio_start(&b->dev, WANTED) != GMK_OK || !read_limits(b))
        return false;
    b->queues = queues_wanted(b);
    b->polled = !take_vectors(b);
    if (!start_queues(b))
        return false;
    b->watcher = thread_start(b->name, THREAD_ANY_CPU, blk_watch, b);
    if (!b->watcher)
        return false;
    virtio_go(&b->dev);
    read_id(b);
    introduce(b);
    return true;
}

/* A disk that did not start: the device is silent before its memory goes. */
static void discard(virtio_blk_t *b)
{
    if (b->dev.ops) {
        virtio_stop(&b->dev);
        if (b->queues != 0 && !b->polled)
            drop_vectors(b, b->queues);
    }
    for (uint32_t i = 0; i < b->queues; i++)
        blk_queue_free(&b->queue[i]);
    vmm_free(b, sizeof *b);
}

int virtio_blk_init(void)
{
    pci_dev_t *pci;

    for (uint32_t n = 0; (pci = virtio_find(VIRTIO_TYPE_BLOCK, n)) != NULL; n++) {
        virtio_blk_t *b = n_disks < DISKS_MAX ? vmm_alloc(sizeof *b, VMM_RW) : NULL;

        if (!b) {
            kprintf("virtio-blk: no room for more than %u disks; further ones are not used\n", n_disks);
            break;
        }
        (void)ksnprintf(b->name, sizeof b->name, "vd%c", (char)('a' + n_disks));
        if (start(b, pci))
            disks[n_disks++] = b;
        else
            discard(b);
    }
    return (int)n_disks;
}
