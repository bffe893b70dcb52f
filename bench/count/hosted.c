/* SPDX-License-Identifier: MIT */
/* hosted.c — KIND N: runs N empty tasks on one worker, for callgrind to count. */
#include "work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    gmk_module_t *modules[] = {&count_module};
    gmk_boot_cfg_t cfg = {.name = "count.0", .n_workers = 1, .arena_size = 64 << 20};
    gmk_kernel_t kernel;

    if (argc != 3 || (strcmp(argv[1], "chain") != 0 && strcmp(argv[1], "fan") != 0)) {
        fprintf(stderr, "usage: count-hosted chain|fan N\n");
        return 2;
    }
    int rc = gmk_boot(&kernel, &cfg, modules, 1);
    if (rc == GMK_OK) {
        rc = count_run(&kernel, argv[1][0] == 'c' ? COUNT_CHAIN : COUNT_FAN, strtoull(argv[2], NULL, 10));
        (void)gmk_halt(&kernel);
    }
    if (rc != GMK_OK)
        fprintf(stderr, "count-hosted: %s\n", gmk_strerror(rc));
    return rc != GMK_OK;
}
