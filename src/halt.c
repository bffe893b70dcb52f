/* SPDX-License-Identifier: MIT */
/* halt.c — drain and halt. */
#include "boot.h"
#include "det.h"
#include "watchdog.h"

/* The core of a kernel that only this thread halts; NULL when it is none. */
static gmk_core_t *booted(const gmk_kernel_t *k)
{
    return k != NULL && gmk_load64(gmk_kernel_magic(k), GMK_ACQ, GMK_KERNEL) == GMK_KERNEL_MAGIC ? k->core
                                                                                                 : NULL;
}

/* ---- drain -------------------------------------------------------------------------------- */

/* The park slot of the kernel serves one drainer.  The others, and one whose wake-up came early, look this often. */
#define DRAIN_LOOK_NS 5000000u

static bool is_drained(gmk_core_t *k)
{
    uint64_t idle = gmk_load64(&k->idle.word, GMK_ACQ, GMK_KERNEL);
    if ((uint32_t)idle != k->n_workers || idle >> 32 != 0 ||
        gmk_load64(&k->waiting, GMK_ACQ, GMK_KERNEL) != 0)
        return false;
    uint64_t finished = GMK_TOTAL(k, completed) + GMK_TOTAL(k, failed) + GMK_TOTAL(k, dropped);
    uint64_t later = gmk_load64(&k->evq.asked, GMK_ACQ, GMK_KERNEL) + gmk_det_future(k);
    return GMK_TOTAL(k, accepted) == finished + later && gmk_det_settled(k) &&
           gmk_load64(&k->idle.word, GMK_ACQ, GMK_KERNEL) == idle;
}

static void drain_nap(gmk_core_t *k, uint64_t left)
{
    uint64_t nap = left < DRAIN_LOOK_NS ? left : DRAIN_LOOK_NS;
    if (gmk_flag_try(&k->drain_slot)) {
        (void)gmk_hal_park_wait(&k->drain_park, nap);
        gmk_flag_release(&k->drain_slot);
        return;
    }
    gmk_hal_park_t own;
    gmk_hal_park_init(&own);
    (void)gmk_hal_park_wait(&own, nap);
    gmk_hal_park_destroy(&own);
}

static int drain(gmk_core_t *k, uint64_t timeout_ns)
{
    uint64_t start = gmk_hal_now_ns(), spent = 0;
    bool drained = false, up;
    (void)gmk_add32(&k->drainers, 1, GMK_ACQ_REL, GMK_KERNEL);
    gmk_fence(GMK_SEQ, GMK_KERNEL); /* pairs with the heavy fence of a worker that parks */
    while ((up = gmk_load32(&k->state, GMK_ACQ, GMK_KERNEL) == GMK_CORE_UP) && !(drained = is_drained(k)) &&
           spent < timeout_ns) {
        drain_nap(k, timeout_ns - spent);
        spent = gmk_hal_now_ns() - start;
    }
    (void)gmk_sub32(&k->drainers, 1, GMK_ACQ_REL, GMK_KERNEL);
    if (!up)
        return GMK_ERR_STATE;
    if (!drained && (k->flags & GMK_BOOT_QUIET) == 0)
        (void)gmk_waiter_report_cycles(k);
    return drained ? GMK_OK : GMK_ERR_TIMEOUT;
}

int gmk_drain(gmk_kernel_t *kernel, uint64_t timeout_ns)
{
    gmk_core_t *k = gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    int rc = drain(k, timeout_ns);
    gmk_outside_end(kernel);
    return rc;
}

/* ---- halt --------------------------------------------------------------------------------- */

static uint32_t still_running(gmk_core_t *k, uint32_t *type)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < k->n_all; i++) {
        uint32_t state = gmk_load32(&k->workers[i].state, GMK_ACQ, GMK_KERNEL);
        if (state != GMK_WORKER_RUNNING && state != GMK_WORKER_ZOMBIE)
            continue;
        if (n++ == 0)
            *type = gmk_load32(&k->workers[i].cur_type, GMK_RLX, GMK_KERNEL);
    }
    return n;
}

/* Nothing queued, nothing running; timers and waiters do not count. */
static bool all_at_rest(gmk_core_t *k)
{
    uint64_t idle = gmk_load64(&k->idle.word, GMK_ACQ, GMK_KERNEL);
    uint32_t type;
    return idle == still_running(k, &type) && gmk_rq_empty(k) && gmk_overflow_empty(k) &&
           gmk_load64(&k->idle.word, GMK_ACQ, GMK_KERNEL) == idle;
}

/* What was accepted before the halt gets half of the time to run. */
static void let_finish(gmk_core_t *k, uint64_t timeout_ns)
{
    uint64_t start = gmk_hal_now_ns(), spent = 0;
    (void)gmk_add32(&k->drainers, 1, GMK_ACQ_REL, GMK_KERNEL);
    gmk_fence(GMK_SEQ, GMK_KERNEL); /* pairs with the heavy fence of a worker that parks */
    while (!all_at_rest(k) && spent < timeout_ns / 2) {
        uint64_t left = timeout_ns / 2 - spent;
        (void)gmk_hal_park_wait(&k->drain_park, left < DRAIN_LOOK_NS ? left : DRAIN_LOOK_NS);
        spent = gmk_hal_now_ns() - start;
    }
    (void)gmk_sub32(&k->drainers, 1, GMK_ACQ_REL, GMK_KERNEL);
}

static uint32_t stop_workers(gmk_core_t *k, uint64_t timeout_ns, uint32_t *type)
{
    uint64_t start = gmk_hal_now_ns();
    uint32_t n;
    gmk_watchdog_stop(k);
    gmk_hal_asym_heavy();
    while ((n = still_running(k, type)) != 0 && gmk_hal_now_ns() - start < timeout_ns) {
        gmk_idle_wake_all(k);
        (void)gmk_hal_park_wait(&k->drain_park, 1000000);
    }
    return n;
}

static void drop_task(gmk_front_t *f, const gmk_task_t *t)
{
    if ((t->flags & GMK_TASK_INTERNAL) == 0)
        gmk_drop(f, t, GMK_DROP_HALTED);
}

static void drop_node(gmk_front_t *f, gmk_node_t *n)
{
    if (n->kind == GMK_NODE_POOL)
        drop_task(f, &n->task);
}

static void drop_list(gmk_front_t *f, gmk_mpsc_t *list)
{
    gmk_link_t *l;
    while ((l = gmk_mpsc_pop(list)) != NULL)
        drop_node(f, gmk_node_of(l));
}

/* A worker may have left with an unrun rest of its batch, or a task in its next slot. */
static void drop_worker(gmk_front_t *f, gmk_worker_t *w)
{
    gmk_slot_t slot;
    while (gmk_lq_pop(&w->lq, &slot, 1) != 0)
        drop_task(f, &slot.task);
    if (gmk_xchg32(&w->has_next, 0, GMK_ACQ_REL, GMK_KERNEL) != 0)
        drop_task(f, &w->next[w->flip].task);
}

static void drop_queued(gmk_front_t *f)
{
    gmk_core_t *k = f->core;
    gmk_slot_t slot;
    gmk_node_t *n;
    for (uint32_t i = 0; i < k->n_all; i++)
        drop_worker(f, &k->workers[i]);
    for (uint32_t i = 0; i < k->n_buckets; i++)
        while (gmk_mpmc_pop(&k->buckets[i].ring, &slot, GMK_SLOT_BYTES))
            drop_task(f, &slot.task);
    for (uint32_t p = 0; p < GMK_PRIOS; p++)
        drop_list(f, &k->overflow[p].list);
    for (uint32_t i = 0; i < k->n_workers; i++)
        drop_list(f, &k->inboxes[i]);
    while ((n = gmk_evq_take(k)) != NULL)
        drop_node(f, n);
    gmk_chans_drop_all(f);
    gmk_det_drop_all(f);
}

static void join_all(gmk_core_t *k)
{
    for (uint32_t i = 0; i < k->n_all; i++)
        if (k->workers[i].has_thread != 0) {
            gmk_hal_thread_join(&k->workers[i].thread);
            k->workers[i].has_thread = 0;
        }
}

static void report_counts(gmk_core_t *k, gmk_halt_report_t *r)
{
    r->completed = GMK_TOTAL(k, completed);
    r->failed = GMK_TOTAL(k, failed);
    r->dropped = GMK_TOTAL(k, dropped);
}

/*
 * Nobody may come in any more: what is told from now on is that there is no kernel.  False: a call is
 * still inside, which came in before.
 */
static bool close_entry(gmk_kernel_t *kernel, uint64_t timeout_ns)
{
    uint64_t start = gmk_hal_now_ns();
    gmk_store64(gmk_kernel_magic(kernel), 0, GMK_SEQ, GMK_KERNEL);
    gmk_fence(GMK_SEQ, GMK_KERNEL); /* pairs with gmk_outside_begin */
    for (uint32_t round = 0; gmk_load64(gmk_kernel_users(kernel), GMK_ACQ, GMK_KERNEL) != 0; round++) {
        if ((round & 63) == 63 && gmk_hal_now_ns() - start > timeout_ns) {
            gmk_store64(gmk_kernel_magic(kernel), GMK_KERNEL_MAGIC, GMK_REL, GMK_KERNEL);
            return false;
        }
        gmk_hal_relax(round);
    }
    return true;
}

static void release(gmk_kernel_t *kernel)
{
    gmk_core_t *k = kernel->core;
    void *arena = kernel->arena;
    uint64_t size = kernel->arena_size;
    for (uint32_t i = 0; i < k->n_all; i++)
        gmk_hal_park_destroy(&k->workers[i].park);
    for (uint32_t i = 0; i < k->n_ports; i++)
        gmk_hal_park_destroy(&k->ports[i].park);
    gmk_hal_park_destroy(&k->drain_park);
    gmk_hal_lock_destroy(&k->control);
    gmk_umetrics_destroy(&k->umetrics);
    kernel->core = NULL;
    kernel->arena = NULL;
    kernel->arena_size = 0;
    gmk_hal_page_free(arena, size);
}

static bool ports_attached(gmk_core_t *k)
{
    for (uint32_t i = 0; i < k->n_ports - GMK_PORTS_OWN; i++)
        if (gmk_load32(&k->ports[i].in_use, GMK_ACQ, GMK_KERNEL) == GMK_PORT_ATTACHED)
            return true;
    return false;
}

/* Ports are looked for again once nobody can attach any more: gmk_attach looks at the state last. */
static int begin_halt(gmk_core_t *k, uint64_t timeout_ns)
{
    if (ports_attached(k))
        return GMK_ERR_STATE;
    if (gmk_load32(&k->state, GMK_ACQ, GMK_KERNEL) != GMK_CORE_UP)
        return GMK_OK;
    gmk_store32(&k->state, GMK_CORE_HALTING, GMK_SEQ, GMK_KERNEL);
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    if (ports_attached(k)) {
        gmk_store32(&k->state, GMK_CORE_UP, GMK_SEQ, GMK_KERNEL);
        return GMK_ERR_STATE;
    }
    let_finish(k, timeout_ns);
    return GMK_OK;
}

int gmk_halt_within(gmk_kernel_t *kernel, uint64_t timeout_ns, gmk_halt_report_t *report)
{
    gmk_core_t *k = booted(kernel);
    gmk_halt_report_t r = {0};
    if (k == NULL)
        return GMK_ERR_INVAL;
    uint64_t start = gmk_hal_now_ns(), spent;
    int rc = begin_halt(k, timeout_ns);
    if (rc < 0)
        return rc;
    bool halted = gmk_load32(&k->state, GMK_ACQ, GMK_KERNEL) ==
                  GMK_CORE_HALTED; /* a call kept the last halt */
    if (!halted)
        gmk_store32(&k->state, GMK_CORE_STOPPING, GMK_SEQ, GMK_KERNEL);
    spent = gmk_hal_now_ns() - start;
    r.zombies = stop_workers(k, spent < timeout_ns ? timeout_ns - spent : 0, &r.stuck_type);
    gmk_front_t *f = gmk_own_port(k, GMK_PORT_CONTROL);
    if (r.zombies == 0 && !halted) {
        join_all(k);
        gmk_registry_fini_all(f);
        gmk_store32(&k->state, GMK_CORE_HALTED, GMK_REL, GMK_KERNEL);
    }
    bool alone = r.zombies == 0 && close_entry(kernel, timeout_ns);
    if (alone)
        drop_queued(f);
    report_counts(k, &r);
    if (report != NULL)
        *report = r;
    if (!alone)
        return GMK_ERR_BUSY;
    release(kernel);
    return GMK_OK;
}

int gmk_halt(gmk_kernel_t *kernel)
{
    gmk_core_t *k = booted(kernel);
    return k == NULL ? GMK_ERR_INVAL : gmk_halt_within(kernel, k->halt_timeout_ns, NULL);
}
