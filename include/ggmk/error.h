/* SPDX-License-Identifier: MIT */
/*
 * error.h — the one way GGMK reports an outcome.
 *
 * Every public call returns one of these codes unless it returns a pointer or a count.
 * Zero and positive values are success; negative values say what went wrong.  The same
 * numbers travel in dead letters, traces and metrics, so a code means one thing everywhere.
 */
#ifndef GGMK_ERROR_H
#define GGMK_ERROR_H

#include <ggmk/lang.h>

GMK_BEGIN_DECLS

enum {
    GMK_OK = 0,
    GMK_RETRY = 1, /* handler result: run this task again after a backoff */

    /* A call was refused.  Nothing was changed. */
    GMK_ERR_INVAL = -1,        /* null or malformed argument, or a kernel that is not booted */
    GMK_ERR_FULL = -2,         /* no task credit left: task_max tasks are accepted and unfinished */
    GMK_ERR_EXISTS = -3,       /* the name is taken */
    GMK_ERR_NOTFOUND = -4,     /* no such name, handle or generation */
    GMK_ERR_STATE = -5,        /* right call, wrong moment (outside a handler, being halted, ...) */
    GMK_ERR_TIMEOUT = -6,      /* the given time passed first */
    GMK_ERR_BUSY = -7,         /* somebody still uses it */
    GMK_ERR_RANGE = -8,        /* a number is outside its documented range */
    GMK_ERR_LIMIT = -9,        /* a configured or built-in table is full */
    GMK_ERR_UNSUPPORTED = -10, /* this kernel cannot do that */
    GMK_ERR_VERSION = -11,     /* built against another layout; not produced by this version */
    GMK_ERR_IO = -12,          /* the writer callback of an export failed */

    GMK_CHAN_FULL = -100,          /* no channel credit: nobody got the message */
    GMK_CHAN_CLOSED = -101,        /* the channel is closed, or the handle is of an earlier one */
    GMK_CHAN_TYPE_MISMATCH = -102, /* the task's type is not the channel's message type */
    GMK_CHAN_ALREADY_BOUND = -103, /* a P2P channel has its one subscriber */

    GMK_ALLOC_FAIL = -200, /* the arena (or this size of it) is exhausted */

    /* Why an accepted task failed (counted as failed, reported on sys.error). */
    GMK_ERR_YIELD_LIMIT = -300,  /* yielded more often than its type may */
    GMK_ERR_RETRY_LIMIT = -301,  /* retried more often than its type may */
    GMK_ERR_POISONED = -302,     /* its type is poisoned; it was not run */
    GMK_ERR_FAULT = -303,        /* the CPU faulted in the handler */
    GMK_ERR_KERNEL_RESET = -304, /* the kernel it was sent to was reset: see bridge.h */
    GMK_ERR_STALLED = -305,      /* not produced by this version: a task whose worker was replaced
                                    keeps running and has the outcome it ends with */

    /* Why an accepted delivery was dropped (counted as dropped, reported on sys.dropped). */
    GMK_DROP_SHED = -400,     /* a lossy subscriber was too slow */
    GMK_DROP_CLOSED = -401,   /* the channel or subscription was closed */
    GMK_DROP_UNLOADED = -402, /* the module was unloaded */
    GMK_DROP_HALTED = -403,   /* the kernel was halted */
    GMK_DROP_NO_TYPE = -404,  /* no handler is registered for the type */
    GMK_DROP_BRIDGE = -405,   /* a bridge could not carry it, or its peer is gone */

    GMK_FAIL_BASE = -1000
};

/* A handler's own failure: GMK_FAIL(n), n >= 0, is distinct from every code above. */
#define GMK_FAIL(n) (GMK_FAIL_BASE - (int)(n))

/*
 * A short English description of any code above, never NULL.  GMK_FAIL(n) gives "handler
 * failure"; an unknown code gives "unknown code".  Any thread.
 */
const char *gmk_strerror(int code);

GMK_END_DECLS

#endif
