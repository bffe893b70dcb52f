/* SPDX-License-Identifier: MIT */
/* wordcount — the most frequent words of a file, counted by modules that meet on channels. */
#include "run.h"

wc_config_t wc_config = {.chunk_bytes = 512 * 1024, .top = 20};

static int boot(program_t *p)
{
    static gmk_module_t *modules[] = {&wc_report, &wc_trouble, &wc_count, &wc_tokenize, &wc_reader};

    for (wc_config.shards = 1; wc_config.shards < 2 * p->opt.workers && wc_config.shards < WC_MAX_SHARDS;)
        wc_config.shards *= 2;
    return boot_modules(p, modules, sizeof(modules) / sizeof(modules[0]));
}

int main(int argc, char **argv)
{
    static program_t p = {.name = "wordcount", .kernel_name = "wordcount", .more_usage = "", .boot = boot};

    parse_options(&p, argc, argv);
    return run(&p);
}
