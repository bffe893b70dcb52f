/* SPDX-License-Identifier: MIT */
/*
 * region.h — the memory two kernels share; docs/bridge.md draws it.
 *
 * Little-endian, fixed offsets, version 1.  Every word has one writer: the head is written before the
 * region is shared and is constant from then on; the rings and the pool of direction d, and the block of
 * side d, are written by side d alone.  No read-modify-write is used on any of it.
 *
 * Words that change while the peer looks are gmk_a64_t, of system scope.  The bodies of slots and the pool
 * are plain bytes: they belong to the producer until the commit word is stored, then to the consumer until
 * it has counted them as taken.
 */
#ifndef GMK_REGION_H
#define GMK_REGION_H

#include <ggmk/bridge.h>
#include <ggmk/hal.h>
#include <ggmk/task.h>

#define GMK_REGION_MAGIC UINT64_C(0x314745524b4d4747) /* "GGMKREG1" */
#define GMK_REGION_VERSION 1u
#define GMK_REGION_ROUTES 256u
#define GMK_REGION_WORKERS 256u
#define GMK_REGION_TEXT_WORDS 16u /* GMK_BRIDGE_TEXT bytes */
#define GMK_REGION_ALIGN 4096u
#define GMK_REGION_HEAD_BYTES 4096u
#define GMK_REGION_ARGS_AT 2048u /* in the head: the arguments, terminated */

typedef struct gmk_region_head {
    uint64_t magic;
    uint32_t version;
    uint32_t head_bytes; /* GMK_REGION_HEAD_BYTES */
    uint64_t region_bytes;
    uint32_t epoch;
    uint32_t ring_slots;
    uint32_t control_slots;
    uint32_t side_bytes; /* sizeof(gmk_region_side_t) */
    uint64_t pool_bytes;
    uint64_t side_at[2], ring_at[2], control_at[2], pool_at[2]; /* offsets; index = the side that writes */
    char name[2][GMK_NAME_MAX + 1];
} gmk_region_head_t;

/* A message.  commit = epoch << 32 | lap, stored last; lap = 1 + index / slots, modulo 2^32. */
typedef struct gmk_region_slot {
    uint64_t
        body[6]; /* a task: channel is the route, seq its number there, payload_ptr an offset in the pool */
    uint64_t stamp; /* the sender's clock in ns when the message is traced, else 0 */
    gmk_a64_t commit;
} gmk_region_slot_t;

#define GMK_REGION_TICK GMK_REGION_ROUTES /* in place of a route: a record of the deterministic run */

/*
 * A deterministic message: yield_count and retry_count are the low and the high half of 1 + the rank of its emitter
 * (0 = it was handed in from outside), and stamp is the index of the emission.
 *
 * A record of the run, in a slot of its own; fence.h says when.  What is not named is 0.
 */
enum gmk_tick_op {
    GMK_TICK_WISH =
        1, /* tick: the last one finished; born: the last one started; major: the next with work, 0 = none;
                          flags: 1 = GMK_BOOT_AUTO_TICK */
    GMK_TICK_OPEN,   /* tick begins, with minor messages of the sender */
    GMK_TICK_TASK,   /* type, prio, sub, tick, born, major, minor: its place in the order (det_int.h) */
    GMK_TICK_FAILED, /* type failed minor times in the tick before */
    GMK_TICK_ORDER,  /* tick: all TASK and FAILED, minor of them, are told */
    GMK_TICK_ALONE,  /* the sender's ticks are not joined to the receiver's */
    GMK_TICK_END     /* the run has ended there; minor: the code, as uint32 */
};

typedef struct gmk_region_tick {
    uint32_t type;
    uint8_t op, prio;
    uint16_t sub;
    uint32_t route; /* GMK_REGION_TICK */
    uint32_t flags;
    uint64_t tick, born, major, minor;
} gmk_region_tick_t;

/* What the consumer of a route has done, counted in messages since the route was made. */
typedef struct gmk_region_ack {
    gmk_a64_t delivered; /* accepted by the channel, or refused for good */
    gmk_a64_t completed; /* <= delivered: have all their outcomes */
} gmk_region_ack_t;

/* state: what this side is, in bits 0-7; its error code (as uint32) in bits 32-63. */
typedef struct gmk_region_side {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t state; /* enum gmk_bridge_state */
    gmk_a64_t stop;                           /* 1: the other side is asked to stop */
    gmk_a64_t asleep;                         /* 1: this side's pump wants to be woken */
    gmk_a64_t workers;
    _Alignas(GMK_CACHE_LINE) gmk_a64_t ring_head; /* messages taken from the peer's ring, ever */
    gmk_a64_t control_head;
    _Alignas(GMK_CACHE_LINE) gmk_a64_t beats;
    gmk_a64_t accepted, completed, failed, dropped;
    _Alignas(GMK_CACHE_LINE) gmk_a64_t text[GMK_REGION_TEXT_WORDS]; /* why it failed; written before state */
    _Alignas(GMK_CACHE_LINE) gmk_a64_t worker[GMK_REGION_WORKERS];  /* beats << 16 | type */
    gmk_region_ack_t ack[GMK_REGION_ROUTES];
} gmk_region_side_t;

/* What a control slot carries in its body. */
enum gmk_control_op {
    GMK_CONTROL_OWNER = 1, /* name: of the module that the next DECL is of */
    GMK_CONTROL_DECL, /* a channel of the sender: name, msg_type, mode, guarantee, slots, flags; route: its handle */
    GMK_CONTROL_END, /* the sender has told all it had at first */
    GMK_CONTROL_ROUTE, /* the sender will send on route: name of the channel, slots: its handle; msg_type: number of the question */
    GMK_CONTROL_GRANT, /* route may carry slots messages at a time; msg_type: as asked, time[0]: handle of the channel */
    GMK_CONTROL_REFUSE, /* there will be no such route; slots is the code, as uint32; msg_type: as asked */
    GMK_CONTROL_CLOSE, /* the channel name with handle route was closed, one with the receiver's of handle msg_type; 0 = none */
    GMK_CONTROL_PING, /* clock: time[0] = sender's clock */
    GMK_CONTROL_PONG, /* clock: time[0] as pinged, time[1] when it arrived, time[2] when this was sent */
    GMK_CONTROL_TRACE /* side 0 wants traces with every beat (flags: 1), and an answer to its requests up to
                              time[0] for all records, and time[1] for all figures: see trace_msg.h */
};

enum { GMK_CONTROL_CONSUMES = 1, GMK_CONTROL_PRODUCES = 2 }; /* flags of DECL */

typedef struct gmk_control {
    uint8_t op, mode, guarantee, flags;
    uint32_t msg_type;
    uint32_t slots;
    uint32_t route;
    union {
        char name[GMK_NAME_MAX + 1];
        uint64_t time[4];
    } u;
} gmk_control_t;

_Static_assert(sizeof(gmk_region_head_t) == 176, "the head's fields; zeros follow");
_Static_assert(GMK_REGION_ARGS_AT + GMK_REGION_ARGS_MAX + 1 == GMK_REGION_HEAD_BYTES,
               "the arguments end the head");
_Static_assert(sizeof(gmk_region_slot_t) == 64, "a slot is a cache line");
_Static_assert(sizeof(gmk_control_t) == sizeof(gmk_task_t), "a control message is a body");
_Static_assert(sizeof(gmk_region_tick_t) == sizeof(gmk_task_t), "a record of the run is a body");
_Static_assert(offsetof(gmk_region_tick_t, route) == offsetof(gmk_task_t, channel), "known by its route");
_Static_assert(sizeof(gmk_region_side_t) == 6464, "the block of a side");
_Static_assert(offsetof(gmk_region_side_t, worker) == 320, "worker words");
_Static_assert(offsetof(gmk_region_side_t, ack) == 2368, "acknowledgements");

/* The parts of a region, as one side sees them. */
typedef struct gmk_region_view {
    const char *args; /* in the region: to be copied */
    gmk_region_side_t *mine, *theirs;
    gmk_region_slot_t *ring_out, *ring_in, *control_out, *control_in;
    unsigned char *pool_out, *pool_in;
    uint32_t ring_slots, control_slots, epoch, side; /* copied: the head is read once */
    uint64_t pool_bytes;
    char name[2][GMK_NAME_MAX + 1];
} gmk_region_view_t;

/*
 * Checks the head, which is copied first, and fills the view.  why says what is wrong.  INVAL, VERSION, RANGE.
 */
int gmk_region_view(gmk_region_view_t *v, void *region, uint64_t bytes, uint32_t side, const char **why);

#endif
