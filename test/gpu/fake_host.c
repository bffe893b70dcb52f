/* SPDX-License-Identifier: MIT */
/*
 * fake_host.c — a ggmk-gpuhost that does what a test tells it, for test/gpu/test_drv.c.
 *
 * GGMK_FAKE holds one word for each start, separated by commas; the last one holds for all that follow:
 *   serve     a kernel of this process with the module `echo` (below), until it is asked to stop
 *   mute      the same, but it never says which device it is
 *   args      reports FAILED with its command line
 *   failed    reports FAILED
 *   exit      ends with status 7       nodev   ends as one that found no device
 *   silent    says nothing and waits   stubborn   the same, after it has said which device it is
 *   garbage   says what is no report   closed     closes its socket and waits
 *   table     reports FAILED with its open descriptors, blocked and ignored signals
 *
 * The module echo answers each message of t.in with one on t.out, and does what meta1 says (fake_host.h).
 */
#include "fake_host.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ggmk.h>
#include <ggmk/gpu.h>

#include "bridge/region.h"
#include "gpu/device.h"
#include "gpu/host_proto.h"

static void report(uint32_t kind, int code, const char *text)
{
    gmk_host_report_t r = {.magic = GMK_HOST_MAGIC, .kind = kind, .device = GMK_GPU_SOFT, .code = code};
    (void)snprintf(r.text, sizeof r.text, "%s", text);
    (void)!send(GMK_HOST_FD, &r, sizeof r, MSG_NOSIGNAL);
}

static _Noreturn void wait_for_ever(void)
{
    for (;;)
        (void)pause();
}

/* ---- the module ---------------------------------------------------------------------------- */

static int echo(gmk_ctx_t *c)
{
    gmk_chan_t out;
    gmk_task_t t = {.meta0 = c->task->meta0};
    switch (c->task->meta1) {
    case FAKE_HANG: wait_for_ever();
    case FAKE_EXIT: _exit(7);
    case FAKE_ABORT: abort();
    case FAKE_FAULT: report(GMK_HOST_FAULT, GMK_ERR_FAULT, "cuStreamQuery: illegal address"); _exit(1);
    case FAKE_STOP: (void)kill(getpid(), SIGSTOP); wait_for_ever(); /* another thread may take the signal */
    default: break;
    }
    int rc = gmk_chan_find(c, "t.out", &out);
    if (rc == GMK_OK)
        rc = gmk_chan_emit(c, out, &t);
    return rc == GMK_CHAN_FULL ? gmk_chan_wait(c, out, 1) : rc;
}

static const gmk_handler_reg_t handlers[] = {{.type = FAKE_TYPE, .fn = echo, .name = "echo"}};
static const gmk_chan_decl_t channels[] = {
    {.name = "t.in", .direction = GMK_CONSUMES, .msg_type = FAKE_TYPE, .handler = FAKE_TYPE},
    {.name = "t.out", .direction = GMK_PRODUCES, .msg_type = FAKE_ECHOED},
};
static gmk_module_t module = {
    .name = "echo", .handlers = handlers, .n_handlers = 1, .channels = channels, .n_channels = 2};

/* ---- what it is told ----------------------------------------------------------------------- */

static void *receive_region(uint64_t *bytes)
{
    gmk_host_hello_t hello;
    _Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {.iov_base = &hello, .iov_len = sizeof hello};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int fd;
    if (recvmsg(GMK_HOST_FD, &m, MSG_CMSG_CLOEXEC) != sizeof hello || hello.magic != GMK_HOST_MAGIC ||
        CMSG_FIRSTHDR(&m) == NULL)
        exit(100);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
    void *region = mmap(NULL, hello.region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (region == MAP_FAILED)
        exit(101);
    *bytes = hello.region_bytes;
    return region;
}

/* The word for this start. */
static void word_for(uint32_t epoch, char word[16])
{
    const char *at = getenv("GGMK_FAKE");
    const char *next;
    at = at != NULL ? at : "serve";
    while (epoch-- > 1 && (next = strchr(at, ',')) != NULL)
        at = next + 1;
    (void)snprintf(word, 16, "%.*s", (int)strcspn(at, ","), at);
}

/* Adds a word; what does not fit is cut off. */
static void append(char *to, size_t size, const char *text)
{
    size_t n = strlen(to);
    if (n > 0 && n + 1 < size)
        to[n++] = ' ';
    while (n + 1 < size && *text != '\0')
        to[n++] = *text++;
    to[n] = '\0';
}

static int tell_args(int argc, char **argv)
{
    char text[GMK_HOST_TEXT] = "";
    for (int i = 1; i < argc; i++)
        append(text, sizeof text, argv[i]);
    report(GMK_HOST_FAILED, GMK_ERR_UNSUPPORTED, text);
    return GMK_HOST_EXIT_NO_DEVICE;
}

/* Descriptors that are open, before the region came: sorted by the kernel. */
static void open_descriptors(char *text, size_t size)
{
    DIR *d = opendir("/proc/self/fd");
    struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
            append(text, size, e->d_name);
    if (d != NULL)
        (void)closedir(d);
}

static int tell_table(const char *descriptors)
{
    char text[GMK_HOST_TEXT] = "", line[256];
    FILE *f = fopen("/proc/self/status", "r");
    append(text, sizeof text, "fds");
    append(text, sizeof text, descriptors);
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "SigBlk:", 7) == 0 || strncmp(line, "SigIgn:", 7) == 0) {
            line[strcspn(line, "\n")] = '\0';
            line[7] = ' ';
            append(text, sizeof text, line);
        }
    report(GMK_HOST_FAILED, GMK_ERR_UNSUPPORTED, text);
    return GMK_HOST_EXIT_NO_DEVICE;
}

static int serve(void *region, uint64_t bytes)
{
    static gmk_module_t *const mods[] = {&module};
    gmk_device_launch_t l = {
        .region = region, .region_bytes = bytes, .mods = mods, .n_mods = 1, .max_workers = 2};
    int rc = gmk_device_run(&l);
    report(GMK_HOST_STOPPED, rc, "");
    return rc == GMK_OK ? GMK_HOST_EXIT_OK : GMK_HOST_EXIT_TROUBLE;
}

int main(int argc, char **argv)
{
    char word[16], descriptors[64] = "";
    uint64_t bytes;
    open_descriptors(descriptors, sizeof descriptors);
    void *region = receive_region(&bytes);
    word_for(((const gmk_region_head_t *)region)->epoch, word);
    if (strcmp(word, "serve") == 0 || strcmp(word, "stubborn") == 0)
        report(GMK_HOST_DEVICE, GMK_OK, "software device");
    if (strcmp(word, "serve") == 0 || strcmp(word, "mute") == 0)
        return serve(region, bytes);
    if (strcmp(word, "args") == 0)
        return tell_args(argc, argv);
    if (strcmp(word, "table") == 0)
        return tell_table(descriptors);
    if (strcmp(word, "exit") == 0)
        return 7;
    if (strcmp(word, "nodev") == 0)
        return GMK_HOST_EXIT_NO_DEVICE;
    if (strcmp(word, "failed") == 0) {
        report(GMK_HOST_FAILED, GMK_ERR_UNSUPPORTED, "no such luck");
        return GMK_HOST_EXIT_NO_DEVICE;
    }
    if (strcmp(word, "garbage") == 0)
        (void)!send(GMK_HOST_FD, "what?", 5, MSG_NOSIGNAL);
    if (strcmp(word, "closed") == 0)
        (void)close(GMK_HOST_FD);
    wait_for_ever();
}
