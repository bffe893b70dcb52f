/* SPDX-License-Identifier: MIT */
/*
 * fence.c — the heavy side of the asymmetric fence.
 *
 * membarrier(PRIVATE_EXPEDITED) puts a full barrier into every running thread of the process
 * (a thread that does not run passed one when it was switched out), so a compiler barrier is
 * enough on the other side.  Registration lasts for the life of the process image.
 */
#include <ggmk/hal.h>

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

gmk_a32_t gmk_hal_membarrier_state;

#ifdef GMK_HAL_TSAN
gmk_a32_t gmk_hal_tsan_fence;
#endif

static bool membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0) == 0; }

/* Two threads may both register: that is harmless, and both come to the same answer. */
bool gmk_hal_membarrier_probe(void)
{
    uint32_t state = gmk_load32(&gmk_hal_membarrier_state, GMK_ACQ, GMK_KERNEL);
    if (state == GMK_HAL_MEMBARRIER_UNKNOWN) {
        state = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) ? GMK_HAL_MEMBARRIER_WORKS
                                                                      : GMK_HAL_MEMBARRIER_MISSING;
        gmk_store32(&gmk_hal_membarrier_state, state, GMK_REL, GMK_KERNEL);
    }
    return state == GMK_HAL_MEMBARRIER_WORKS;
}

void gmk_hal_asym_heavy(void)
{
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    if (!gmk_hal_membarrier_probe())
        return;
    if (!membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) {
        /* Light sides rely on it and cannot be told in time. */
        gmk_hal_console("ggmk: membarrier(2) worked and now fails (a seccomp filter?)");
        __builtin_trap();
    }
}
