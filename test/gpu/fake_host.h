/* SPDX-License-Identifier: MIT */
/* fake_host.h — what a message of t.in can ask of fake_host.c, in meta1. */
#ifndef GMK_FAKE_HOST_H
#define GMK_FAKE_HOST_H

enum {
    FAKE_ECHO = 0,
    FAKE_HANG,  /* the handler does not return */
    FAKE_EXIT,  /* the process ends with status 7 */
    FAKE_ABORT, /* by SIGABRT */
    FAKE_FAULT, /* it reports a fault of its device, and ends */
    FAKE_STOP   /* it stops itself (SIGSTOP) */
};

/* As in echo.c, the module of the real host's tests. */
enum { FAKE_TYPE = 201, FAKE_ECHOED = 204 };

#endif
