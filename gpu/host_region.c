/* SPDX-License-Identifier: MIT */
/* host_region.c — the region that the parent handed over: mapped, and checked before anyone trusts it. */
#include "host.h"

#include "../bridge/region.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A mapping that is longer than its file kills whoever touches the end. */
static int check_size(host_t *h)
{
    struct stat st;

    if (fstat(h->memfd, &st) != 0)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the region: %s", strerror(errno));
    if (h->region_bytes == 0 || h->region_bytes % GMK_REGION_ALIGN != 0)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the region: %llu bytes are no multiple of %u",
                         (unsigned long long)h->region_bytes, GMK_REGION_ALIGN);
    if (st.st_size < 0 || (uint64_t)st.st_size < h->region_bytes)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE,
                         "the region: the hello says %llu bytes, the descriptor has %lld",
                         (unsigned long long)h->region_bytes, (long long)st.st_size);
    return 0;
}

int host_map_region(host_t *h)
{
    gmk_region_view_t view;
    const char *why = "";

    if (check_size(h) != 0)
        return -1;
    h->region = mmap(NULL, h->region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, h->memfd, 0);
    if (h->region == MAP_FAILED)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the region cannot be mapped: %s", strerror(errno));
    close(h->memfd);
    if (gmk_region_view(&view, h->region, h->region_bytes, 1, &why) != GMK_OK)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the region is refused: %s", why);
    h->pool_at[0] = (uint64_t)(view.pool_in - (unsigned char *)h->region);
    h->pool_at[1] = (uint64_t)(view.pool_out - (unsigned char *)h->region);
    h->pool_bytes = view.pool_bytes;
    return 0;
}
