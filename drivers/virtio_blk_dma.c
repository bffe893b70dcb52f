/* SPDX-License-Identifier: MIT */
/* Buffers as the device sees them: pieces of physical memory. */
#include "drivers/virtio_blk_int.h"
#include "vmm.h"

/* Appends `length` bytes at addr, to the last piece where they follow it.  False: no room for another. */
static bool append(vq_seg_t *seg, uint32_t *n, uint32_t max, vq_seg_t piece, uint32_t size_max)
{
    vq_seg_t *last = *n ? &seg[*n - 1] : NULL;

    if (last && last->addr + last->length == piece.addr && piece.length <= size_max - last->length) {
        last->length += piece.length;
        return true;
    }
    if (*n == max)
        return false;
    seg[(*n)++] = piece;
    return true;
}

/* Cuts `excess` bytes off the end. */
static uint32_t trim(vq_seg_t *seg, uint32_t n, uint32_t excess)
{
    while (excess != 0) {
        uint32_t cut = excess < seg[n - 1].length ? excess : seg[n - 1].length;

        seg[n - 1].length -= cut;
        excess -= cut;
        n -= seg[n - 1].length == 0;
    }
    return n;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Whole sectors, unless all that is left fits. */
uint32_t blk_gather(const virtio_blk_t *b, const uint8_t *buf, uint64_t left, bool device_writes,
                    vq_seg_t *seg, uint32_t max, uint32_t *bytes)
{
    uint64_t done = 0, all = least(left, BLK_PART_BYTES);
    uint32_t n = 0;

    while (done < all) {
        uint64_t in_page = VMM_PAGE - ((uintptr_t)(buf + done) & (VMM_PAGE - 1));
        uint64_t length = least(least(in_page, all - done), b->size_max);
        vq_seg_t piece = {vmm_phys(buf + done), (uint32_t)length, device_writes};

        if (piece.addr == 0 || !append(seg, &n, max, piece, b->size_max))
            break;
        done += length;
    }
    if (done < left) {
        n = trim(seg, n, (uint32_t)(done % VIRTIO_BLK_SECTOR));
        done -= done % VIRTIO_BLK_SECTOR;
    }
    *bytes = (uint32_t)done;
    return n;
}
