/* SPDX-License-Identifier: MIT */
/* entry.c — the entry point of a GPU image: block 0 is the kernel's life, the others are its threads. */
#include "device.h"
#include "entry.h"

#include <ggmk/error.h>
#include <ggmk/hal.h>

__attribute__((nvptx_kernel)) void gmk_gpu_run(gmk_gpu_params_t p);

static gmk_copier_t copier(const gmk_gpu_params_t *p, uint32_t way)
{
    return (gmk_copier_t){.ring = (struct gmk_copy_ring *)(uintptr_t)p->copy_ring[way],
                          .done = (struct gmk_copy_done *)(uintptr_t)p->copy_done[way],
                          .least = p->copy_least};
}

static int run(const gmk_gpu_params_t *p)
{
    if (p->version != GMK_GPU_VERSION)
        return GMK_ERR_VERSION;
    gmk_device_launch_t launch = {
        .region = (void *)(uintptr_t)p->region,
        .region_bytes = p->region_bytes,
        .arena_bytes = p->arena_bytes,
        .mods = gmk_image_modules,
        .n_mods = gmk_image_n_modules,
        .max_workers = p->max_workers,
        .boot_flags = p->boot_flags,
        .copy_out = copier(p, GMK_GPU_COPY_OUT),
        .copy_in = copier(p, GMK_GPU_COPY_IN),
    };
    gmk_hal_nvptx_init((void *)(uintptr_t)p->pages, p->pages_bytes);
    return gmk_device_run(&launch);
}

/* The blocks that got no thread leave only when told to: nobody waits for them, so they are told last. */
void gmk_gpu_run(gmk_gpu_params_t p)
{
    if (__nvvm_read_ptx_sreg_ctaid_x() != 0) {
        gmk_hal_nvptx_serve();
    } else if (gmk_hal_lane() == 0) {
        uint64_t code = (uint32_t)run(&p);
        gmk_hal_nvptx_close();
        gmk_store64((gmk_a64_t *)(uintptr_t)p.result, GMK_GPU_ENDED | code, GMK_REL, GMK_SYSTEM);
    }
}
