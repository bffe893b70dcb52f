/* SPDX-License-Identifier: MIT */
/* The bridge's benchmark on ZeroMQ: a pair of PAIR sockets, inproc or ipc (a UNIX socket). */
#include <errno.h>
#include <unistd.h>
#include <zmq.h>

#include "peer_bridge.h"

static void *context;

static void check(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "peer_zmq_bridge: %s: %s\n", what, zmq_strerror(zmq_errno()));
        exit(1);
    }
}

static void *open_socket(uint32_t side, const char *address)
{
    int slots = 4096;
    void *s = zmq_socket(context, ZMQ_PAIR);

    check(s == NULL ? -1 : 0, "socket");
    check(zmq_setsockopt(s, ZMQ_SNDHWM, &slots, sizeof slots), "hwm");
    check(zmq_setsockopt(s, ZMQ_RCVHWM, &slots, sizeof slots), "hwm");
    check(side == 0 ? zmq_bind(s, address) : zmq_connect(s, address), address);
    return s;
}

static void *open_inproc(uint32_t side) { return open_socket(side, "inproc://bridge"); }

static void *open_ipc(uint32_t side)
{
    char address[64];

    snprintf(address, sizeof address, "ipc:///tmp/ggmk-bench-%d", (int)getpid());
    return open_socket(side, address);
}

static bool send_messages(void *s, const message_t *m, uint32_t n, bool wait)
{
    int rc = zmq_send(s, m, n * sizeof *m, wait ? 0 : ZMQ_DONTWAIT);

    if (rc < 0 && zmq_errno() == EAGAIN)
        return false;
    check(rc, "send");
    return true;
}

static uint32_t receive_messages(void *s, message_t *m, uint32_t most, bool wait)
{
    int rc = zmq_recv(s, m, most * sizeof *m, wait ? 0 : ZMQ_DONTWAIT);

    if (rc < 0 && zmq_errno() == EAGAIN)
        return 0;
    check(rc, "receive");
    return (uint32_t)((size_t)rc / sizeof *m);
}

static void close_socket(void *s) { zmq_close(s); }

int main(int argc, char **argv)
{
    static const transport_t all[] = {
        {"inproc", open_inproc, send_messages, receive_messages, close_socket},
        {"ipc", open_ipc, send_messages, receive_messages, close_socket},
        {NULL, NULL, NULL, NULL, NULL},
    };
    context = zmq_ctx_new();
    int rc = peer_main(argc, argv, all);
    zmq_ctx_term(context);
    return rc;
}
