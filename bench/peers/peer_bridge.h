/* SPDX-License-Identifier: MIT */
/*
 * peer_bridge.h — the bridge's benchmark on other people's transports: two threads, each of which sends and
 * receives numbered messages of 48 bytes; what a transport is, its own file says.
 *
 *   PROGRAM TRANSPORT messages|packed|trips [N]
 *
 * messages: both ways at once, each message sent by itself; packed: 64 of them sent as one.  Both print "ns
 * NANOSECONDS" per message each way.  trips: one message there and back; prints "p50 NS" and "p99 NS".  A tenth
 * warms up.  Nothing may be lost, doubled, or out of order.
 */
#ifndef PEER_BRIDGE_H
#define PEER_BRIDGE_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PACK = 64, WORDS = 6 };
#define STEP UINT64_C(0x9e3779b97f4a7c15)

typedef struct message {
    uint64_t w[WORDS];
} message_t;

/*
 * An end, opened and used by one thread; side 0 is opened first.  send answers whether the messages left, receive
 * how many came, at most `most`, which are as many as are sent at a time; with wait both wait for it.
 */
typedef struct transport {
    const char *name;
    void *(*open)(uint32_t side);
    bool (*send)(void *end, const message_t *m, uint32_t n, bool wait);
    uint32_t (*receive)(void *end, message_t *m, uint32_t most, bool wait);
    void (*close)(void *end);
} transport_t;

typedef struct side {
    pthread_t thread;
    const transport_t *t;
    pthread_barrier_t *meet;
    uint32_t index, pack;
    uint64_t n, warm;
    double ns, *trip;
    uint64_t wrong;
} side_t;

static inline double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline void fill(message_t *m, uint64_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        m[i].w[0] = first + i;
        for (uint32_t w = 1; w < WORDS; w++)
            m[i].w[w] = first + i + w * STEP;
    }
}

static inline uint64_t check_all(const message_t *m, uint64_t first, uint32_t n)
{
    uint64_t wrong = 0;

    for (uint32_t i = 0; i < n; i++) {
        wrong |= m[i].w[0] ^ (first + i);
        for (uint32_t w = 1; w < WORDS; w++)
            wrong |= m[i].w[w] ^ (first + i + w * STEP);
    }
    return wrong;
}

/* Sends until it is full or a batch has left, then receives likewise. */
static inline void exchange(side_t *s, void *end, uint64_t *sent, uint64_t *got, uint64_t until)
{
    message_t m[PACK];

    while (*sent < until || *got < until) {
        bool moved = false;
        for (uint32_t i = 0; i < PACK && *sent < until; i += s->pack) {
            fill(m, *sent, s->pack);
            if (!s->t->send(end, m, s->pack, false))
                break;
            *sent += s->pack;
            moved = true;
        }
        for (uint32_t i = 0; i < PACK && *got < until; i += s->pack) {
            uint32_t n = s->t->receive(end, m, s->pack, false);
            if (n == 0)
                break;
            s->wrong |= check_all(m, *got, n);
            *got += n;
            moved = true;
        }
        if (!moved)
            sched_yield();
    }
}

static inline void run_messages(side_t *s, void *end)
{
    uint64_t sent = 0, got = 0;

    exchange(s, end, &sent, &got, s->warm);
    pthread_barrier_wait(s->meet);
    double start = now();
    exchange(s, end, &sent, &got, s->warm + s->n);
    s->ns = now() - start;
}

static inline void run_trips(side_t *s, void *end)
{
    message_t m;

    for (uint64_t i = 0; i < s->warm + s->n; i++) {
        double start = now();
        fill(&m, i, 1);
        if (s->index == 0)
            s->t->send(end, &m, 1, true);
        s->t->receive(end, &m, 1, true);
        s->wrong |= check_all(&m, i, 1);
        if (s->index == 1)
            s->t->send(end, &m, 1, true);
        if (i >= s->warm)
            s->trip[i - s->warm] = now() - start;
    }
}

static inline void *run_side(void *arg)
{
    side_t *s = arg;

    if (s->index == 1)
        pthread_barrier_wait(s->meet);
    void *end = s->t->open(s->index);
    if (s->index == 0)
        pthread_barrier_wait(s->meet);
    pthread_barrier_wait(s->meet);
    if (s->trip != NULL)
        run_trips(s, end);
    else
        run_messages(s, end);
    pthread_barrier_wait(s->meet);
    s->t->close(end);
    return NULL;
}

static inline int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static inline int run_both(const transport_t *t, const char *what, uint64_t n)
{
    bool trips = strcmp(what, "trips") == 0;
    uint32_t pack = strcmp(what, "packed") == 0 ? PACK : 1;
    pthread_barrier_t meet;
    side_t s[2];

    n = (n + 10 * PACK - 1) / (10 * PACK) * (10 * PACK);
    pthread_barrier_init(&meet, NULL, 2);
    for (uint32_t i = 0; i < 2; i++) {
        s[i] = (side_t){.t = t, .meet = &meet, .index = i, .pack = pack, .n = n, .warm = n / 10};
        s[i].trip = trips ? calloc(n, sizeof(double)) : NULL;
        if ((trips && s[i].trip == NULL) || pthread_create(&s[i].thread, NULL, run_side, &s[i]) != 0)
            return 1;
    }
    for (uint32_t i = 0; i < 2; i++)
        pthread_join(s[i].thread, NULL);
    if (s[0].wrong | s[1].wrong) {
        fprintf(stderr, "%s: a message was lost, doubled or out of order\n", t->name);
        return 1;
    }
    if (trips) {
        qsort(s[0].trip, n, sizeof(double), compare);
        printf("p50 %.1f\np99 %.1f\n", s[0].trip[(n - 1) / 2], s[0].trip[(n - 1) * 99 / 100]);
    } else {
        printf("ns %.3f\n", (s[0].ns > s[1].ns ? s[0].ns : s[1].ns) / (double)n);
    }
    return 0;
}

static inline int peer_main(int argc, char **argv, const transport_t *all)
{
    for (const transport_t *t = all; argc >= 3 && t->name != NULL; t++)
        if (strcmp(t->name, argv[1]) == 0)
            return run_both(t, argv[2],
                            argc > 3                         ? strtoull(argv[3], NULL, 10)
                            : strcmp(argv[2], "trips") == 0  ? 20000
                            : strcmp(argv[2], "packed") == 0 ? 4000000
                                                             : 500000);
    fprintf(stderr, "usage: %s TRANSPORT messages|packed|trips [N]\ntransports:", argv[0]);
    for (const transport_t *t = all; t->name != NULL; t++)
        fprintf(stderr, " %s", t->name);
    fputc('\n', stderr);
    return 2;
}

#endif
