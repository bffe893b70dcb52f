/* SPDX-License-Identifier: MIT */
/* host_options.c — what ggmk-gpuhost is told on its command line. */
#include "host.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_MIN ((uint64_t)1 << 20)
#define ARENA_MAX ((uint64_t)1 << 44)
#define ARENA_DEFAULT ((uint64_t)64 << 20)
#define ORDINAL_MAX 1023u

static void usage(void)
{
    fputs(
        "usage: ggmk-gpuhost --probe [--image FILE]\n"
        "       ggmk-gpuhost --fd FD [options]\n"
        "The process that owns the GPU. The module gpu_drv starts it; by hand it says what there is.\n"
        "      --probe         say which devices there are, whether each can be used, and why not\n"
        "      --fd FD         the socket to gpu_drv\n"
        "      --device NAME   cuda, soft, or auto: the GPU where one works (default auto)\n"
        "      --ordinal N     which GPU, as the driver counts them (default 0)\n"
        "      --image FILE    the GPU's code (default: gmk_gpu.ptx beside this program, then in ../lib/ggmk)\n"
        "      --arena BYTES   memory of the device's kernel (default 67108864)\n"
        "      --workers N     at most so many workers, 1 to 256 (default: all the device runs at once)\n"
        "  -h, --help          this text\n",
        stdout);
    if (fflush(stdout) != 0) {
        fprintf(stderr, "ggmk-gpuhost: standard output: %s\n", strerror(errno));
        exit(GMK_HOST_EXIT_TROUBLE);
    }
}

/* Parses a whole decimal number within bounds, or ends the program. */
static uint64_t number(const char *option, const char *text, uint64_t low, uint64_t high)
{
    char *end;

    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || v < low || v > high) {
        fprintf(stderr, "ggmk-gpuhost: %s: '%s' is not a number from %llu to %llu\n", option, text,
                (unsigned long long)low, (unsigned long long)high);
        exit(GMK_HOST_EXIT_USAGE);
    }
    return v;
}

static uint32_t device(const char *text)
{
    static const char *const names[] = {
        [GMK_GPU_AUTO] = "auto", [GMK_GPU_CUDA] = "cuda", [GMK_GPU_SOFT] = "soft"};

    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    fprintf(stderr, "ggmk-gpuhost: --device: '%s' is none of auto, cuda and soft\n", text);
    exit(GMK_HOST_EXIT_USAGE);
}

static const char *file(const char *option, const char *text)
{
    if (text[0] != 0)
        return text;
    fprintf(stderr, "ggmk-gpuhost: %s: an empty name\n", option);
    exit(GMK_HOST_EXIT_USAGE);
}

/* getopt's own messages name no remedy. */
static void refuse(int kind, char **argv)
{
    const char *word = argv[optind - 1];

    if (kind == ':')
        fprintf(stderr, "ggmk-gpuhost: no value for the option '%s'\n", word);
    else
        fprintf(stderr, "ggmk-gpuhost: unknown option '%s' (ggmk-gpuhost --help lists them)\n", word);
    exit(GMK_HOST_EXIT_USAGE);
}

enum { FD = 256, DEVICE, ORDINAL, IMAGE, ARENA, WORKERS, PROBE };

static void take(host_options_t *o, int c, char **argv)
{
    switch (c) {
    case FD: o->fd = (int)number("--fd", optarg, 0, INT32_MAX); break;
    case DEVICE: o->device = device(optarg); break;
    case ORDINAL: o->ordinal = (uint32_t)number("--ordinal", optarg, 0, ORDINAL_MAX); break;
    case IMAGE: o->image = file("--image", optarg); break;
    case ARENA: o->arena_bytes = number("--arena", optarg, ARENA_MIN, ARENA_MAX); break;
    case WORKERS: o->workers = (uint32_t)number("--workers", optarg, 1, GMK_MAX_WORKERS); break;
    case PROBE: o->probe = true; break;
    case 'h': usage(); exit(GMK_HOST_EXIT_OK);
    default: refuse(c, argv);
    }
}

void host_options(host_options_t *o, int argc, char **argv)
{
    static const struct option known[] = {{"fd", required_argument, NULL, FD},
                                          {"device", required_argument, NULL, DEVICE},
                                          {"ordinal", required_argument, NULL, ORDINAL},
                                          {"image", required_argument, NULL, IMAGE},
                                          {"arena", required_argument, NULL, ARENA},
                                          {"workers", required_argument, NULL, WORKERS},
                                          {"probe", no_argument, NULL, PROBE},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c;

    *o = (host_options_t){.fd = -1, .device = GMK_GPU_AUTO, .arena_bytes = ARENA_DEFAULT};
    while ((c = getopt_long(argc, argv, ":h", known, NULL)) != -1)
        take(o, c, argv);
    if (optind < argc)
        fprintf(stderr, "ggmk-gpuhost: '%s' is no option (ggmk-gpuhost --help lists them)\n", argv[optind]);
    else if (o->fd < 0 && !o->probe)
        fputs("ggmk-gpuhost: no --fd: the module gpu_drv starts this program; by hand, try --probe\n",
              stderr);
    else
        return;
    exit(GMK_HOST_EXIT_USAGE);
}
