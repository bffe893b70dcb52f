/* SPDX-License-Identifier: MIT */
/*
 * team.h — the lanes of a worker that lend the first one a hand.
 *
 * Most of what a worker decides is the work of one lane; the others wait for jobs: to look at many slots at once, to
 * copy them.  A job is a number in memory of the team, written between two meetings, so that all decide alike.  With
 * one lane a job is an ordinary call, and nothing meets.
 *
 * The first lane posts jobs and then dismisses the others, which serve until then; both with the same do_job, which
 * each lane calls with the team's memory as `arg` and knows the job from there.
 */
#ifndef GMK_TEAM_H
#define GMK_TEAM_H

#include <ggmk/hal.h>

#define GMK_TEAM_DISMISSED 0u

typedef struct gmk_team {
    uint32_t job;
} gmk_team_t;

/* ALL.  The one place where a team meets. */
void gmk_team_meet(void);

/* The first lane.  What do_job needs lies in arg. */
GMK_HAL_INLINE void gmk_team_post(gmk_team_t *t, uint32_t job, void (*do_job)(void *arg), void *arg)
{
    t->job = job;
    if (gmk_hal_lanes() == 1) {
        do_job(arg);
        return;
    }
    gmk_team_meet();
    do_job(arg);
    gmk_team_meet();
}

/* The others. */
GMK_HAL_INLINE void gmk_team_serve(const gmk_team_t *t, void (*do_job)(void *arg), void *arg)
{
    for (;;) {
        gmk_team_meet();
        if (t->job == GMK_TEAM_DISMISSED)
            return;
        do_job(arg);
        gmk_team_meet();
    }
}

/* The first lane. */
static inline void gmk_team_dismiss(gmk_team_t *t)
{
    if (gmk_hal_lanes() == 1)
        return;
    t->job = GMK_TEAM_DISMISSED;
    gmk_team_meet();
}

#endif
