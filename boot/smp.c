/* SPDX-License-Identifier: MIT
 *
 * The order of INIT, SIPI and waiting; lapic.c does the sending.
 */
#include "smp.h"

#define STEP_US 20u

static uint32_t count_ready(const struct smp_ops *ops, uint32_t n)
{
    uint32_t ready = 0;
    for (uint32_t i = 0; i < n; i++)
        ready += ops->is_ready(ops->ctx, i);
    return ready;
}

static bool wait_all(const struct smp_ops *ops, uint32_t n, uint32_t us)
{
    for (uint32_t waited = 0; count_ready(ops, n) < n; waited += STEP_US) {
        if (waited >= us)
            return false;
        ops->wait_us(ops->ctx, STEP_US);
    }
    return true;
}

static void each_missing(const struct smp_ops *ops, uint32_t n, void (*send)(void *ctx, uint32_t cpu))
{
    for (uint32_t i = 0; i < n; i++) {
        if (!ops->is_ready(ops->ctx, i))
            send(ops->ctx, i);
    }
}

uint32_t smp_bring_up(const struct smp_ops *ops, uint32_t n)
{
    static const uint32_t patience_us[] = {10000, 90000, 1900000};
    each_missing(ops, n, ops->send_init);
    ops->wait_us(ops->ctx, ops->init_us);
    for (uint32_t round = 0; round < sizeof patience_us / sizeof *patience_us; round++) {
        each_missing(ops, n, ops->send_sipi);
        if (wait_all(ops, n, patience_us[round]))
            return n;
    }
    /* Late is never: by then the loader's memory may be somebody else's. */
    each_missing(ops, n, ops->send_init);
    return count_ready(ops, n);
}
