/* SPDX-License-Identifier: MIT */
/*
 * drv_process.c — a ggmk-gpuhost process: found, given a region, started, heard, ended.
 *
 * The child shares the memory of this process until it runs its program (as posix_spawn does it): a fork would
 * copy the page tables of large arenas, and make every worker pay for its next write to each page.  Between
 * clone and exec it makes nothing but system calls.
 */
#include "drv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOST_PROGRAM "ggmk-gpuhost"

void gmk_drv_text(char *to, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(to, size, format, args);
    va_end(args);
}

static int refuse(char why[GMK_DRV_TEXT], const char *what, int err)
{
    const char *text = strerrordesc_np(err);
    gmk_drv_text(why, GMK_DRV_TEXT, "%s: %s", what, text != NULL ? text : "unknown error");
    return err == ENOMEM ? GMK_ALLOC_FAIL : GMK_ERR_IO;
}

/* ---- where the program is ------------------------------------------------------------------ */

/* The folder this program was started from, without a slash at its end; "" when it is not known. */
static void own_folder(char folder[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    folder[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        *slash = '\0';
}

static bool on_path(char path[PATH_MAX])
{
    const char *at = getenv("PATH");
    while (at != NULL && *at != '\0') {
        int n = (int)strcspn(at, ":");
        if (*at == '/' && snprintf(path, PATH_MAX, "%.*s/%s", n, at, HOST_PROGRAM) < PATH_MAX &&
            access(path, X_OK) == 0)
            return true;
        at += n + (at[n] == ':');
    }
    return false;
}

static int find_program(const char *asked, char path[PATH_MAX], char why[GMK_DRV_TEXT])
{
    char folder[PATH_MAX];
    if (asked != NULL) {
        if (snprintf(path, PATH_MAX, "%s", asked) < PATH_MAX)
            return GMK_OK;
        gmk_drv_text(why, GMK_DRV_TEXT,
                     "the path of the host program (gmk_gpu_cfg_t.host) has more than %d bytes",
                     PATH_MAX - 1);
        return GMK_ERR_INVAL;
    }
    own_folder(folder);
    if (snprintf(path, PATH_MAX, "%s/%s", folder, HOST_PROGRAM) < PATH_MAX && access(path, F_OK) == 0)
        return GMK_OK;
    if (on_path(path))
        return GMK_OK;
    gmk_drv_text(why, GMK_DRV_TEXT,
                 HOST_PROGRAM
                 " is neither in %s nor in $PATH; install it, or give its path (gmk_gpu_cfg_t.host)",
                 folder);
    return GMK_ERR_NOTFOUND;
}

/* ---- the region ---------------------------------------------------------------------------- */

/* Nobody can make the memory shorter under us. */
static int map_region(gmk_drv_host_t *h, int *memfd, char why[GMK_DRV_TEXT])
{
    int fd = memfd_create("ggmk-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return refuse(why, "no memory for the region (memfd_create)", errno);
    *memfd = fd;
    if (ftruncate(fd, (off_t)h->region_bytes) < 0)
        return refuse(why, "no memory for the region (ftruncate)", errno);
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return refuse(why, "the region cannot be sealed", errno);
    h->region = mmap(NULL, h->region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (h->region == MAP_FAILED) {
        h->region = NULL;
        return refuse(why, "the region cannot be mapped", errno);
    }
    return GMK_OK;
}

static int make_region(gmk_drv_host_t *h, const gmk_gpu_cfg_t *cfg, const char *kernel, uint32_t epoch,
                       int *memfd, char why[GMK_DRV_TEXT])
{
    char args[GMK_REGION_ARGS_MAX + 2];
    gmk_drv_text(args, sizeof args, "beat_us=%llu %s", (unsigned long long)(cfg->beat_ns / 1000),
                 cfg->args != NULL ? cfg->args : "");
    gmk_region_cfg_t rc = {.epoch = epoch,
                           .ring_slots = cfg->ring_slots,
                           .pool_bytes = cfg->pool_bytes,
                           .name = {kernel, cfg->name},
                           .args = args};
    h->region_bytes = gmk_region_bytes(&rc);
    if (h->region_bytes == 0) {
        gmk_drv_text(
            why, GMK_DRV_TEXT,
            "ring_slots is %u and pool_bytes %llu: they must be a power of two 64 .. 65536 and 64 KiB .. 4 GiB",
            cfg->ring_slots, (unsigned long long)cfg->pool_bytes);
        return GMK_ERR_RANGE;
    }
    int code = map_region(h, memfd, why);
    if (code == GMK_OK && (code = gmk_region_format(h->region, h->region_bytes, &rc)) < 0)
        gmk_drv_text(why, GMK_DRV_TEXT, "the name \"%s\", or args of %zu bytes, are not for a region: %s",
                     cfg->name, strlen(args), gmk_strerror(code));
    return code;
}

/* ---- the start ----------------------------------------------------------------------------- */

#define ARGS_MAX 16
typedef struct command {
    char path[PATH_MAX];
    char arena[24], ordinal[12], workers[12], fd[12];
    char *argv[ARGS_MAX];
    int n;
} command_t;

static void add(command_t *c, const char *option, const char *value)
{
    c->argv[c->n++] = (char *)(uintptr_t)option;
    c->argv[c->n++] = (char *)(uintptr_t)value;
    c->argv[c->n] = NULL;
}

static void add_number(command_t *c, const char *option, char *buf, size_t size, uint64_t value)
{
    if (value == 0)
        return;
    gmk_drv_text(buf, size, "%llu", (unsigned long long)value);
    add(c, option, buf);
}

static void make_command(command_t *c, const gmk_gpu_cfg_t *cfg)
{
    static const char *const device[] = {"auto", "cuda", "soft"};
    c->argv[0] = c->path;
    c->n = 1;
    add_number(c, "--fd", c->fd, sizeof c->fd, GMK_HOST_FD);
    add(c, "--device", device[cfg->device]);
    add_number(c, "--ordinal", c->ordinal, sizeof c->ordinal, cfg->ordinal);
    if (cfg->image != NULL)
        add(c, "--image", cfg->image);
    add_number(c, "--arena", c->arena, sizeof c->arena, cfg->arena_size);
    add_number(c, "--workers", c->workers, sizeof c->workers, cfg->workers);
}

typedef struct child {
    const command_t *command;
    int sock;
    int parent;      /* process id */
    unsigned fd_max; /* descriptors are below */
    int err;         /* why the program was not run */
} child_t;

/* A zero signal set and a zero action (SIG_DFL), as the system calls take them. */
static const uint64_t nothing[16];
#define KERNEL_SIGSET_BYTES 8

/* The library's wrappers keep books of this process, which is still at work: only bare system calls. */
#define IN_CHILD __attribute__((noinline, no_sanitize("address", "thread", "undefined")))

IN_CHILD static void close_others(const child_t *c)
{
    if (syscall(SYS_close_range, GMK_HOST_FD + 1, ~0u, 0) == 0)
        return;
    for (unsigned fd = GMK_HOST_FD + 1; fd < c->fd_max; fd++) /* before Linux 5.9 */
        (void)syscall(SYS_close, fd);
}

IN_CHILD static int child_main(void *arg)
{
    child_t *c = arg;
    (void)syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (syscall(SYS_getppid) != c->parent)
        return 1;              /* it went before it could be told */
    (void)syscall(SYS_setsid); /* a Ctrl-C is this program's affair: its halt stops the peer in order */
    for (int s = 1; s <= 64; s++)
        (void)syscall(SYS_rt_sigaction, s, nothing, NULL, KERNEL_SIGSET_BYTES);
    long fd = c->sock == GMK_HOST_FD ? syscall(SYS_fcntl, c->sock, F_SETFD, 0)
                                     : syscall(SYS_dup3, c->sock, GMK_HOST_FD, 0);
    long null = fd < 0 ? -1 : syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC);
    if (null > 0)
        (void)syscall(SYS_dup3, null, STDIN_FILENO, 0);
    close_others(c);
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, nothing, NULL, KERNEL_SIGSET_BYTES);
    if (fd >= 0)
        (void)syscall(SYS_execve, c->command->path, c->command->argv, environ);
    c->err = errno;
    return 1;
}

#define CHILD_STACK 16384

/* clone by its other name: ThreadSanitizer takes each call of the first for a fork, also one that shares memory. */
int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);

/* clone returns when the child runs its program or has ended: its stack and `c` may be ours. */
static int spawn(gmk_drv_host_t *h, child_t *c)
{
    _Alignas(16) unsigned char stack[CHILD_STACK];
    sigset_t all, before;
    int pidfd = -1;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    int pid = __clone(child_main, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, c,
                      &pidfd);
    int err = pid < 0 ? errno : 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return err;
    h->pid = pid;
    h->pidfd = pidfd;
    return c->err;
}

/* OK, or why the process was not started. */
static int start_process(gmk_drv_host_t *h, const command_t *command, int sock, char why[GMK_DRV_TEXT])
{
    char what[GMK_DRV_TEXT / 2];
    struct rlimit files = {.rlim_cur = 1024};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    child_t c = {.command = command,
                 .sock = sock,
                 .parent = getpid(),
                 .fd_max = files.rlim_cur < INT_MAX ? (unsigned)files.rlim_cur : INT_MAX};
    int err = spawn(h, &c);
    if (err == 0)
        return GMK_OK;
    gmk_drv_text(what, sizeof what, "cannot start %s", command->path);
    int rc = refuse(why, what, err);
    return err == ENOENT ? GMK_ERR_NOTFOUND : rc;
}

/* The buffer of a fresh socket takes it at once. */
static int send_hello(const gmk_drv_host_t *h, int memfd, char why[GMK_DRV_TEXT])
{
    gmk_host_hello_t hello = {
        .magic = GMK_HOST_MAGIC, .version = GMK_HOST_VERSION, .region_bytes = h->region_bytes};
    union {
        struct cmsghdr head;
        unsigned char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec part = {.iov_base = &hello, .iov_len = sizeof hello};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof memfd);
    memcpy(CMSG_DATA(c), &memfd, sizeof memfd);
    if (sendmsg(h->sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EPIPE && errno != ECONNRESET)
        return refuse(why, "the region cannot be handed over", errno);
    return GMK_OK; /* one that has ended already is seen by its pidfd, and says more there */
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

int gmk_drv_host_start(gmk_drv_host_t *h, const gmk_gpu_cfg_t *cfg, const char *kernel, uint32_t epoch,
                       char why[GMK_DRV_TEXT])
{
    command_t command;
    int memfd = -1, pair[2] = {-1, -1};
    *h = GMK_DRV_NO_HOST;
    int rc = find_program(cfg->host, command.path, why);
    if (rc == GMK_OK)
        rc = make_region(h, cfg, kernel, epoch, &memfd, why);
    if (rc == GMK_OK && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        rc = refuse(why, "no socket to " HOST_PROGRAM, errno);
    if (rc == GMK_OK) {
        h->sock = pair[0];
        make_command(&command, cfg);
        rc = start_process(h, &command, pair[1], why);
    }
    if (rc == GMK_OK)
        rc = send_hello(h, memfd, why);
    close_fd(&pair[1]);
    close_fd(&memfd);
    if (rc < 0) {
        gmk_drv_host_kill(h);
        (void)gmk_drv_host_ended(h, GMK_DRV_END_NS);
        gmk_drv_host_release(h);
    }
    return rc;
}

/* ---- reports ------------------------------------------------------------------------------- */

/* What goes to a console is printable and ends. */
static void clean(char *text, size_t size)
{
    text[size - 1] = '\0';
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
}

int gmk_drv_host_report(gmk_drv_host_t *h, gmk_host_report_t *r)
{
    ssize_t n;
    if (h->sock < 0)
        return GMK_ERR_NOTFOUND;
    do
        n = recv(h->sock, r, sizeof *r, MSG_DONTWAIT | MSG_TRUNC);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return GMK_ERR_NOTFOUND;
    if (n <= 0) {
        close_fd(&h->sock);
        return GMK_ERR_STATE;
    }
    if (n != (ssize_t)sizeof *r || r->magic != GMK_HOST_MAGIC || r->kind < GMK_HOST_DEVICE ||
        r->kind > GMK_HOST_STOPPED)
        return GMK_ERR_INVAL;
    clean(r->text, sizeof r->text);
    return GMK_OK;
}

/* ---- the end ------------------------------------------------------------------------------- */

bool gmk_drv_host_ended(const gmk_drv_host_t *h, uint64_t timeout_ns)
{
    uint64_t start = gmk_hal_now_ns(), spent = 0;
    struct pollfd p = {.fd = h->pidfd, .events = POLLIN};
    if (h->pid == 0)
        return true;
    for (;;) {
        uint64_t left = timeout_ns - spent;
        struct timespec t = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
        int n = ppoll(&p, 1, timeout_ns == GMK_HAL_FOREVER ? NULL : &t, NULL);
        if (n > 0)
            return true;
        spent = gmk_hal_now_ns() - start;
        if (n == 0 || (errno != EINTR) || spent >= timeout_ns)
            return false;
    }
}

/*
 * Waits for an ended process.  One that is traced can be waited for when its tracer has let go, which it does soon or
 * never.  False: it cannot, or somebody else of this program has waited for it.
 */
static bool reap(const gmk_drv_host_t *h, siginfo_t *info)
{
    static const struct timespec nap = {.tv_nsec = 1000000};
    for (uint32_t round = 0; round < 100; round++) {
        *info = (siginfo_t){0};
        if (waitid(P_PIDFD, (id_t)h->pidfd, info, WEXITED | WNOHANG) < 0)
            return false;
        if (info->si_pid != 0)
            return true;
        (void)nanosleep(&nap, NULL);
    }
    return false;
}

int gmk_drv_host_how(const gmk_drv_host_t *h, char why[GMK_DRV_TEXT])
{
    siginfo_t info;
    const char *end = "the process has ended";
    if (!reap(h, &info)) {
        gmk_drv_text(why, GMK_DRV_TEXT, "%s", end);
        return -1;
    }
    if (info.si_code == CLD_EXITED) {
        gmk_drv_text(why, GMK_DRV_TEXT, "%s with status %d", end, info.si_status);
        return info.si_status;
    }
    const char *name = sigabbrev_np(info.si_status);
    gmk_drv_text(why, GMK_DRV_TEXT, "the process was ended by signal %d (SIG%s)", info.si_status,
                 name != NULL ? name : "?");
    return -1;
}

void gmk_drv_host_kill(const gmk_drv_host_t *h)
{
    if (h->pid != 0)
        (void)pidfd_send_signal(h->pidfd, SIGKILL, NULL, 0);
}

void gmk_drv_host_release(gmk_drv_host_t *h)
{
    siginfo_t info;
    if (h->pid != 0)
        (void)reap(h, &info);
    close_fd(&h->sock);
    close_fd(&h->pidfd);
    if (h->region != NULL)
        (void)munmap(h->region, h->region_bytes);
    *h = GMK_DRV_NO_HOST;
}
