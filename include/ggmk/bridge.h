/* SPDX-License-Identifier: MIT */
/*
 * bridge.h — two kernels as peers: channels whose two ends live apart.
 *
 * A bridge joins one kernel to one other through a region of shared memory.  While it is up, a
 * channel that one kernel produces on and the other consumes is one channel: gmk_chan_emit is the
 * same call, with the same modes, guarantees and backpressure, and order is kept per producing
 * kernel.  A module never learns on which kernel its partner runs.  Payloads are copied, and arrive as
 * counted payloads of the other kernel's arena; one that was not counted stays its owner's here.
 *
 * The rules of use:
 *   - One thread formats a region (gmk_region_format); the two kernels never share anything else.
 *   - Each kernel makes its end with gmk_bridge_create, which starts a thread, the pump, and takes one of the
 *     kernel's ports.  All messages pass through the pumps; workers never touch the region.
 *   - gmk_bridge_up ties the end to a region.  The kernels then tell each other their channels.  Two
 *     declarations of one channel that disagree make both ends fail, and both consoles name the modules.
 *   - gmk_bridge_down unties it, whatever the peer is doing.  Until the next gmk_bridge_up, with a new region
 *     of a new epoch, P2P channels that lead to the peer answer GMK_CHAN_CLOSED.
 *   - gmk_bridge_destroy ends the pump and gives the port back; only then may the kernel be halted.
 *
 * What becomes of a message: emitted on a bridged channel it is accepted here, as a delivery to the
 * bridge.  That delivery is completed when the peer's channel has accepted the message (or, for a task
 * marked GMK_TASK_IDEMPOTENT, when the peer has completed it).  Until then its credit is taken and the record
 * and its payload are kept.  At gmk_bridge_down those that had left and were not acknowledged fail with
 * GMK_ERR_KERNEL_RESET, but for the idempotent ones, which are sent again when the bridge is up; those
 * that had not left wait.  What the peer had accepted is the peer's: see gmk_bridge_stats_t.peer.
 *
 * A peer is not trusted: what is read from the region is copied once and checked.  A peer that breaks the
 * rules fails the bridge (GMK_BRIDGE_FAILED) and can do no more.
 *
 * While a kernel has bridges, an eighth of its memory for blocks (less, if so much is not free in one piece when the
 * first is made) is kept for payloads that arrive, and nobody else gets it: else two kernels that are full of messages
 * for each other would wait for ever.  A payload larger than that may.
 *
 * docs/bridge.md describes the region byte by byte.
 */
#ifndef GGMK_BRIDGE_H
#define GGMK_BRIDGE_H

#include <ggmk/kernel.h>

GMK_BEGIN_DECLS

typedef struct gmk_bridge gmk_bridge_t;

/* ---- the region ---------------------------------------------------------------------------- */

/* Zero means default in every field. */
typedef struct gmk_region_cfg {
    uint32_t epoch;         /* >= 1, different from every earlier one of these two kernels; default 1 */
    uint32_t ring_slots;    /* messages under way each way, power of two 64 .. 65536; default 4096 */
    uint32_t control_slots; /* power of two 16 .. 4096; default 256 */
    uint64_t pool_bytes;    /* payloads under way each way, 64 KiB .. 4 GiB; default 64 MiB */
    const char *name[2];    /* of the kernel on side 0 and on side 1; default "cpu.0", "gpu.0" */
    const char *args; /* handed to the kernel on side 1: words NAME=VALUE, <= 2047 bytes; default none */
} gmk_region_cfg_t;

#define GMK_REGION_ARGS_MAX 2047u

/* Bytes a region of this configuration takes, a multiple of 4096; 0 when a field is out of range. */
uint64_t gmk_region_bytes(const gmk_region_cfg_t *cfg);

/*
 * Formats a region of zeroed memory, aligned to 4096.  One thread, before anybody else sees the memory.
 * INVAL (a null pointer, a name that is none, args too long), RANGE (a field; bytes too few).
 */
int gmk_region_format(void *region, uint64_t bytes, const gmk_region_cfg_t *cfg);

/* ---- a kernel's end ------------------------------------------------------------------------ */

enum gmk_bridge_state {
    GMK_BRIDGE_DOWN = 0,    /* no region */
    GMK_BRIDGE_HELLO = 1,   /* the kernels are telling each other their channels */
    GMK_BRIDGE_READY = 2,   /* messages pass */
    GMK_BRIDGE_STOPPED = 3, /* the peer has ended in order */
    GMK_BRIDGE_FAILED = 4 /* declarations disagree, or the peer broke the rules: gmk_bridge_stats says why */
};

/* How an end reaches a copy engine for one direction, see ggmk/copier.h.  All zero: there is none. */
typedef struct gmk_copier {
    struct gmk_copy_ring *ring; /* near the engine, which looks at it all the time */
    struct gmk_copy_done *done; /* near the kernel */
    uint32_t least;             /* bytes of a payload that is worth an order; default 64 KiB */
    void (*wake)(void *arg); /* called by the pump after an order; default none: the engine looks by itself */
    void *arg;
} gmk_copier_t;

/* Made by a module's init and destroyed by its fini: its port does not hold up the halt. */
enum { GMK_BRIDGE_OF_MODULE = 1 << 0 };

/* Zero means default in every field. */
typedef struct gmk_bridge_cfg {
    uint32_t batch;    /* messages per publication, 1 .. 64; default 64 */
    uint64_t flush_ns; /* a busy bridge gathers for so long, <= 1 s; default 10 us; 1 = never */
    uint64_t beat_ns;  /* heartbeat interval, 1 us .. 1 min; default 100 ms */
    uint64_t spin_ns;  /* the pump looks for so long before it sleeps, <= 10^9; default 50 us; 1 = none */
    uint64_t nap_ns;   /* longest sleep while the peer cannot wake it, 1 us .. 1 s; default 1 ms */
    void (*wake)(
        void *arg); /* called by the pump when the peer sleeps and there is something for it; default none */
    void *wake_arg;
    uint32_t window; /* messages under way on one channel, power of two 16 .. 4096; default 256 */
    uint32_t flags;  /* GMK_BRIDGE_* */
    gmk_copier_t copy_out, copy_in; /* engines for large payloads, to the peer and from it; default none */
} gmk_bridge_cfg_t;

/*
 * Makes a bridge end: DOWN.  cfg may be NULL.  The memory is the kernel's.  INVAL (null; an engine with half of its
 * memory), RANGE, LIMIT (no port or no thread left, or 15 bridges), ALLOC_FAIL, STATE (the kernel halts).
 */
int gmk_bridge_create(gmk_kernel_t *k, const gmk_bridge_cfg_t *cfg, gmk_bridge_t **out);

/*
 * Ties the end to a region and begins to talk.  side: 0 or 1, the other one is the peer's.  INVAL (null, side,
 * alignment, a region that is none or is damaged), VERSION (a region of another version), RANGE (bytes too few),
 * STATE (not DOWN; or an epoch that this end has seen).  The console says what is wrong.
 */
int gmk_bridge_up(gmk_bridge_t *b, void *region, uint64_t bytes, uint32_t side);

/*
 * Waits until the bridge is READY.  OK; TIMEOUT; STATE (DOWN, STOPPED); or why it FAILED: CHAN_TYPE_MISMATCH,
 * CHAN_ALREADY_BOUND, INVAL (another disagreement, or a peer that broke the rules).
 */
int gmk_bridge_wait_ready(gmk_bridge_t *b, uint64_t timeout_ns);

/* Waits for a moment at which all that was emitted to the peer is acknowledged.  OK, TIMEOUT, STATE (not READY). */
int gmk_bridge_flush(gmk_bridge_t *b, uint64_t timeout_ns);

/*
 * Unties the end.  The region is not touched any more when it returns.  OK also when it was DOWN.  keep = true:
 * channels that lead to the peer answer CHAN_CLOSED until the next gmk_bridge_up; false: the peer is gone
 * for good, what waits for it is dropped (GMK_DROP_BRIDGE) and the channels are local ones again.
 */
int gmk_bridge_down(gmk_bridge_t *b, bool keep);

/* Ends the bridge.  It is taken down first (keep = false).  NULL is ignored. */
void gmk_bridge_destroy(gmk_bridge_t *b);

/* Asks the kernel on the other side to stop.  INVAL, STATE (DOWN). */
int gmk_bridge_ask_stop(gmk_bridge_t *b);

/*
 * Waits until the peer asks this kernel to stop: what it waits for all its life where nobody else is there to end
 * it.  OK; TIMEOUT; INVAL; STATE (DOWN, or the peer has ended); or why it FAILED, as from gmk_bridge_wait_ready.
 */
int gmk_bridge_wait_asked(gmk_bridge_t *b, uint64_t timeout_ns);

/* The pump sleeps: make it look now.  What the peer's wake function calls.  Any thread. */
void gmk_bridge_wake(gmk_bridge_t *b);

#define GMK_BRIDGE_TEXT 128u

/* What the peer publishes of itself with every beat; zero before the first. */
typedef struct gmk_peer_stats {
    char name[GMK_NAME_MAX + 1];
    uint32_t state;                                /* enum gmk_bridge_state, the peer's own */
    uint32_t workers;                              /* running */
    uint64_t beats, beat_age_ns;                   /* since the last one arrived here */
    uint64_t accepted, completed, failed, dropped; /* deliveries of the peer's kernel, this epoch */
    uint64_t clock_offset_ns,
        clock_error_ns; /* peer = local + offset, modulo 2^64, within error; UINT64_MAX = not
                                                 known yet */
} gmk_peer_stats_t;

typedef struct gmk_bridge_stats {
    uint32_t state, epoch; /* enum gmk_bridge_state */
    int code;              /* why it FAILED, else OK */
    char text[GMK_BRIDGE_TEXT];
    uint32_t routes_out, routes_in; /* channels that lead to the peer, and from it */
    uint64_t sent, received;        /* messages, this end's whole life */
    uint64_t acknowledged;          /* of those sent: completed here */
    uint64_t reset, resent;         /* failed with KERNEL_RESET; sent again after a reset */
    uint64_t dropped;               /* GMK_DROP_BRIDGE */
    uint64_t publications;          /* batches of messages made visible */
    uint64_t payloads_out, payloads_in, payload_bytes_out, payload_bytes_in;
    uint64_t stalls; /* rounds in which a message waited for the peer's credit or pool */
    uint64_t epochs; /* times it was up */
    gmk_peer_stats_t peer;
    /* Of all epochs that ended without an orderly stop: what the peer had accepted, completed (in any way), and
       neither: lost with it. */
    uint64_t lost_epochs, lost_accepted, lost_completed, lost;
} gmk_bridge_stats_t;

/* Any thread.  INVAL. */
int gmk_bridge_stats(gmk_bridge_t *b, gmk_bridge_stats_t *out);

/*
 * The last sign of life of worker w of the peer: its beat count and the type it runs (0 = none).  Any
 * thread.  INVAL, STATE (DOWN), RANGE.
 */
int gmk_bridge_peer_worker(gmk_bridge_t *b, uint32_t w, uint64_t *beats, uint32_t *type);

/*
 * Two kernels of one process joined by memory of it: allocates and formats a region and ties both ends to
 * it, each waking the other.  a is side 0.  cfg's names and args are used; the ends' wake functions are set.
 * gmk_bridge_part takes both down and frees the region: before either end is destroyed.  Errors of region_format and bridge_up; ALLOC_FAIL.
 */
typedef struct gmk_bridge_pair {
    void *region;
    uint64_t bytes;
    gmk_bridge_t *end[2];
} gmk_bridge_pair_t;

int gmk_bridge_join(gmk_bridge_pair_t *p, gmk_bridge_t *a, gmk_bridge_t *b, const gmk_region_cfg_t *cfg);
void gmk_bridge_part(gmk_bridge_pair_t *p, bool keep);

GMK_END_DECLS

#endif
