/* SPDX-License-Identifier: MIT */
/*
 * device.h — GGMK/gpu: a kernel whose only contact with the world is a region.
 *
 * gmk_device_run is the whole life of one: it boots the kernel with the modules of the image, ties a bridge
 * to side 1 of the region, serves until the other side asks it to stop (or the bridge fails), lets what was
 * accepted finish, says STOPPED with its last figures, and halts.  The same source runs as the first block of a persistent launch on a GPU, as a thread of the
 * software device, and as a fiber of the simulator; nothing in it knows which.
 *
 * The region's args choose, by words NAME=VALUE separated by blanks:
 *   workers=N    at most so many workers (default: all the platform has)
 *   modules=A,B  boot only these modules of the image, in the image's order (default: all)
 *   trace=N      trace level, enum GMK_TRACE_*
 *   types=N      handler and message types, gmk_boot_cfg_t.n_types
 *   rq_slots=N   slots of a ring of the ready queue; default: 256 where there is one for each type
 *   beat_us=N    heartbeat interval
 *   batch=N      messages per publication to the peer, gmk_bridge_cfg_t.batch
 * Other names are for modules, which read them by gmk_arg (kernel.h).
 */
#ifndef GMK_DEVICE_H
#define GMK_DEVICE_H

#include <ggmk/bridge.h>
#include <ggmk/module.h>

typedef struct gmk_device_launch {
    void *region;
    uint64_t region_bytes;
    uint64_t arena_bytes;      /* of the kernel; 0 = default */
    gmk_module_t *const *mods; /* all of the image */
    uint32_t n_mods;
    uint32_t max_workers;           /* 0 = gmk_hal_cpu_count() */
    uint32_t boot_flags;            /* added to GMK_BOOT_NO_WATCHDOG */
    gmk_copier_t copy_out, copy_in; /* see gmk_bridge_cfg_t */
} gmk_device_launch_t;

/*
 * ONE lane.  GMK_OK after an orderly stop, else the code of what failed, which the region's side block shows
 * to the peer, with a text, when the region itself is sound.
 */
int gmk_device_run(const gmk_device_launch_t *l);

/* The modules of this image: made by the build (tools/gpu-image). */
extern gmk_module_t *const gmk_image_modules[];
extern const uint32_t gmk_image_n_modules;

#endif
