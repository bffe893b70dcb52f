/* SPDX-License-Identifier: MIT */
#include "crew.h"

_Static_assert(sizeof(gmk_crew_t) <= 16384, "it fits into the scratch of a worker");

#define WIDE 16u /* bytes a lane copies at a time */

typedef struct gmk_wide {
    _Alignas(WIDE) uint64_t word[2];
} __attribute__((__may_alias__)) gmk_wide_t;

/* Neighbouring lanes copy neighbouring pieces, so that a bus carries whole lines. */
static void copy_share(const gmk_crew_t *c, uint32_t lane, uint32_t lanes)
{
    uint64_t whole = (((uintptr_t)c->to | (uintptr_t)c->from) & (WIDE - 1)) == 0 ? c->bytes / WIDE : 0;
    gmk_wide_t *to = (gmk_wide_t *)(void *)c->to;
    const gmk_wide_t *from = (const gmk_wide_t *)(const void *)c->from;
    for (uint64_t i = lane; i < whole; i += lanes)
        to[i] = from[i];
    for (uint64_t i = whole * WIDE + lane; i < c->bytes; i += lanes)
        c->to[i] = c->from[i];
}

static void look_share(gmk_crew_t *c, uint32_t lane, uint32_t lanes)
{
    for (uint32_t i = lane; i < c->n; i += lanes)
        c->ready[i] = gmk_link_look(c->link, i) == GMK_LINK_READY;
    gmk_fence(GMK_ACQ, GMK_SYSTEM); /* each lane its own: the meeting then hands on what the commits carry */
}

/* All but the commit words, which are their producer's. */
static void fetch_share(gmk_crew_t *c, uint32_t lane, uint32_t lanes)
{
    for (uint32_t i = lane; i < 4 * c->n; i += lanes) {
        const gmk_region_slot_t *from = gmk_link_slot(c->link, i / 4);
        gmk_region_slot_t *to = &c->slots[i / 4];
        uint32_t part = i % 4;
        if (part < 3)
            ((gmk_wide_t *)(void *)to->body)[part] = ((const gmk_wide_t *)(const void *)from->body)[part];
        else
            to->stamp = from->stamp;
    }
}

static void do_job(void *arg)
{
    gmk_crew_t *c = arg;
    if (c->team.job == GMK_CREW_COPY)
        copy_share(c, gmk_hal_lane(), gmk_hal_lanes());
    else if (c->team.job == GMK_CREW_FETCH)
        fetch_share(c, gmk_hal_lane(), gmk_hal_lanes());
    else
        look_share(c, gmk_hal_lane(), gmk_hal_lanes());
}

void gmk_crew_serve(gmk_crew_t *c) { gmk_team_serve(&c->team, do_job, c); }

void gmk_crew_dismiss(gmk_crew_t *c) { gmk_team_dismiss(&c->team); }

static void post(gmk_crew_t *c, enum gmk_crew_job job) { gmk_team_post(&c->team, job, do_job, c); }

void gmk_crew_copy(gmk_crew_t *c, void *to, const void *from, uint64_t bytes)
{
    if (gmk_hal_lanes() == 1) {
        gmk_hal_memcpy(to, from, bytes);
        return;
    }
    c->to = to;
    c->from = from;
    c->bytes = bytes;
    post(c, GMK_CREW_COPY);
}

uint32_t gmk_crew_ready(gmk_crew_t *c, gmk_link_in_t *l, const gmk_region_slot_t **slots)
{
    uint32_t n = 0;
    if (gmk_hal_lanes() == 1) {
        /* What lies in one piece: the rest comes with the next look. */
        uint32_t at = (uint32_t)(l->next & l->mask), straight = l->mask + 1 - at;
        *slots = &l->slots[at];
        return gmk_link_ready(l, straight < GMK_CREW_SLOTS ? straight : GMK_CREW_SLOTS);
    }
    *slots = c->slots;
    if (gmk_link_ready(l, 1) == 0) /* mostly there is nothing */
        return 0;
    c->link = l;
    c->n = GMK_CREW_SLOTS;
    post(c, GMK_CREW_LOOK);
    while (n < GMK_CREW_SLOTS && c->ready[n] != 0)
        n++;
    l->broken |= n < GMK_CREW_SLOTS && gmk_link_look(l, n) == GMK_LINK_BROKEN;
    c->n = n;
    post(c, GMK_CREW_FETCH);
    return n;
}
