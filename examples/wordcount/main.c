/* SPDX-License-Identifier: MIT */
/*
 * wordcount — the most frequent words of a file, counted by four modules that meet on channels.
 *
 * This file is the hosted outside of the pipeline: options, the source of bytes, the result, a
 * progress line, and the export of traces and metrics.  The main thread waits in poll(2) for the
 * end of the run, and for input when the source is a pipe or a terminal, so that no worker ever
 * blocks on it.
 */
#include "wc.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_TROUBLE = 1, EXIT_USAGE = 2 };
enum { PROGRESS_MS = 200, PROGRESS_AFTER = 5 }; /* no line in the first second */

wc_config_t wc_config = {.chunk_bytes = 512 * 1024, .top = 20};

typedef struct options {
    const char *file;  /* "-" = standard input */
    const char *trace; /* NULL = none */
    bool metrics;
    uint32_t workers;
    uint64_t memory; /* bytes of arena */
} options_t;

typedef struct program {
    options_t opt;
    gmk_kernel_t kernel;
    int input;           /* descriptor */
    int trace;           /* descriptor, with --trace */
    bool made_trace;     /* the file was not there before */
    bool may_block;      /* the input is no regular file */
    uint64_t input_size; /* bytes, 0 = not known */
    int event;           /* eventfd: something below has changed */
    atomic_bool wants_input, finished;
    int read_errno, code;
    char *result; /* what report has written */
    size_t result_size, result_room;
} program_t;

/* ---- what the modules call: from one worker at a time ------------------------------------- */

static void notify(program_t *p)
{
    uint64_t one = 1;

    while (write(p->event, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static int64_t read_input(void *arg, void *buf, uint64_t size)
{
    program_t *p = arg;
    struct pollfd readable = {.fd = p->input, .events = POLLIN};
    ssize_t n;

    if (p->may_block && poll(&readable, 1, 0) == 0) {
        atomic_store(&p->wants_input, true);
        notify(p);
        return WC_LATER;
    }
    do
        n = read(p->input, buf, size);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        p->read_errno = errno;
        return GMK_ERR_IO;
    }
    return n;
}

/* Keeps the result: writing it may block, and that is the main thread's to do. */
static int keep_result(void *arg, const void *data, size_t size)
{
    program_t *p = arg;

    if (p->result_size + size > p->result_room) {
        size_t room = (p->result_size + size) * 2;
        char *bigger = realloc(p->result, room);
        if (!bigger)
            return -1;
        p->result = bigger;
        p->result_room = room;
    }
    memcpy(p->result + p->result_size, data, size);
    p->result_size += size;
    return 0;
}

static void done(void *arg, int code)
{
    program_t *p = arg;

    p->code = code;
    atomic_store(&p->finished, true);
    notify(p);
}

/* ---- options ------------------------------------------------------------------------------ */

static void usage(FILE *to)
{
    fputs("usage: wordcount [options] [FILE | -]\n"
          "Prints the most frequent words of FILE (standard input without one) and how often they occur.\n"
          "A word is a run of ASCII letters; case is ignored.\n"
          "  -n, --top N         words to print (default 20; 0 = all)\n"
          "  -w, --workers N     worker threads, 1 to 256 (default: one for each CPU)\n"
          "  -m, --memory MIB    the kernel's memory, 16 MiB to what the machine has (default 512)\n"
          "  -c, --chunk BYTES   text read at a time, 16 to 67108864 (default 524096)\n"
          "      --trace FILE    write a trace of the run in Fuchsia's format (Perfetto opens it)\n"
          "      --metrics       write metrics in Prometheus' text format to standard error\n"
          "  -h, --help          this text\n",
          to);
}

/* Parses a whole decimal number within bounds, or ends the program. */
static uint64_t number(const char *option, const char *text, uint64_t low, uint64_t high)
{
    char *end;

    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || v < low || v > high) {
        fprintf(stderr, "wordcount: %s: '%s' is not a number from %llu to %llu\n", option, text,
                (unsigned long long)low, (unsigned long long)high);
        exit(EXIT_USAGE);
    }
    return v;
}

/* What the kernel could have at most without paging, in MiB. */
static uint64_t machine_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

    return pages < 1 || size < 1 ? 1048576 : (uint64_t)pages * (uint64_t)size >> 20;
}

/* More than there is would be refused by the system at best, and touched page by page at worst. */
static uint64_t memory_option(const char *text)
{
    uint64_t mib = number("--memory", text, 16, 1048576), most = machine_memory();

    if (mib > most) {
        fprintf(stderr, "wordcount: --memory: %llu MiB are more than the %llu MiB this machine has\n",
                (unsigned long long)mib, (unsigned long long)most);
        exit(EXIT_USAGE);
    }
    return mib << 20;
}

/* Ends the program with a line about the option that getopt_long(3) stopped at. */
static void bad_option(int c, char **argv)
{
    const char letter[3] = {'-', (char)optopt, '\0'};
    bool unknown_letter = c == '?' && optopt > 0 && optopt < 128 && !strchr("nwmctMh", optopt);

    fprintf(stderr, "wordcount: %s '%s' (wordcount --help lists them)\n",
            c == ':' ? "no value for the option" : "unknown option",
            unknown_letter ? letter : argv[optind - 1]);
    exit(EXIT_USAGE);
}

static void help(void)
{
    usage(stdout);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "wordcount: standard output: %s\n", strerror(errno));
        exit(EXIT_TROUBLE);
    }
    exit(0);
}

/*
 * A quarter of the memory is for text in flight: so many chunks, and the two that the reader has.  What
 * cannot work is said before anything is read.
 */
static void share_memory(const options_t *o)
{
    uint64_t fit = o->memory / 4 / wc_config.chunk_bytes, most = 2 * (uint64_t)o->workers + 2;

    if (fit < 4) {
        fprintf(stderr, "wordcount: --chunk %u needs --memory %llu or more, not %llu\n",
                wc_config.chunk_bytes - WC_CHUNK_HEAD - WC_CHUNK_PAD,
                (unsigned long long)((16 * (uint64_t)wc_config.chunk_bytes + (1 << 20) - 1) >> 20),
                (unsigned long long)(o->memory >> 20));
        exit(EXIT_USAGE);
    }
    wc_config.chunk_slots = (uint32_t)(fit - 2 < most ? fit - 2 : most);
}

static uint32_t cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : n > (long)GMK_MAX_WORKERS ? GMK_MAX_WORKERS : (uint32_t)n;
}

static void parse_options(options_t *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"top", required_argument, NULL, 'n'},    {"workers", required_argument, NULL, 'w'},
        {"memory", required_argument, NULL, 'm'}, {"chunk", required_argument, NULL, 'c'},
        {"trace", required_argument, NULL, 't'},  {"metrics", no_argument, NULL, 'M'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    int c;

    *o = (options_t){.file = "-", .workers = cpu_count(), .memory = (uint64_t)512 << 20};
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":n:w:m:c:h", names, NULL)) != -1) {
        switch (c) {
        case 'n': wc_config.top = number("--top", optarg, 0, UINT64_MAX); break;
        case 'w': o->workers = (uint32_t)number("--workers", optarg, 1, GMK_MAX_WORKERS); break;
        case 'm': o->memory = memory_option(optarg); break;
        case 'c':
            wc_config.chunk_bytes = (uint32_t)number("--chunk", optarg, 16, 67108864) + WC_CHUNK_HEAD +
                                    WC_CHUNK_PAD;
            break;
        case 't': o->trace = optarg; break;
        case 'M': o->metrics = true; break;
        case 'h': help(); break;
        default: bad_option(c, argv);
        }
    }
    if (argc - optind > 1) {
        fprintf(stderr, "wordcount: one file at a time: what is '%s'?\n", argv[optind + 1]);
        exit(EXIT_USAGE);
    }
    if (optind < argc)
        o->file = argv[optind];
    share_memory(o);
}

/* ---- the run ------------------------------------------------------------------------------ */

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "wordcount: %s: %s\n", what, why);
    return EXIT_TROUBLE;
}

static int complain_input(const program_t *p, const char *why)
{
    if (strcmp(p->opt.file, "-") == 0)
        return complain("standard input", why);
    fprintf(stderr, "wordcount: '%s': %s\n", p->opt.file, why);
    return EXIT_TROUBLE;
}

static int complain_trace(const program_t *p, const char *why)
{
    fprintf(stderr, "wordcount: --trace: '%s': %s\n", p->opt.trace, why);
    return EXIT_TROUBLE;
}

static int open_input(program_t *p)
{
    struct stat st;

    p->input = strcmp(p->opt.file, "-") ? open(p->opt.file, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (p->input < 0 || fstat(p->input, &st) < 0)
        return complain_input(p, p->opt.file[0] ? strerror(errno)
                                                : "an empty name; give a file, or - for standard input");
    if (S_ISDIR(st.st_mode))
        return complain_input(p, strerror(EISDIR));
    p->may_block = !S_ISREG(st.st_mode);
    p->input_size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    return 0;
}

/* Before the run, so that an hour's work is not lost to a typing error; what is there stays until then. */
static int open_trace(program_t *p)
{
    struct stat in, out;

    p->trace = open(p->opt.trace, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    p->made_trace = p->trace >= 0;
    if (p->trace < 0 && errno == EEXIST)
        p->trace = open(p->opt.trace, O_WRONLY | O_CLOEXEC);
    if (p->trace < 0)
        return complain_trace(p, strerror(errno));
    if (fstat(p->trace, &out) == 0 && fstat(p->input, &in) == 0 && S_ISREG(out.st_mode) &&
        in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        return complain_trace(p, "that is the input");
    return 0;
}

static int boot(program_t *p)
{
    static gmk_module_t *modules[] = {&wc_report, &wc_trouble, &wc_count, &wc_tokenize, &wc_reader};
    gmk_boot_cfg_t cfg = {.name = "wordcount", .arena_size = p->opt.memory, .n_workers = p->opt.workers};

    cfg.flags = GMK_BOOT_NO_WATCHDOG; /* a batch job: sorting many words for long is no stall */
    cfg.trace_level = p->opt.trace ? GMK_TRACE_ALL : GMK_TRACE_DEFAULT;
    wc_config.io = (wc_io_t){.read = read_input, .write = keep_result, .done = done, .arg = p};
    wc_config.word_max = p->opt.memory / 16;
    for (wc_config.shards = 1; wc_config.shards < 2 * p->opt.workers && wc_config.shards < WC_MAX_SHARDS;)
        wc_config.shards *= 2;
    int code = gmk_boot(&p->kernel, &cfg, modules, sizeof(modules) / sizeof(modules[0]));
    return code == GMK_OK ? 0 : complain("cannot boot the kernel", gmk_strerror(code));
}

static void show_progress(program_t *p, uint32_t metric, bool clear)
{
    uint64_t bytes = 0;

    if (clear) {
        fputs("\r\033[K", stderr);
        return;
    }
    (void)gmk_metric_read(&p->kernel, metric, &bytes);
    fprintf(stderr, "\rwordcount: %llu MB", (unsigned long long)(bytes / 1000000));
    if (p->input_size)
        fprintf(stderr, " of %llu", (unsigned long long)(p->input_size / 1000000));
    fflush(stderr);
}

/* The reader has asked for input and there is some, or the end of it. */
static int resume_reader(program_t *p)
{
    const gmk_task_t task = {.type = WC_READ, .flags = GMK_PRIO_3};

    atomic_store(&p->wants_input, false);
    return gmk_submit(&p->kernel, &task);
}

/* Waits for the end of the run; the code with which it ended. */
static int wait_for_end(program_t *p)
{
    const int period = isatty(STDERR_FILENO) ? PROGRESS_MS : -1;
    uint32_t metric, rounds = 0;
    int code = gmk_metric_register(&p->kernel, "wc_bytes_read", GMK_COUNTER, &metric);

    while (code == GMK_OK && !atomic_load(&p->finished)) {
        bool wants = atomic_load(&p->wants_input);
        struct pollfd fds[2] = {{.fd = p->event, .events = POLLIN},
                                {.fd = wants ? p->input : -1, .events = POLLIN}};
        int n = poll(fds, 2, period);
        uint64_t events;
        if (n > 0 && fds[0].revents && read(p->event, &events, sizeof(events)) < 0 && errno != EINTR)
            code = GMK_ERR_IO;
        if (n > 0 && fds[1].revents && code == GMK_OK)
            code = resume_reader(p);
        if (n == 0 && ++rounds >= PROGRESS_AFTER)
            show_progress(p, metric, false);
    }
    if (rounds >= PROGRESS_AFTER)
        show_progress(p, metric, true);
    return code == GMK_OK ? p->code : code;
}

static int explain(const program_t *p, int code)
{
    char why[160];

    if (code == GMK_ERR_IO && p->read_errno)
        return complain_input(p, strerror(p->read_errno));
    if (code == GMK_ALLOC_FAIL) {
        snprintf(why, sizeof(why),
                 "%llu MiB of memory are too few: give more --memory, fewer --workers (%u now), "
                 "a smaller --chunk, or fewer different words",
                 (unsigned long long)(p->opt.memory >> 20), p->opt.workers);
        return complain_input(p, why);
    }
    if (code == GMK_ERR_LIMIT)
        return complain_input(p, "a word is too long for the memory given; give more --memory");
    return complain_input(p, gmk_strerror(code));
}

static int write_stream(void *arg, const void *data, size_t size)
{
    return fwrite(data, 1, size, arg) == size ? 0 : -1;
}

/* The trace did not come about: what would be left is an empty or a half file. */
static int spoilt_trace(program_t *p, const char *why)
{
    if (p->made_trace)
        (void)unlink(p->opt.trace);
    return complain_trace(p, why);
}

static int write_trace(program_t *p)
{
    struct stat st;
    FILE *f;

    if (fstat(p->trace, &st) < 0 || (S_ISREG(st.st_mode) && ftruncate(p->trace, 0) < 0) ||
        !(f = fdopen(p->trace, "wb")))
        return spoilt_trace(p, strerror(errno));
    int code = gmk_export_fxt(&p->kernel, write_stream, f);
    if (fclose(f) != 0 || code != GMK_OK)
        return spoilt_trace(p, code == GMK_OK ? strerror(errno) : gmk_strerror(code));
    return 0;
}

static int write_outputs(program_t *p, int code)
{
    int status = code == GMK_OK ? 0 : explain(p, code);

    if (status == 0 &&
        (fwrite(p->result, 1, p->result_size, stdout) != p->result_size || fflush(stdout) != 0))
        status = complain("standard output", strerror(errno));
    if (p->opt.trace && write_trace(p) != 0)
        status = EXIT_TROUBLE;
    if (p->opt.metrics && gmk_export_prometheus(&p->kernel, write_stream, stderr) != GMK_OK)
        status = complain("standard error", "cannot write metrics");
    return status;
}

int main(int argc, char **argv)
{
    static program_t p;

    parse_options(&p.opt, argc, argv);
    int status = open_input(&p);
    if (status == 0 && p.opt.trace)
        status = open_trace(&p);
    if (status)
        return status;
    p.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p.event < 0)
        return complain("eventfd", strerror(errno));
    status = boot(&p);
    if (status) {
        if (p.made_trace)
            (void)unlink(p.opt.trace);
        return status;
    }
    status = write_outputs(&p, wait_for_end(&p));
    if (gmk_halt(&p.kernel) != GMK_OK)
        status = complain("halt", "a worker did not stop");
    free(p.result);
    return status;
}
