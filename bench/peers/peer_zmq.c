/* SPDX-License-Identifier: MIT */
/*
 * The channels' benchmark on ZeroMQ's inproc transport: PUSH and PULL, a pair of sockets for each
 * consumer, each in a thread of its own.  peer_zmq p2p|fanout WORKERS [N] prints "ns NANOSECONDS".
 * With one worker bench/run confines the process to one CPU.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

enum { SLOTS = 1024, MAX = 3 };
typedef struct {
    uint64_t w[6];
} message_t;

static void *context;
static uint64_t expected; /* messages per consumer */

static void check(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "peer_zmq: %s: %s\n", what, zmq_strerror(zmq_errno()));
        exit(1);
    }
}

static void *open_socket(int type, uint32_t i)
{
    char name[32];
    int hwm = SLOTS / 2; /* a pair holds the sum of both sides */
    void *s = zmq_socket(context, type);

    snprintf(name, sizeof(name), "inproc://messages.%u", i);
    check(zmq_setsockopt(s, type == ZMQ_PULL ? ZMQ_RCVHWM : ZMQ_SNDHWM, &hwm, sizeof(hwm)), "hwm");
    check(type == ZMQ_PULL ? zmq_connect(s, name) : zmq_bind(s, name), name);
    return s;
}

static void *consume(void *arg)
{
    void *s = open_socket(ZMQ_PULL, (uint32_t)(uintptr_t)arg);
    message_t m;

    for (uint64_t i = 0; i < expected; i++) {
        check(zmq_recv(s, &m, sizeof(m), 0), "recv");
        if (m.w[0] != i)
            check(-1, "order");
    }
    zmq_close(s);
    return NULL;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc < 3 || (strcmp(argv[1], "p2p") != 0 && strcmp(argv[1], "fanout") != 0)) {
        fprintf(stderr, "usage: %s p2p|fanout WORKERS [N]\n", argv[0]);
        return 2;
    }
    uint32_t consumers = strcmp(argv[1], "p2p") == 0 ? 1 : MAX;
    uint64_t n = argc > 3 ? strtoull(argv[3], NULL, 10) : 200000, warm = n / 10;
    pthread_t threads[MAX];
    void *out[MAX];
    message_t m = {{0}};
    double start = 0;

    context = zmq_ctx_new();
    expected = warm + n;
    for (uint32_t i = 0; i < consumers; i++) {
        out[i] = open_socket(ZMQ_PUSH, i);
        if (pthread_create(&threads[i], NULL, consume, (void *)(uintptr_t)i) != 0)
            return 1;
    }
    for (m.w[0] = 0; m.w[0] < expected; m.w[0]++) {
        if (m.w[0] == warm)
            start = now();
        for (uint32_t i = 0; i < consumers; i++)
            check(zmq_send(out[i], &m, sizeof(m), 0), "send");
    }
    for (uint32_t i = 0; i < consumers; i++)
        pthread_join(threads[i], NULL);
    printf("ns %.3f\n", (now() - start) / (double)n);
    for (uint32_t i = 0; i < consumers; i++)
        zmq_close(out[i]);
    zmq_ctx_term(context);
    return 0;
}
