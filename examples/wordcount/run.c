/* SPDX-License-Identifier: MIT */
/*
 * run.c — a run of the word counter, seen from its hosted outside.  The main thread waits in poll(2) for the
 * end of the run, and for input when the source is a pipe or a terminal, so that no worker ever
 * blocks on it.
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PERIOD_MS = 200, PROGRESS_AFTER = 5 }; /* no progress line in the first second */

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

/* ---- the run ------------------------------------------------------------------------------ */

int complain(const program_t *p, const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", p->name, what, why);
    return EXIT_TROUBLE;
}

static int complain_input(const program_t *p, const char *why)
{
    if (strcmp(p->opt.file, "-") == 0)
        return complain(p, "standard input", why);
    fprintf(stderr, "%s: '%s': %s\n", p->name, p->opt.file, why);
    return EXIT_TROUBLE;
}

static int complain_trace(const program_t *p, const char *why)
{
    fprintf(stderr, "%s: --trace: '%s': %s\n", p->name, p->opt.trace, why);
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

int boot_modules(program_t *p, gmk_module_t **modules, uint32_t n)
{
    gmk_boot_cfg_t cfg = {.name = p->kernel_name, .arena_size = p->opt.memory, .n_workers = p->opt.workers};

    cfg.flags = GMK_BOOT_NO_WATCHDOG; /* a batch job: sorting many words for long is no stall */
    cfg.trace_level = p->opt.trace ? GMK_TRACE_ALL : GMK_TRACE_DEFAULT;
    wc_config.io = (wc_io_t){.read = read_input, .write = keep_result, .done = done, .arg = p};
    int code = gmk_boot(&p->kernel, &cfg, modules, n);
    return code == GMK_OK ? 0 : complain(p, "cannot boot the kernel", gmk_strerror(code));
}

static void show_progress(program_t *p, uint32_t metric, bool clear)
{
    uint64_t bytes = 0;

    if (clear) {
        fputs("\r\033[K", stderr);
        return;
    }
    (void)gmk_metric_read(&p->kernel, metric, &bytes);
    fprintf(stderr, "\r%s: %llu MB", p->name, (unsigned long long)(bytes / 1000000));
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
    const bool shows = isatty(STDERR_FILENO);
    const int period = shows || p->watch ? PERIOD_MS : -1;
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
        if (n == 0 && shows && ++rounds >= PROGRESS_AFTER)
            show_progress(p, metric, false);
        if (n == 0 && p->watch && code == GMK_OK)
            code = p->watch(p);
    }
    if (rounds >= PROGRESS_AFTER)
        show_progress(p, metric, true);
    return code == GMK_OK ? p->code : code;
}

static int explain(program_t *p, int code)
{
    const char *special = p->explain ? p->explain(p, code) : NULL;
    char why[160];

    if (special)
        return complain_input(p, special);
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
        status = complain(p, "standard output", strerror(errno));
    if (p->opt.trace && write_trace(p) != 0)
        status = EXIT_TROUBLE;
    if (p->opt.metrics && gmk_export_prometheus(&p->kernel, write_stream, stderr) != GMK_OK)
        status = complain(p, "standard error", "cannot write metrics");
    return status;
}

int run(program_t *p)
{
    int status = open_input(p);

    if (status == 0 && p->opt.trace)
        status = open_trace(p);
    if (status)
        return status;
    p->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->event < 0)
        return complain(p, "eventfd", strerror(errno));
    status = p->boot(p);
    if (status) {
        if (p->made_trace)
            (void)unlink(p->opt.trace);
        return status;
    }
    status = write_outputs(p, wait_for_end(p));
    if (gmk_halt(&p->kernel) != GMK_OK)
        status = complain(p, "halt", "a worker did not stop");
    free(p->result);
    return status;
}
