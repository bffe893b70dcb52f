/* SPDX-License-Identifier: MIT */
/* scn_det.c — deterministic mode: one hash, whatever the schedule and the number of workers. */
#include "kernel.h"

#include "../det_workload.h"

void scn_deterministic(void *arg)
{
    gmk_boot_cfg_t cfg = scn_cfg(scn_workers());
    scn_t s = {.module = DET_MODULE};
    gmk_stats_t st;
    (void)arg;
    cfg.poison_failures = DET_WORKLOAD_POISON;
    cfg.seed = DET_WORKLOAD_SEED;
    s.list[0] = &s.module;
    sim_check(gmk_boot(&s.k, &cfg, s.list, 1) == GMK_OK);
    scn_mark(&s);
    sim_check(det_input(&s.k) == GMK_OK);
    for (uint32_t i = 0; i < DET_WORKLOAD_TICKS; i++) {
        sim_check(gmk_tick_advance(&s.k) == i + 1);
        if (sim_rand(3) == 0)
            scn_drain(&s);
    }
    scn_drain(&s);
    st = scn_stats(&s);
    sim_check(st.det_hash == DET_WORKLOAD_HASH && st.accepted == DET_WORKLOAD_TASKS,
              "hash 0x%016llx, %u tasks", (unsigned long long)st.det_hash, (unsigned)st.accepted);
    scn_end(&s);
}
