/* SPDX-License-Identifier: MIT */
/*
 * frames.h — the bookkeeping of physical memory, as pure code over a memory map.
 *
 * No lock, no hardware, no global: pmm.c adds those, and the unit tests run this on any machine.
 * Frames are kept in zones, the runs of frames that are usable or will be, one bitmap each, so that
 * the size of the bookkeeping follows the memory there is and not its highest address.
 */
#ifndef GMK_X86_FRAMES_H
#define GMK_X86_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot_info.h"
#include "runs.h"

#define FRAME_SIZE 4096u
#define FRAMES_ZONES 128u

/* A map as boot_map_normalise makes it: sorted, disjoint, no entry empty or wrapping. */
typedef struct mem_map {
    const boot_range_t *ranges;
    uint32_t count;
    uint64_t limit; /* what lies at or above this address is left alone */
} mem_map_t;

/* Sets of BOOT_* kinds, for mem_map_next. */
#define MEM_SET(kind) (1u << (kind))
#define MEM_FREE MEM_SET(BOOT_USABLE)
#define MEM_MANAGED (MEM_FREE | MEM_SET(BOOT_LOADER))
#define MEM_RAM (MEM_MANAGED | MEM_SET(BOOT_ACPI_RECLAIM) | MEM_SET(BOOT_ACPI_NVS) | MEM_SET(BOOT_KERNEL))

typedef struct frames_zone {
    uint64_t first; /* frame number */
    runs_t runs;
} frames_zone_t;

typedef struct frames {
    frames_zone_t zone[FRAMES_ZONES]; /* ascending */
    uint32_t zones;
    uint32_t next;    /* the zone where the last search ended */
    uint64_t total;   /* frames in all zones */
    uint64_t left;    /* frames not managed because there are more than FRAMES_ZONES zones */
    uint64_t pending; /* the loader's frames, not yet reclaimed */
} frames_t;

typedef struct pmm_stats {
    uint64_t total, free, used; /* frames of 4 KiB; used = total - free */
    uint64_t largest;           /* the longest run of free frames */
    uint64_t reclaimable;       /* of the used ones: the loader's, until pmm_reclaim() */
    uint64_t unmanaged;         /* usable, but in too many pieces to manage */
    uint32_t zones;
} pmm_stats_t;

/* The first stretch at or above `at` of bytes whose kinds are all in the set, neighbours joined. */
bool mem_map_next(const mem_map_t *map, uint32_t kinds, uint64_t at, uint64_t *base, uint64_t *end);

/* Finds the zones.  Returns the bytes that their bitmaps need; 0 when there is no zone. */
uint64_t frames_plan(frames_t *f, const mem_map_t *map);
/* Where the longest usable stretch begins, if it has room for that many bytes (> 0); else 0. */
uint64_t frames_place(const mem_map_t *map, uint64_t bytes);
/* Makes the usable frames free, except frame 0 and those of [place, place + bytes). */
void frames_init(frames_t *f, const mem_map_t *map, uint64_t *bitmaps, uint64_t place, uint64_t bytes);

/* n frames in a row at a multiple of align frames (a power of two): a physical address, 0 = none. */
uint64_t frames_alloc(frames_t *f, uint64_t n, uint64_t align);
/* False, and nothing changed, unless all of these frames are managed and in use. */
bool frames_free(frames_t *f, uint64_t phys, uint64_t n);
/* Frees what the loader used: once.  Returns the number of frames. */
uint64_t frames_reclaim(frames_t *f, const mem_map_t *map);
void frames_stats(const frames_t *f, pmm_stats_t *s);

#endif
