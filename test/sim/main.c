/* SPDX-License-Identifier: MIT */
/*
 * main.c — ggmk-sim: runs scenarios over ranges of seeds.  See driver.h for its parts.
 *
 * The first seed that fails ends its scenario; what is printed then ends with the command that
 * repeats it.
 */
#include "driver.h"
#include "scenarios.h"

#include <string.h>

#define ENTRY(name, expect, text) {#name, scn_##name, expect, text, false},
#define KERNEL_ENTRY(name, expect, text) {#name, scn_##name, expect, text, true},
const entry_t entries[] = {SIM_SCENARIOS(ENTRY) SIM_KERNEL_SCENARIOS(KERNEL_ENTRY)};
const unsigned n_entries = sizeof entries / sizeof entries[0];
_Static_assert(sizeof entries / sizeof entries[0] <= MAX_ENTRIES, "options_t has room for all");

/* All that was asked for about a case that fails. */
static void present(const case_t *c)
{
    sim_result_t r;
    if (opt.shrink)
        drv_shrink(c);
    else
        drv_show(c);
    if (opt.trace != NULL) {
        drv_trace(c, opt.trace, &r);
        drv_say("trace: %s\n", opt.trace);
    }
}

/* --seed: in this process, where a debugger can look. */
static tally_t one_seed(const entry_t *e)
{
    case_t c = drv_case(e, opt.first);
    sim_result_t r;
    if (opt.trace != NULL)
        drv_trace(&c, opt.trace, &r);
    else
        (void)drv_run(&c, &r);
    if (r.failed)
        opt.shrink ? drv_shrink(&c) : drv_show(&c);
    return (tally_t){.seeds = 1, .steps = r.steps, .failed = r.failed, .seed = opt.first, .hash = r.hash};
}

static tally_t range(const entry_t *e)
{
    tally_t t = drv_range(e);
    if (!t.failed && opt.trace != NULL)
        drv_say("%s: not written, because no seed failed\n", opt.trace);
    if (!t.failed)
        return t;
    case_t c = drv_case(e, t.seed);
    if (t.how[0] == '\0') {
        present(&c);
    } else {
        FILE *to = drv_open();
        drv_print_failure(to, &c, t.how);
        drv_close(to);
    }
    return t;
}

static bool run_scenario(const entry_t *e, unsigned number)
{
    tally_t t = opt.one ? one_seed(e) : range(e);
    bool missing = e->expect != NULL && !t.failed && t.failures == 0 && !opt.one;
    bool ok = !t.failed && !missing;

    if (missing)
        drv_say("%s: no seed failed, and some had to (\"%s\")\n", e->name, e->expect);
    if (opt.tap)
        printf("%sok %u - %s: %s\n", ok ? "" : "not ", number, e->name, e->text);
    if (opt.one)
        drv_say("%s: seed %llu, %llu points, schedule %016llx: %s\n", e->name, (unsigned long long)opt.first,
                (unsigned long long)t.steps, (unsigned long long)t.hash, t.failed ? "failed" : "passed");
    else
        drv_say("%s: %llu seeds, %llu points, %.1f million points per CPU second%s\n", e->name,
                (unsigned long long)t.seeds, (unsigned long long)t.steps,
                t.seconds > 0 ? (double)t.steps / t.seconds / 1e6 : 0.0, t.failed ? ": failed" : "");
    return ok;
}

int main(int argc, char **argv)
{
    unsigned bad = 0;

    drv_options(argc, argv);
    if (opt.tap)
        printf("1..%u\n", opt.n_chosen);
    for (unsigned i = 0; i < opt.n_chosen; i++)
        bad += !run_scenario(opt.chosen[i], i + 1);
    return bad == 0 ? 0 : 1;
}
