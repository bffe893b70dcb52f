/* SPDX-License-Identifier: MIT */
/*
 * driver_shrink.c — a smaller case of the same failure.
 *
 * Two failures are the same when the same invariant is violated: the same kind, and the same message
 * but for numbers in it.  Three things are made smaller, one after the other: the setup (fewer lanes,
 * workers and faults, the simpler modes), for each with some seeds; the run, by taking the shortest of
 * many seeds; and its schedule, by recording the changes of fibers and leaving out all that the
 * failure does not need (delta debugging: Zeller and Hildebrandt 2002).
 */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

#define SEEDS_FOR_SETUP 64u
#define SEEDS_FOR_LENGTH 256u
#define POINTS_IN_ALL 100000000u /* bound of the search */

static struct {
    case_t best;
    sim_result_t first, result; /* of the failure to keep, and of the best case */
    changes_t changes;          /* what best.setup.changes is in the end */
    uint64_t runs, points;
} sh;

static bool is_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == 'x'; }

/* Numbers, decimal or hexadecimal, may differ; the line in a source may not. */
static bool same_message(const char *a, const char *b)
{
    bool in_place = false;
    while (*a != '\0' && *b != '\0') {
        bool digits = *a >= '0' && *a <= '9' && *b >= '0' && *b <= '9';
        if (!digits || in_place) {
            if (*a != *b)
                return false;
            in_place = *a == ':' || (in_place && digits);
            a++, b++;
            continue;
        }
        while (is_digit(*a))
            a++;
        while (is_digit(*b))
            b++;
    }
    return *a == *b;
}

static bool fails_alike(const case_t *c, sim_result_t *r)
{
    if (sh.points >= POINTS_IN_ALL)
        return false;
    bool passed = drv_run(c, r);
    sh.runs++;
    sh.points += r->steps;
    return !passed && strcmp(r->kind, sh.first.kind) == 0 && same_message(r->message, sh.first.message);
}

/* Takes a case when it fails alike, with its own seed or, without changes, another. */
static bool take(case_t c, unsigned seeds)
{
    sim_result_t r;
    uint64_t own = c.seed;
    if (c.setup.changes != NULL)
        seeds = 0;
    for (uint64_t i = 0; i <= seeds; i++) {
        c.seed = i == 0 ? own : i;
        if (fails_alike(&c, &r)) {
            sh.best = c;
            sh.result = r;
            return true;
        }
    }
    return false;
}

/* ---- the setup ----------------------------------------------------------------------------- */

static void fewer_lanes(void)
{
    for (uint32_t n = 1; n < sh.best.setup.lanes; n *= 2) {
        case_t c = sh.best;
        c.setup.lanes = n == 16 ? 32 : n;
        if (take(c, SEEDS_FOR_SETUP))
            return;
    }
}

static void fewer_workers(void)
{
    for (uint32_t n = 1; n < sh.best.setup.workers; n++) {
        case_t c = sh.best;
        c.setup.workers = n;
        if (take(c, SEEDS_FOR_SETUP))
            return;
    }
}

static void fewer_faults(void)
{
    case_t c = sh.best;
    c.setup.faults = 0;
    if (c.setup.faults == sh.best.setup.faults || take(c, SEEDS_FOR_SETUP))
        return;
    for (int i = 0; drv_faults[i] != NULL; i++) {
        c = sh.best;
        c.setup.faults &= ~(1 << i);
        if (c.setup.faults != sh.best.setup.faults)
            (void)take(c, SEEDS_FOR_SETUP);
    }
}

static void simpler_modes(void)
{
    case_t c = sh.best;
    c.setup.races = 0;
    if (sh.best.setup.races != 0)
        (void)take(c, 0);
    c = sh.best;
    c.setup.memory = 0;
    if (sh.best.setup.memory != 0)
        (void)take(c, SEEDS_FOR_SETUP);
    c = sh.best;
    c.setup.strategy = 0;
    if (c.setup.changes == NULL && sh.best.setup.strategy != 0)
        (void)take(c, SEEDS_FOR_SETUP);
}

static void smaller_setup(void)
{
    simpler_modes();
    fewer_lanes();
    fewer_workers();
    fewer_faults();
}

static void shorter_run(void)
{
    sim_result_t r;
    case_t c = sh.best;
    for (c.seed = 1; c.seed <= SEEDS_FOR_LENGTH; c.seed++)
        if (fails_alike(&c, &r) && r.steps < sh.result.steps) {
            sh.best = c;
            sh.result = r;
        }
}

/* ---- the changes --------------------------------------------------------------------------- */

static void copy(changes_t *to, const changes_t *from)
{
    if (to->room < from->n) {
        to->room = from->n;
        to->list = realloc(to->list, to->room * sizeof *to->list);
        if (to->list == NULL)
            abort();
    }
    to->n = from->n;
    if (from->n > 0)
        memcpy(to->list, from->list, from->n * sizeof *to->list);
}

static bool take_changes(const changes_t *some)
{
    case_t c = sh.best;
    sim_result_t r;
    c.setup.changes = some;
    if (!fails_alike(&c, &r))
        return false;
    copy(&sh.changes, some);
    sh.best.setup.changes = &sh.changes;
    sh.result = r;
    return true;
}

/* The shortest beginning that is enough, looked for in growing steps. */
static void shorter_beginning(void)
{
    changes_t some = sh.changes;
    for (some.n = 0; some.n < sh.changes.n; some.n = some.n == 0 ? 1 : some.n * 2)
        if (take_changes(&some))
            return;
}

/* Leaves out all pieces of a size that can be missed; true when one could. */
static bool without_pieces(size_t size)
{
    static changes_t some;
    bool any = false;
    for (size_t end = sh.changes.n; end > 0;) {
        size_t begin = end > size ? end - size : 0;
        copy(&some, &sh.changes);
        memmove(some.list + begin, some.list + end, (some.n - end) * sizeof *some.list);
        some.n -= end - begin;
        any |= take_changes(&some);
        end = begin < sh.changes.n ? begin : sh.changes.n;
    }
    return any;
}

static bool fewer_changes(void)
{
    changes_t all = {0};
    case_t c = sh.best;
    sim_result_t r;
    drv_changes_record(&all);
    bool same = fails_alike(&c, &r);
    drv_changes_record(NULL);
    same = same && take_changes(&all);
    free(all.list);
    if (!same)
        return false;
    shorter_beginning();
    for (size_t size = (sh.changes.n + 1) / 2; size > 0; size /= 2)
        while (without_pieces(size) && size == 1)
            ;
    return true;
}

void drv_shrink(const case_t *c)
{
    sh.best = *c;
    (void)drv_run(c, &sh.first);
    sh.result = sh.first;
    if (!sh.first.failed)
        return;
    if (c->setup.changes == NULL) {
        smaller_setup();
        shorter_run();
    }
    bool recorded = fewer_changes();
    smaller_setup();
    FILE *to = drv_open();
    fprintf(to, "shrunk in %llu runs: %llu points became %llu, %llu changes of fibers %llu\n",
            (unsigned long long)sh.runs, (unsigned long long)sh.first.steps,
            (unsigned long long)sh.result.steps, (unsigned long long)sh.first.switches,
            (unsigned long long)(recorded ? sh.changes.n : sh.result.switches));
    drv_close(to);
    drv_show(&sh.best);
}
