/* SPDX-License-Identifier: MIT */
/*
 * main.c — ggmk-sim: runs scenarios over ranges of seeds.
 *
 * The first seed of a range runs twice and must do the same both times.  The first seed that
 * fails ends its scenario; what it prints ends with the command that repeats it.
 */
#include "scenarios.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct entry {
    const char *name;
    void (*fn)(void *);
    const char *expect;
    const char *text;
    bool kernel;
};

/* So many seeds of a range make one for a scenario around a kernel. */
#define KERNEL_SHARE 8u

#define ENTRY(name, expect, text) {#name, scn_##name, expect, text, false},
#define KERNEL_ENTRY(name, expect, text) {#name, scn_##name, expect, text, true},
static const struct entry table[] = {SIM_SCENARIOS(ENTRY) SIM_KERNEL_SCENARIOS(KERNEL_ENTRY)};
#define N_SCENARIOS (sizeof table / sizeof table[0])

static struct {
    const char *program;
    uint64_t first, last;
    unsigned events;
    bool tap, one; /* one: a single seed was asked for, so a failure is shown even if expected */
} cfg = {.first = 1, .last = 200, .events = 40};

struct tally {
    uint64_t steps, failures, seeds;
    uint64_t hash; /* of the latest */
    double seconds;
};

static double seconds_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* TAP takes everything that is no result as a comment. */
static void print_as_comment(FILE *from)
{
    int c;
    bool line_start = true;
    rewind(from);
    while ((c = fgetc(from)) != EOF) {
        if (line_start)
            fputs("# ", stdout);
        fputc(c, stdout);
        line_start = c == '\n';
    }
}

static void show_failure(const struct entry *s, uint64_t seed, const sim_result_t *r)
{
    FILE *to = cfg.tap ? tmpfile() : stdout;
    if (to == NULL)
        to = stderr;
    fprintf(to, "scenario %s, seed %llu: %s\n", s->name, (unsigned long long)seed, r->message);
    sim_report(to, cfg.events);
    fprintf(to, "callers: addr2line -fpie %s ADDRESS\n", cfg.program);
    fprintf(to, "again: %s %s --seed %llu\n", cfg.program, s->name, (unsigned long long)seed);
    if (cfg.tap && to != stderr) {
        print_as_comment(to);
        fclose(to);
    }
}

static bool as_expected(const struct entry *s, const sim_result_t *r)
{
    return s->expect != NULL && strstr(r->message, s->expect) != NULL && !cfg.one;
}

static bool replays(const struct entry *s, uint64_t seed, const sim_result_t *r)
{
    sim_result_t again;
    (void)sim_run(seed, s->fn, NULL, &again);
    if (again.hash == r->hash && again.steps == r->steps && again.failed == r->failed &&
        again.time_ns == r->time_ns)
        return true;
    printf("# scenario %s, seed %llu: a second run was another one\n", s->name, (unsigned long long)seed);
    return false;
}

static bool run_seeds(const struct entry *s, struct tally *t)
{
    uint64_t last = s->kernel ? cfg.first + (cfg.last - cfg.first) / KERNEL_SHARE : cfg.last;
    for (uint64_t seed = cfg.first; seed <= last; seed++) {
        sim_result_t r;
        bool passed = sim_run(seed, s->fn, NULL, &r);
        t->seeds++;
        t->steps += r.steps;
        t->hash = r.hash;
        if (!passed) {
            t->failures++;
            if (!as_expected(s, &r)) {
                show_failure(s, seed, &r);
                return false;
            }
        }
        if (seed == cfg.first && !replays(s, seed, &r))
            return false;
    }
    return s->expect == NULL || cfg.one || t->failures > 0;
}

static bool run_scenario(const struct entry *s, unsigned number)
{
    struct tally t = {.seconds = seconds_now()};
    bool ok = run_seeds(s, &t);

    t.seconds = seconds_now() - t.seconds;
    if (!ok && s->expect != NULL && t.failures == 0)
        printf("# %s: no seed failed, and some had to (\"%s\")\n", s->name, s->expect);
    if (cfg.tap)
        printf("%sok %u - %s: %s\n", ok ? "" : "not ", number, s->name, s->text);
    printf("%s%s: %llu seeds, %llu points, %.1f million points a second\n", cfg.tap ? "# " : "", s->name,
           (unsigned long long)t.seeds, (unsigned long long)t.steps,
           t.seconds > 0 ? (double)t.steps / t.seconds / 1e6 : 0.0);
    if (cfg.one)
        printf("%sschedule %016llx\n", cfg.tap ? "# " : "", (unsigned long long)t.hash);
    fflush(stdout);
    return ok;
}

static const struct entry *find(const char *name)
{
    for (size_t i = 0; i < N_SCENARIOS; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

static int usage(const char *why, const char *what)
{
    fprintf(stderr, "%s: %s%s\n", cfg.program, why, what);
    fprintf(stderr,
            "usage: %s list\n"
            "       %s [SCENARIO...] [--seeds A..B | --seed N] [--events N] [--tap]\n",
            cfg.program, cfg.program);
    return 2;
}

static bool number_of(const char *text, const char *end, uint64_t *value)
{
    char *stop;
    if (text == NULL || *text < '0' || *text > '9')
        return false;
    *value = strtoull(text, &stop, 0);
    return strcmp(stop, end) == 0 || (end[0] == '.' && strncmp(stop, "..", 2) == 0);
}

static bool take_option(const char *option, const char *value)
{
    uint64_t n;
    const char *dots = value != NULL ? strstr(value, "..") : NULL;

    if (strcmp(option, "--seeds") == 0)
        return dots != NULL && number_of(value, ".", &cfg.first) && number_of(dots + 2, "", &cfg.last) &&
               cfg.first <= cfg.last && cfg.last < UINT64_MAX;
    if (!number_of(value, "", &n) || n == UINT64_MAX)
        return false;
    if (strcmp(option, "--events") == 0) {
        cfg.events = n > 1000 ? 1000 : (unsigned)n;
        return true;
    }
    cfg.first = cfg.last = n;
    cfg.one = true;
    return strcmp(option, "--seed") == 0;
}

static int list(void)
{
    for (size_t i = 0; i < N_SCENARIOS; i++)
        printf("%-16s %s%s\n", table[i].name, table[i].text, table[i].expect != NULL ? " (must fail)" : "");
    return 0;
}

int main(int argc, char **argv)
{
    const struct entry *chosen[64];
    unsigned n = 0, bad = 0;

    cfg.program = argv[0];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "list") == 0)
            return list();
        if (strcmp(argv[i], "--tap") == 0) {
            cfg.tap = true;
        } else if (argv[i][0] == '-') {
            if (!take_option(argv[i], i + 1 < argc ? argv[i + 1] : NULL))
                return usage("bad option or value: ", argv[i]);
            i++;
        } else if (n == 64 || (chosen[n++] = find(argv[i])) == NULL) {
            return usage("no such scenario: ", argv[i]);
        }
    }
    for (size_t i = 0; n == 0 && i < N_SCENARIOS; i++)
        chosen[i] = &table[i];
    n = n == 0 ? (unsigned)N_SCENARIOS : n;
    if (cfg.tap)
        printf("1..%u\n", n);
    for (unsigned i = 0; i < n; i++)
        bad += !run_scenario(chosen[i], i + 1);
    return bad == 0 ? 0 : 1;
}
