/* SPDX-License-Identifier: MIT */
/*
 * duo.h — what a scenario needs around two kernels that a bridge joins.
 *
 * Kernel 1 of the run is on side 0 ("cpu.0"), kernel 2 on side 1 ("gpu.0"); the first fiber is of neither and
 * may touch both.  With races on, whatever one touches of the other's is a failure; they share the region
 * alone.  What wakes a pump goes from one to the other by duo_wake, as an interrupt would.
 *
 * A LINE is a channel of both: who emits on it and who hears it is said for each side.  Its handler type is its number + 1.
 * Senders put numbers on lines, and duo_note checks that every one comes once and in the order of its sender.
 */
#ifndef GGMK_SIM_DUO_H
#define GGMK_SIM_DUO_H

#include "kernel.h"

#include <ggmk/bridge.h>

#include "../../bridge/region.h"

#define DUO_LINES 4u
#define DUO_SENDERS 2u /* of each side */
#define DUO_WINDOW 16u
#define DUO_MS UINT64_C(1000000)

enum { DUO_CPU, DUO_GPU };

typedef struct duo_line {
    const char *name;
    gmk_chan_cfg_t cfg; /* the same on both sides, but for slots */
    bool emits[2], hears[2];
    bool lossy_order; /* numbers may be missing */
    gmk_chan_t ch[2];
    /* by the side that hears, the side that sent and the sender */
    uint32_t next[2][2][DUO_SENDERS];
    uint32_t heard[2], sent[2];
} duo_line_t;

typedef struct duo_end {
    scn_t s;
    uint32_t kernel, workers;
    bool gone; /* killed */
    gmk_bridge_t *b;
    gmk_bridge_cfg_t cfg;
    gmk_port_t port;
    gmk_ctx_t *c;
} duo_end_t;

typedef struct duo {
    duo_end_t end[3], *at[2]; /* by side; the third is for a successor of the GPU */
    void *region;
    gmk_region_cfg_t region_cfg;
    duo_line_t line[DUO_LINES];
    uint32_t n_lines;
    gmk_a32_t gate[2]; /* handlers of this side wait while it is 1 */
    uint32_t warm;     /* parallel subscriptions that there will be at a time, of at most four slots */
} duo_t;

extern duo_t duo;

/* Which side the handler runs on. */
static inline uint32_t duo_side(const gmk_ctx_t *c) { return c->kernel != &duo.at[DUO_CPU]->s.k; }

/* Starts from nothing and chooses the sizes: lanes, bridge, region.  What it chose may be changed. */
void duo_choose(void);
/* Boots one kernel, or both, with their ends; SCN_LETTER and the handlers of lines among the handlers. */
void duo_boot_one(uint32_t side, const gmk_handler_reg_t *handlers, uint32_t n);
void duo_boot(const gmk_handler_reg_t *handlers, uint32_t n);
#define DUO_BOOT(handlers) duo_boot(handlers, SCN_LEN(handlers))

/* Adds a line, with slots by the seed where cfg has none. */
duo_line_t *duo_add(const char *name, gmk_chan_cfg_t cfg, uint32_t emits, uint32_t hears);
#define DUO_FROM_CPU 1u
#define DUO_FROM_GPU 2u
#define DUO_BOTH 3u
/* Opens and subscribes it there. */
void duo_open_line(duo_line_t *l, uint32_t side);
void duo_open(void);

/* The peer's pump is woken: the wake function of an end; arg is the place in `at` of the other. */
void duo_wake(void *arg);

/* A new region of the next epoch, both ends on it, ready. */
void duo_region(void);
void duo_up(void);
/* Both ends on the region that there is. */
void duo_join(void);
void duo_down(bool keep);

/* The handler of a line: notes one message. */
int duo_note(gmk_ctx_t *c);

typedef struct duo_sender {
    uint32_t side, number, n;
    gmk_hal_thread_t thread;
} duo_sender_t;

gmk_task_t duo_message(uint32_t line, uint32_t side, uint32_t sender, uint32_t i);
/* Emits one message for good; false: the channel is closed. */
bool duo_emit(gmk_ctx_t *c, gmk_chan_t ch, const gmk_task_t *t);
/* n messages on each line that its side emits on; in fibers of its kernel. */
void duo_send(duo_sender_t *s, uint32_t senders, uint32_t n);
void duo_sent(duo_sender_t *s, uint32_t senders);

/* All that was emitted is acknowledged, and has run. */
void duo_flush(void);
/* Everybody heard everything, on the first lines, or on all. */
void duo_all_heard_but(uint32_t last);
void duo_all_heard(void);
gmk_bridge_stats_t duo_stats(uint32_t side);
/* What one end counts agrees with what the other does: no epoch ended otherwise than in order. */
void duo_sums(void);

/* Takes both down, ends the bridges and checks and halts both kernels. */
void duo_end_kernel(duo_end_t *e, const gmk_chan_t *ch);
void duo_end_one(uint32_t side);
void duo_end(void);

#endif
