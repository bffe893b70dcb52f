/* SPDX-License-Identifier: MIT */
/*
 * host_copies.c — the GPU's copy engines, driven for the kernel on it.
 *
 * Orders lie in pinned memory.  Each becomes an asynchronous copy on the stream of its way, and behind it a stream
 * write of the count, which the driver lets nobody see before what was copied.  Nobody can wake this process when
 * there is an order: it looks all the time while there were some lately, then less and less often, and after a
 * second without any as often as it looks at the kernel.
 */
#include "host_cuda.h"

#include <ggmk/hal.h>

enum { SPIN_NS = 50000, NAP_NS = 200000, LONG_NS = 1000000000 };

/* What the driver makes when it is first asked for a thing is made before the kernel is there. */
static int try_way(host_t *h, const copies_way_t *w)
{
    uint64_t zero = 0;

    if (DRIVER(h, cuMemcpyHtoDAsync_v2, w->done, w->ring, sizeof(zero), w->stream) != 0 ||
        DRIVER(h, cuMemcpyDtoHAsync_v2, w->ring, w->done, sizeof(zero), w->stream) != 0 ||
        DRIVER(h, cuStreamWriteValue64_v2, w->stream, w->done, zero, 0) != 0)
        return -1;
    return DRIVER(h, cuStreamSynchronize, w->stream);
}

int copies_open(host_t *h, copies_t *c)
{
    for (uint32_t i = 0; i < GMK_GPU_COPIES; i++)
        if (DRIVER(h, cuStreamCreate, &c->way[i].stream, CU_STREAM_NON_BLOCKING) != 0 ||
            try_way(h, &c->way[i]) != 0)
            return -1;
    c->last = gmk_hal_now_ns();
    return 0;
}

static bool within(uint64_t at, uint64_t bytes, uint64_t from, uint64_t size)
{
    return at >= from && bytes <= size && at - from <= size - bytes;
}

/* From a pool of the region to the kernel's memory, or the reverse: nothing else is the kernel's to order. */
static int start_copy(host_t *h, const copies_t *c, uint32_t i, const gmk_copy_t *order)
{
    const copies_way_t *w = &c->way[i];
    bool out = i == GMK_GPU_COPY_OUT;
    uint64_t pool = c->region + h->pool_at[out ? 1 : 0], there = out ? order->to : order->from,
             own = out ? order->from : order->to;

    if (!within(there, order->bytes, pool, h->pool_bytes) ||
        !within(own, order->bytes, c->pages, c->pages_bytes))
        return host_fail(
            h, GMK_HOST_EXIT_TROUBLE,
            "the kernel on the GPU ordered a copy of %llu bytes from %#llx to %#llx: not its own",
            (unsigned long long)order->bytes, (unsigned long long)order->from, (unsigned long long)order->to);
    char *host = (char *)h->region + (there - c->region);
    return out ? DRIVER(h, cuMemcpyDtoHAsync_v2, host, own, order->bytes, w->stream)
               : DRIVER(h, cuMemcpyHtoDAsync_v2, own, host, order->bytes, w->stream);
}

/* A ring full at most: the other way, the kernel and the parent have their turn. */
static int serve(host_t *h, copies_t *c, uint32_t i)
{
    copies_way_t *w = &c->way[i];
    const gmk_copier_t reach = {.ring = w->ring};
    gmk_copy_t order;

    for (uint32_t n = 0; n < GMK_COPIES && gmk_copier_next(&reach, w->served, &order); n++) {
        if (start_copy(h, c, i, &order) != 0 ||
            DRIVER(h, cuStreamWriteValue64_v2, w->stream, w->done, ++w->served, 0) != 0)
            return -1;
        c->last = gmk_hal_now_ns();
    }
    return 0;
}

int copies_serve(host_t *h, copies_t *c)
{
    for (uint32_t i = 0; i < GMK_GPU_COPIES; i++)
        if (serve(h, c, i) != 0)
            return -1;
    return 0;
}

/* Half of what it has been idle for: an order waits at most half as long again. */
int64_t copies_rest_ns(const copies_t *c)
{
    uint64_t idle = gmk_hal_now_ns() - c->last, nap = idle / 2;

    if (idle < SPIN_NS)
        return 0;
    if (idle > LONG_NS)
        return GPU_LOOK_NS;
    return nap < NAP_NS ? (int64_t)nap : NAP_NS;
}
