/* SPDX-License-Identifier: MIT */
/* Deterministic ticks of two joined kernels: the hashes add up to that of one kernel that has it all. */
#include "harness.h"

#include <ggmk/bridge.h>

#include "det_workload.h"

#include <pthread.h>

enum { CPU = 0, GPU = 1 };
enum { ON_CPU = 1, ON_GPU = 2, ON_BOTH = 3 };
enum { T_PLAIN = DET_HEAR_TOO + 1, T_GROW, T_WHEN, T_PAYLOAD, T_TYPES };
enum { REGION_EPOCH = 7 };

/* One kernel with everything, or two with a part each. */
typedef struct sys {
    uint32_t n;
    kit_t kit[2];
    gmk_bridge_t *end[2];
    gmk_bridge_pair_t pair;
    gmk_handler_reg_t handlers[2][T_TYPES];
    gmk_chan_decl_t channels[2][4];
} sys_t;

typedef struct split {
    uint8_t on[T_TYPES]; /* by type: ON_*, 0 = everywhere */
    uint32_t workers[2];
    uint32_t flags[2];
    uint64_t arena[2];
} split_t;

static bool is_on(const split_t *p, uint32_t type, uint32_t side)
{
    return p->on[type] == 0 || (p->on[type] >> side & 1) != 0;
}

/* ---- handlers of these tests --------------------------------------------------------------- */

/* What was handed in, as it ran: its tick, its number there, and its value. */
typedef struct record {
    uint32_t tick, seq, side;
    uint64_t value;
} record_t;
static record_t records[2][256];
static atomic_uint n_records[2];
#define INPUT_DEPTH 3u

static int record_run(gmk_ctx_t *c, uint32_t side)
{
    const gmk_task_t *t = c->task;
    if (t->meta1 == INPUT_DEPTH && t->retry_count == 0 && t->yield_count == 0) {
        uint32_t n = atomic_fetch_add(&n_records[side], 1);
        records[side][n % 256] = (record_t){gmk_tick(c), t->seq, side, t->meta0};
    }
    return det_run(c);
}

static int record_cpu(gmk_ctx_t *c) { return record_run(c, CPU); }
static int record_gpu(gmk_ctx_t *c) { return record_run(c, GPU); }

static int grow_run(gmk_ctx_t *c)
{
    gmk_task_t next[2] = {*c->task, *c->task};
    (void)gmk_emit_n(c, next, 2);
    return GMK_OK;
}

static kit_gate_t gate;
static atomic_uint ran_in[8];

/* Notes the tick it runs in, under the number in meta1; waits for the gate in meta0 when it has one. */
static int when_run(gmk_ctx_t *c)
{
    atomic_store(&ran_in[c->task->meta1 % 8], gmk_tick(c));
    return c->task->meta0 != 0 ? kit_gate_run(c) : GMK_OK;
}

/* Sends a payload on: to and fro over the two channels. */
static int payload_run(gmk_ctx_t *c)
{
    gmk_chan_t ch;
    uint64_t left = c->task->meta1;
    uint32_t n = (uint32_t)(1 + det_mix(left) % 200000);
    if (left == 0)
        return GMK_OK;
    if (gmk_chan_find(c, left % 2 == 0 ? "det.one" : "det.all", &ch) != GMK_OK)
        return GMK_FAIL(1);
    unsigned char *p = gmk_payload_alloc(c, n);
    if (p == NULL)
        return GMK_FAIL(2);
    for (uint32_t i = 0; i < n; i++)
        p[i] = (unsigned char)(i * 7 + left);
    gmk_task_t t = {.flags = GMK_TASK_DETERMINISTIC | GMK_TASK_PAYLOAD_RC,
                    .payload_ptr = (uint64_t)(uintptr_t)p,
                    .payload_len = n,
                    .meta0 = det_mix(left),
                    .meta1 = left - 1};
    return gmk_chan_emit(c, ch, &t);
}

static int plain_run(gmk_ctx_t *c)
{
    (void)c;
    return GMK_OK;
}

/* ---- one system ---------------------------------------------------------------------------- */

enum hears { HEAR_WORKLOAD, HEAR_PAYLOAD };

static uint32_t fill_handlers(sys_t *s, const split_t *p, uint32_t side)
{
    const gmk_handler_reg_t own[] = {
        {.type = T_PLAIN, .fn = plain_run},
        {.type = T_GROW, .fn = grow_run, .flags = GMK_HANDLER_DETERMINISTIC},
        {.type = T_WHEN, .fn = when_run, .flags = GMK_HANDLER_DETERMINISTIC},
        {.type = T_PAYLOAD, .fn = payload_run, .flags = GMK_HANDLER_DET_PARALLEL},
    };
    uint32_t n = 0;
    for (uint32_t i = 0; i < sizeof det_handlers / sizeof det_handlers[0]; i++)
        if (is_on(p, det_handlers[i].type, side)) {
            s->handlers[side][n] = det_handlers[i];
            if (det_handlers[i].type == DET_SERIAL)
                s->handlers[side][n].fn = side == CPU ? record_cpu : record_gpu;
            n++;
        }
    for (uint32_t i = 0; i < sizeof own / sizeof own[0]; i++)
        s->handlers[side][n++] = own[i];
    return n;
}

static gmk_chan_decl_t declare(const char *name, uint32_t mode, uint32_t handler, enum hears h)
{
    return (gmk_chan_decl_t){.name = name,
                             .direction = handler != 0 ? GMK_CONSUMES : GMK_PRODUCES,
                             .mode = mode,
                             .handler = handler != 0 && h == HEAR_PAYLOAD ? T_PAYLOAD : handler,
                             .slots = 2};
}

static uint32_t fill_channels(sys_t *s, const split_t *p, uint32_t side, enum hears h)
{
    gmk_chan_decl_t *c = s->channels[side];
    uint32_t n = 0;
    c[n++] = declare("det.one", GMK_P2P, is_on(p, DET_HEAR_ONE, side) ? DET_HEAR_ONE : 0, h);
    if (is_on(p, DET_HEAR_ALL, side))
        c[n++] = declare("det.all", GMK_FANOUT, DET_HEAR_ALL, h);
    if (is_on(p, DET_HEAR_TOO, side) && h != HEAR_PAYLOAD)
        c[n++] = declare("det.all", GMK_FANOUT, DET_HEAR_TOO, h);
    if (n == 1)
        c[n++] = declare("det.all", GMK_FANOUT, 0, h);
    return n;
}

static void sys_ready(sys_t *s)
{
    static uint32_t epoch = REGION_EPOCH;
    gmk_region_cfg_t region = {.epoch = ++epoch, .ring_slots = 64, .pool_bytes = (uint64_t)1 << 20};
    assert_int_equal(gmk_bridge_join(&s->pair, s->end[0], s->end[1], &region), GMK_OK);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(gmk_bridge_wait_ready(s->end[i], KIT_PATIENCE), GMK_OK);
}

static void sys_boot_hearing(sys_t *s, const split_t *p, uint32_t n, enum hears h)
{
    static const gmk_bridge_cfg_t bridge = {.window = 16, .beat_ns = 10000000};
    memset(s, 0, sizeof *s);
    memset(records, 0, sizeof records);
    memset(ran_in, 0, sizeof ran_in);
    memset(&gate, 0, sizeof gate);
    s->n = n;
    for (uint32_t i = 0; i < 2; i++)
        atomic_store(&n_records[i], 0);
    for (uint32_t i = 0; i < n; i++) {
        gmk_boot_cfg_t cfg = kit_cfg(p->workers[i] != 0 ? p->workers[i] : 1);
        cfg.name = i == CPU ? "cpu.0" : "gpu.0";
        cfg.flags |= p->flags[i];
        cfg.poison_failures = DET_WORKLOAD_POISON;
        cfg.seed = DET_WORKLOAD_SEED;
        if (p->arena[i] != 0)
            cfg.arena_size = p->arena[i];
        uint32_t handlers = fill_handlers(s, p, i), channels = fill_channels(s, p, i, h);
        kit_boot_module(&s->kit[i], cfg,
                        (gmk_module_t){.name = "det",
                                       .handlers = s->handlers[i],
                                       .n_handlers = handlers,
                                       .channels = s->channels[i],
                                       .n_channels = channels});
        if (n == 2)
            assert_int_equal(gmk_bridge_create(&s->kit[i].k, &bridge, &s->end[i]), GMK_OK);
    }
    if (n == 2)
        sys_ready(s);
}

static void sys_boot(sys_t *s, const split_t *p, uint32_t n) { sys_boot_hearing(s, p, n, HEAR_WORKLOAD); }

/* Side 0 knows when nothing is left to do on either. */
static void sys_drain(sys_t *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        kit_drain(&s->kit[i]);
}

static uint64_t sys_hash(sys_t *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->n; i++)
        sum += kit_stats(&s->kit[i]).det_hash;
    return sum;
}

/* Deliveries to handlers, of both kernels: what was accepted, less what was accepted for the bridge. */
static uint64_t sys_tasks(sys_t *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        sum += kit_stats(&s->kit[i]).accepted;
        if (s->n == 2) {
            gmk_bridge_stats_t b;
            assert_int_equal(gmk_bridge_stats(s->end[i], &b), GMK_OK);
            sum -= b.sent;
        }
    }
    return sum;
}

static void sys_end(sys_t *s)
{
    if (s->n == 2)
        gmk_bridge_part(&s->pair, false);
    for (uint32_t i = 0; i < s->n; i++) {
        gmk_bridge_destroy(s->end[i]);
        kit_drain(&s->kit[i]);
        kit_conserved(&s->kit[i], 0);
        gmk_mem_stats_t m;
        assert_int_equal(gmk_mem_stats(&s->kit[i].k, &m), GMK_OK);
        assert_int_equal(m.payloads_live, s->kit[i].begin.payloads_live);
        assert_int_equal(m.bad_frees, 0);
        assert_int_equal(gmk_halt(&s->kit[i].k), GMK_OK);
    }
}

/* ---- the workload, split ------------------------------------------------------------------- */

static const split_t splits[] = {
    {.on = {[DET_HEAR_ONE] = ON_GPU, [DET_HEAR_ALL] = ON_CPU, [DET_HEAR_TOO] = ON_CPU}},
    {.on = {[DET_HEAR_ONE] = ON_CPU, [DET_HEAR_ALL] = ON_GPU, [DET_HEAR_TOO] = ON_GPU}},
    {.on = {[DET_HEAR_ONE] = ON_GPU, [DET_HEAR_ALL] = ON_CPU, [DET_HEAR_TOO] = ON_GPU}},
};

enum { INPUT_CPU, INPUT_GPU, INPUT_EACH };

static void input(sys_t *s, uint32_t how)
{
    if (how == INPUT_EACH)
        for (uint32_t i = 0; i < 2; i++)
            assert_int_equal(det_input_part(&s->kit[i].k, i, 2), GMK_OK);
    else
        assert_int_equal(det_input(&s->kit[how == INPUT_GPU ? GPU : CPU].k), GMK_OK);
}

static void workload(split_t p, uint32_t how, uint32_t driver)
{
    sys_t s;
    sys_boot(&s, &p, 2);
    input(&s, how);
    for (uint32_t i = 0; i < DET_WORKLOAD_TICKS; i++)
        (void)gmk_tick_advance(&s.kit[driver].k);
    KIT_WAIT((sys_drain(&s), kit_stats(&s.kit[CPU]).tick >= DET_WORKLOAD_TICKS));
    sys_drain(&s);
    if (sys_hash(&s) != DET_WORKLOAD_HASH || sys_tasks(&s) != DET_WORKLOAD_TASKS)
        fail_msg("hash %llx, %llu tasks, with %u and %u workers", (unsigned long long)sys_hash(&s),
                 (unsigned long long)sys_tasks(&s), p.workers[0], p.workers[1]);
    assert_true(kit_stats(&s.kit[CPU]).det_hash != 0 && kit_stats(&s.kit[GPU]).det_hash != 0);
    sys_end(&s);
}

static void test_one_hash_however_it_is_split(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < sizeof splits / sizeof splits[0]; i++)
        for (uint32_t how = INPUT_CPU; how <= INPUT_EACH; how++) {
            split_t p = splits[i];
            p.workers[0] = p.workers[1] = 1;
            workload(p, how, CPU);
        }
}

static void test_one_hash_with_any_number_of_workers(void **state)
{
    (void)state;
    for (uint32_t cpu = 1; cpu <= 4; cpu++)
        for (uint32_t gpu = 1; gpu <= 4; gpu++) {
            split_t p = splits[(cpu + gpu) % 3];
            p.workers[0] = cpu;
            p.workers[1] = gpu;
            workload(p, (cpu * 4 + gpu) % 3, CPU);
        }
}

static void test_either_side_may_start_ticks(void **state)
{
    split_t p = splits[2];
    (void)state;
    p.workers[0] = p.workers[1] = 2;
    workload(p, INPUT_EACH, GPU);
}

/* One root: when it starts does not matter, all else follows from it. */
static uint64_t auto_hash(split_t p, uint32_t n, uint32_t from)
{
    sys_t s;
    sys_boot(&s, &p, n);
    gmk_task_t root = det_task(det_mix(0), 7);
    root.type = DET_SERIAL;
    assert_int_equal(gmk_submit(&s.kit[from].k, &root), GMK_OK);
    KIT_WAIT((sys_drain(&s), kit_stats(&s.kit[0]).pending == 0) &&
             (n == 1 || kit_stats(&s.kit[1]).pending == 0));
    uint64_t hash = sys_hash(&s);
    assert_true(sys_tasks(&s) > 20);
    sys_end(&s);
    return hash;
}

static void test_auto_tick(void **state)
{
    split_t one = {.flags = {GMK_BOOT_AUTO_TICK}};
    uint64_t hash = auto_hash(one, 1, CPU);
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        split_t p = splits[i % 3];
        p.workers[0] = p.workers[1] = 2;
        p.flags[CPU] = i % 3 != 2 ? GMK_BOOT_AUTO_TICK : 0; /* of one is of both */
        p.flags[GPU] = i % 3 != 1 ? GMK_BOOT_AUTO_TICK : 0;
        uint64_t got = auto_hash(p, 2, i / 3);
        if (got != hash)
            fail_msg("case %u: hash %llx, not %llx", i, (unsigned long long)got, (unsigned long long)hash);
    }
}

static void test_auto_tick_leaps_on_both(void **state)
{
    const uint32_t far = 2000000000;
    split_t p = splits[0];
    sys_t s;
    (void)state;
    p.flags[CPU] = GMK_BOOT_AUTO_TICK;
    sys_boot(&s, &p, 2);
    gmk_task_t t = {.type = T_WHEN, .flags = GMK_TASK_DETERMINISTIC, .meta1 = 1};
    assert_int_equal(gmk_submit_at(&s.kit[GPU].k, &t, far), GMK_OK);
    KIT_WAIT(atomic_load(&ran_in[1]) == far);
    sys_drain(&s);
    assert_int_equal(kit_stats(&s.kit[CPU]).tick, far);
    assert_int_equal(kit_stats(&s.kit[GPU]).tick, far);
    sys_end(&s);
}

/* ---- recorded ------------------------------------------------------------------------------ */

static int by_place(const void *a, const void *b)
{
    const record_t *x = a, *y = b;
    return x->tick != y->tick ? (x->tick < y->tick ? -1 : 1) : x->seq < y->seq ? -1 : x->seq > y->seq;
}

static gmk_task_t recorded(uint64_t value)
{
    return (gmk_task_t){.type = DET_SERIAL,
                        .flags = (uint16_t)(GMK_TASK_DETERMINISTIC | (value >> 3 & GMK_PRIO_MASK)),
                        .meta0 = value,
                        .meta1 = INPUT_DEPTH};
}

static uint32_t take_records(record_t *out)
{
    uint32_t n = 0;
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t i = 0; i < atomic_load(&n_records[side]); i++)
            out[n++] = records[side][i];
    qsort(out, n, sizeof *out, by_place);
    return n;
}

typedef struct giver {
    gmk_kernel_t *k;
    uint64_t first;
} giver_t;

static void *hand_in(void *arg)
{
    const giver_t *g = arg;
    for (uint64_t i = 0; i < 12; i++) {
        gmk_task_t t = recorded(det_mix(g->first + i));
        assert_int_equal(gmk_submit(g->k, &t), GMK_OK);
        kit_nap();
    }
    return NULL;
}

static uint64_t replay(const split_t *p, uint32_t n, const record_t *r, uint32_t count)
{
    sys_t s;
    record_t again[256];
    sys_boot(&s, p, n);
    for (uint32_t i = 0; i < count; i++) {
        gmk_task_t t = recorded(r[i].value);
        assert_int_equal(gmk_submit_at(&s.kit[n == 1 ? 0 : r[i].side].k, &t, r[i].tick), GMK_OK);
    }
    for (uint32_t i = 0; i < 100; i++)
        (void)gmk_tick_advance(&s.kit[0].k);
    sys_drain(&s);
    uint64_t hash = sys_hash(&s);
    assert_int_equal(take_records(again), count);
    for (uint32_t i = 0; i < count; i++)
        assert_true(again[i].tick == r[i].tick && again[i].value == r[i].value &&
                    (n == 1 || again[i].seq == r[i].seq));
    sys_end(&s);
    return hash;
}

static void test_recorded_input_replays(void **state)
{
    split_t p = splits[1];
    record_t r[256];
    pthread_t thread[2];
    sys_t s;
    (void)state;
    p.workers[0] = p.workers[1] = 2;
    sys_boot(&s, &p, 2);
    giver_t giver[2] = {{&s.kit[0].k, 0}, {&s.kit[1].k, 100}};
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, hand_in, &giver[i]), 0);
    for (uint32_t i = 0; i < 60; i++) {
        (void)gmk_tick_advance(&s.kit[0].k);
        kit_nap();
    }
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (uint32_t i = 60; i < 100; i++)
        (void)gmk_tick_advance(&s.kit[0].k);
    sys_drain(&s);
    uint64_t hash = sys_hash(&s);
    uint32_t n = take_records(r);
    assert_int_equal(n, 24);
    sys_end(&s);
    assert_true(replay(&p, 2, r, n) == hash);
    p.workers[0] = 3;
    assert_true(replay(&p, 2, r, n) == hash);
    split_t one = {.workers = {2}};
    assert_true(replay(&one, 1, r, n) == hash);
}

/* ---- payloads ------------------------------------------------------------------------------ */

static uint64_t payload_hash(split_t p, uint32_t n)
{
    sys_t s;
    gmk_task_t t = {.type = T_PAYLOAD, .flags = GMK_TASK_DETERMINISTIC, .meta1 = 12};
    sys_boot_hearing(&s, &p, n, HEAR_PAYLOAD);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(gmk_submit(&s.kit[0].k, &t), GMK_OK);
    for (uint32_t i = 0; i < 60; i++)
        (void)gmk_tick_advance(&s.kit[0].k);
    sys_drain(&s);
    assert_int_equal(sys_tasks(&s), 6 * 13);
    uint64_t hash = sys_hash(&s);
    if (n == 2) {
        gmk_bridge_stats_t b;
        assert_int_equal(gmk_bridge_stats(s.end[0], &b), GMK_OK);
        assert_true(b.payloads_out > 0 && b.payloads_in > 0);
    }
    sys_end(&s);
    return hash;
}

static void test_payloads_go_along(void **state)
{
    split_t one = {.workers = {1}}, two = splits[0];
    (void)state;
    assert_true(payload_hash(one, 1) == payload_hash(two, 2));
}

/* ---- a slow peer, and one that is gone ----------------------------------------------------- */

static void submit_when(sys_t *s, uint32_t side, uint32_t tick, uint32_t number, kit_gate_t *g)
{
    gmk_task_t t = {
        .type = T_WHEN, .flags = GMK_TASK_DETERMINISTIC, .meta0 = (uint64_t)(uintptr_t)g, .meta1 = number};
    assert_int_equal(gmk_submit_at(&s->kit[side].k, &t, tick), GMK_OK);
}

static void slow(uint32_t who)
{
    sys_t s;
    sys_boot(&s, &splits[0], 2);
    submit_when(&s, who, 1, 1, &gate);
    submit_when(&s, 1 - who, 1, 2, NULL);
    submit_when(&s, 1 - who, 2, 3, NULL);
    (void)gmk_tick_advance(&s.kit[CPU].k);
    (void)gmk_tick_advance(&s.kit[CPU].k);
    KIT_WAIT(atomic_load(&gate.in) == 1 && atomic_load(&ran_in[2]) == 1);
    for (uint64_t until = kit_now() + 30 * KIT_MS; kit_now() < until;) /* some time for a wrong tick */
        kit_nap();
    assert_int_equal(atomic_load(&ran_in[3]), 0);
    assert_int_equal(gmk_drain(&s.kit[CPU].k, 1), GMK_ERR_TIMEOUT);
    kit_gate_open(&gate);
    sys_drain(&s);
    assert_int_equal(atomic_load(&ran_in[3]), 2);
    sys_end(&s);
}

static void test_a_tick_waits_for_a_slow_peer(void **state)
{
    (void)state;
    slow(GPU);
    slow(CPU);
}

/* On both: the run has ended with this code, nothing of it is left, and everything else goes on. */
static void assert_ended(sys_t *s, int code)
{
    gmk_task_t t = {.type = T_WHEN, .flags = GMK_TASK_DETERMINISTIC};
    for (uint32_t i = 0; i < 2; i++)
        KIT_WAIT(gmk_submit(&s->kit[i].k, &t) == code);
    gmk_bridge_part(&s->pair, false); /* what was on its way has its outcome */
    for (uint32_t i = 0; i < 2; i++) {
        KIT_WAIT((kit_drain(&s->kit[i]), kit_stats(&s->kit[i]).pending == 0));
        assert_true(kit_stats(&s->kit[i]).dropped > 0);
        kit_submit(&s->kit[i], T_PLAIN, NULL);
        kit_drain(&s->kit[i]);
        assert_int_equal(kit_type(&s->kit[i], T_PLAIN).completed, 1);
    }
}

static void gone(uint32_t who)
{
    split_t p = splits[who];
    sys_t s;
    sys_boot(&s, &p, 2);
    input(&s, INPUT_EACH);
    submit_when(&s, GPU, 3, 1, &gate);
    submit_when(&s, CPU, 9, 2, NULL);
    submit_when(&s, GPU, 9, 2, NULL);
    for (uint32_t i = 0; i < DET_WORKLOAD_TICKS; i++)
        (void)gmk_tick_advance(&s.kit[CPU].k);
    KIT_WAIT(atomic_load(&gate.in) == 1);
    assert_int_equal(gmk_bridge_down(s.end[who], false), GMK_OK);
    kit_gate_open(&gate);
    assert_ended(&s, GMK_ERR_KERNEL_RESET);
    assert_int_equal(atomic_load(&ran_in[2]), 0);
    sys_end(&s);
}

static void test_a_bridge_that_goes_down_ends_the_run(void **state)
{
    (void)state;
    gone(CPU);
    gone(GPU);
}

/* With nothing to do, each goes on alone. */
static void test_a_bridge_that_goes_down_at_rest(void **state)
{
    sys_t s;
    (void)state;
    sys_boot(&s, &splits[0], 2);
    submit_when(&s, GPU, 1, 1, NULL);
    (void)gmk_tick_advance(&s.kit[CPU].k);
    sys_drain(&s);
    gmk_bridge_part(&s.pair, true);
    submit_when(&s, CPU, 2, 2, NULL);
    assert_int_equal(gmk_tick_advance(&s.kit[CPU].k), 2);
    kit_drain(&s.kit[CPU]);
    assert_int_equal(atomic_load(&ran_in[2]), 2);
    sys_ready(&s); /* and then together, from where the one is that is further on */
    submit_when(&s, GPU, 3, 3, NULL);
    (void)gmk_tick_advance(&s.kit[CPU].k);
    sys_drain(&s);
    assert_int_equal(atomic_load(&ran_in[3]), 3);
    sys_end(&s);
}

static void exhausted(uint32_t who)
{
    split_t p = splits[0];
    sys_t s;
    p.arena[who] = (uint64_t)16 << 20;
    sys_boot(&s, &p, 2);
    submit_when(&s, 1 - who, 1000, 1, NULL);
    submit_when(&s, who, 1000, 1, NULL);
    gmk_task_t t = {.type = T_GROW, .flags = GMK_TASK_DETERMINISTIC};
    assert_int_equal(gmk_submit(&s.kit[who].k, &t), GMK_OK);
    for (uint32_t i = 0; i < 30; i++) /* twice as many with every one */
        (void)gmk_tick_advance(&s.kit[CPU].k);
    assert_ended(&s, GMK_ALLOC_FAIL);
    assert_int_equal(atomic_load(&ran_in[1]), 0);
    sys_end(&s);
}

static void test_an_exhausted_arena_ends_the_run_on_both(void **state)
{
    (void)state;
    exhausted(GPU);
    exhausted(CPU);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_hash_however_it_is_split),
        cmocka_unit_test(test_one_hash_with_any_number_of_workers),
        cmocka_unit_test(test_either_side_may_start_ticks),
        cmocka_unit_test(test_auto_tick),
        cmocka_unit_test(test_auto_tick_leaps_on_both),
        cmocka_unit_test(test_recorded_input_replays),
        cmocka_unit_test(test_payloads_go_along),
        cmocka_unit_test(test_a_tick_waits_for_a_slow_peer),
        cmocka_unit_test(test_a_bridge_that_goes_down_ends_the_run),
        cmocka_unit_test(test_a_bridge_that_goes_down_at_rest),
        cmocka_unit_test(test_an_exhausted_arena_ends_the_run_on_both),
    };
    return cmocka_run_group_tests_name("bridge_det", tests, NULL, NULL);
}
