/* SPDX-License-Identifier: MIT */
/* frames.c — zones of frames made from a memory map, and runs of frames taken from them. */
#include "frames.h"

static uint64_t frame_up(uint64_t address) { return (address + FRAME_SIZE - 1) / FRAME_SIZE; }

bool mem_map_next(const mem_map_t *map, uint32_t kinds, uint64_t at, uint64_t *base, uint64_t *end)
{
    bool found = false;

    for (uint32_t i = 0; i < map->count; i++) {
        const boot_range_t *r = &map->ranges[i];
        uint64_t from = r->base > at ? r->base : at;
        uint64_t to = r->base + r->length < map->limit ? r->base + r->length : map->limit;
        if (from >= to || !(kinds & MEM_SET(r->type)))
            continue;
        if (found && from != *end)
            break;
        if (!found)
            *base = from;
        *end = to;
        found = true;
    }
    return found;
}

/* The whole frames of the next stretch at or above address *at, which moves past it. */
static bool next_frames(const mem_map_t *map, uint32_t kinds, uint64_t *at, uint64_t *first, uint64_t *count)
{
    uint64_t base, end;

    while (mem_map_next(map, kinds, *at, &base, &end)) {
        *at = end;
        *first = frame_up(base);
        *count = end / FRAME_SIZE > *first ? end / FRAME_SIZE - *first : 0;
        if (*count > 0)
            return true;
    }
    return false;
}

uint64_t frames_plan(frames_t *f, const mem_map_t *map)
{
    uint64_t at = 0, first, count, words = 0;

    *f = (frames_t){.zones = 0};
    while (next_frames(map, MEM_MANAGED, &at, &first, &count)) {
        if (f->zones == FRAMES_ZONES) {
            f->left += count;
            continue;
        }
        f->zone[f->zones++] = (frames_zone_t){.first = first, .runs = {.count = count}};
        f->total += count;
        words += RUNS_WORDS(count);
    }
    return words * sizeof(uint64_t);
}

uint64_t frames_place(const mem_map_t *map, uint64_t bytes)
{
    uint64_t at = 0, first, count, best = 0, most = frame_up(bytes) - 1;

    while (next_frames(map, MEM_FREE, &at, &first, &count)) {
        if (first == 0) {
            first++;
            count--;
        }
        if (count > most) {
            best = first;
            most = count;
        }
    }
    return best * FRAME_SIZE;
}

/* The zone that holds this frame, or NULL. */
static frames_zone_t *zone_of(frames_t *f, uint64_t frame)
{
    uint32_t low = 0, high = f->zones;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        frames_zone_t *z = &f->zone[middle];
        if (frame < z->first)
            high = middle;
        else if (frame - z->first >= z->runs.count)
            low = middle + 1;
        else
            return z;
    }
    return NULL;
}

static void reserve(frames_t *f, uint64_t frame, uint64_t n)
{
    frames_zone_t *z = zone_of(f, frame);
    if (z)
        runs_reserve(&z->runs, frame - z->first, n);
}

/* The loader's frames that lie in zones, counted or freed. */
static uint64_t loader_frames(frames_t *f, const mem_map_t *map, bool give)
{
    uint64_t at = 0, first, count, sum = 0;

    while (next_frames(map, MEM_SET(BOOT_LOADER), &at, &first, &count)) {
        uint64_t skip = first == 0 ? 1 : 0; /* frame 0 is never anybody's */
        frames_zone_t *z = zone_of(f, first);
        if (z && (!give || count == skip || runs_free(&z->runs, first + skip - z->first, count - skip)))
            sum += count - skip;
    }
    return sum;
}

/*
 * Where the search starts.  What lies low comes last: firmware is known to write to the first 64 KiB
 * long after it has said that they are free.
 */
static uint32_t largest_zone(const frames_t *f)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < f->zones; i++)
        if (f->zone[i].runs.count > f->zone[best].runs.count)
            best = i;
    return best;
}

void frames_init(frames_t *f, const mem_map_t *map, uint64_t *bitmaps, uint64_t place, uint64_t bytes)
{
    uint64_t at = 0, first, count;

    for (uint32_t i = 0; i < f->zones; i++) {
        runs_init(&f->zone[i].runs, bitmaps, f->zone[i].runs.count);
        bitmaps += RUNS_WORDS(f->zone[i].runs.count);
    }
    while (next_frames(map, MEM_FREE, &at, &first, &count)) {
        frames_zone_t *z = zone_of(f, first);
        if (z)
            runs_free(&z->runs, first - z->first, count);
    }
    f->next = largest_zone(f);
    reserve(f, 0, 1);
    reserve(f, place / FRAME_SIZE, frame_up(bytes));
    f->pending = loader_frames(f, map, false);
}

uint64_t frames_alloc(frames_t *f, uint64_t n, uint64_t align)
{
    for (uint32_t i = 0; i < f->zones; i++) {
        uint32_t at = (f->next + i) % f->zones;
        frames_zone_t *z = &f->zone[at];
        uint64_t found = runs_alloc(&z->runs, n, align, z->first);
        if (found != RUNS_NONE) {
            f->next = at;
            return (z->first + found) * FRAME_SIZE;
        }
    }
    return 0;
}

bool frames_free(frames_t *f, uint64_t phys, uint64_t n)
{
    frames_zone_t *z = zone_of(f, phys / FRAME_SIZE);
    return z && phys % FRAME_SIZE == 0 && phys != 0 && runs_free(&z->runs, phys / FRAME_SIZE - z->first, n);
}

uint64_t frames_reclaim(frames_t *f, const mem_map_t *map)
{
    if (f->pending == 0)
        return 0;
    f->pending = 0;
    return loader_frames(f, map, true);
}

void frames_stats(const frames_t *f, pmm_stats_t *s)
{
    *s = (pmm_stats_t){.total = f->total, .reclaimable = f->pending, .unmanaged = f->left, .zones = f->zones};
    for (uint32_t i = 0; i < f->zones; i++) {
        uint64_t largest = runs_largest(&f->zone[i].runs);
        s->free += f->zone[i].runs.free;
        if (largest > s->largest)
            s->largest = largest;
    }
    s->used = s->total - s->free;
}
