/* SPDX-License-Identifier: MIT */
/*
 * boot.c — from a configuration to running workers.
 *
 * The arena is laid out in one pass: first everything whose size the configuration gives, then
 * the rest by shares (task slab 10 %, trace 2 %, blocks 68 %, bump 20 %).  A first run of the same
 * pass without memory tells how much is needed.
 */
#include "boot.h"

#include "det.h"
#include "say.h"
#include "watchdog.h"

const gmk_task_t gmk_no_task;

/* ---- configuration ------------------------------------------------------------------------ */

#define DEFAULT_ARENA ((uint64_t)64 << 20)
#define DEFAULT_TASK_MAX 65536u

/* Begins a line; false when the kernel is to be quiet.  A name that is none cannot be said. */
static bool speak(gmk_out_t *o, const gmk_boot_cfg_t *c)
{
    if ((c->flags & GMK_BOOT_QUIET) != 0)
        return false;
    gmk_say(o, gmk_name_ok(c->name, false) ? c->name : "boot");
    gmk_out_str(o, "cannot boot: ");
    return true;
}

static int say_range(const gmk_boot_cfg_t *c, const char *field, uint64_t value, uint64_t low, uint64_t high,
                     bool power)
{
    gmk_out_t o;
    if (!speak(&o, c))
        return GMK_ERR_RANGE;
    gmk_out_str(&o, field);
    gmk_out_str(&o, " is ");
    gmk_out_u64(&o, value);
    gmk_out_str(&o, power ? ", it must be a power of two, " : ", it must be ");
    gmk_out_u64(&o, low);
    gmk_out_str(&o, " .. ");
    gmk_out_u64(&o, high);
    gmk_said(&o);
    return GMK_ERR_RANGE;
}

/* `before` VALUE `after`. */
static int say_number(const gmk_boot_cfg_t *c, const char *before, uint64_t value, const char *after, int rc)
{
    gmk_out_t o;
    if (!speak(&o, c))
        return rc;
    gmk_out_str(&o, before);
    gmk_out_u64(&o, value);
    gmk_out_str(&o, after);
    gmk_said(&o);
    return rc;
}

static int say_name(const gmk_boot_cfg_t *c)
{
    gmk_out_t o;
    if (!speak(&o, c))
        return GMK_ERR_INVAL;
    gmk_out_str(&o, "name ");
    gmk_out_str(&o, gmk_name_fault(c->name, false));
    gmk_out_str(&o, ": ");
    gmk_out_quoted(&o, c->name);
    gmk_said(&o);
    return GMK_ERR_INVAL;
}

static int say_step(const gmk_boot_cfg_t *c, const char *step, int rc)
{
    gmk_out_t o;
    if (!speak(&o, c))
        return rc;
    gmk_out_str(&o, step);
    gmk_out_str(&o, ": ");
    gmk_out_str(&o, gmk_strerror(rc));
    gmk_said(&o);
    return rc;
}

static bool pow2(uint32_t v) { return v != 0 && (v & (v - 1)) == 0; }

#define OR(field, value) c->field = c->field != 0 ? c->field : (value)

static void defaults(gmk_boot_cfg_t *c)
{
    uint32_t cpus = gmk_hal_cpu_count();
    OR(arena_size, DEFAULT_ARENA);
    OR(n_workers, cpus < GMK_MAX_WORKERS ? cpus : GMK_MAX_WORKERS);
    OR(n_tenants, 1);
    OR(n_types, 256);
    OR(batch, gmk_hal_lanes() > 32 ? gmk_hal_lanes() : 32);
    OR(name, "cpu.0");
    OR(args, "");
    OR(halt_timeout_ns, 5000000000u);
    OR(lq_slots, 256);
    OR(rq_slots, 4096);
    OR(max_ports, 8);
    OR(max_spares, 2);
    OR(trace_level, GMK_TRACE_ERROR);
    OR(sample, 64);
    OR(stat_metrics, 64);
    OR(watchdog_ns, 100000000u);
    OR(spin_ns, 20000);
    OR(retry_base_ns, 100000);
    OR(seed, 1);
    OR(poison_failures, 32);
    OR(poison_ticks, 1000);
    OR(poison_ns, 1000000000u);
}

static uint32_t args_len(const gmk_boot_cfg_t *c) { return gmk_text_len(c->args, UINT32_MAX); }

static int check(const gmk_boot_cfg_t *c)
{
    const struct {
        const char *field;
        uint64_t value, low, high;
        bool power;
    } range[] = {
        {"n_workers", c->n_workers, 1, GMK_MAX_WORKERS, false},
        {"n_tenants", c->n_tenants, 1, 4096, false},
        {"n_types", c->n_types, 2, GMK_MAX_TYPES, false},
        {"batch", c->batch, 1, GMK_BATCH_MAX, false},
        {"lq_slots", c->lq_slots, 16, 1u << 24, true},
        {"rq_slots", c->rq_slots, 64, 1u << 24, true},
        {"max_ports", c->max_ports, 1, GMK_PORTS_MAX - GMK_PORTS_OWN, false},
        {"max_spares", c->max_spares, 0, GMK_SPARES_MAX, false},
        {"trace_level", c->trace_level, GMK_TRACE_OFF, GMK_TRACE_ALL, false},
        {"stat_metrics", c->stat_metrics, 1, 4096, false},
        {"spin_ns", c->spin_ns, 1, 1000000000, false},
        {"retry_base_ns", c->retry_base_ns, 1, 1000000000000, false},
        {"poison_failures", c->poison_failures, 2, 4096, false},
        {"flags", c->flags, 0, (GMK_BOOT_QUIET << 1) - 1, false},
        {"the length of args", args_len(c), 0, GMK_ARGS_MAX, false},
    };
    if (!gmk_name_ok(c->name, false))
        return say_name(c);
    for (uint32_t i = 0; i < sizeof range / sizeof range[0]; i++)
        if (range[i].value < range[i].low || range[i].value > range[i].high ||
            (range[i].power && !pow2((uint32_t)range[i].value)))
            return say_range(c, range[i].field, range[i].value, range[i].low, range[i].high, range[i].power);
    return GMK_OK;
}

/* ---- layout ------------------------------------------------------------------------------- */

typedef struct layout {
    unsigned char *base; /* NULL: only count */
    uint64_t at;
} layout_t;

static void *take(layout_t *l, uint64_t bytes)
{
    uint64_t at = l->at;
    l->at = (at + bytes + GMK_CACHE_LINE - 1) & ~(uint64_t)(GMK_CACHE_LINE - 1);
    return l->base == NULL ? NULL : l->base + at;
}

static uint64_t trace_records(uint64_t share, uint32_t rings)
{
    uint64_t n = 64;
    while (n * 2 * GMK_TRACE_RECORD_BYTES * rings <= share && n < (1u << 20))
        n *= 2;
    return n;
}

static void core_numbers(gmk_core_t *k, const gmk_boot_cfg_t *c)
{
    k->flags = c->flags;
    k->n_workers = c->n_workers;
    k->n_spares = c->max_spares;
    k->n_all = c->n_workers + c->max_spares;
    k->n_ports = c->max_ports + GMK_PORTS_OWN;
    k->n_fronts = k->n_all + k->n_ports + 1;
    k->n_types = c->n_types;
    k->n_tenants = c->n_tenants;
    k->kinds = gmk_hal_rq_per_type() ? c->n_types : 1;
    k->n_buckets = k->kinds * GMK_PRIOS;
    k->mark_words = k->kinds == 1 ? 0 : (k->kinds + 63) / 64;
    k->hist_shards = c->n_workers < GMK_HIST_SHARDS ? c->n_workers : GMK_HIST_SHARDS;
    k->batch = c->batch;
    k->sample = c->sample;
    k->halt_timeout_ns = c->halt_timeout_ns;
    k->watchdog_ns = c->watchdog_ns;
    k->retry_base_ns = c->retry_base_ns;
    k->seed = c->seed;
    k->spin_ns = c->spin_ns;
    k->poison_failures = c->poison_failures;
    k->poison_ticks = c->poison_ticks;
    k->poison_ns = c->poison_ns;
    for (uint32_t i = 0; c->name[i] != '\0'; i++)
        k->name[i] = c->name[i];
}

static void front_layout(layout_t *l, gmk_core_t *k, gmk_front_t *f, uint32_t index)
{
    void *counts = take(l, sizeof(gmk_counts_t));
    void *types = take(l, k->n_types * sizeof(gmk_type_counts_t));
    void *tenants = take(l, k->n_tenants * sizeof(gmk_tenant_counts_t));
    void *chans = take(l, GMK_MAX_CHANNELS * sizeof(gmk_chan_counts_t));
    gmk_trace_ring_t *ring = take(l, sizeof(gmk_trace_ring_t));
    if (f == NULL)
        return;
    f->core = k;
    f->index = index;
    f->counts = counts;
    f->types = types;
    f->tenants = tenants;
    f->chans = chans;
    f->ring = ring;
    gmk_store32(&f->sample_left, k->sample, GMK_RLX, GMK_WORKER);
    f->ctx.task = &gmk_no_task;
    f->ctx.kernel = k->kernel;
    f->ctx.front = f;
    f->ctx.lanes = 1;
    k->fronts[index] = f;
}

static void worker_layout(layout_t *l, gmk_core_t *k, const gmk_boot_cfg_t *c, uint32_t i)
{
    gmk_slot_t *slots = take(l, (uint64_t)c->lq_slots * sizeof(gmk_slot_t));
    gmk_lane_t *lanes = take(l, GMK_HAL_MAX_LANES * sizeof(gmk_lane_t));
    gmk_worker_t *w = l->base == NULL ? NULL : &k->workers[i];
    front_layout(l, k, w == NULL ? NULL : &w->front, i);
    if (w == NULL)
        return;
    w->front.worker = w;
    w->lanes = lanes;
    w->index = i;
    w->self = i;
    w->limit = k->batch;
    w->keeps = UINT64_MAX;
    w->spin_ns = (uint32_t)k->spin_ns;
    w->rng = k->seed + i;
    gmk_lq_init(&w->lq, slots, c->lq_slots);
    for (uint32_t j = 0; j < GMK_HAL_MAX_LANES; j++) {
        lanes[j].ctx = w->front.ctx;
        lanes[j].run_left = 1;
        lanes[j].tally_kind = GMK_TALLY_NOTHING;
    }
    gmk_store32(&w->state, GMK_WORKER_FREE, GMK_RLX, GMK_KERNEL);
}

static void bucket_layout(layout_t *l, gmk_core_t *k, const gmk_boot_cfg_t *c)
{
    gmk_bucket_t *buckets = take(l, k->n_buckets * sizeof(gmk_bucket_t));
    gmk_a64_t *marks = take(l, GMK_PRIOS * k->mark_words * sizeof(gmk_a64_t));
    for (uint32_t i = 0; i < k->n_buckets; i++) {
        void *mem = take(l, gmk_mpmc_bytes(c->rq_slots, GMK_SLOT_BYTES));
        if (l->base == NULL)
            continue;
        uint32_t kind = i / GMK_PRIOS, prio = i % GMK_PRIOS;
        buckets[i].prio = prio;
        buckets[i].bit = (uint64_t)1 << kind % 64;
        buckets[i].mark = k->kinds == 1 ? NULL : &marks[prio * k->mark_words + kind / 64];
        (void)gmk_mpmc_init(&buckets[i].ring, mem, c->rq_slots, GMK_SLOT_BYTES);
    }
    k->buckets = buckets;
    k->marks = marks;
}

static void evq_layout(layout_t *l, gmk_core_t *k)
{
    void *times = take(l, gmk_timerq_bytes()), *ticks = take(l, gmk_timerq_bytes());
    if (l->base == NULL)
        return;
    k->evq.times = gmk_timerq_init(times);
    k->evq.ticks = gmk_timerq_init(ticks);
    gmk_mpsc_init(&k->evq.inbox);
    gmk_store64(&k->evq.next_ns, UINT64_MAX, GMK_RLX, GMK_KERNEL);
    gmk_store64(&k->evq.next_tick, UINT64_MAX, GMK_RLX, GMK_KERNEL);
    gmk_store64(&k->idle.keeper_due, UINT64_MAX, GMK_RLX, GMK_KERNEL);
}

static void *metric_memory(void *arg, size_t bytes)
{
    return gmk_heap_alloc(&((gmk_core_t *)arg)->heap, NULL, bytes);
}

/* Everything whose size the configuration gives. */
static void fixed_layout(layout_t *l, gmk_core_t *k, const gmk_boot_cfg_t *c)
{
    void *self = take(l, sizeof(gmk_core_t));
    (void)self;
    k->workers = take(l, k->n_all * sizeof(gmk_worker_t));
    k->ports = take(l, k->n_ports * sizeof(gmk_front_t));
    k->outside = take(l, sizeof(gmk_front_t));
    k->fronts = take(l, k->n_fronts * sizeof(gmk_front_t *));
    k->inboxes = take(l, k->n_workers * sizeof(gmk_mpsc_t));
    k->worker_of = take(l, k->n_workers * sizeof(gmk_a32_t));
    k->types = take(l, k->n_types * sizeof(gmk_type_t));
    k->registry = take(l, sizeof(gmk_registry_t));
    void *chans = take(l, gmk_chans_bytes());
    k->det = take(l, gmk_det_bytes());
    k->watchdog = take(l, gmk_watchdog_bytes(k));
    k->args = take(l, (uint64_t)args_len(c) + 1);
    void *metrics = take(l, gmk_umetrics_bytes(c->stat_metrics, k->n_fronts));
    bucket_layout(l, k, c);
    evq_layout(l, k);
    for (uint32_t i = 0; i < k->n_all; i++)
        worker_layout(l, k, c, i);
    for (uint32_t i = 0; i < k->n_ports; i++)
        front_layout(l, k, l->base == NULL ? NULL : &k->ports[i], k->n_all + i);
    front_layout(l, k, l->base == NULL ? NULL : k->outside, k->n_fronts - 1);
    if (l->base == NULL)
        return;
    gmk_hal_memcpy(k->args, c->args, (size_t)args_len(c) + 1);
    k->outside->shared = 1;
    gmk_chans_init(k, chans);
    gmk_umetrics_init(&k->umetrics, metrics, c->stat_metrics, k->n_fronts, metric_memory, k);
    for (uint32_t i = 0; i < k->n_workers; i++) {
        gmk_mpsc_init(&k->inboxes[i]);
        gmk_store32(&k->worker_of[i], i, GMK_RLX, GMK_KERNEL);
    }
    for (uint32_t p = 0; p < GMK_PRIOS; p++)
        gmk_mpsc_init(&k->overflow[p].list);
    k->registry->level = c->trace_level;
    k->registry->quiet = (c->flags & GMK_BOOT_QUIET) != 0;
    gmk_store32(&k->trace_mask, c->trace_level, GMK_RLX, GMK_KERNEL);
    gmk_store32(&k->trace_one_in, 1, GMK_RLX, GMK_KERNEL);
}

static int too_small(const gmk_boot_cfg_t *c, uint64_t need)
{
    gmk_out_t o;
    if (!speak(&o, c))
        return GMK_ALLOC_FAIL;
    gmk_out_str(&o, "the arena has ");
    gmk_out_u64(&o, c->arena_size);
    gmk_out_str(&o, " bytes, this configuration needs at least ");
    gmk_out_u64(&o, need);
    gmk_said(&o);
    return GMK_ALLOC_FAIL;
}

/* Nodes that channels and the reaper may need beside one per task credit. */
#define SPARE_NODES 256u
#define MIN_BLOCKS (16u * GMK_SPAN_BYTES)
#define MIN_BUMP 4096u

typedef struct shares {
    uint64_t slab, trace, blocks, bump;
    uint32_t task_max, stranding;
} shares_t;

/* Splits what the fixed part leaves.  The slab takes more than its share where task_max asks for it. */
static int split(gmk_core_t *k, const gmk_boot_cfg_t *c, uint64_t fixed, shares_t *s)
{
    uint64_t node = (sizeof(gmk_node_t) + 15) & ~(uint64_t)15;
    s->stranding = (k->n_all + k->n_ports) * (GMK_SLAB_CACHE + GMK_SLAB_CHAIN);
    uint64_t extra = s->stranding + SPARE_NODES;
    uint64_t least_tasks = c->task_max != 0 ? c->task_max : 64;
    uint64_t least = fixed + (least_tasks + extra) * node +
                     (uint64_t)64 * GMK_TRACE_RECORD_BYTES * k->n_fronts + MIN_BLOCKS +
                     (uint64_t)MIN_BUMP * k->n_all + 4096;
    if (c->arena_size < least)
        return too_small(c, least);
    uint64_t rest = c->arena_size - fixed - 4096;
    uint64_t fit = rest / 10 > (64 + extra) * node ? rest / 10 / node - extra : 64;
    s->task_max = c->task_max != 0 ? c->task_max : fit < DEFAULT_TASK_MAX ? (uint32_t)fit : DEFAULT_TASK_MAX;
    s->slab = (s->task_max + extra) * node;
    s->trace = trace_records(rest / 50, k->n_fronts) * GMK_TRACE_RECORD_BYTES * k->n_fronts;
    s->bump = rest / 5 / k->n_all & ~(uint64_t)63;
    if (s->slab + s->trace + MIN_BLOCKS + s->bump * k->n_all > rest)
        s->bump = MIN_BUMP;
    s->blocks = rest - s->slab - s->trace - s->bump * k->n_all;
    return GMK_OK;
}

static int share_layout(layout_t *l, gmk_core_t *k, const shares_t *s)
{
    uint32_t nodes = s->task_max + s->stranding + SPARE_NODES;
    void *slab = take(l, s->slab);
    int rc = gmk_slab_init(&k->nodes, sizeof(gmk_node_t));
    if (rc == GMK_OK)
        rc = gmk_slab_add_segment(&k->nodes, slab, nodes);
    if (rc < 0)
        return rc;
    gmk_slab_set_stranding(&k->nodes, s->stranding);
    if (!gmk_slab_reserve(&k->nodes, s->task_max + SPARE_NODES))
        return GMK_ALLOC_FAIL;
    uint32_t records = (uint32_t)(s->trace / GMK_TRACE_RECORD_BYTES / k->n_fronts);
    for (uint32_t i = 0; i < k->n_fronts; i++)
        gmk_trace_ring_init(k->fronts[i]->ring, take(l, gmk_trace_ring_bytes(records)), records);
    gmk_trace_ring_share(k->outside->ring);
    for (uint32_t i = 0; i < k->n_all; i++)
        gmk_bump_init(&k->workers[i].bump, take(l, s->bump), s->bump);
    k->task_max = s->task_max;
    uint32_t block = s->task_max / (4 * (k->n_workers + k->n_ports));
    k->credit_block = block < 1 ? 1 : block > 64 ? 64 : block;
    gmk_store64(&k->credits, s->task_max, GMK_RLX, GMK_KERNEL);
    void *blocks = take(l, 0);
    return gmk_heap_init(&k->heap, blocks,
                         (uint64_t)(l->base + k->kernel->arena_size - (unsigned char *)blocks));
}

static void caches_init(gmk_core_t *k)
{
    for (uint32_t i = 0; i < k->n_fronts - 1; i++) {
        gmk_heap_cache_init(&k->fronts[i]->heap);
        gmk_heap_cache_register(&k->heap, &k->fronts[i]->heap);
    }
}

/* ---- steps -------------------------------------------------------------------------------- */

static int lay_out(gmk_kernel_t *kernel, const gmk_boot_cfg_t *c)
{
    gmk_core_t count = {0};
    layout_t l = {0};
    shares_t s = {0};
    core_numbers(&count, c);
    fixed_layout(&l, &count, c);
    int rc = split(&count, c, l.at, &s);
    if (rc < 0)
        return rc;
    unsigned char *arena = gmk_hal_page_alloc(c->arena_size);
    if (arena == NULL)
        return say_number(c, "the operating system does not give ", c->arena_size,
                          " bytes for the arena; make arena_size smaller", GMK_ALLOC_FAIL);
    gmk_core_t *k = (gmk_core_t *)(void *)arena;
    kernel->core = k;
    kernel->arena = arena;
    kernel->arena_size = c->arena_size;
    k->kernel = kernel;
    core_numbers(k, c);
    l = (layout_t){.base = arena};
    fixed_layout(&l, k, c);
    rc = share_layout(&l, k, &s);
    if (rc == GMK_OK)
        caches_init(k);
    return rc;
}

static void locks_init(gmk_core_t *k)
{
    gmk_hal_lock_init(&k->control);
    gmk_hal_park_init(&k->drain_park);
    gmk_det_init(k);
    for (uint32_t i = 0; i < k->n_all; i++)
        gmk_hal_park_init(&k->workers[i].park);
    for (uint32_t i = 0; i < k->n_ports; i++)
        gmk_hal_park_init(&k->ports[i].park);
    gmk_clockmap_init(&k->clock, gmk_hal_cycles(), gmk_hal_now_ns());
}

static int open_sys(gmk_core_t *k)
{
    static const char *const name[GMK_CHAN_SYS_COUNT] = {"sys.dropped", "sys.error", "sys.trace"};
    int rc = GMK_OK;
    for (uint32_t i = 0; i < GMK_CHAN_SYS_COUNT && rc == GMK_OK; i++) {
        gmk_chan_cfg_t cfg = {.name = name[i], .mode = GMK_FANOUT, .slots = 256};
        uint32_t handle;
        rc = gmk_channel_open(gmk_own_port(k, GMK_PORT_CONTROL), &cfg, true, &handle);
    }
    return rc;
}

/* The registry says what is wrong with a module, and this which one it is. */
static int load_modules(gmk_core_t *k, gmk_module_t *const *mods, uint32_t n, const gmk_boot_cfg_t *c,
                        const char *table)
{
    int rc = GMK_OK;
    for (uint32_t i = 0; i < n && rc == GMK_OK; i++) {
        char which[GMK_NAME_MAX + 1];
        rc = mods[i] == NULL ? GMK_ERR_INVAL : gmk_registry_load(gmk_own_port(k, GMK_PORT_CONTROL), mods[i]);
        if (rc == GMK_OK)
            continue;
        gmk_numbered_name(which, table, i);
        if (mods[i] == NULL)
            (void)say_number(c, table, i, " is NULL", rc);
        else
            (void)say_step(c, which, rc);
    }
    return rc;
}

int gmk_worker_start(gmk_core_t *k, gmk_worker_t *w)
{
    uint32_t cpu = (k->flags & GMK_BOOT_PIN) != 0 ? w->index % gmk_hal_cpu_count() : UINT32_MAX;
    char name[GMK_NAME_MAX + 1];
    gmk_numbered_name(name, "gmk.", w->index);
    gmk_store64(&w->front.quiet, gmk_load64(&k->epoch, GMK_ACQ, GMK_KERNEL), GMK_RLX, GMK_KERNEL);
    gmk_store32(&w->state, GMK_WORKER_RUNNING, GMK_REL, GMK_KERNEL);
    int rc = gmk_hal_thread_create(&w->thread, name, cpu, gmk_worker_main, w);
    if (rc < 0) {
        gmk_store32(&w->state, GMK_WORKER_FREE, GMK_REL, GMK_KERNEL);
        return rc;
    }
    w->has_thread = 1;
    return GMK_OK;
}

static int start_workers(gmk_core_t *k)
{
    int rc = GMK_OK;
    for (uint32_t i = 0; i < k->n_workers && rc == GMK_OK; i++)
        rc = gmk_worker_start(k, &k->workers[i]);
    if (rc == GMK_OK && (k->flags & GMK_BOOT_NO_WATCHDOG) == 0)
        rc = gmk_watchdog_start(k);
    return rc;
}

static int check_arguments(const gmk_boot_cfg_t *c, const gmk_kernel_t *kernel, const gmk_boot_cfg_t *given,
                           gmk_module_t **mods, uint32_t n_mods)
{
    gmk_out_t o;
    if (kernel != NULL && given != NULL && (n_mods == 0 || mods != NULL))
        return GMK_OK;
    if (kernel != NULL && given != NULL)
        return say_number(c, "mods is NULL and n_mods is ", n_mods, "", GMK_ERR_INVAL);
    if (speak(&o, c)) {
        gmk_out_str(&o, kernel == NULL ? "k is NULL" : "cfg is NULL");
        gmk_said(&o);
    }
    return GMK_ERR_INVAL;
}

int gmk_boot(gmk_kernel_t *kernel, const gmk_boot_cfg_t *cfg, gmk_module_t **mods, uint32_t n_mods)
{
    gmk_boot_cfg_t c = cfg == NULL ? (gmk_boot_cfg_t){0} : *cfg;
    defaults(&c);
    int rc = check_arguments(&c, kernel, cfg, mods, n_mods);
    if (rc == GMK_OK)
        rc = check(&c);
    if (rc < 0)
        return rc;
    *kernel = (gmk_kernel_t){0};
    rc = lay_out(kernel, &c);
    if (rc < 0) {
        if (kernel->arena != NULL)
            gmk_hal_page_free(kernel->arena, kernel->arena_size);
        *kernel = (gmk_kernel_t){0};
        return rc;
    }
    gmk_core_t *k = kernel->core;
    gmk_store64(gmk_kernel_magic(kernel), GMK_KERNEL_MAGIC, GMK_REL, GMK_KERNEL);
    locks_init(k);
    const char *step = "opening sys.* channels";
    rc = open_sys(k);
    if (rc == GMK_OK) {
        step = "starting workers";
        gmk_store32(&k->state, GMK_CORE_UP, GMK_REL, GMK_KERNEL);
        rc = start_workers(k);
    }
    if (rc == GMK_OK) {
        step = NULL;
        rc = load_modules(k, mods, n_mods, &c, "module ");
    }
    if (rc == GMK_OK && (c.flags & GMK_BOOT_LINKED) != 0) {
        gmk_module_t *const *linked = NULL;
        uint32_t n = gmk_hal_linked_modules(&linked);
        rc = load_modules(k, linked, n, &c, "linked module ");
    }
    if (rc < 0) {
        if (step != NULL)
            (void)say_step(&c, step, rc);
        if (gmk_halt(kernel) == GMK_OK)
            *kernel = (gmk_kernel_t){0};
    }
    return rc;
}
