/* SPDX-License-Identifier: MIT */
/*
 * Prometheus text exposition format 0.0.4.  A family's samples must stand together, so each
 * family walks its items again, of a kernel and of its peers; the figures of one item are therefore
 * taken at slightly different moments.
 */
#include "export.h"
#include "format.h"

/* One field of a figures structure as a metric family. */
typedef struct gmk_family {
    const char *name, *help;
    uint16_t offset;
    uint8_t bytes;   /* 4 or 8 */
    uint8_t counter; /* else a gauge */
} gmk_family_t;

#define FIELD(type, field) (uint16_t) offsetof(type, field), (uint8_t)sizeof(((type *)0)->field)
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static const gmk_family_t kernel_families[] = {
    {"ggmk_tasks_accepted_total", "Deliveries accepted.", FIELD(gmk_stats_t, accepted), 1},
    {"ggmk_tasks_completed_total", "Deliveries completed.", FIELD(gmk_stats_t, completed), 1},
    {"ggmk_tasks_failed_total", "Deliveries that failed for good.", FIELD(gmk_stats_t, failed), 1},
    {"ggmk_tasks_dropped_total", "Deliveries dropped: shed, closed, unloaded or halted.",
     FIELD(gmk_stats_t, dropped), 1},
    {"ggmk_tasks_pending", "Deliveries accepted that have no outcome yet.", FIELD(gmk_stats_t, pending), 0},
    {"ggmk_calls_refused_total", "Calls answered with an error.", FIELD(gmk_stats_t, refused), 1},
    {"ggmk_messages_unheard_total", "Messages to a fan-out channel without subscribers.",
     FIELD(gmk_stats_t, unheard), 1},
    {"ggmk_dead_letters_total", "Deliveries reported on sys.dropped and sys.error.",
     FIELD(gmk_stats_t, dead_letters), 1},
    {"ggmk_tasks_internal_total", "Tasks of the kernel itself.", FIELD(gmk_stats_t, internal), 1},
    {"ggmk_yields_total", "Times a task yielded.", FIELD(gmk_stats_t, yields), 1},
    {"ggmk_retries_total", "Times a task was retried.", FIELD(gmk_stats_t, retries), 1},
    {"ggmk_waits_total", "Times a task waited for channel credits.", FIELD(gmk_stats_t, waits), 1},
    {"ggmk_faults_total", "CPU faults contained in handlers.", FIELD(gmk_stats_t, faults), 1},
    {"ggmk_overruns_total", "Runs that exceeded the budget of their type.", FIELD(gmk_stats_t, overruns), 1},
    {"ggmk_batches_total", "Gathers that found work.", FIELD(gmk_stats_t, batches), 1},
    {"ggmk_steals_total", "Successful steals.", FIELD(gmk_stats_t, steals), 1},
    {"ggmk_tasks_stolen_total", "Tasks moved by steals.", FIELD(gmk_stats_t, stolen), 1},
    {"ggmk_spills_total", "Tasks that found a ring full and went to an overflow list.",
     FIELD(gmk_stats_t, spills), 1},
    {"ggmk_parks_total", "Times a worker went to sleep.", FIELD(gmk_stats_t, parks), 1},
    {"ggmk_wakes_total", "Times a worker was woken.", FIELD(gmk_stats_t, wakes), 1},
    {"ggmk_timers", "Tasks in the event queue.", FIELD(gmk_stats_t, timers), 0},
    {"ggmk_tasks_waiting", "Tasks parked on a channel.", FIELD(gmk_stats_t, waiting), 0},
    {"ggmk_tick", "The current tick.", FIELD(gmk_stats_t, tick), 0},
    {"ggmk_workers", "Workers.", FIELD(gmk_stats_t, workers), 0},
    {"ggmk_workers_parked", "Workers asleep.", FIELD(gmk_stats_t, parked), 0},
    {"ggmk_workers_zombie", "Stalled workers that were replaced.", FIELD(gmk_stats_t, zombies), 0},
    {"ggmk_ports", "Attached threads.", FIELD(gmk_stats_t, ports), 0},
    {"ggmk_tasks_limit", "Task credits.", FIELD(gmk_stats_t, task_max), 0},
};

static const gmk_family_t mem_families[] = {
    {"ggmk_memory_arena_bytes", "Size of the arena.", FIELD(gmk_mem_stats_t, arena_bytes), 0},
    {"ggmk_memory_span_bytes", "Size of a span.", FIELD(gmk_mem_stats_t, span_bytes), 0},
    {"ggmk_memory_spans", "Spans in the arena.", FIELD(gmk_mem_stats_t, spans_total), 0},
    {"ggmk_memory_spans_used", "Spans in use.", FIELD(gmk_mem_stats_t, spans_used), 0},
    {"ggmk_memory_blocks_used_bytes", "Block memory in spans that are in use.",
     FIELD(gmk_mem_stats_t, block_bytes_used), 0},
    {"ggmk_memory_slab_nodes", "Task nodes.", FIELD(gmk_mem_stats_t, slab_total), 0},
    {"ggmk_memory_slab_nodes_reserved", "Task nodes reserved.", FIELD(gmk_mem_stats_t, slab_reserved), 0},
    {"ggmk_memory_bump_bytes", "Scratch memory of each worker.", FIELD(gmk_mem_stats_t, bump_bytes), 0},
    {"ggmk_memory_alloc_fails_total", "Allocations answered with NULL.", FIELD(gmk_mem_stats_t, alloc_fails),
     1},
    {"ggmk_memory_bad_frees_total", "Frees of what was never allocated.", FIELD(gmk_mem_stats_t, bad_frees),
     1},
    {"ggmk_memory_payloads_live", "Counted payloads in use.", FIELD(gmk_mem_stats_t, payloads_live), 0},
    {"ggmk_memory_objects_live", "Blocks in use; debug builds only.", FIELD(gmk_mem_stats_t, objects_live),
     0},
};

static const gmk_family_t type_families[] = {
    {"ggmk_type_completed_total", "Deliveries completed.", FIELD(gmk_type_stats_t, completed), 1},
    {"ggmk_type_failed_total", "Deliveries that failed for good.", FIELD(gmk_type_stats_t, failed), 1},
    {"ggmk_type_dropped_total", "Deliveries dropped.", FIELD(gmk_type_stats_t, dropped), 1},
    {"ggmk_type_yields_total", "Times a task yielded.", FIELD(gmk_type_stats_t, yields), 1},
    {"ggmk_type_retries_total", "Times a task was retried.", FIELD(gmk_type_stats_t, retries), 1},
    {"ggmk_type_overruns_total", "Runs that exceeded the budget.", FIELD(gmk_type_stats_t, overruns), 1},
    {"ggmk_type_faults_total", "CPU faults contained.", FIELD(gmk_type_stats_t, faults), 1},
    {"ggmk_type_poisoned", "1 when the type is poisoned.", FIELD(gmk_type_stats_t, poisoned), 0},
};

static const gmk_family_t chan_families[] = {
    {"ggmk_channel_emitted_total", "Messages emitted.", FIELD(gmk_chan_stats_t, emitted), 1},
    {"ggmk_channel_refused_total", "Emits answered with an error.", FIELD(gmk_chan_stats_t, refused), 1},
    {"ggmk_channel_unheard_total", "Messages that had no subscriber.", FIELD(gmk_chan_stats_t, unheard), 1},
    {"ggmk_channel_completed_total", "Deliveries completed.", FIELD(gmk_chan_stats_t, completed), 1},
    {"ggmk_channel_failed_total", "Deliveries that failed for good.", FIELD(gmk_chan_stats_t, failed), 1},
    {"ggmk_channel_shed_total", "Deliveries shed for a slow subscriber.", FIELD(gmk_chan_stats_t, shed), 1},
    {"ggmk_channel_dropped_total", "Deliveries dropped, shed ones included.",
     FIELD(gmk_chan_stats_t, dropped), 1},
    {"ggmk_channel_credits_used", "Credits in use.", FIELD(gmk_chan_stats_t, used), 0},
    {"ggmk_channel_credits", "Credits.", FIELD(gmk_chan_stats_t, slots), 0},
    {"ggmk_channel_subscribers", "Subscriptions.", FIELD(gmk_chan_stats_t, subs), 0},
    {"ggmk_channel_waiters", "Tasks that wait for credits.", FIELD(gmk_chan_stats_t, waiters), 0},
};

static void head(gmk_out_t *out, const char *name, const char *help, const char *type)
{
    gmk_out_str(out, "# HELP ");
    gmk_out_str(out, name);
    gmk_out_str(out, " ");
    gmk_out_str(out, help);
    gmk_out_str(out, "\n# TYPE ");
    gmk_out_str(out, name);
    gmk_out_str(out, " ");
    gmk_out_str(out, type);
    gmk_out_str(out, "\n");
}

static void family_head(gmk_out_t *out, const gmk_family_t *f)
{
    head(out, f->name, f->help, f->counter ? "counter" : "gauge");
}

static void label(gmk_out_t *out, const char *name, const char *value)
{
    gmk_out_str(out, ",");
    gmk_out_str(out, name);
    gmk_out_str(out, "=");
    gmk_out_quoted(out, value);
}

static void number_label(gmk_out_t *out, const char *name, uint32_t value)
{
    gmk_out_str(out, ",");
    gmk_out_str(out, name);
    gmk_out_str(out, "=\"");
    gmk_out_u64(out, value);
    gmk_out_str(out, "\"");
}

static void labels_begin(gmk_out_t *out, const gmk_observed_t *o, const char *name)
{
    gmk_out_str(out, name);
    gmk_out_str(out, "{kernel=");
    gmk_out_quoted(out, o->name);
}

static void value_u64(gmk_out_t *out, uint64_t v)
{
    gmk_out_str(out, "} ");
    gmk_out_u64(out, v);
    gmk_out_str(out, "\n");
}

static void value_seconds(gmk_out_t *out, uint64_t ns)
{
    gmk_out_str(out, "} ");
    gmk_out_seconds(out, ns);
    gmk_out_str(out, "\n");
}

static uint64_t field_of(const void *figures, const gmk_family_t *f)
{
    const unsigned char *at = (const unsigned char *)figures + f->offset;
    uint32_t v32;
    uint64_t v64;
    if (f->bytes == sizeof v32) {
        gmk_hal_memcpy(&v32, at, sizeof v32);
        return v32;
    }
    gmk_hal_memcpy(&v64, at, sizeof v64);
    return v64;
}

static void kernel_family(gmk_out_t *out, const gmk_observed_t *o, const gmk_family_t *f,
                          const gmk_stats_t *own)
{
    gmk_stats_t st = *own;
    family_head(out, f);
    for (const gmk_observed_t *p = o; p != NULL; p = p->next) {
        if (p != o && p->stats(p, &st) < 0)
            continue;
        labels_begin(out, p, f->name);
        value_u64(out, field_of(&st, f));
    }
}

static void mem_family(gmk_out_t *out, const gmk_observed_t *o, const gmk_family_t *f,
                       const gmk_mem_stats_t *own)
{
    gmk_mem_stats_t st = *own;
    family_head(out, f);
    for (const gmk_observed_t *p = o; p != NULL; p = p->next) {
        if (p != o && p->mem(p, &st) < 0)
            continue;
        labels_begin(out, p, f->name);
        value_u64(out, field_of(&st, f));
    }
}

/* The families of whole kernels; the exporting one's figures are of one moment. */
static void whole_kernels(gmk_out_t *out, const gmk_observed_t *o)
{
    gmk_stats_t stats;
    gmk_mem_stats_t mem;
    bool there = o->stats(o, &stats) >= 0;
    for (size_t i = 0; there && i < COUNT_OF(kernel_families); i++)
        kernel_family(out, o, &kernel_families[i], &stats);
    there = o->mem(o, &mem) >= 0;
    for (size_t i = 0; there && i < COUNT_OF(mem_families); i++)
        mem_family(out, o, &mem_families[i], &mem);
}

static void peers_lost(gmk_out_t *out, const gmk_observed_t *o)
{
    static const char name[] = "ggmk_peer_records_lost_total";
    if (o->next == NULL)
        return;
    head(out, name, "Trace records of a peer that were overwritten before they came here.", "counter");
    for (const gmk_observed_t *p = o->next; p != NULL; p = p->next) {
        labels_begin(out, p, name);
        value_u64(out, p->lost);
    }
}

/* The number tells types of one name apart. */
static void type_labels(gmk_out_t *out, const gmk_observed_t *o, const char *name, uint32_t type,
                        const gmk_type_stats_t *st)
{
    labels_begin(out, o, name);
    label(out, "type", st->name);
    label(out, "module", st->module);
    number_label(out, "type_id", type);
}

static void type_family(gmk_out_t *out, const gmk_observed_t *o, const gmk_family_t *f)
{
    gmk_type_stats_t st;
    family_head(out, f);
    for (; o != NULL; o = o->next)
        for (uint32_t t = 0; t < o->n_types && !out->failed; t++) {
            if (o->type(o, t, &st) < 0)
                continue;
            type_labels(out, o, f->name, t, &st);
            value_u64(out, field_of(&st, f));
        }
}

static void chan_family(gmk_out_t *out, const gmk_observed_t *o, const gmk_family_t *f)
{
    gmk_chan_stats_t st;
    family_head(out, f);
    for (; o != NULL; o = o->next)
        for (uint32_t c = 0; c < o->n_chans && !out->failed; c++) {
            if (o->chan(o, c, &st) < 0)
                continue;
            labels_begin(out, o, f->name);
            label(out, "channel", st.name);
            number_label(out, "channel_id", c);
            value_u64(out, field_of(&st, f));
        }
}

static void type_quantile(gmk_out_t *out, const gmk_observed_t *o, const char *name, uint32_t type,
                          const gmk_type_stats_t *st, const char *quantile, uint64_t ns)
{
    type_labels(out, o, name, type, st);
    label(out, "quantile", quantile);
    value_seconds(out, ns);
}

#define RUN "ggmk_type_run_seconds"
#define DELAY "ggmk_type_queue_delay_seconds"

static void type_run_of(gmk_out_t *out, const gmk_observed_t *o)
{
    gmk_type_stats_t st;
    for (uint32_t t = 0; t < o->n_types && !out->failed; t++) {
        if (o->type(o, t, &st) < 0 || st.run_samples == 0)
            continue;
        type_quantile(out, o, RUN, t, &st, "0.5", st.run_ns_p50);
        type_quantile(out, o, RUN, t, &st, "0.99", st.run_ns_p99);
        type_labels(out, o, RUN "_sum", t, &st);
        value_seconds(out, st.run_ns_mean * st.run_samples);
        type_labels(out, o, RUN "_count", t, &st);
        value_u64(out, st.run_samples);
    }
}

static void type_delay_of(gmk_out_t *out, const gmk_observed_t *o)
{
    gmk_type_stats_t st;
    for (uint32_t t = 0; t < o->n_types && !out->failed; t++) {
        if (o->type(o, t, &st) < 0 || st.delay_samples == 0)
            continue;
        type_quantile(out, o, DELAY, t, &st, "0.5", st.delay_ns_p50);
        type_quantile(out, o, DELAY, t, &st, "0.99", st.delay_ns_p99);
        type_labels(out, o, DELAY "_count", t, &st);
        value_u64(out, st.delay_samples);
    }
}

static void type_times(gmk_out_t *out, const gmk_observed_t *o)
{
    head(out, RUN, "Run time of a handler; sampled.", "summary");
    for (const gmk_observed_t *p = o; p != NULL; p = p->next)
        type_run_of(out, p);
    head(out, DELAY, "Time from enqueue to start; sampled.", "summary");
    for (const gmk_observed_t *p = o; p != NULL; p = p->next)
        type_delay_of(out, p);
}

/* ---- metrics of modules ---------------------------------------------------------------------- */

#define USER "ggmk_user_"
#define USER_NAME_MAX (sizeof USER + GMK_NAME_MAX + sizeof "_total")

static bool ends_with(const char *s, const char *end)
{
    uint32_t n = gmk_text_len(s, GMK_NAME_MAX), e = gmk_text_len(end, GMK_NAME_MAX);
    return n > e && gmk_hal_memcmp(s + n - e, end, e) == 0;
}

static bool metric_at(const gmk_observed_t *o, uint32_t i, gmk_metric_view_t *v)
{
    const gmk_umetric_t *m = o->metrics == NULL ? NULL : gmk_umetrics_get(o->metrics, i);
    if (o->metric != NULL)
        return i < o->n_metrics && o->metric(o, i, v) >= 0;
    if (m == NULL)
        return false;
    *v = (gmk_metric_view_t){.kind = m->kind, .hist = m->hist};
    gmk_name_copy(v->name, m->name);
    (void)gmk_umetrics_read(o->metrics, i, &v->value);
    return true;
}

/* Whether a counter is registered under the first n bytes of `name`. */
static bool counter_exists(const gmk_observed_t *o, const char *name, uint32_t n)
{
    gmk_metric_view_t m;
    for (uint32_t i = 0; metric_at(o, i, &m); i++)
        if (m.kind == GMK_COUNTER && gmk_text_len(m.name, GMK_NAME_MAX) == n &&
            gmk_hal_memcmp(m.name, name, n) == 0)
            return true;
    return false;
}

/*
 * What is appended to a name so that it follows the conventions and no two metrics meet:
 * a counter ends in _total, and takes one more when a counter without it exists too; the others
 * must not end in what belongs to counters, histograms and summaries.
 */
static const char *suffix_of(const gmk_observed_t *o, const gmk_metric_view_t *m)
{
    if (m->kind == GMK_COUNTER) {
        uint32_t base = gmk_text_len(m->name, GMK_NAME_MAX) - (uint32_t)(sizeof "_total" - 1);
        return ends_with(m->name, "_total") && !counter_exists(o, m->name, base) ? "" : "_total";
    }
    static const char *const reserved[] = {"_total", "_bucket", "_count", "_sum", "_info", "_value"};
    for (size_t i = 0; i < COUNT_OF(reserved); i++)
        if (ends_with(m->name, reserved[i]))
            return "_value";
    return "";
}

static void append(char to[USER_NAME_MAX], uint32_t *n, const char *part)
{
    uint32_t len = gmk_text_len(part, GMK_NAME_MAX);
    len = len < USER_NAME_MAX - 1 - *n ? len : (uint32_t)(USER_NAME_MAX - 1 - *n);
    gmk_hal_memcpy(to + *n, part, len);
    *n += len;
    to[*n] = '\0';
}

static void user_name(char to[USER_NAME_MAX], const gmk_observed_t *o, const gmk_metric_view_t *m)
{
    uint32_t n = 0;
    append(to, &n, USER);
    append(to, &n, m->name);
    append(to, &n, suffix_of(o, m));
}

/* "NAME_SUFFIX{kernel=..." of a histogram. */
static void hist_labels(gmk_out_t *out, const gmk_observed_t *o, const char *name, const char *suffix)
{
    gmk_out_str(out, name);
    labels_begin(out, o, suffix);
}

/*
 * Cumulative buckets up to 2^k - 1, where the histogram has a border too, as far as there are
 * observations.  One pass gives every number, so that they fit together while others record.
 */
static void user_hist(gmk_out_t *out, const gmk_observed_t *o, const char *name, const gmk_hist_t *h)
{
    uint32_t shards = o->metrics->hist_shards, b = 0;
    uint64_t expected = gmk_hist_count(h, shards), seen = 0;
    for (uint32_t k = 0; k < 64 && seen < expected; k++) {
        for (uint32_t end = gmk_hist_bucket(1ull << k); b < end; b++)
            seen += gmk_hist_in_bucket(h, shards, b);
        hist_labels(out, o, name, "_bucket");
        gmk_out_str(out, ",le=\"");
        gmk_out_u64(out, (1ull << k) - 1);
        gmk_out_str(out, "\"");
        value_u64(out, seen);
    }
    for (; b < GMK_HIST_BUCKETS; b++)
        seen += gmk_hist_in_bucket(h, shards, b);
    hist_labels(out, o, name, "_bucket");
    label(out, "le", "+Inf");
    value_u64(out, seen);
    hist_labels(out, o, name, "_sum");
    value_u64(out, gmk_hist_sum(h, shards));
    hist_labels(out, o, name, "_count");
    value_u64(out, seen);
}

/* A histogram of which only the sum and the number of observations are known. */
static void user_sums(gmk_out_t *out, const gmk_observed_t *o, const char *name, const gmk_metric_view_t *m)
{
    hist_labels(out, o, name, "_bucket");
    label(out, "le", "+Inf");
    value_u64(out, m->value);
    hist_labels(out, o, name, "_sum");
    value_u64(out, m->sum);
    hist_labels(out, o, name, "_count");
    value_u64(out, m->value);
}

static void user_sample(gmk_out_t *out, const gmk_observed_t *o, const char *name, const gmk_metric_view_t *m)
{
    if (m->kind == GMK_HISTOGRAM && m->hist != NULL) {
        user_hist(out, o, name, m->hist);
        return;
    }
    if (m->kind == GMK_HISTOGRAM) {
        user_sums(out, o, name, m);
        return;
    }
    labels_begin(out, o, name);
    gmk_out_str(out, "} ");
    if (m->kind == GMK_GAUGE)
        gmk_out_i64(out, (int64_t)m->value);
    else
        gmk_out_u64(out, m->value);
    gmk_out_str(out, "\n");
}

/* The metric of this name that a kernel has; false when it has none. */
static bool metric_named(const gmk_observed_t *o, const char *name, gmk_metric_view_t *m)
{
    char other[USER_NAME_MAX];
    for (uint32_t i = 0; metric_at(o, i, m); i++) {
        user_name(other, o, m);
        if (gmk_name_same(other, name))
            return true;
    }
    return false;
}

/* A family: of the kernel that is first to have the name, and of those behind it whose metric is of its kind. */
static void user_metric(gmk_out_t *out, const gmk_observed_t *all, const gmk_observed_t *o,
                        const gmk_metric_view_t *m)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    char name[USER_NAME_MAX];
    gmk_metric_view_t other;
    user_name(name, o, m);
    for (const gmk_observed_t *p = all; p != o; p = p->next)
        if (metric_named(p, name, &other))
            return; /* was there */
    head(out, name, "Registered by a module.", kinds[m->kind]);
    user_sample(out, o, name, m);
    for (const gmk_observed_t *p = o->next; p != NULL; p = p->next)
        if (metric_named(p, name, &other) && other.kind == m->kind)
            user_sample(out, p, name, &other);
}

static void user_metrics(gmk_out_t *out, const gmk_observed_t *o)
{
    gmk_metric_view_t m;
    for (const gmk_observed_t *p = o; p != NULL; p = p->next)
        for (uint32_t i = 0; !out->failed && metric_at(p, i, &m); i++)
            user_metric(out, o, p, &m);
}

int gmk_export_prometheus_from(const gmk_observed_t *o, gmk_write_fn write, void *arg)
{
    if (o == NULL || write == NULL)
        return GMK_ERR_INVAL;
    gmk_out_t out;
    gmk_out_begin(&out, write, arg);
    whole_kernels(&out, o);
    peers_lost(&out, o);
    for (size_t i = 0; i < COUNT_OF(type_families) && !out.failed; i++)
        type_family(&out, o, &type_families[i]);
    type_times(&out, o);
    for (size_t i = 0; i < COUNT_OF(chan_families) && !out.failed; i++)
        chan_family(&out, o, &chan_families[i]);
    user_metrics(&out, o);
    return gmk_out_end(&out);
}
