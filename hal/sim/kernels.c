/* SPDX-License-Identifier: MIT */
/* kernels.c — which kernel a fiber works for; kernels that are stopped, go on, or are killed. */
#include "sim_int.h"

static void check(uint32_t number)
{
    if (number > SIM_MAX_KERNELS)
        sim_end("misuse", "there is no kernel number %u (possible: 1 to %u)", number, SIM_MAX_KERNELS);
}

static void check_other(uint32_t number)
{
    check(number);
    if (number == 0 || sim.current->kernel == number)
        sim_end("misuse", "kernel %u is stopped or killed by a fiber of its own", number);
}

uint32_t sim_kernel(uint32_t number)
{
    uint32_t was = sim.current->kernel;
    check(number);
    sim.current->kernel = number;
    return was;
}

uint32_t sim_visit(uint32_t number)
{
    sim.current->home = sim.current->kernel;
    sim.current->visits = true;
    return sim_kernel(number);
}

void sim_visit_end(uint32_t home)
{
    sim.current->kernel = home;
    sim.current->visits = false;
}

void sim_kernel_lanes(uint32_t number, uint32_t lanes)
{
    check(number);
    if (lanes == 0 || lanes > sim.options.lanes)
        sim_end("misuse", "%u lanes for a kernel (possible: 1 to %u)", lanes, sim.options.lanes);
    sim.kernel_lanes[number] = lanes;
}

uint32_t sim_thread_lanes(void)
{
    uint32_t lanes = sim.kernel_lanes[sim.current->kernel];
    return lanes != 0 ? lanes : sim.options.lanes;
}

static bool has_visits(uint32_t number)
{
    for (uint32_t i = 0; i < sim.n_fibers; i++) {
        const struct sim_fiber *f = sim_fiber_at(i);
        if (f->state != SIM_FREE && f->visits && (f->kernel == number || f->home == number))
            return true;
    }
    return false;
}

/* One that is here is not of this kernel; one that is away cannot be taken out of another in the middle. */
static void let_visits_end(uint32_t number)
{
    sim_yield();
    while (has_visits(number))
        sim_sleep(1);
}

bool gmk_hal_rq_per_type(void) { return sim_thread_lanes() > 1; }

void sim_kernel_stop(uint32_t number)
{
    check_other(number);
    let_visits_end(number);
    for (uint32_t i = 0; i < sim.n_fibers; i++) {
        struct sim_fiber *f = sim_fiber_at(i);
        if (f->state == SIM_FREE || f->kernel != number)
            continue;
        f->stopped = true;
        sim_take_away(f);
    }
}

void sim_kernel_go_on(uint32_t number)
{
    check_other(number);
    for (uint32_t i = 0; i < sim.n_fibers; i++) {
        struct sim_fiber *f = sim_fiber_at(i);
        if (f->state == SIM_FREE || f->kernel != number)
            continue;
        f->stopped = false;
        if (f->state == SIM_STOPPED)
            sim_make_runnable(f);
    }
}

void sim_kernel_kill(uint32_t number)
{
    check_other(number);
    let_visits_end(number);
    for (uint32_t i = 0; i < sim.n_fibers; i++) {
        struct sim_fiber *f = sim_fiber_at(i);
        if (f->state != SIM_FREE && f->kernel == number)
            sim_fiber_end(f);
    }
    sim_pages_of_kernel_end(number);
}
