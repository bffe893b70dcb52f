/* SPDX-License-Identifier: MIT */
/* The bridge's benchmark on nng: a pair of pair0 sockets, inproc or ipc (a UNIX socket). */
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <unistd.h>

#include "peer_bridge.h"

static void check(int rc, const char *what)
{
    if (rc != 0) {
        fprintf(stderr, "peer_nng_bridge: %s: %s\n", what, nng_strerror(rc));
        exit(1);
    }
}

static void *open_socket(uint32_t side, const char *address)
{
    nng_socket *s = malloc(sizeof *s);

    if (s == NULL)
        exit(1);
    check(nng_pair0_open(s), "open");
    check(nng_socket_set_int(*s, NNG_OPT_SENDBUF, 4096), "buffer");
    check(nng_socket_set_int(*s, NNG_OPT_RECVBUF, 4096), "buffer");
    check(side == 0 ? nng_listen(*s, address, NULL, 0) : nng_dial(*s, address, NULL, 0), address);
    return s;
}

static void *open_inproc(uint32_t side) { return open_socket(side, "inproc://bridge"); }

static void *open_ipc(uint32_t side)
{
    char address[64];

    snprintf(address, sizeof address, "ipc:///tmp/ggmk-bench-nng-%d", (int)getpid());
    return open_socket(side, address);
}

/* A message of the library's own is handed over: it is copied into once, and out of once. */
static bool send_messages(void *end, const message_t *m, uint32_t n, bool wait)
{
    nng_msg *msg;

    check(nng_msg_alloc(&msg, n * sizeof *m), "message");
    memcpy(nng_msg_body(msg), m, n * sizeof *m);
    int rc = nng_sendmsg(*(nng_socket *)end, msg, wait ? 0 : NNG_FLAG_NONBLOCK);
    if (rc == 0)
        return true;
    nng_msg_free(msg);
    if (rc != NNG_EAGAIN)
        check(rc, "send");
    return false;
}

static uint32_t receive_messages(void *end, message_t *m, uint32_t most, bool wait)
{
    nng_msg *msg;
    int rc = nng_recvmsg(*(nng_socket *)end, &msg, wait ? 0 : NNG_FLAG_NONBLOCK);

    if (rc == NNG_EAGAIN)
        return 0;
    check(rc, "receive");
    uint32_t n = (uint32_t)(nng_msg_len(msg) / sizeof *m);
    memcpy(m, nng_msg_body(msg), (n < most ? n : most) * sizeof *m);
    nng_msg_free(msg);
    return n;
}

static void close_socket(void *end)
{
    nng_close(*(nng_socket *)end);
    free(end);
}

int main(int argc, char **argv)
{
    static const transport_t all[] = {
        {"inproc", open_inproc, send_messages, receive_messages, close_socket},
        {"ipc", open_ipc, send_messages, receive_messages, close_socket},
        {NULL, NULL, NULL, NULL, NULL},
    };
    return peer_main(argc, argv, all);
}
