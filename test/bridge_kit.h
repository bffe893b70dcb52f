/* SPDX-License-Identifier: MIT */
/*
 * bridge_kit.h — two kernels of this process, joined: each with a module whose handlers note what they get.
 */
#ifndef GMK_TEST_BRIDGE_KIT_H
#define GMK_TEST_BRIDGE_KIT_H

#include "harness.h"

#include <ggmk/bridge.h>

#include "../bridge/region.h"

enum { B_NOTE = 1, B_OTHER, B_DEAD, B_ERROR, B_RETRY, B_TYPES = 16 };
enum { CPU = 0, GPU = 1 };
#define MANY 65536u

/* What the handlers of one type on one kernel were given. */
typedef struct noted {
    atomic_uint claimed, n; /* begun, and noted */
    atomic_uint hold;       /* handlers wait while it is set */
    atomic_uint letters;    /* deliveries that dead letters stand for */
    atomic_int code;        /* of the last letter */
    uint64_t meta0[MANY];
    uint32_t sum[MANY]; /* of the payload's bytes */
    uint32_t len[MANY];
} noted_t;
static noted_t noted[2][B_TYPES];

typedef struct peers {
    kit_t kit[2];
    gmk_bridge_t *end[2];
    gmk_bridge_pair_t pair;
    gmk_port_t port[2];
    gmk_ctx_t *c[2];
    uint32_t epoch;
} peers_t;

static inline uint32_t byte_sum(const void *p, uint32_t n)
{
    const unsigned char *b = p;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum = sum * 31 + b[i];
    return sum;
}

static inline int note_on(gmk_ctx_t *c, uint32_t side)
{
    const gmk_task_t *t = c->task;
    noted_t *s = &noted[side][t->type];
    if (atomic_load(&s->hold) != 0)
        KIT_HOLD((gmk_over_budget(c), atomic_load(&s->hold) == 0));
    if (t->type == B_DEAD || t->type == B_ERROR) {
        atomic_store(&s->code, gmk_dead_code(t)); /* before the count, which tests wait for */
        atomic_fetch_add(&s->letters, gmk_dead_count(t));
    }
    uint32_t i = atomic_fetch_add(&s->claimed, 1); /* deliveries of several channels may come at once */
    if (i < MANY) {
        s->meta0[i] = t->meta0;
        s->len[i] = t->payload_len;
        s->sum[i] = t->payload_ptr != 0 ? byte_sum((const void *)(uintptr_t)t->payload_ptr, t->payload_len)
                                        : 0;
    }
    atomic_fetch_add(&s->n, 1);
    return GMK_OK;
}

static inline int note_cpu(gmk_ctx_t *c) { return note_on(c, CPU); }
static inline int note_gpu(gmk_ctx_t *c) { return note_on(c, GPU); }

static const gmk_handler_reg_t cpu_handlers[] = {{.type = B_NOTE, .fn = note_cpu},
                                                 {.type = B_OTHER, .fn = note_cpu},
                                                 {.type = B_DEAD, .fn = note_cpu},
                                                 {.type = B_ERROR, .fn = note_cpu}};
static const gmk_handler_reg_t gpu_handlers[] = {{.type = B_NOTE, .fn = note_gpu},
                                                 {.type = B_OTHER, .fn = note_gpu},
                                                 {.type = B_DEAD, .fn = note_gpu},
                                                 {.type = B_ERROR, .fn = note_gpu}};

/* Boots both kernels with their channels; a NULL table is none.  Each with its own configuration of the bridge. */
static inline void peers_boot_each(peers_t *p, const gmk_chan_decl_t *cpu, uint32_t n_cpu,
                                   const gmk_chan_decl_t *gpu, uint32_t n_gpu,
                                   const gmk_bridge_cfg_t *cpu_cfg, const gmk_bridge_cfg_t *gpu_cfg)
{
    memset(p, 0, sizeof *p);
    memset(noted, 0, sizeof noted);
    for (uint32_t i = 0; i < 2; i++) {
        gmk_boot_cfg_t boot = kit_cfg(2);
        boot.name = i == CPU ? "cpu.0" : "gpu.0";
        kit_boot_module(&p->kit[i], boot,
                        (gmk_module_t){.name = i == CPU ? "near" : "far",
                                       .handlers = i == CPU ? cpu_handlers : gpu_handlers,
                                       .n_handlers = 4,
                                       .channels = i == CPU ? cpu : gpu,
                                       .n_channels = i == CPU ? n_cpu : n_gpu});
        assert_int_equal(gmk_bridge_create(&p->kit[i].k, i == CPU ? cpu_cfg : gpu_cfg, &p->end[i]), GMK_OK);
        assert_int_equal(gmk_attach(&p->kit[i].k, &p->port[i]), GMK_OK);
        p->c[i] = gmk_port_ctx(&p->port[i]);
        assert_int_equal(kit_hear(p->c[i], "sys.dropped", B_DEAD), GMK_OK);
        assert_int_equal(kit_hear(p->c[i], "sys.error", B_ERROR), GMK_OK);
    }
}

static inline void peers_boot(peers_t *p, const gmk_chan_decl_t *cpu, uint32_t n_cpu,
                              const gmk_chan_decl_t *gpu, uint32_t n_gpu, const gmk_bridge_cfg_t *cfg)
{
    peers_boot_each(p, cpu, n_cpu, gpu, n_gpu, cfg, cfg);
}

static inline int peers_join(peers_t *p)
{
    gmk_region_cfg_t region = {.epoch = ++p->epoch, .ring_slots = 256, .pool_bytes = (uint64_t)4 << 20};
    return gmk_bridge_join(&p->pair, p->end[CPU], p->end[GPU], &region);
}

static inline void peers_ready(peers_t *p)
{
    assert_int_equal(peers_join(p), GMK_OK);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(gmk_bridge_wait_ready(p->end[i], KIT_PATIENCE), GMK_OK);
}

#define PEERS_BOOT(p, cpu, gpu)                                                                              \
    do {                                                                                                     \
        peers_boot(p, cpu, sizeof(cpu) / sizeof((cpu)[0]), gpu, sizeof(gpu) / sizeof((gpu)[0]), NULL);       \
        peers_ready(p);                                                                                      \
    } while (0)

/* Takes the bridge down and checks that every delivery on both kernels had its outcome, and all memory is back. */
static inline void peers_end(peers_t *p)
{
    gmk_bridge_part(&p->pair, false);
    for (uint32_t i = 0; i < 2; i++) {
        gmk_bridge_destroy(p->end[i]);
        gmk_detach(&p->port[i]);
        kit_drain(&p->kit[i]);
        kit_conserved(&p->kit[i], 0);
        gmk_mem_stats_t m;
        assert_int_equal(gmk_mem_stats(&p->kit[i].k, &m), GMK_OK);
        assert_int_equal(m.payloads_live, p->kit[i].begin.payloads_live);
        assert_int_equal(m.bad_frees, 0);
        assert_int_equal(gmk_halt(&p->kit[i].k), GMK_OK);
    }
}

static inline gmk_chan_t peers_chan(peers_t *p, uint32_t side, const char *name)
{
    gmk_chan_t ch;
    assert_int_equal(gmk_chan_find(p->c[side], name, &ch), GMK_OK);
    return ch;
}

static inline gmk_bridge_stats_t peers_stats(peers_t *p, uint32_t side)
{
    gmk_bridge_stats_t s;
    assert_int_equal(gmk_bridge_stats(p->end[side], &s), GMK_OK);
    return s;
}

/* A message that carries a counted payload, and in meta0 its sum. */
static inline gmk_task_t payload_task(const void *b, uint32_t len)
{
    return (gmk_task_t){.flags = GMK_TASK_PAYLOAD_RC,
                        .payload_ptr = (uint64_t)(uintptr_t)b,
                        .payload_len = len,
                        .meta0 = byte_sum(b, len)};
}

static inline void send_payload(peers_t *p, uint32_t side, gmk_chan_t ch, uint32_t len, uint32_t seed)
{
    unsigned char *b = NULL;
    KIT_WAIT((b = gmk_payload_alloc(p->c[side], len)) != NULL);
    for (uint32_t i = 0; i < len; i++)
        b[i] = (unsigned char)(seed + i * 7);
    gmk_task_t t = payload_task(b, len);
    assert_int_equal(gmk_chan_emit_wait(p->c[side], ch, &t, KIT_PATIENCE), GMK_OK);
}

static inline void assert_payloads(const noted_t *s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (s->sum[i] != (uint32_t)s->meta0[i])
            fail_msg("payload %u of %u bytes is not what was sent", i, s->len[i]);
}

#endif
