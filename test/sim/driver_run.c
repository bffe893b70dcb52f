/* SPDX-License-Identifier: MIT */
/* driver_run.c — one run of a case, and what is printed of one that fails. */
#include "driver.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

bool drv_run(const case_t *c, sim_result_t *r)
{
    const setup_t *s = &c->setup;
    sim_set_up(&(sim_setup_t){.strategy = (enum sim_strategy)s->strategy,
                              .pct_depth = s->depth,
                              .weak = s->memory != 0,
                              .races = s->races != 0,
                              .lanes = s->lanes,
                              .workers = s->workers,
                              .without = (uint32_t)(ALL_FAULTS & ~s->faults)});
    drv_changes_impose(s->changes);
    return sim_run(c->seed, c->scenario->fn, NULL, r);
}

/* ---- what is said -------------------------------------------------------------------------- */

static char *said;
static size_t said_size;

FILE *drv_open(void)
{
    FILE *to = opt.tap ? open_memstream(&said, &said_size) : NULL;
    return to != NULL ? to : stdout;
}

/* TAP takes everything that is no result as a comment. */
void drv_close(FILE *to)
{
    if (to != stdout) {
        fclose(to);
        for (char *line = said, *end; *line != '\0'; line = end) {
            end = line + strcspn(line, "\n");
            end += *end != '\0';
            printf("# %.*s", (int)(end - line), line);
        }
        free(said);
    }
    fflush(stdout);
}

void drv_say(const char *format, ...)
{
    va_list args;
    FILE *to = drv_open();
    va_start(args, format);
    vfprintf(to, format, args);
    va_end(args);
    drv_close(to);
}

void drv_print_failure(FILE *to, const case_t *c, const char *message)
{
    fprintf(to, "scenario %s, seed %llu: %s\n", c->scenario->name, (unsigned long long)c->seed, message);
    fprintf(to, "again: %s ", opt.program);
    drv_print_case(to, c);
    fprintf(to, "\n");
}

void drv_show(const case_t *c)
{
    sim_result_t r;
    FILE *to = drv_open();

    (void)drv_run(c, &r);
    if (r.failed) {
        sim_report(to, opt.events);
        drv_print_failure(to, c, r.message);
    } else {
        drv_print_failure(to, c, "failed in a range of seeds and passes alone: runs are not independent");
    }
    drv_close(to);
}
