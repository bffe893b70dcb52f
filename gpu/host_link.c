/* SPDX-License-Identifier: MIT */
/* host_link.c — the socket between ggmk-gpuhost and its parent; host_proto.h says what passes on it. */
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HELLO_MS = 10000 };

/* Nobody is left who could be told, and nothing of the device is worth waiting for. */
static _Noreturn void orphaned(void)
{
    host_say("the parent has gone");
    _exit(GMK_HOST_EXIT_TROUBLE);
}

/* A Ctrl-C at the terminal reaches the whole group of processes: the parent stops us in order. */
static void leave_signals_to_parent(void)
{
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
}

/*
 * The signal comes when the thread that started us ends.  One that ended before we asked for it does not
 * send it: if that was since our first look, the parent is another now; if before, the socket has ended.
 */
int host_tie(host_t *h)
{
    int fd = h->opt.fd, type = 0;
    pid_t parent = getppid();

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof(type)}) != 0)
        return host_fail(h, GMK_HOST_EXIT_USAGE, "--fd %d: %s", fd, strerror(errno));
    if (type != SOCK_SEQPACKET)
        return host_fail(h, GMK_HOST_EXIT_USAGE, "--fd %d: not a SOCK_SEQPACKET socket", fd);
    leave_signals_to_parent();
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "cannot be tied to the parent: %s", strerror(errno));
    if (getppid() != parent)
        orphaned();
    return 0;
}

/* The one descriptor that came with a message, or -1.  Those of a message with more are closed. */
static int passed_descriptor(struct msghdr *m)
{
    int fds[2] = {-1, -1};
    struct cmsghdr *c = CMSG_FIRSTHDR(m);

    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
    if (fds[1] < 0)
        return fds[0];
    close(fds[0]);
    close(fds[1]);
    return -1;
}

/* Waits for the hello: how many bytes it has, or -1. */
static ssize_t receive(host_t *h, struct msghdr *m)
{
    struct pollfd wait = {.fd = h->opt.fd, .events = POLLIN};
    ssize_t n;
    int ready;

    do
        ready = poll(&wait, 1, HELLO_MS);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "no hello from the parent in %d s", HELLO_MS / 1000);
    do
        n = recvmsg(h->opt.fd, m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n == 0 || (n < 0 && errno == ECONNRESET))
        orphaned();
    if (n < 0)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the hello: %s", strerror(errno));
    return n;
}

int host_greet(host_t *h)
{
    gmk_host_hello_t hello = {0};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
    struct iovec part = {.iov_base = &hello, .iov_len = sizeof(hello)};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    ssize_t n = receive(h, &m);

    if (n < 0)
        return -1;
    h->memfd = passed_descriptor(&m);
    if (n != sizeof(hello) || (m.msg_flags & MSG_TRUNC) || hello.magic != GMK_HOST_MAGIC)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "what came first on the socket is no hello of gpu_drv");
    if (hello.version != GMK_HOST_VERSION)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE,
                         "gpu_drv speaks version %u, this ggmk-gpuhost %u: install both from one build",
                         hello.version, GMK_HOST_VERSION);
    if (h->memfd < 0 || (m.msg_flags & MSG_CTRUNC))
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the hello came without the region's one descriptor");
    h->region_bytes = hello.region_bytes;
    return 0;
}

void host_report(host_t *h, uint32_t kind, int code, const char *text)
{
    gmk_host_report_t r = {.magic = GMK_HOST_MAGIC, .kind = kind, .code = code};

    r.device = h->device ? h->device->kind : GMK_GPU_AUTO;
    (void)snprintf(r.text, sizeof(r.text), "%s", text);
    while (send(h->opt.fd, &r, sizeof(r), MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

void host_check_parent(host_t *h)
{
    char byte;
    ssize_t n = recv(h->opt.fd, &byte, sizeof(byte), MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        orphaned();
    if (n > 0) {
        host_say("a second message came on the socket; nothing may follow the hello");
        _exit(GMK_HOST_EXIT_TROUBLE);
    }
}
