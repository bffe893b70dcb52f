/* SPDX-License-Identifier: MIT
 *
 * Starts the other CPUs, each of which then waits for its goto_address.  Boot CPU only.
 */
#ifndef GMK_BOOT_SMP_H
#define GMK_BOOT_SMP_H

#include "acpi.h"

/* What bringing up takes, so that it can be tried without CPUs: cpu is an index. */
struct smp_ops {
    void (*send_init)(void *ctx, uint32_t cpu);
    void (*send_sipi)(void *ctx, uint32_t cpu);
    bool (*is_ready)(void *ctx, uint32_t cpu);
    void (*wait_us)(void *ctx, uint32_t us);
    void *ctx;
    uint32_t init_us; /* from INIT to the first SIPI */
};

/* INIT-SIPI-SIPI for CPUs 0 to n - 1 (Intel SDM 3A, 9.4.4), all at once.  Ends when all are ready, or after
 * two seconds; those that are not, are then back in the state after INIT.  Returns how many are ready. */
uint32_t smp_bring_up(const struct smp_ops *ops, uint32_t n);

/* The LAPIC of this CPU: switched to x2APIC if that is wanted and there. */
void lapic_open(bool want_x2apic);
bool lapic_is_x2apic(void);
uint32_t lapic_id(void);

/* Starts what is in smp_slots, by way of the trampoline page. */
uint32_t smp_start_slots(uint64_t trampoline_page);

#endif
