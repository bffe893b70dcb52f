/* SPDX-License-Identifier: MIT */
/*
 * crew.h — the other lanes of the pump's worker, which lend it a hand with bytes.
 *
 * The pump is the work of one lane.  Where its worker has more, the others are its team (team.h): they look at many
 * slots of a ring at once, each of which is a journey across the bus, and copy payloads.
 *
 * gmk_crew_serve: ALL lanes but the first, until it dismisses them.  The others: the first lane.
 */
#ifndef GMK_CREW_H
#define GMK_CREW_H

#include "link.h"
#include "team.h"

#define GMK_CREW_SLOTS 64u /* looked at, or copied, in one job */

enum gmk_crew_job { GMK_CREW_COPY = GMK_TEAM_DISMISSED + 1, GMK_CREW_LOOK, GMK_CREW_FETCH };

/* Lies where gmk_hal_scratch puts it. */
typedef struct gmk_crew {
    gmk_team_t team;
    uint64_t bytes;
    unsigned char *to;
    const unsigned char *from;
    const gmk_link_in_t *link;
    uint32_t n;
    uint8_t ready[GMK_CREW_SLOTS];
    gmk_region_slot_t slots[GMK_CREW_SLOTS];
} gmk_crew_t;

void gmk_crew_serve(gmk_crew_t *c);
void gmk_crew_dismiss(gmk_crew_t *c);

/* memcpy of whatever does not change meanwhile. */
void gmk_crew_copy(gmk_crew_t *c, void *to, const void *from, uint64_t bytes);

/*
 * As gmk_link_ready, for at most GMK_CREW_SLOTS; *slots are the bodies, private copies where there is a crew.
 * n slots are to be given back by gmk_link_took.
 */
uint32_t gmk_crew_ready(gmk_crew_t *c, gmk_link_in_t *l, const gmk_region_slot_t **slots);

#endif
