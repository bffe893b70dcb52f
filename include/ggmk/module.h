/* SPDX-License-Identifier: MIT */
/*
 * module.h — what a module declares: its handlers and the channels they meet on.
 *
 * Modules never call each other; they emit on named, typed channels.  The kernel goes back to
 * these tables, so they must stay in place until the module is unloaded or the kernel is halted.
 */
#ifndef GGMK_MODULE_H
#define GGMK_MODULE_H

#include <ggmk/chan.h>
#include <ggmk/kernel.h>
#include <ggmk/task.h>

GMK_BEGIN_DECLS

/* Handler flags. */
enum {
    GMK_HANDLER_SCALAR = 0,             /* one task per lane */
    GMK_HANDLER_WARP = 1 << 0,          /* one task per warp */
    GMK_HANDLER_BLOCK = 1 << 1,         /* one task per worker, all lanes together */
    GMK_HANDLER_DETERMINISTIC = 1 << 2, /* takes GMK_TASK_DETERMINISTIC tasks */
    GMK_HANDLER_DET_PARALLEL = 1 << 3,  /* deterministic, touches only its task and payload */
    GMK_HANDLER_NEEDS_SHARED = 1 << 4   /* for GPU images; hosted kernels ignore it */
};

#define GMK_YIELDS_UNLIMITED UINT32_MAX
#define GMK_DEFAULT_MAX_YIELDS 16u
#define GMK_DEFAULT_MAX_RETRIES 8u

typedef struct gmk_handler_reg {
    uint32_t type; /* 1 <= type < n_types; unique in the kernel */
    gmk_handler_fn fn;
    const char *name;      /* 1-31 bytes of [a-zA-Z0-9_.-], for people; NULL = "type.N" */
    uint32_t flags;        /* GMK_HANDLER_* */
    uint32_t max_yields;   /* 0 = default 16; at most 65535, or GMK_YIELDS_UNLIMITED */
    uint32_t max_retries;  /* 0 = default 8; at most 65535 */
    uint64_t budget_ns;    /* 0 = none; overruns are counted and traced, and nothing is cut off */
    uint32_t shared_bytes; /* with NEEDS_SHARED; hosted kernels ignore it */
} gmk_handler_reg_t;

enum { GMK_CONSUMES = 1, GMK_PRODUCES = 2 };

/*
 * A channel a module uses.  The first declaration of a name opens the channel; what the fields leave
 * out has the defaults of gmk_chan_cfg_t.  Every declaration of one name must agree on msg_type, mode and
 * guarantee, and on slots where both give a number; else the load is refused, and the console names both
 * modules and what each declared.  The sys.* channels are open already: declare them with msg_type 0, the
 * other fields are ignored.  A consuming declaration with a handler subscribes by itself, after init.
 */
typedef struct gmk_chan_decl {
    const char *name;
    uint32_t direction; /* GMK_CONSUMES, GMK_PRODUCES, or both */
    uint32_t msg_type;  /* gmk_chan_cfg_t.msg_type, 0 = any */
    uint32_t mode;      /* gmk_chan_cfg_t.mode: 0 = GMK_P2P */
    uint32_t guarantee; /* gmk_chan_cfg_t.guarantee: 0 = GMK_LOSSLESS */
    uint32_t handler;   /* handler type that consumes, 0 = none */
    uint32_t order;     /* GMK_ORDERED (0) or GMK_PARALLEL */
    uint32_t slots;     /* 0 = default, 1024 */
} gmk_chan_decl_t;

typedef struct gmk_module {
    const char *name; /* 1-31 bytes of [a-zA-Z0-9_.-], unique in the kernel */
    uint32_t version; /* the module's own; the kernel never looks at it */
    const gmk_handler_reg_t *handlers;
    uint32_t n_handlers;
    const gmk_chan_decl_t *channels;
    uint32_t n_channels;
    int (*init)(gmk_ctx_t *ctx);  /* may open, subscribe, allocate, emit; < 0 stops the load */
    void (*fini)(gmk_ctx_t *ctx); /* at a halt in reverse order of init; both get a port's ctx */
    void *data;                   /* the module's own; the kernel never reads it */
} gmk_module_t;

/*
 * Puts a module into the linker section that boots with GMK_BOOT_LINKED collect:
 *     static gmk_module_t counter = { .name = "counter", ... };
 *     GMK_MODULE(counter);
 * Works with libgmk_cpu.a and .so alike, and under --gc-sections (hence "retain").  In C it also gives the
 * module a second name, gmk_image_module_counter, by which the list of a closed image refers to it: that
 * name is known in the whole program, or shared object, and is unique there.
 */
#define GMK_MODULE(module)                                                                                   \
    GMK_SECOND_NAME(gmk_module_t, gmk_image_module_##module, module)                                         \
    __attribute__((used, retain,                                                                             \
                   section("gmk_modules"))) static gmk_module_t *const gmk_module_entry_##module = &(module)

/*
 * Loads a module while the kernel runs: opens the channels it declares, registers its handlers,
 * runs init, subscribes.  On any error everything is undone, the channels it opened are closed but for
 * those that others have declared or subscribed to meanwhile, and the console says why unless the kernel
 * is quiet.  Where a handler holds the undoing up for longer than the halt timeout, it goes on by itself:
 * *m must stay in place until gmk_module_unload of its name no longer answers TIMEOUT.  At most 128
 * modules at a time; a load takes one of the max_ports ports.  Any thread but not a handler.
 *
 * INVAL (a malformed name or declaration, no table, a handler without a function; two declarations of a
 * channel differ in mode, guarantee or slots), RANGE (a handler type, max_yields, max_retries, or a number
 * of a channel), EXISTS (the name of the module, or a handler type), LIMIT (modules, ports, channels,
 * subscriptions), NOTFOUND (a declaration names a handler that is not registered), CHAN_TYPE_MISMATCH,
 * CHAN_ALREADY_BOUND (a P2P channel has its subscriber), ALLOC_FAIL, STATE (the kernel halts),
 * UNSUPPORTED (a kernel whose code is closed, as a GPU image's), or what init returned.
 */
int gmk_module_load(gmk_kernel_t *k, gmk_module_t *m);

/*
 * Unloads a module: its subscriptions end, and what is queued for them is dead-lettered with
 * GMK_DROP_UNLOADED.  So is a direct task or a timer of one of its types when its turn comes, as long
 * as no other module has registered the type meanwhile: such a task would run there.  The channels
 * the module opened stay open.  Once every worker has passed a quiescent point, fini runs and the
 * call returns: no worker is in the module's code any more, and a shared object may be closed.
 *
 * It takes one of the max_ports ports.  Any thread but not a handler.  INVAL, NOTFOUND (no such
 * module), LIMIT (max_ports are attached), STATE (the module is just being loaded, or the kernel
 * halts), TIMEOUT (a handler has not returned within the halt timeout; the unload goes on, call again
 * to wait for it).
 */
int gmk_module_unload(gmk_kernel_t *k, const char *name);

/* Clears the poison of a handler type.  Any thread.  INVAL, RANGE, NOTFOUND (no handler registered). */
int gmk_type_reset(gmk_kernel_t *k, uint32_t type);

GMK_END_DECLS

#endif
