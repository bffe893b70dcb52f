/* SPDX-License-Identifier: MIT */
/* The workload that the simulator runs too, on threads: the same constant. */
#include "harness.h"

#include "det_workload.h"

static void run_with(uint32_t workers)
{
    kit_t t;
    gmk_boot_cfg_t cfg = kit_cfg(workers);
    cfg.poison_failures = DET_WORKLOAD_POISON;
    cfg.seed = DET_WORKLOAD_SEED;
    kit_boot_module(&t, cfg, (gmk_module_t)DET_MODULE);
    assert_int_equal(det_input(&t.k), GMK_OK);
    for (uint32_t i = 0; i < DET_WORKLOAD_TICKS; i++)
        assert_int_equal(gmk_tick_advance(&t.k), i + 1);
    kit_drain(&t);
    gmk_stats_t s = kit_stats(&t);
    assert_int_equal(s.accepted, DET_WORKLOAD_TASKS);
    assert_true(s.failed > 0 && s.retries > 0 && s.yields > 0);
    assert_true(s.det_hash == DET_WORKLOAD_HASH);
    kit_end(&t);
}

static void test_one_worker(void **state)
{
    (void)state;
    run_with(1);
}

static void test_some_workers(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 20; i++)
        run_with(2 + i % 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_worker),
                                       cmocka_unit_test(test_some_workers)};
    return cmocka_run_group_tests_name("det_workload", tests, NULL, NULL);
}
