/* SPDX-License-Identifier: MIT */
/*
 * wordcount-dual — the word counter on two kernels: reader and report run here, on cpu.0; tokenize and count,
 * from the same source files, on gpu.0, which lives on a GPU or on the software device.
 *
 * gpu.0 is configured by its launch arguments, which device.c reads there.  What it had counted is lost with
 * it: a reset ends the run.
 */
#include "run.h"

#include <ggmk/gpu.h>

#include <stdlib.h>
#include <string.h>

#define MOST_CHUNKS 512u /* in flight: a lane of the GPU takes one at a time */
#define POOL_LEAST ((uint64_t)64 << 20)

/* Small chunks: a lane is slow, and there are many. */
wc_config_t wc_config = {.chunk_bytes = 64 * 1024, .shards = WC_MAX_SHARDS, .top = 20};

static gmk_gpu_cfg_t gpu_cfg = {.device = GMK_GPU_AUTO};
static gmk_module_t *gpu;

/* ---- options ------------------------------------------------------------------------------ */

enum { OPTION_DEVICE = 256, OPTION_GPU_WORKERS };

static const struct option more_options[] = {
    {"device", required_argument, NULL, OPTION_DEVICE},
    {"gpu-workers", required_argument, NULL, OPTION_GPU_WORKERS},
};

static const char more_usage[] =
    "      --device WHERE  where tokenizing and counting runs: cuda (the GPU), soft (the software device),\n"
    "                      or auto (default): the GPU where there is one that works, else the software device\n"
    "      --gpu-workers N workers there, 1 to 256 (default: all that the device has)\n";

static uint32_t device_option(const program_t *p, const char *name)
{
    static const char *const names[] = {
        [GMK_GPU_AUTO] = "auto", [GMK_GPU_CUDA] = "cuda", [GMK_GPU_SOFT] = "soft"};

    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    fprintf(stderr, "%s: --device: '%s' is none of auto, cuda, soft\n", p->name, name);
    exit(EXIT_USAGE);
}

static void option(program_t *p, int which, const char *value)
{
    if (which == OPTION_DEVICE)
        gpu_cfg.device = device_option(p, value);
    else
        gpu_cfg.workers = (uint32_t)parse_number(p, "--gpu-workers", value, 1, GMK_MAX_WORKERS);
}

/* ---- the run ------------------------------------------------------------------------------ */

static void configure_gpu(const program_t *p, char *args, size_t size)
{
    uint64_t pool = 4 * (uint64_t)wc_config.chunk_bytes;

    gpu_cfg.arena_size = p->opt.memory;
    gpu_cfg.pool_bytes = pool < POOL_LEAST ? POOL_LEAST : (pool + POOL_LEAST - 1) / POOL_LEAST * POOL_LEAST;
    if (wc_config.word_max > gpu_cfg.pool_bytes / 4) /* its chunk has to cross */
        wc_config.word_max = gpu_cfg.pool_bytes / 4;
    snprintf(
        args, size,
        "modules=wc.setup,wc.trouble,wc.count,wc.tokenize wc.shards=%u wc.top=%llu wc.chunk=%u wc.slots=%u",
        wc_config.shards, (unsigned long long)wc_config.top, wc_config.chunk_bytes, wc_config.chunk_slots);
    gpu_cfg.args = args;
}

/* The console says what gpu.0 runs on, or why it does not. */
static int boot(program_t *p)
{
    gmk_module_t *modules[] = {&wc_report, &wc_trouble, &wc_reader, NULL};
    char args[256];

    configure_gpu(p, args, sizeof(args));
    gpu = gmk_gpu_drv(&gpu_cfg);
    if (!gpu)
        return complain(p, "cannot boot the kernel", gmk_strerror(GMK_ALLOC_FAIL));
    modules[3] = gpu; /* the last: it tells the peer of the channels that there are */
    return boot_modules(p, modules, 4);
}

/* A reset may find nothing under way, and then nothing else would say that it was. */
static int watch(program_t *p)
{
    gmk_gpu_status_t status;

    (void)p;
    if (gmk_gpu_status(gpu, &status) != GMK_OK)
        return GMK_OK;
    return status.state == GMK_GPU_UP && status.resets == 0 ? GMK_OK : GMK_ERR_KERNEL_RESET;
}

static const char *explain(program_t *p, int code)
{
    static char why[GMK_BRIDGE_TEXT + 64];
    gmk_gpu_status_t status;

    if (watch(p) != GMK_OK && gmk_gpu_status(gpu, &status) == GMK_OK) {
        snprintf(why, sizeof(why), "gpu.0 was reset (%s), and what it had counted is lost: try again",
                 status.last_reset[0] ? status.last_reset : "its process has ended");
        return why;
    }
    return code == GMK_DROP_BRIDGE ? "a list of words, or a word, is too large to cross the bridge" : NULL;
}

int main(int argc, char **argv)
{
    static program_t p = {.name = "wordcount-dual",
                          .kernel_name = "cpu.0",
                          .more_usage = more_usage,
                          .more_options = more_options,
                          .n_more_options = sizeof(more_options) / sizeof(more_options[0]),
                          .option = option,
                          .most_chunks = MOST_CHUNKS,
                          .boot = boot,
                          .watch = watch,
                          .explain = explain};

    parse_options(&p, argc, argv);
    int status = run(&p);
    gmk_gpu_free(gpu);
    return status;
}
