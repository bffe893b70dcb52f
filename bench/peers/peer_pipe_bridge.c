/* SPDX-License-Identifier: MIT */
/*
 * The bridge's benchmark on the kernel's own: a pair of pipes of 1 MiB, or a pair of connected UNIX sockets, which
 * keep the bounds of messages.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer_bridge.h"

typedef struct ends {
    int in, out;
} ends_t;

static ends_t ends[2];

static void check(ssize_t rc, const char *what)
{
    if (rc < 0) {
        perror(what);
        exit(1);
    }
}

static void *open_pipes(uint32_t side)
{
    for (uint32_t i = 0; side == 0 && i < 2; i++) {
        int p[2];
        check(pipe2(p, O_NONBLOCK), "pipe");
        (void)fcntl(p[1], F_SETPIPE_SZ, 1 << 20); /* where the limit is lower, the default serves */
        ends[i].in = p[0];
        ends[1 - i].out = p[1];
    }
    return &ends[side];
}

static void *open_sockets(uint32_t side)
{
    int s[2];

    if (side == 0) {
        check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, s), "socketpair");
        ends[0] = (ends_t){s[0], s[0]};
        ends[1] = (ends_t){s[1], s[1]};
    }
    return &ends[side];
}

/* Whether to try again: waits when it may. */
static bool again(int fd, short what, bool wait)
{
    struct pollfd p = {.fd = fd, .events = what};

    check(errno == EAGAIN ? 0 : -1, "peer_pipe_bridge");
    if (wait)
        (void)poll(&p, 1, -1);
    return wait;
}

/* At most 4,096 bytes: a pipe takes them whole or not at all. */
static bool send_messages(void *end, const message_t *m, uint32_t n, bool wait)
{
    const ends_t *e = end;

    while (write(e->out, m, n * sizeof *m) < 0)
        if (!again(e->out, POLLOUT, wait))
            return false;
    return true;
}

static uint32_t receive_messages(void *end, message_t *m, uint32_t most, bool wait)
{
    const ends_t *e = end;
    ssize_t got;

    while ((got = read(e->in, m, most * sizeof *m)) < 0)
        if (!again(e->in, POLLIN, wait))
            return 0;
    return (uint32_t)((size_t)got / sizeof *m);
}

static void close_ends(void *end)
{
    const ends_t *e = end;

    close(e->in);
    if (e->out != e->in)
        close(e->out);
}

int main(int argc, char **argv)
{
    static const transport_t all[] = {
        {"pipe", open_pipes, send_messages, receive_messages, close_ends},
        {"socket", open_sockets, send_messages, receive_messages, close_ends},
        {NULL, NULL, NULL, NULL, NULL},
    };
    return peer_main(argc, argv, all);
}
