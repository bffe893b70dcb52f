/* SPDX-License-Identifier: MIT */
/*
 * task.h — the unit of work.
 *
 * A task record is 48 bytes, aligned to 16, and has the same bytes on every kernel.  Callers
 * fill type, flags, tenant, payload_ptr, payload_len, meta0 and meta1; the kernel owns the
 * other fields and overwrites whatever is in them.  A record is copied in by every call that
 * takes one, so the caller's copy may be reused as soon as the call returns.
 *
 * A zeroed record has priority 0, the most urgent.  Give bulk work a lower one (GMK_PRIO_1 to
 * GMK_PRIO_3) if anything is to overtake it; only priority 0 may use a channel's reserve.
 *
 * In the handler of a delivery, `type` is the handler's own type, `seq` the number of the message,
 * and flags has GMK_TASK_CHANNEL_MSG.  Who passes such a record on sets type to 0 or to the message
 * type of the next channel, and retains the payload first (mem.h).
 */
#ifndef GGMK_TASK_H
#define GGMK_TASK_H

#include <ggmk/lang.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

GMK_BEGIN_DECLS

/* Task flags: bits 0-1 are the priority, 0 = highest. */
enum {
    GMK_PRIO_0 = 0,
    GMK_PRIO_1 = 1,
    GMK_PRIO_2 = 2,
    GMK_PRIO_3 = 3,
    GMK_PRIO_MASK = 3,
    GMK_TASK_DETERMINISTIC = 1 << 2, /* runs in tick order, see determinism in docs/kernel.md */
    GMK_TASK_IDEMPOTENT = 1 << 3,    /* may be run again after a reset; hosted kernels ignore it */
    GMK_TASK_EMIT_TRACE = 1 << 4,    /* trace this task whatever the levels say */
    GMK_TASK_CHANNEL_MSG = 1 << 5,   /* kernel: this record is a channel delivery */
    GMK_TASK_PAYLOAD_RC = 1 << 6,    /* payload_ptr is a counted payload; the kernel releases it */
    GMK_TASK_INTERNAL = 1 << 7       /* kernel: not a user's task, counted apart */
};

typedef struct gmk_task {
    GMK_ALIGNAS(16) uint32_t type; /* handler type: index into the dispatch table */
    uint16_t flags;                /* GMK_PRIO_* | GMK_TASK_* */
    uint16_t tenant;               /* a label, 0 <= tenant < n_tenants; no quota hangs on it */
    uint32_t channel;              /* kernel: 0 = direct, else the delivery it is */
    uint32_t seq;                  /* kernel: number of the task or message, serial arithmetic */
    uint64_t payload_ptr;          /* address in this kernel's arena, 0 = none */
    uint32_t payload_len;          /* bytes; must lie in the arena, not checked against the block */
    uint16_t yield_count;          /* kernel */
    uint16_t retry_count;          /* kernel */
    uint64_t meta0;                /* inline arguments, or the state of a multi-phase handler */
    uint64_t meta1;
} gmk_task_t;

GMK_STATIC_ASSERT(sizeof(gmk_task_t) == 48, "the task record is 48 bytes on every kernel");
GMK_STATIC_ASSERT(GMK_ALIGNOF(gmk_task_t) == 16, "the task record is aligned to 16");

/*
 * What a handler is given.  Built once per worker and lane; only `task` changes from call to
 * call.  Every pointer in it is always valid.  Fields below the line belong to the kernel.
 */
typedef struct gmk_ctx {
    const gmk_task_t *task;    /* the running task; a port's ctx shows an all-zero task */
    struct gmk_kernel *kernel; /* the kernel that runs it */
    /* ---- */
    struct gmk_front *front;
    uint32_t lane;
    uint32_t lanes;
    uint32_t verdict; /* what the handler asked for: nothing, yield, wait */
    uint32_t wait_credits;
    uint32_t wait_chan;
    uint32_t det_index; /* index of the next deterministic emission */
    uint64_t phase;     /* of gmk_yield_at, when phase_set */
    uint32_t phase_set;
} gmk_ctx_t;

/*
 * A handler returns GMK_OK, GMK_RETRY, GMK_FAIL(n), or another negative code as its failure.  Any
 * other positive value counts as GMK_ERR_INVAL.  Whatever is not GMK_OK wins over a yield or a wait.
 */
typedef int (*gmk_handler_fn)(gmk_ctx_t *ctx);

GMK_END_DECLS

#endif
