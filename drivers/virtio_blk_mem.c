/* SPDX-License-Identifier: MIT */
/* A queue's memory, and what others ask about it. */
#include <ggmk/error.h>

#include "drivers/virtio_blk_int.h"
#include "pmm.h"
#include "vmm.h"

/* Where things lie in a queue's DMA memory; it is one piece, so no blk_dma_t is torn. */
typedef struct layout {
    size_t dma, bounce, bytes;
} layout_t;

static layout_t lay_out(const blk_queue_t *q, uint32_t size)
{
    layout_t l;

    l.dma = (vq_bytes(size) + 63) / 64 * 64;
    l.bounce = l.dma + q->depth * sizeof(blk_dma_t);
    l.bytes = l.bounce + (q->disk->seg_max < 2 ? (size_t)q->depth * VIRTIO_BLK_SECTOR : 0);
    return l;
}

/* How many parts there can be: chains of the queue, within bounds. */
static uint32_t depth_of(const virtio_blk_t *b, uint32_t size)
{
    uint32_t chains = b->indirect ? size : size / 3;

    return chains < BLK_DEPTH ? chains : BLK_DEPTH;
}

static void make_parts(blk_queue_t *q, const layout_t *l)
{
    uint8_t *memory = phys_to_virt(q->dma);

    for (uint32_t i = 0; i < q->depth; i++) {
        blk_part_t *p = &q->parts[i];
        size_t dma = l->dma + i * sizeof(blk_dma_t), bounce = l->bounce + (size_t)i * VIRTIO_BLK_SECTOR;

        p->dma = (blk_dma_t *)(memory + dma);
        p->dma_addr = q->dma + dma;
        if (q->disk->seg_max < 2) {
            p->bounce = memory + bounce;
            p->bounce_addr = q->dma + bounce;
        }
        p->next = q->free_parts;
        q->free_parts = p;
    }
}

static bool allocate(blk_queue_t *q, uint32_t size, size_t dma_bytes)
{
    q->memory_bytes = size * sizeof(vq_slot_t) + q->depth * sizeof(blk_part_t);
    q->memory = vmm_alloc(q->memory_bytes, VMM_RW);
    q->dma_pages = (dma_bytes + VMM_PAGE - 1) / VMM_PAGE;
    q->dma = pmm_alloc(q->dma_pages, 1);
    return q->memory && q->dma != 0;
}

int blk_queue_init(blk_queue_t *q, uint32_t size, virtio_rings_t *rings)
{
    virtio_blk_t *b = q->disk;
    layout_t l;

    if (size < 4 || size > VQ_SIZE_MAX)
        return GMK_ERR_RANGE;
    if (b->seg_max > size - 2) /* no chain is longer than its queue (virtio 1.2 §2.7.5.3.1) */
        b->seg_max = size - 2;
    q->depth = depth_of(b, size);
    l = lay_out(q, size);
    if (!allocate(q, size, l.bytes))
        return GMK_ERR_LIMIT;
    gmk_hal_memset(phys_to_virt(q->dma), 0, l.bytes);
    q->parts = q->memory;
    q->slots = (vq_slot_t *)(q->parts + q->depth);
    q->waiting_end = &q->waiting;
    q->finished_end = &q->finished;
    make_parts(q, &l);
    *rings = (virtio_rings_t){q->dma, q->dma + vq_avail_offset(size), q->dma + vq_used_offset(size)};
    int code = vq_init(&q->vq, size, phys_to_virt(q->dma), q->slots,
                       (b->dev.features & VIRTIO_F_EVENT_IDX) != 0);
    q->vq.any_length = b->dev.ops->legacy;
    return code;
}

void blk_queue_free(blk_queue_t *q)
{
    if (q->memory)
        vmm_free(q->memory, q->memory_bytes);
    if (q->dma)
        pmm_free(q->dma, q->dma_pages);
}

uint64_t blk_queue_deadline(blk_queue_t *q)
{
    uint64_t earliest = UINT64_MAX, flags = spin_lock(&q->lock);

    for (uint32_t i = 0; i < q->depth && q->vq.in_flight != 0; i++)
        if (q->parts[i].req && q->parts[i].deadline_ns < earliest)
            earliest = q->parts[i].deadline_ns;
    spin_unlock(&q->lock, flags);
    return earliest;
}

void blk_queue_add_stats(blk_queue_t *q, virtio_blk_stats_t *sum)
{
    uint64_t flags = spin_lock(&q->lock);
    const virtio_blk_stats_t *s = &q->stats;

    sum->reads += s->reads;
    sum->writes += s->writes;
    sum->flushes += s->flushes;
    sum->bytes_read += s->bytes_read;
    sum->bytes_written += s->bytes_written;
    sum->errors += s->errors;
    sum->services += s->services;
    sum->in_flight += s->in_flight;
    spin_unlock(&q->lock, flags);
}

vq_fault_t blk_queue_fault(blk_queue_t *q, uint32_t *value)
{
    uint64_t flags = spin_lock(&q->lock);
    vq_fault_t f = q->vq.fault;

    *value = q->vq.fault_value;
    spin_unlock(&q->lock, flags);
    return f;
}
