/* SPDX-License-Identifier: MIT */
/* Wrong arguments to every public call, ports, figures, traces, metrics and exports. */
#include "harness.h"

enum { T_RUN = 1, T_TRACE, T_GATE };

static atomic_uint ran, wrong, metric[3];

static int run_run(gmk_ctx_t *c)
{
    (void)c;
    atomic_fetch_add(&ran, 1);
    return GMK_OK;
}

#define EXPECT(cond)                                                                                         \
    do {                                                                                                     \
        if (!(cond) && atomic_exchange(&wrong, __LINE__) == 0)                                               \
            print_error("line %d: %s\n", __LINE__, #cond);                                                   \
    } while (0)

static int write_size(void *arg, const void *data, size_t size)
{
    (void)data;
    *(size_t *)arg += size;
    return 0;
}

static int write_never(void *arg, const void *data, size_t size)
{
    (void)arg, (void)data, (void)size;
    return -1;
}

/* ---- wrong arguments ---------------------------------------------------------------------- */

/* Every call that takes a kernel, with one that is not booted. */
static void refuse_kernel(gmk_kernel_t *k)
{
    gmk_task_t t = {.type = T_RUN};
    gmk_module_t m = {.name = "m"};
    gmk_port_t port;
    gmk_stats_t s;
    gmk_type_stats_t ts;
    gmk_chan_stats_t cs;
    gmk_mem_stats_t ms;
    gmk_halt_report_t r;
    uint32_t id;
    uint64_t value;
    size_t n = 0;
    assert_int_equal(gmk_halt(k), GMK_ERR_INVAL);
    assert_int_equal(gmk_halt_within(k, 1, &r), GMK_ERR_INVAL);
    assert_int_equal(gmk_drain(k, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_tick_advance(k), 0);
    assert_int_equal(gmk_submit(k, &t), GMK_ERR_INVAL);
    assert_int_equal(gmk_submit_n(k, &t, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_submit_at(k, &t, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_submit_after(k, &t, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_attach(k, &port), GMK_ERR_INVAL);
    assert_int_equal(gmk_module_load(k, &m), GMK_ERR_INVAL);
    assert_int_equal(gmk_module_unload(k, "m"), GMK_ERR_INVAL);
    assert_int_equal(gmk_type_reset(k, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_trace_level(k, NULL, GMK_TRACE_ALL), GMK_ERR_INVAL);
    assert_int_equal(gmk_trace_sample(k, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_metric_register(k, "m", GMK_COUNTER, &id), GMK_ERR_INVAL);
    assert_int_equal(gmk_metric_read(k, 0, &value), GMK_ERR_INVAL);
    assert_int_equal(gmk_stats(k, &s), GMK_ERR_INVAL);
    assert_int_equal(gmk_type_stats(k, 1, &ts), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_stats(k, (gmk_chan_t){1}, &cs), GMK_ERR_INVAL);
    assert_int_equal(gmk_mem_stats(k, &ms), GMK_ERR_INVAL);
    assert_int_equal(gmk_export_prometheus(k, write_size, &n), GMK_ERR_INVAL);
    assert_int_equal(gmk_export_fxt(k, write_size, &n), GMK_ERR_INVAL);
    assert_int_equal(gmk_export_ctf(k, 1, write_size, &n), GMK_ERR_INVAL);
    assert_int_equal(n, 0);
}

static const gmk_handler_reg_t handlers[] = {{.type = T_RUN, .fn = run_run},
                                             {.type = T_GATE, .fn = kit_gate_run}};

static void a_kernel_that_is_not_booted_is_refused(void **state)
{
    gmk_kernel_t none = {0};
    kit_t t;
    (void)state;
    refuse_kernel(NULL);
    refuse_kernel(&none);
    KIT_BOOT(&t, kit_cfg(1), handlers);
    kit_end(&t);
    refuse_kernel(&t.k);
}

static void missing_arguments_are_refused(void **state)
{
    kit_t t;
    (void)state;
    KIT_BOOT(&t, kit_cfg(1), handlers);
    gmk_kernel_t *k = &t.k;
    assert_int_equal(gmk_submit(k, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_submit_n(k, NULL, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_submit_at(k, NULL, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_submit_after(k, NULL, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_attach(k, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_module_load(k, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_module_unload(k, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_module_unload(k, "nobody"), GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_trace_level(k, NULL, 0), GMK_ERR_RANGE);
    assert_int_equal(gmk_trace_level(k, NULL, 6), GMK_ERR_RANGE);
    assert_int_equal(gmk_trace_level(k, "nobody", GMK_TRACE_ALL), GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_trace_sample(k, 0), GMK_ERR_RANGE);
    assert_int_equal(gmk_metric_read(k, 0, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_stats(k, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_type_stats(k, 1, NULL), GMK_ERR_INVAL);
    gmk_type_stats_t ts;
    assert_int_equal(gmk_type_stats(k, 256, &ts), GMK_ERR_RANGE);
    assert_int_equal(gmk_chan_stats(k, (gmk_chan_t){1}, NULL), GMK_ERR_INVAL);
    gmk_chan_stats_t cs;
    assert_int_equal(gmk_chan_stats(k, (gmk_chan_t){0}, &cs), GMK_CHAN_CLOSED);
    assert_int_equal(gmk_mem_stats(k, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_export_prometheus(k, NULL, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_export_fxt(k, NULL, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_export_ctf(k, 0, NULL, NULL), GMK_ERR_INVAL);
    kit_end(&t);
}

/* Every call that takes a ctx. */
static void refuse_ctx(gmk_ctx_t *c)
{
    gmk_task_t t = {.type = T_RUN};
    gmk_chan_t ch = {1};
    gmk_sub_t sub = {1};
    EXPECT(gmk_emit(c, &t) == GMK_ERR_INVAL);
    EXPECT(gmk_emit_n(c, &t, 1) == GMK_ERR_INVAL);
    EXPECT(gmk_emit_after(c, &t, 1) == GMK_ERR_INVAL);
    EXPECT(gmk_emit_at(c, &t, 1) == GMK_ERR_INVAL);
    EXPECT(gmk_yield(c) == GMK_ERR_INVAL && gmk_yield_at(c, 1) == GMK_ERR_INVAL);
    EXPECT(!gmk_over_budget(c) && gmk_self_worker(c) == UINT32_MAX && gmk_self_tenant(c) == 0 &&
           gmk_tick(c) == 0);
    EXPECT(gmk_now_ns(c) != 0 && gmk_lane(c) == 0 && gmk_lanes(c) == 1 && gmk_reduce_sum(c, 7) == 7);
    gmk_barrier(c);
    EXPECT(gmk_alloc(c, 1) == NULL && gmk_bump(c, 1) == NULL && gmk_payload_alloc(c, 1) == NULL);
    gmk_free(c, &t);
    gmk_bump_reset(c);
    EXPECT(gmk_payload_retain(c, &t) == GMK_ERR_INVAL && gmk_payload_release(c, &t) == GMK_ERR_INVAL);
    EXPECT(gmk_chan_open(c, &(gmk_chan_cfg_t){.name = "api.x"}, &ch) == GMK_ERR_INVAL);
    EXPECT(gmk_chan_find(c, "sys.error", &ch) == GMK_ERR_INVAL);
    EXPECT(gmk_chan_sub(c, ch, &(gmk_sub_cfg_t){.handler = T_RUN}, &sub) == GMK_ERR_INVAL);
    EXPECT(gmk_chan_unsub(c, sub) == GMK_ERR_INVAL && gmk_chan_close(c, ch) == GMK_ERR_INVAL);
    EXPECT(gmk_wait_closed(c, ch, 1) == GMK_ERR_INVAL);
    EXPECT(gmk_chan_emit(c, ch, &t) == GMK_ERR_INVAL && gmk_chan_emit_n(c, ch, &t, 1) == GMK_ERR_INVAL);
    EXPECT(gmk_chan_emit_wait(c, ch, &t, 1) == GMK_ERR_INVAL);
    EXPECT(gmk_chan_wait(c, ch, 1) == GMK_ERR_INVAL && gmk_chan_on_error(c, ch, 1) == GMK_ERR_INVAL);
    EXPECT(gmk_chan_gap(c) == 0);
    gmk_trace(c, GMK_EV_USER, 1, 2);
    gmk_metric_inc(c, 0, 1);
    gmk_metric_set(c, 0, 1);
    gmk_metric_observe(c, 0, 1);
}

static void a_context_of_nobody_is_refused(void **state)
{
    gmk_ctx_t none = {0};
    gmk_kernel_t dead = {0};
    gmk_port_t port;
    kit_t t;
    (void)state;
    atomic_store(&wrong, 0);
    refuse_ctx(NULL);
    refuse_ctx(&none);
    KIT_BOOT(&t, kit_cfg(1), handlers);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    gmk_ctx_t copy = *gmk_port_ctx(&port);
    copy.kernel = &dead;
    refuse_ctx(&copy);
    assert_int_equal(atomic_load(&wrong), 0);
    gmk_ctx_t *c = gmk_port_ctx(&port);
    gmk_task_t task = {.type = T_RUN};
    assert_int_equal(gmk_emit(c, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_emit_n(c, NULL, 2), GMK_ERR_INVAL);
    assert_int_equal(gmk_emit_after(c, NULL, 2), GMK_ERR_INVAL);
    assert_int_equal(gmk_emit_at(c, NULL, 2), GMK_ERR_INVAL);
    assert_int_equal(gmk_emit_at(c, &task, 0), GMK_OK);
    assert_int_equal(gmk_emit_after(c, &task, 0), GMK_OK);
    gmk_detach(&port);
    KIT_WAIT(kit_stats(&t).completed == 2);
    kit_end(&t);
}

/* ---- ports -------------------------------------------------------------------------------- */

static void as_many_ports_attach_as_were_asked_for(void **state)
{
    gmk_boot_cfg_t cfg = kit_cfg(1);
    gmk_port_t port[4], none = {0};
    kit_t t;
    (void)state;
    cfg.max_ports = 3;
    KIT_BOOT(&t, cfg, handlers);
    assert_null(gmk_port_ctx(NULL));
    assert_null(gmk_port_ctx(&none));
    gmk_detach(NULL);
    gmk_detach(&none);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(gmk_attach(&t.k, &port[i]), GMK_OK);
        assert_int_equal(gmk_attach(&t.k, &port[3]), GMK_ERR_LIMIT);
        assert_int_equal(kit_stats(&t).ports, 3);
        gmk_detach(&port[round]);
        assert_null(gmk_port_ctx(&port[round]));
        gmk_detach(&port[round]);
        assert_int_equal(gmk_attach(&t.k, &port[round]), GMK_OK);
        const gmk_ctx_t *c = gmk_port_ctx(&port[round]);
        assert_ptr_equal(c->kernel, &t.k);
        assert_int_equal(c->task->type, 0);
        for (uint32_t i = 0; i < 3; i++)
            gmk_detach(&port[i]);
    }
    assert_int_equal(kit_stats(&t).ports, 0);
    kit_end(&t);
}

static void a_halting_kernel_takes_nothing_new(void **state)
{
    kit_gate_t gate;
    gmk_port_t port;
    kit_t t;
    gmk_module_t m = {.name = "late"};
    (void)state;
    KIT_BOOT(&t, kit_cfg(1), handlers);
    kit_gate_shut(&t, &gate, T_GATE, 1);
    assert_int_equal(gmk_halt_within(&t.k, KIT_MS, NULL), GMK_ERR_BUSY);
    gmk_task_t task = {.type = T_RUN};
    assert_int_equal(gmk_attach(&t.k, &port), GMK_ERR_STATE);
    assert_int_equal(gmk_submit(&t.k, &task), GMK_ERR_STATE);
    assert_int_equal(gmk_submit_n(&t.k, &task, 1), GMK_ERR_STATE);
    assert_int_equal(gmk_submit_at(&t.k, &task, 1), GMK_ERR_STATE);
    assert_int_equal(gmk_submit_after(&t.k, &task, 1), GMK_ERR_STATE);
    assert_int_equal(gmk_drain(&t.k, 1), GMK_ERR_STATE);
    assert_int_equal(gmk_tick_advance(&t.k), 0);
    assert_int_equal(gmk_module_load(&t.k, &m), GMK_ERR_STATE);
    assert_int_equal(gmk_module_unload(&t.k, "test"), GMK_ERR_STATE);
    kit_gate_open(&gate);
    assert_int_equal(gmk_halt(&t.k), GMK_OK);
}

/* ---- figures ------------------------------------------------------------------------------ */

static void figures_show_what_happened(void **state)
{
    gmk_boot_cfg_t cfg = kit_cfg(2);
    kit_t t;
    (void)state;
    cfg.sample = 1;
    KIT_BOOT(&t, cfg, handlers);
    gmk_type_stats_t ts = kit_type(&t, T_RUN);
    assert_string_equal(ts.name, "type.1");
    assert_string_equal(ts.module, "test");
    assert_int_equal(ts.run_samples + ts.run_ns_mean, 0);
    for (uint32_t i = 0; i < 100; i++)
        kit_submit(&t, T_RUN, NULL);
    kit_drain(&t);
    ts = kit_type(&t, T_RUN);
    assert_int_equal(ts.completed, 100);
    assert_true(ts.run_samples >= 90 && ts.run_ns_p99 >= ts.run_ns_p50);
    gmk_stats_t s = kit_stats(&t);
    assert_true(s.batches > 0 && s.parks > 0 && s.workers == 2);
    KIT_WAIT(kit_stats(&t).parked == 2);
    kit_end(&t);
}

/* ---- traces and metrics ------------------------------------------------------------------- */

static int trace_run(gmk_ctx_t *c)
{
    gmk_trace(c, GMK_EV_USER + 5, 1, 2);
    gmk_trace(c, GMK_EV_USER + 0x8000, 1, 2); /* ignored, as the next */
    gmk_trace(c, GMK_EV_BEGIN, 1, 2);
    gmk_metric_inc(c, atomic_load(&metric[0]), 3);
    gmk_metric_set(c, atomic_load(&metric[1]), -7);
    gmk_metric_observe(c, atomic_load(&metric[2]), c->task->meta1);
    gmk_metric_inc(c, 10000, 1);
    return c->task->meta1 % 10 == 0                              ? GMK_FAIL(1)
         : c->task->meta1 % 10 == 1 && c->task->yield_count == 0 ? gmk_yield(c)
                                                                 : GMK_OK;
}

static void traces_and_metrics_come_out_of_the_exports(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_TRACE, .fn = trace_run, .name = "api.trace"}};
    static const char *const name[] = {"api_counter", "api_gauge", "api_hist"};
    static const int kind[] = {GMK_COUNTER, GMK_GAUGE, GMK_HISTOGRAM};
    gmk_boot_cfg_t cfg = kit_cfg(2);
    uint64_t value;
    uint32_t id;
    size_t quiet = 0, loud = 0, ctf = 0, text = 0;
    kit_t t;
    (void)state;
    cfg.trace_level = GMK_TRACE_OFF;
    KIT_BOOT(&t, cfg, h);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(gmk_metric_register(&t.k, name[i], kind[i], &id), GMK_OK);
        atomic_store(&metric[i], id);
        assert_int_equal(gmk_metric_register(&t.k, name[i], (kind[i] + 1) % 3, &id), GMK_ERR_EXISTS);
        assert_int_equal(gmk_metric_register(&t.k, name[i], kind[i], &id), GMK_OK);
        assert_int_equal(id, atomic_load(&metric[i]));
    }
    assert_int_equal(gmk_metric_register(&t.k, "has space", GMK_COUNTER, &id), GMK_ERR_INVAL);
    assert_int_equal(gmk_export_fxt(&t.k, write_size, &quiet), GMK_OK);
    assert_int_equal(gmk_trace_level(&t.k, "test", GMK_TRACE_ALL), GMK_OK);
    assert_int_equal(gmk_trace_sample(&t.k, 2), GMK_OK);
    for (uint32_t i = 0; i < 200; i++) {
        gmk_task_t task = {.type = T_TRACE, .meta1 = i, .flags = i % 2 == 0 ? GMK_TASK_EMIT_TRACE : 0};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    kit_drain(&t);
    assert_int_equal(gmk_trace_level(&t.k, NULL, GMK_TRACE_INFO), GMK_OK);
    for (uint32_t i = 1; i < 100; i++) {
        gmk_task_t task = {.type = T_TRACE, .meta1 = i};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    (void)gmk_tick_advance(&t.k);
    kit_drain(&t);
    assert_int_equal(gmk_metric_read(&t.k, atomic_load(&metric[0]), &value), GMK_OK);
    assert_int_equal(value, 3 * (200 + 20 + 99 + 10));
    assert_int_equal(gmk_metric_read(&t.k, atomic_load(&metric[1]), &value), GMK_OK);
    assert_int_equal((int64_t)value, -7);
    assert_int_equal(gmk_metric_read(&t.k, atomic_load(&metric[2]), &value), GMK_OK);
    assert_int_equal(value, 200 + 20 + 99 + 10);
    assert_int_not_equal(gmk_metric_read(&t.k, 10000, &value), GMK_OK);
    assert_int_equal(gmk_export_fxt(&t.k, write_size, &loud), GMK_OK);
    assert_int_equal(gmk_export_ctf(&t.k, 1, write_size, &ctf), GMK_OK);
    assert_int_equal(gmk_export_ctf(&t.k, 0, write_size, &ctf), GMK_OK);
    assert_int_equal(gmk_export_prometheus(&t.k, write_size, &text), GMK_OK);
    assert_true(loud > quiet + 100 * 24 && ctf > 1000 && text > 1000);
    assert_int_equal(gmk_export_fxt(&t.k, write_never, NULL), GMK_ERR_IO);
    assert_int_equal(gmk_export_ctf(&t.k, 0, write_never, NULL), GMK_ERR_IO);
    assert_int_equal(gmk_export_prometheus(&t.k, write_never, NULL), GMK_ERR_IO);
    kit_drain(&t);
    kit_conserved(&t, 0);
    assert_int_equal(gmk_halt(&t.k), GMK_OK);
}

static void exports_run_beside_the_work(void **state)
{
    gmk_boot_cfg_t cfg = kit_cfg(2);
    kit_t t;
    (void)state;
    atomic_store(&ran, 0);
    cfg.trace_level = GMK_TRACE_ALL;
    KIT_BOOT(&t, cfg, handlers);
    for (uint32_t i = 0; i < 20; i++) {
        size_t n = 0;
        for (uint32_t j = 0; j < 100; j++)
            kit_submit(&t, T_RUN, NULL);
        assert_int_equal(gmk_export_prometheus(&t.k, write_size, &n), GMK_OK);
        assert_int_equal(gmk_export_fxt(&t.k, write_size, &n), GMK_OK);
        assert_int_equal(gmk_export_ctf(&t.k, 0, write_size, &n), GMK_OK);
    }
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 2000);
    kit_end(&t);
}

/* ---- codes -------------------------------------------------------------------------------- */

static void every_code_has_words(void **state)
{
    static const int code[] = {GMK_OK, GMK_RETRY, -1,   -2,   -3,   -4,   -5,   -6,   -7,   -8,   -9,
                               -10,    -11,       -12,  -100, -101, -102, -103, -200, -300, -301, -302,
                               -303,   -304,      -305, -400, -401, -402, -403, -404, -405};
    const uint32_t n = sizeof code / sizeof code[0];
    (void)state;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < i; j++)
            assert_string_not_equal(gmk_strerror(code[i]), gmk_strerror(code[j]));
    assert_string_equal(gmk_strerror(GMK_FAIL(0)), "handler failure");
    assert_string_equal(gmk_strerror(GMK_FAIL(100000)), "handler failure");
    assert_string_equal(gmk_strerror(-13), "unknown code");
    assert_string_equal(gmk_strerror(-999), "unknown code");
    assert_string_equal(gmk_strerror(17), "unknown code");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_that_is_not_booted_is_refused),
        cmocka_unit_test(missing_arguments_are_refused),
        cmocka_unit_test(a_context_of_nobody_is_refused),
        cmocka_unit_test(as_many_ports_attach_as_were_asked_for),
        cmocka_unit_test(a_halting_kernel_takes_nothing_new),
        cmocka_unit_test(figures_show_what_happened),
        cmocka_unit_test(traces_and_metrics_come_out_of_the_exports),
        cmocka_unit_test(exports_run_beside_the_work),
        cmocka_unit_test(every_code_has_words),
    };
    return cmocka_run_group_tests_name("boot_api", tests, NULL, NULL);
}
