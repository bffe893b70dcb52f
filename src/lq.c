/* SPDX-License-Identifier: MIT */
#include "lq.h"

uint32_t gmk_lq_pop(gmk_lq_t *q, gmk_slot_t *out, uint32_t max)
{
    uint32_t tail = gmk_load32(&q->tail, GMK_RLX, GMK_KERNEL);
    uint64_t head = gmk_load64(&q->head, GMK_RLX, GMK_KERNEL);
    uint32_t real, n;
    do {
        real = gmk_lq_real(head);
        n = tail - real < max ? tail - real : max;
        if (n == 0)
            return 0;
        /* While a thief copies, `steal` stays its own. */
        uint32_t steal = gmk_lq_steal(head) == real ? real + n : gmk_lq_steal(head);
        if (gmk_cas64(&q->head, &head, gmk_lq_pack(steal, real + n), GMK_ACQ_REL, GMK_KERNEL))
            break;
    } while (true);
    for (uint32_t i = 0; i < n; i++)
        out[i] = q->slots[(real + i) & q->mask];
    return n;
}

uint32_t gmk_lq_steal_half(gmk_lq_t *victim, gmk_slot_t *out, uint32_t max)
{
    uint64_t head = gmk_load64(&victim->head, GMK_ACQ, GMK_KERNEL);
    uint32_t real = gmk_lq_real(head);
    if (gmk_lq_steal(head) != real)
        return 0;
    uint32_t avail = gmk_load32(&victim->tail, GMK_ACQ, GMK_KERNEL) - real;
    if ((int32_t)avail <= 0)
        return 0;
    uint32_t n = avail - avail / 2 < max ? avail - avail / 2 : max;
    if (!gmk_cas64(&victim->head, &head, gmk_lq_pack(real, real + n), GMK_ACQ_REL, GMK_KERNEL))
        return 0;
    for (uint32_t i = 0; i < n; i++)
        out[i] = victim->slots[(real + i) & victim->mask];

    head = gmk_load64(&victim->head, GMK_RLX, GMK_KERNEL);
    while (!gmk_cas64(&victim->head, &head, gmk_lq_pack(gmk_lq_real(head), gmk_lq_real(head)), GMK_REL,
                      GMK_KERNEL))
        ; /* only the owner moves `real` meanwhile: few rounds */
    return n;
}
