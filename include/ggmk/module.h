/* SPDX-License-Identifier: MIT */
/*
 * module.h — what a module declares: its handlers and the channels they meet on.
 *
 * Modules never call each other; they emit on named, typed channels.  The kernel copies
 * nothing out of these tables, so they must stay in place until the module is unloaded.
 */
#ifndef GGMK_MODULE_H
#define GGMK_MODULE_H

#include <ggmk/chan.h>
#include <ggmk/kernel.h>
#include <ggmk/task.h>

/* Handler flags. */
enum {
    GMK_HANDLER_SCALAR = 0,             /* one task per lane */
    GMK_HANDLER_WARP = 1 << 0,          /* one task per warp */
    GMK_HANDLER_BLOCK = 1 << 1,         /* one task per worker, all lanes together */
    GMK_HANDLER_DETERMINISTIC = 1 << 2, /* takes GMK_TASK_DETERMINISTIC tasks */
    GMK_HANDLER_DET_PARALLEL = 1 << 3,  /* deterministic, touches only its task and payload */
    GMK_HANDLER_NEEDS_SHARED = 1 << 4   /* wants shared_bytes of worker-shared memory */
};

#define GMK_YIELDS_UNLIMITED UINT32_MAX
#define GMK_DEFAULT_MAX_YIELDS 16u
#define GMK_DEFAULT_MAX_RETRIES 8u

typedef struct gmk_handler_reg {
    uint32_t type; /* 1 <= type < n_types; unique in the kernel */
    gmk_handler_fn fn;
    const char *name;      /* <= 31 bytes, for people; NULL = "type.N" */
    uint32_t flags;        /* GMK_HANDLER_* */
    uint32_t max_yields;   /* 0 = default 16; at most 65535, or GMK_YIELDS_UNLIMITED */
    uint32_t max_retries;  /* 0 = default 8; at most 65535 */
    uint64_t budget_ns;    /* 0 = none; overruns are counted and traced */
    uint32_t shared_bytes; /* with NEEDS_SHARED */
} gmk_handler_reg_t;

enum { GMK_CONSUMES = 1, GMK_PRODUCES = 2 };

/*
 * A channel a module uses.  Every declaration of one name must agree on msg_type, or the boot
 * stops and names both modules.  A consuming declaration with a handler subscribes by itself.
 */
typedef struct gmk_chan_decl {
    const char *name;
    uint32_t direction; /* GMK_CONSUMES or GMK_PRODUCES */
    uint32_t msg_type;
    uint32_t mode;      /* gmk_chan_cfg_t.mode */
    uint32_t guarantee; /* gmk_chan_cfg_t.guarantee */
    uint32_t handler;   /* handler type that consumes, 0 = none */
    uint32_t order;     /* GMK_ORDERED or GMK_PARALLEL */
    uint32_t slots;     /* 0 = default */
} gmk_chan_decl_t;

typedef struct gmk_module {
    const char *name; /* 1-31 bytes, unique in the kernel */
    uint32_t version;
    const gmk_handler_reg_t *handlers;
    uint32_t n_handlers;
    const gmk_chan_decl_t *channels;
    uint32_t n_channels;
    int (*init)(gmk_ctx_t *ctx);  /* may open, subscribe, allocate, emit; < 0 stops the load */
    void (*fini)(gmk_ctx_t *ctx); /* runs in reverse order of init */
    void *data;                   /* the module's own; the kernel never reads it */
} gmk_module_t;

/*
 * Puts a module into the linker section that boots with GMK_BOOT_LINKED collect:
 *     static gmk_module_t counter = { .name = "counter", ... };
 *     GMK_MODULE(counter);
 * Works with libgmk_cpu.a and .so alike, and under --gc-sections (hence "retain").
 */
#define GMK_MODULE(module)                                                                                   \
    __attribute__((used, retain,                                                                             \
                   section("gmk_modules"))) static gmk_module_t *const gmk_module_entry_##module = &(module)

/*
 * Loads a module while the kernel runs: registers its handlers, opens the channels it
 * declares, runs init, subscribes.  On any error everything is undone.  Any thread but not a
 * handler.  EXISTS (module name or handler type), CHAN_TYPE_MISMATCH, LIMIT, INVAL, STATE,
 * ALLOC_FAIL, or what init returned.
 */
int gmk_module_load(gmk_kernel_t *k, gmk_module_t *m);

/*
 * Unloads a module: its subscriptions end, what is queued for its handlers is dead-lettered
 * with GMK_DROP_UNLOADED, fini runs, and the call returns after every worker has passed a
 * quiescent point: from then on no worker is in its code, and a shared object may be closed.
 * Any thread but not a handler.  NOTFOUND, STATE, TIMEOUT (a handler of the module has not
 * returned within the halt timeout; the unload goes on, call again to wait for it).
 */
int gmk_module_unload(gmk_kernel_t *k, const char *name);

/* Clears the poison of a handler type.  Any thread.  RANGE, NOTFOUND. */
int gmk_type_reset(gmk_kernel_t *k, uint32_t type);

#endif
