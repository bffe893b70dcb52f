/* SPDX-License-Identifier: MIT */
/* scn_boot.c — a boot that fails at any step says so and leaves nothing; one that passes works. */
#include "kernel.h"

#include <string.h>

#define OWN_ERROR GMK_FAIL(77)

static struct {
    uint32_t inits, finis, refuse; /* refuse: the module whose init fails, 0 = none */
    gmk_a32_t ran;
} booting;

static int boot_run(gmk_ctx_t *c)
{
    (void)c;
    (void)scn_inc(&booting.ran);
    return GMK_OK;
}

/* Emits, so that there is something to run or to drop already. */
static int boot_init(gmk_ctx_t *c)
{
    gmk_task_t t = scn_task(1, sim_rand(4), 0);
    if (booting.inits + 1 == booting.refuse)
        return OWN_ERROR;
    booting.inits++;
    sim_check(gmk_emit(c, &t) == GMK_OK);
    return GMK_OK;
}

/* In reverse. */
static void boot_fini(gmk_ctx_t *c)
{
    (void)c;
    booting.finis++;
    sim_check(booting.finis <= booting.inits);
}

static const gmk_handler_reg_t one[] = {{.type = 1, .fn = boot_run}}, two[] = {{.type = 2, .fn = boot_run}},
                               high[] = {{.type = 900, .fn = boot_run}};
static const gmk_chan_decl_t makes[] = {{.name = "boot.x", .direction = GMK_PRODUCES, .msg_type = 3}},
                             takes[] =
                                 {{.name = "boot.x", .direction = GMK_CONSUMES, .msg_type = 3, .handler = 2}},
                             mistakes[] = {{.name = "boot.x", .direction = GMK_CONSUMES, .msg_type = 4}};

static gmk_module_t boot_module(const char *name, const gmk_handler_reg_t *h, const gmk_chan_decl_t *d)
{
    return (gmk_module_t){.name = name,
                          .handlers = h,
                          .n_handlers = 1,
                          .channels = d,
                          .n_channels = 1,
                          .init = boot_init,
                          .fini = boot_fini};
}

enum trouble { NO_PAGES, FEW_THREADS, SMALL_ARENA, BAD_INIT, BAD_TYPE, BAD_HANDLER, TWICE, TROUBLES };

/* What the boot may answer; GMK_OK where the trouble may miss it. */
static bool may_answer(enum trouble how, int rc)
{
    switch (how) {
    case NO_PAGES: return rc == GMK_ALLOC_FAIL;
    case FEW_THREADS: return rc == GMK_OK || rc == GMK_ALLOC_FAIL || rc == GMK_ERR_LIMIT;
    case SMALL_ARENA: return rc == GMK_OK || rc == GMK_ALLOC_FAIL;
    case BAD_INIT: return rc == OWN_ERROR;
    case BAD_TYPE: return rc == GMK_CHAN_TYPE_MISMATCH;
    case BAD_HANDLER: return rc == GMK_ERR_RANGE;
    default: return rc == GMK_ERR_EXISTS;
    }
}

static void use_and_halt(gmk_kernel_t *k)
{
    gmk_task_t t = scn_task(2, 0, 0);
    sim_check(gmk_submit(k, &t) == GMK_OK);
    sim_check(gmk_drain(k, 10 * SCN_S) == GMK_OK);
    sim_check(scn_get(&booting.ran) == booting.inits + 1);
    sim_check(gmk_halt(k) == GMK_OK);
}

void scn_boot_fails(void *arg)
{
    enum trouble how = sim_rand(TROUBLES);
    gmk_module_t m[2] = {boot_module("first", one, makes), boot_module("second", two, takes)};
    gmk_module_t *list[2] = {&m[0], &m[1]};
    gmk_boot_cfg_t cfg = scn_cfg(scn_workers());
    gmk_kernel_t k;
    (void)arg;
    memset(&booting, 0, sizeof booting);
    if (sim_options()->lanes == 1 && sim_rand(2) == 0)
        cfg.flags = GMK_BOOT_QUIET;
    switch (how) {
    case NO_PAGES: sim_options()->page_fail = 65536; break;
    case FEW_THREADS: sim_options()->thread_fail = 20000; break;
    case SMALL_ARENA: cfg.arena_size = 50000 + sim_rand(2500) * 1000; break;
    case BAD_INIT: booting.refuse = 1 + sim_rand(2); break;
    case BAD_TYPE: m[1].channels = mistakes; break;
    case BAD_HANDLER: m[sim_rand(2)].handlers = high; break;
    default: m[1].handlers = one; break;
    }
    int rc = gmk_boot(&k, &cfg, list, 2);
    sim_check(may_answer(how, rc), "boot %d", rc);
    sim_options()->page_fail = sim_options()->thread_fail = 0;
    if (rc == GMK_OK)
        use_and_halt(&k);
    sim_check(k.magic == 0 && k.core == NULL && k.arena == NULL);
    sim_check(booting.inits == booting.finis, "%u inits, %u finis", booting.inits, booting.finis);
    sim_check(sim_pages_in_use() == 0, "%u bytes left", (unsigned)sim_pages_in_use());
}
