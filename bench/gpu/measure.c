/* SPDX-License-Identifier: MIT */
/*
 * measure.c — a GPU's kernel as the peer of this process's: tests it, measures it, keeps it busy for a while.
 *
 * `measure check` speaks TAP; `measure` prints a table and, with --json, a JSON object a line; `measure residence`
 * sends messages and tasks for so long and says what became of them.  It loads no driver: that does the process
 * ggmk-gpuhost, which lies beside this program, like the image gmk_bench.ptx.
 */
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <unistd.h>

#include <ggmk/gpu.h>

#include "../bench_sched.h"
#include "near.h"
#include "table.h"

enum { ROUNDS_MAX = 99, TRIPS = 5000, IDLE = 500, LOTS = 5, LINKS_MIN = 10, EXIT_NO_DEVICE = 3 };

static struct {
    uint32_t device, workers, rounds, seconds;
    uint64_t tasks, messages, payload_bytes; /* of one round */
    const char *json;
    char folder[PATH_MAX];
} opt = {
    .rounds = 7, .seconds = 300, .tasks = 1000000, .messages = 500000, .payload_bytes = (uint64_t)256 << 20};

static gmk_kernel_t kernel;
static gmk_module_t *gpu;

/* ---- up and down --------------------------------------------------------------------------- */

static const char *beside(const char *name)
{
    static char path[2][PATH_MAX + 32];
    static uint32_t turn;
    char *p = path[turn++ % 2];

    snprintf(p, sizeof path[0], "%s/%s", opt.folder, name);
    return p;
}

/*
 * A ring of the ready queue holds all tasks that wait at a time.  A GPU's kernel has one for each type and priority: the
 * fewer types, the less memory.
 */
#define FAR_ARGS "types=48 rq_slots=65536"

/* batch: messages a publication, of both ends; 0 = default. */
static int up(uint32_t batch)
{
    const gmk_gpu_cfg_t cfg = {.device = opt.device,
                               .host = beside("ggmk-gpuhost"),
                               .image = beside("gmk_bench.ptx"),
                               .args = batch == 1 ? FAR_ARGS " batch=1" : FAR_ARGS,
                               .arena_size = (uint64_t)2 << 30,
                               .workers = opt.workers,
                               .start_timeout_ns = 60000000000,
                               .bridge = {.batch = batch}};

    gpu = gmk_gpu_drv(&cfg);
    if (gpu == NULL)
        return GMK_ALLOC_FAIL;
    gmk_module_t *mods[] = {&bench_near, gpu};
    const gmk_boot_cfg_t boot = {.arena_size = (uint64_t)256 << 20, .n_workers = 1, .task_max = 65536};
    int rc = gmk_boot(&kernel, &boot, mods, 2);
    if (rc == GMK_OK)
        near_open(&kernel);
    return rc;
}

static gmk_gpu_status_t status(void)
{
    gmk_gpu_status_t s;

    bench_check(gmk_gpu_status(gpu, &s), "gpu status");
    return s;
}

static void down(void)
{
    bench_check(gmk_halt(&kernel), "halt");
    gmk_gpu_free(gpu);
}

/* ---- the table ----------------------------------------------------------------------------- */

static const char *const kinds[] = {
    [GMK_GPU_AUTO] = "none", [GMK_GPU_CUDA] = "cuda", [GMK_GPU_SOFT] = "soft"};

static double median_of(double (*measure)(void))
{
    double v[ROUNDS_MAX];

    (void)measure(); /* warms up */
    for (uint32_t i = 0; i < opt.rounds; i++)
        v[i] = measure();
    return bench_percentile(v, opt.rounds, 50);
}

static double fan(void) { return near_fan(opt.tasks) / (double)opt.tasks; }

/* Tasks that wait while no worker is free; a few such lots in a round, because one takes microseconds. */
static double filled(void)
{
    uint32_t n = opt.tasks < NEAR_WAITING ? (uint32_t)opt.tasks : NEAR_WAITING;
    double ns = 0;

    for (uint32_t i = 0; i < LOTS; i++)
        ns += near_chains(n, 1);
    return ns / ((double)n * LOTS);
}

static double chain(void)
{
    uint32_t links = opt.tasks / LINKS_MIN < NEAR_WAITING / 2 ? LINKS_MIN
                                                              : (uint32_t)(opt.tasks / (NEAR_WAITING / 2));
    uint32_t n = (uint32_t)(opt.tasks / links);

    return near_chains(n, links) / ((double)n * links);
}

static double to_far(void) { return near_messages(opt.messages, 0, 0) / (double)opt.messages; }
static double to_near(void) { return near_messages(0, opt.messages, 0) / (double)opt.messages; }
static double both_ways(void) { return near_messages(opt.messages, opt.messages, 0) / (double)opt.messages; }

static uint32_t payload;
static uint64_t payloads(void) { return opt.payload_bytes / payload; }
static double payload_to_far(void)
{
    return near_messages(payloads(), 0, payload) / (double)(payloads() * payload);
}
static double payload_to_near(void)
{
    return near_messages(0, payloads(), payload) / (double)(payloads() * payload);
}

static void percentiles(const char *test, void (*measure)(double *ns, uint32_t n), uint32_t n)
{
    double *ns = calloc(n, sizeof *ns);
    char name[64];

    if (ns == NULL)
        exit(1);
    measure(ns, n / 10);
    measure(ns, n);
    for (uint32_t p = 50; p <= 99; p += 49) {
        snprintf(name, sizeof name, "%s p%u", test, p);
        table_row(name, bench_percentile(ns, n, p) / 1e3, "us", "");
    }
    free(ns);
}

static void measure_payloads(void)
{
    static const struct {
        uint32_t bytes;
        const char *name;
    } sizes[] = {{4096, "4 KiB"}, {65536, "64 KiB"}, {1048576, "1 MiB"}};
    char name[64];

    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        payload = sizes[i].bytes;
        snprintf(name, sizeof name, "payloads of %s to the GPU", sizes[i].name);
        table_row(name, 1 / median_of(payload_to_far), "GB/s", "");
        snprintf(name, sizeof name, "payloads of %s from the GPU", sizes[i].name);
        table_row(name, 1 / median_of(payload_to_near), "GB/s", "");
    }
}

static void measure_batched(void)
{
    table_row("workers", near_workers(), "", "");
    table_row("clock step", near_clock_step(), "ns", "");
    table_rate("empty tasks, queued before", median_of(filled));
    table_rate("empty tasks, spawned by one", median_of(fan));
    table_rate("empty tasks, each by the last", median_of(chain));
    percentiles("emit to handler, idle", near_idle, IDLE);
    percentiles("round trip through both", near_trips, TRIPS);
    gmk_bridge_stats_t before = status().bridge;
    table_rate("messages to the GPU", median_of(to_far));
    table_rate("messages from the GPU", median_of(to_near));
    table_rate("messages, both ways, each way", median_of(both_ways));
    gmk_bridge_stats_t after = status().bridge;
    table_row("messages a publication",
              (double)(after.sent - before.sent) / (double)(after.publications - before.publications), "",
              "");
    measure_payloads();
}

static int no_device(int rc)
{
    fprintf(stderr, "measure: there is no kernel to measure: %s; the lines above say why\n",
            gmk_strerror(rc));
    return EXIT_NO_DEVICE;
}

static int run_measure(void)
{
    int rc = up(0);

    if (rc != GMK_OK)
        return no_device(rc);
    gmk_gpu_status_t s = status();
    printf("device: %s (%s)\n", s.device_name, kinds[s.device]);
    if (table_json != NULL)
        fprintf(table_json,
                "{\"bench\": \"gpu\", \"test\": \"device\", \"kind\": \"%s\", \"name\": \"%s\"}\n",
                kinds[s.device], s.device_name);
    measure_batched();
    down();
    rc = up(1);
    if (rc != GMK_OK)
        return no_device(rc);
    table_rate("messages to the GPU, one a publication", median_of(to_far));
    table_rate("messages from the GPU, one a publication", median_of(to_near));
    down();
    return 0;
}

/* ---- tests: TAP ---------------------------------------------------------------------------- */

static uint32_t tests, failures;

__attribute__((format(printf, 2, 3))) static void ok(bool good, const char *format, ...)
{
    va_list args;

    failures += !good;
    printf("%sok %u - ", good ? "" : "not ", ++tests);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

static bool conserved(void)
{
    gmk_stats_t s;

    return gmk_drain(&kernel, (uint64_t)10000000000) == GMK_OK && gmk_stats(&kernel, &s) == GMK_OK &&
           s.failed == 0 && s.dropped == 0 && s.accepted == s.completed;
}

/* Each ends the program when something is lost, doubled, out of order or damaged. */
static void check_traffic(void)
{
    near_messages(opt.messages, 0, 0);
    ok(true, "%llu messages to the GPU, each once and in order", (unsigned long long)opt.messages);
    near_messages(0, opt.messages, 0);
    ok(true, "%llu messages from the GPU, each once and in order", (unsigned long long)opt.messages);
    near_messages(opt.messages, opt.messages, 0);
    ok(true, "as many both ways at once");
    near_messages(1000, 1000, 65536);
    ok(true, "1000 payloads of 64 KiB both ways, whole");
    near_messages(20, 20, 1 << 20);
    ok(true, "20 payloads of 1 MiB both ways, whole");
    near_fan(opt.tasks);
    ok(true, "%llu tasks spawned by one handler, each ran once", (unsigned long long)opt.tasks);
    near_chains(5000, 1);
    ok(true, "5000 tasks queued while no worker was free, each ran once");
    near_chains(500, 20);
    ok(true, "500 chains of 20 tasks, each ran once");
    ok(conserved(), "this kernel's counters add up");
}

static bool reset_and_wait(void)
{
    uint32_t epoch = status().epoch;
    double until = bench_ns() + 60e9;

    if (gmk_gpu_reset(gpu, "the test wants it") != GMK_OK)
        return false;
    while (bench_ns() < until) {
        gmk_gpu_status_t s = status();
        if (s.state == GMK_GPU_GONE)
            return false;
        if (s.state == GMK_GPU_UP && s.epoch != epoch)
            return true;
        usleep(1000);
    }
    return false;
}

static int run_check(void)
{
    int rc = up(0);

    if (rc != GMK_OK)
        return no_device(rc);
    ok(true, "up on %s with %u workers", status().device_name, near_workers());
    check_traffic();
    bool back = reset_and_wait();
    ok(back, "a reset, and it is up again");
    if (back) {
        near_messages(opt.messages, opt.messages, 0);
        ok(true, "messages both ways after the reset");
    }
    double start = bench_ns();
    rc = gmk_halt(&kernel);
    double ms = (bench_ns() - start) / 1e6;
    ok(rc == GMK_OK && ms < 1000, "stopped in order within a second (%.1f ms)", ms);
    gmk_gpu_free(gpu);
    printf("1..%u\n", tests);
    return failures != 0;
}

/* ---- residence ----------------------------------------------------------------------------- */

static int run_residence(void)
{
    int rc = up(0);
    uint64_t sent = 0, ran = 0;

    if (rc != GMK_OK)
        return no_device(rc);
    double end = bench_ns() + opt.seconds * 1e9;
    while (bench_ns() < end) {
        near_messages(opt.messages, opt.messages, 0);
        near_fan(opt.tasks);
        sent += 2 * opt.messages;
        ran += opt.tasks;
    }
    gmk_gpu_status_t s = status();
    bool good = s.state == GMK_GPU_UP && s.resets == 0 && conserved();
    table_row("resident", opt.seconds, "s", s.device_name);
    table_row("messages while resident", (double)sent / 1e6, "M", "");
    table_row("tasks while resident", (double)ran / 1e6, "M", "");
    table_row("resets while resident", s.resets, "",
              good ? "" : "FAILED: it did not stay up, or counters do not add up");
    down();
    return !good;
}

/* ---- options ------------------------------------------------------------------------------- */

static void usage(FILE *to)
{
    fputs("usage: measure [check | residence] [options]\n"
          "      --device NAME   cuda, soft or auto: the GPU where one works (default auto)\n"
          "      --workers N     of the GPU's kernel (default: all it runs at once)\n"
          "      --rounds N      1 to 99; a figure is their median (default 7)\n"
          "      --quick         a hundredth of the work, to see that everything runs\n"
          "      --seconds N     of residence (default 300)\n"
          "      --json FILE     appends a JSON object a line\n"
          "  -h, --help          this text\n",
          to);
}

static uint32_t number(const char *option, const char *text, uint32_t high)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || v < 1 || v > high) {
        fprintf(stderr, "measure: %s: '%s' is not a number from 1 to %u\n", option, text, high);
        exit(2);
    }
    return (uint32_t)v;
}

static uint32_t device(const char *name)
{
    static const char *const names[] = {"auto", "cuda", "soft"};

    for (uint32_t i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    fprintf(stderr, "measure: --device: '%s' is none of auto, cuda and soft\n", name);
    exit(2);
}

static void quick(void)
{
    opt.tasks /= 100;
    opt.messages /= 100;
    opt.payload_bytes /= 32;
    opt.rounds = 1;
}

static void options(int argc, char **argv)
{
    static const struct option known[] = {
        {"device", required_argument, NULL, 'd'},  {"workers", required_argument, NULL, 'w'},
        {"rounds", required_argument, NULL, 'r'},  {"quick", no_argument, NULL, 'q'},
        {"seconds", required_argument, NULL, 's'}, {"json", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {0}};
    int o;

    while ((o = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (o) {
        case 'd': opt.device = device(optarg); break;
        case 'w': opt.workers = number("--workers", optarg, GMK_MAX_WORKERS); break;
        case 'r': opt.rounds = number("--rounds", optarg, ROUNDS_MAX); break;
        case 'q': quick(); break;
        case 's': opt.seconds = number("--seconds", optarg, 1000000); break;
        case 'j': opt.json = optarg; break;
        case 'h': usage(stdout); exit(0);
        default: usage(stderr); exit(2);
        }
    }
}

static void find_folder(void)
{
    ssize_t n = readlink("/proc/self/exe", opt.folder, sizeof opt.folder - 1);

    if (n <= 0) {
        perror("measure: /proc/self/exe");
        exit(1);
    }
    opt.folder[n] = '\0';
    *strrchr(opt.folder, '/') = '\0';
}

int main(int argc, char **argv)
{
    options(argc, argv);
    find_folder();
    table_open(opt.json);
    const char *what = optind < argc ? argv[optind] : "";
    int rc = 2;
    if (*what == '\0')
        rc = run_measure();
    else if (strcmp(what, "check") == 0)
        rc = run_check();
    else if (strcmp(what, "residence") == 0)
        rc = run_residence();
    else
        usage(stderr);
    table_close();
    return rc;
}
