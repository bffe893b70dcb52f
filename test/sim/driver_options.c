/* SPDX-License-Identifier: MIT */
/* driver_options.c — the command line.  A wrong word is named, with what could stand there. */
#include "driver.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MAX_JOBS 64u
#define MAX_SHOWN 1000u
#define FAULTS "spurious,delayed,early,jump,stall,pages,threads,stale"

options_t opt = {.first = 1,
                 .last = 200,
                 .jobs = 1,
                 .events = 40,
                 .setup = {.strategy = UNSET, .memory = UNSET, .races = UNSET, .faults = UNSET}};

static void usage(FILE *to)
{
    fprintf(to,
            "usage: %s list\n"
            "       %s [SCENARIO...] [OPTION...]\n"
            "which runs (without SCENARIO all, with the seeds 1..200):\n"
            "  --seeds A..B     the seeds from A to B\n"
            "  --seed N         this one; a failure is shown even where the scenario has to fail\n"
            "  --jobs J         in J processes (1)\n"
            "how (what is not said, the seed decides):\n"
            "  --strategy S     who goes on: uniform, pct or rr\n"
            "  --depth D        pct: changes of priority, 1 to 16\n"
            "  --memory M       what a load may see: sc or weak\n"
            "  --races R        whether a data race is a failure: on or off\n"
            "  --lanes W        lanes of a worker: 1, 2, 4, 8 or 32\n"
            "  --workers N      workers of a kernel: 1 to 8\n"
            "  --faults F       all, none, or a list of " FAULTS "\n"
            "  --switches L     go on only where L says, as --shrink prints it\n"
            "what comes of it:\n"
            "  --events N       the latest N events of a failure are shown (40)\n"
            "  --trace FILE     a trace of the failure, or of the one run of --seed\n"
            "  --shrink         a smaller case of the first failure\n"
            "  --tap            results for a test harness\n"
            "exit status: 0, 1 when a run failed or none did that had to, 2 for a wrong command line\n",
            opt.program, opt.program);
}

static _Noreturn void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void wrong(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", opt.program);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(2);
}

/* A number up to max that ends where the text, or before `end`, ends. */
static bool number(const char *text, const char *end, uint64_t max, uint64_t *value)
{
    char *stop;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long long v = strtoull(text, &stop, 0);
    *value = v;
    return errno == 0 && v <= max && stop == end;
}

static bool whole_number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    return number(text, text + strlen(text), max, value) && *value >= min;
}

static int word_of(const char *const *words, const char *text, size_t len)
{
    for (int i = 0; words[i] != NULL; i++)
        if (strlen(words[i]) == len && memcmp(words[i], text, len) == 0)
            return i;
    return UNSET;
}

/* ---- one function for each option: false when the value is none of its ---------------------- */

static bool take_seeds(const char *v)
{
    const char *dots = strstr(v, "..");
    opt.one = false;
    return dots != NULL && number(v, dots, UINT64_MAX - 1, &opt.first) &&
           whole_number(dots + 2, opt.first, UINT64_MAX - 1, &opt.last);
}

static bool take_seed(const char *v)
{
    opt.one = true;
    if (!whole_number(v, 0, UINT64_MAX - 1, &opt.first))
        return false;
    opt.last = opt.first;
    return true;
}

static bool take_jobs(const char *v)
{
    uint64_t n;
    bool ok = whole_number(v, 1, MAX_JOBS, &n);
    opt.jobs = ok ? (unsigned)n : 1;
    return ok;
}

static bool take_events(const char *v)
{
    uint64_t n;
    bool ok = whole_number(v, 0, MAX_SHOWN, &n);
    opt.events = ok ? (unsigned)n : 0;
    return ok;
}

static bool take_strategy(const char *v)
{
    return (opt.setup.strategy = word_of(drv_strategies, v, strlen(v))) != UNSET;
}

static bool take_depth(const char *v)
{
    uint64_t n;
    bool ok = whole_number(v, 1, 16, &n);
    opt.setup.depth = ok ? (uint32_t)n : 0;
    return ok;
}

static bool take_memory(const char *v)
{
    return (opt.setup.memory = word_of(drv_memories, v, strlen(v))) != UNSET;
}

static bool take_races(const char *v)
{
    return (opt.setup.races = word_of(drv_off_on, v, strlen(v))) != UNSET;
}

static bool take_lanes(const char *v)
{
    uint64_t n;
    bool ok = whole_number(v, 1, 32, &n) && (n <= 4 ? n != 3 : n == 8 || n == 32);
    opt.setup.lanes = ok ? (uint32_t)n : 0;
    return ok;
}

static bool take_workers(const char *v)
{
    uint64_t n;
    bool ok = whole_number(v, 1, 8, &n);
    opt.setup.workers = ok ? (uint32_t)n : 0;
    return ok;
}

static bool take_faults(const char *v)
{
    opt.setup.faults = 0;
    if (strcmp(v, "none") == 0)
        return true;
    if (strcmp(v, "all") == 0) {
        for (int i = 0; drv_faults[i] != NULL; i++)
            opt.setup.faults |= 1 << i;
        return true;
    }
    for (;; v++) {
        size_t len = strcspn(v, ",");
        int i = word_of(drv_faults, v, len);
        if (i == UNSET)
            return false;
        opt.setup.faults |= 1 << i;
        v += len;
        if (*v == '\0')
            return true;
    }
}

static bool take_switches(const char *v)
{
    static changes_t changes;
    opt.setup.changes = &changes;
    return drv_changes_read(&changes, v);
}

static bool take_trace(const char *v)
{
    opt.trace = v;
    return *v != '\0';
}

static const struct option {
    const char *name;
    bool (*take)(const char *value);
    const char *possible;
} with_value[] = {
    {"--seeds", take_seeds, "A..B, two numbers with A <= B"},
    {"--seed", take_seed, "a number"},
    {"--jobs", take_jobs, "a number from 1 to 64"},
    {"--events", take_events, "a number from 0 to 1000"},
    {"--strategy", take_strategy, "uniform, pct or rr"},
    {"--depth", take_depth, "a number from 1 to 16"},
    {"--memory", take_memory, "sc or weak"},
    {"--races", take_races, "on or off"},
    {"--lanes", take_lanes, "1, 2, 4, 8 or 32"},
    {"--workers", take_workers, "a number from 1 to 8"},
    {"--faults", take_faults, "all, none, or a list of " FAULTS ""},
    {"--switches", take_switches, "none, or FIBER.N:FIBER,... as --shrink prints them"},
    {"--trace", take_trace, "the name of a file"},
};

static const struct flag {
    const char *name;
    bool *set;
} flags[] = {{"--tap", &opt.tap}, {"--shrink", &opt.shrink}};

static bool take_flag(const char *word)
{
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (strcmp(flags[i].name, word) == 0)
            return *flags[i].set = true;
    return false;
}

static void take_option(const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof with_value / sizeof with_value[0]; i++) {
        const struct option *o = &with_value[i];
        if (strcmp(o->name, name) != 0)
            continue;
        if (value == NULL)
            wrong("%s: a value is missing (possible: %s)", name, o->possible);
        if (!o->take(value))
            wrong("%s %s: not possible (possible: %s)", name, value, o->possible);
        return;
    }
    wrong("no such option: %s (%s --help names them)", name, opt.program);
}

static const entry_t *find(const char *name)
{
    for (unsigned i = 0; i < n_entries; i++)
        if (strcmp(entries[i].name, name) == 0)
            return &entries[i];
    return NULL;
}

static void take_scenario(const char *name)
{
    const entry_t *e = find(name);
    if (e == NULL)
        wrong("no such scenario: %s (%s list names them)", name, opt.program);
    for (unsigned i = 0; i < opt.n_chosen; i++)
        if (opt.chosen[i] == e)
            wrong("scenario %s: given twice", name);
    opt.chosen[opt.n_chosen++] = e;
}

static _Noreturn void list(void)
{
    for (unsigned i = 0; i < n_entries; i++)
        printf("%-16s %s%s\n", entries[i].name, entries[i].text,
               entries[i].expect != NULL ? " (must fail)" : "");
    exit(0);
}

static void check_kernel_options(const entry_t *e)
{
    if (!e->kernel && opt.setup.lanes > 1)
        wrong("--lanes %u: scenario %s has no kernel (possible: 1)", opt.setup.lanes, e->name);
    if (!e->kernel && opt.setup.workers != 0)
        wrong("--workers %u: scenario %s has no kernel (possible: without)", opt.setup.workers, e->name);
}

/* named: scenarios were; else all are chosen, and options go to those that they concern. */
static void check_together(bool named)
{
    if (opt.trace != NULL && opt.n_chosen != 1)
        wrong("--trace %s: a trace is of one SCENARIO; %u are chosen", opt.trace, opt.n_chosen);
    if (opt.shrink && opt.n_chosen != 1)
        wrong("--shrink: a failure of one SCENARIO is shrunk; %u are chosen", opt.n_chosen);
    if (opt.setup.changes != NULL && (opt.n_chosen != 1 || !opt.one))
        wrong("--switches: belongs to one SCENARIO with --seed N");
    for (unsigned i = 0; named && i < opt.n_chosen; i++)
        check_kernel_options(opt.chosen[i]);
}

void drv_options(int argc, char **argv)
{
    opt.program = argv[0];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            usage(stdout);
            exit(0);
        }
        if (strcmp(argv[i], "list") == 0) {
            if (argc > 2)
                wrong("list: stands alone, without %s", argv[i == 1 ? 2 : 1]);
            list();
        }
        if (argv[i][0] != '-')
            take_scenario(argv[i]);
        else if (!take_flag(argv[i])) {
            take_option(argv[i], argv[i + 1]);
            i++;
        }
    }
    bool named = opt.n_chosen != 0;
    for (unsigned i = 0; !named && i < n_entries; i++)
        opt.chosen[opt.n_chosen++] = &entries[i];
    check_together(named);
}
