/* SPDX-License-Identifier: MIT */
/* accept.h — message types that the two sides of the acceptance tests agree on; accept.c says what they do. */
#ifndef GMK_TEST_ACCEPT_H
#define GMK_TEST_ACCEPT_H

enum {
    A_MANY = 210,
    A_GATE,
    A_SLOW,
    A_LOSSY,
    A_BLOB,
    A_BLOBS,
    A_FLOOD,
    A_FLOODED,
    A_ASK,
    A_SAY,
    A_FAIL,
    A_HANG,
    A_CLASH_FAR,
    A_CLASH_NEAR
};

enum { A_COUNT_MANY, A_COUNT_SLOW, A_COUNT_LOSSY, A_COUNT_LANES };

#endif
