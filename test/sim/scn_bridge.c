/* SPDX-License-Identifier: MIT */
/* scn_bridge.c — messages across a bridge: order, backpressure, shedding. */
#include "duo.h"

#include <string.h>

/* ---- order --------------------------------------------------------------------------------- */

/* Both ways, to one and to all, from several: everything once and in its sender's order. */
void scn_bridge_order(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = duo_note},
                                                 {.type = 2, .fn = duo_note},
                                                 {.type = 3, .fn = duo_note},
                                                 SCN_LETTER_HANDLER};
    duo_sender_t s[2 * DUO_SENDERS];
    uint32_t senders = 1 + sim_rand(DUO_SENDERS), n = 3 + sim_rand(8);
    (void)arg;
    duo_choose();
    DUO_BOOT(handlers);
    (void)duo_add("t.to", (gmk_chan_cfg_t){.mode = GMK_P2P}, DUO_FROM_CPU, DUO_FROM_GPU);
    (void)duo_add("t.back", (gmk_chan_cfg_t){.msg_type = 0}, DUO_FROM_GPU, DUO_FROM_CPU);
    uint32_t from = 1 + sim_rand(3); /* where both emit, all has room: what comes waits for what goes */
    if (sim_rand(2) == 0)
        (void)duo_add("t.all", (gmk_chan_cfg_t){.mode = GMK_FANOUT, .slots = from == DUO_BOTH ? 64 : 0}, from,
                      1 + sim_rand(3));
    duo_open();
    duo_up();
    duo_send(s, senders, n);
    duo_sent(s, senders);
    duo_flush();
    duo_all_heard();
    duo_sums();
    duo_end();
}
