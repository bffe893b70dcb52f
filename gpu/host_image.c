/* SPDX-License-Identifier: MIT */
/*
 * host_image.c — the code for the GPU: found, read with the facts beside it, and handed to the driver.
 */
#include "host_cuda.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGE_NAME "gmk_gpu.ptx"
#define IMAGE_MAX ((off_t)256 << 20)
#define LOG_BYTES 8192u
#define FACTS_VERSION 1u
#define STACK_MAX (512u << 10) /* of a thread; what no GPU exceeds */

/* ---- files --------------------------------------------------------------------------------- */

static int read_all(int fd, char *to, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t n = read(fd, to + at, bytes - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO; /* shorter than it was a moment ago */
        if (n <= 0)
            return -1;
        at += (size_t)n;
    }
    to[bytes] = 0;
    return 0;
}

static int read_open(host_t *h, int fd, const char *path, char **out)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "'%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > IMAGE_MAX)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "'%s': no file of 1 byte to %d MiB", path,
                         (int)(IMAGE_MAX >> 20));
    *out = malloc((size_t)st.st_size + 1);
    if (!*out || read_all(fd, *out, (size_t)st.st_size) != 0) {
        free(*out);
        *out = NULL;
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "'%s': %s", path, strerror(errno));
    }
    return 0;
}

/* The whole of a file as a text. */
static int read_file(host_t *h, const char *path, char **out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "'%s': %s", path, strerror(errno));
    int done = read_open(h, fd, path, out);
    close(fd);
    return done;
}

/* Where the build has it, and where the installation has it. */
static int find(host_t *h, char path[PATH_MAX])
{
    static const char *const places[] = {IMAGE_NAME, "../lib/ggmk/" IMAGE_NAME};
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 64);

    if (n <= 0)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "/proc/self/exe: %s", strerror(errno));
    path[n] = 0;
    char *folder_end = strrchr(path, '/') + 1;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        memcpy(folder_end, places[i], strlen(places[i]) + 1);
        if (access(path, F_OK) == 0)
            return 0;
    }
    *folder_end = 0;
    return host_fail(h, GMK_HOST_EXIT_TROUBLE,
                     "no image: neither " IMAGE_NAME " nor ../lib/ggmk/" IMAGE_NAME
                     " is in %.100s; `make gpu` builds it, --image names it",
                     path);
}

/* ---- facts --------------------------------------------------------------------------------- */

/* FILE.json beside FILE.ptx. */
static int facts_path(host_t *h, const char *path, char out[PATH_MAX])
{
    size_t n = strlen(path);

    if (n > 4 && strcmp(path + n - 4, ".ptx") == 0)
        n -= 4;
    if (n + sizeof(".json") > PATH_MAX)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the image's name is too long");
    memcpy(out, path, n);
    memcpy(out + n, ".json", sizeof(".json"));
    return 0;
}

/* The number behind "name": in what the build wrote, which is flat and has each name once. */
static bool fact(const char *text, const char *name, uint64_t *value)
{
    const char *at = strstr(text, name);

    if (!at)
        return false;
    at += strlen(name);
    at += strspn(at, " \t\r\n:");
    if (*at < '0' || *at > '9')
        return false;
    errno = 0;
    *value = strtoull(at, NULL, 10);
    return errno == 0;
}

static int read_facts(host_t *h, image_t *i)
{
    char path[PATH_MAX], *text = NULL;
    uint64_t version = 0;

    if (facts_path(h, i->path, path) != 0 || read_file(h, path, &text) != 0)
        return -1;
    bool found = fact(text, "\"version\"", &version) && fact(text, "\"stack_bytes\"", &i->stack_bytes);
    free(text);
    if (!found || version != FACTS_VERSION)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE,
                         "'%s': no facts of version %u: build image and host together", path, FACTS_VERSION);
    if (i->stack_bytes == 0 || i->stack_bytes > STACK_MAX)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "'%s': stack_bytes is %llu, not 1 to %u", path,
                         (unsigned long long)i->stack_bytes, STACK_MAX);
    return 0;
}

int image_read(host_t *h, image_t *i)
{
    *i = (image_t){.ptx = NULL};
    if (!h->opt.image) {
        if (find(h, i->path) != 0)
            return -1;
    } else if (strlen(h->opt.image) >= PATH_MAX) {
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the image's name is too long");
    } else {
        memcpy(i->path, h->opt.image, strlen(h->opt.image) + 1);
    }
    if (read_facts(h, i) != 0)
        return -1;
    return read_file(h, i->path, &i->ptx);
}

void image_free(image_t *i)
{
    free(i->ptx);
    i->ptx = NULL;
}

/* ---- the driver ---------------------------------------------------------------------------- */

static void say_lines(char *log)
{
    char *rest = NULL;

    log[LOG_BYTES - 1] = 0;
    for (char *line = strtok_r(log, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest))
        host_say("%s", line);
}

int image_load(host_t *h, const image_t *i, CUmodule *out)
{
    static char said[LOG_BYTES], refused[LOG_BYTES];
    int options[] = {CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, CU_JIT_ERROR_LOG_BUFFER,
                     CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *bytes = (void *)(uintptr_t)LOG_BYTES;
    void *values[] = {said, bytes, refused, bytes};

    memset(said, 0, sizeof(said));
    memset(refused, 0, sizeof(refused));
    if (DRIVER(h, cuModuleLoadDataEx, out, i->ptx, sizeof(options) / sizeof(options[0]), options, values) ==
        0)
        return 0;
    host_say("the driver refuses '%s':", i->path);
    say_lines(said);
    say_lines(refused);
    return -1;
}
