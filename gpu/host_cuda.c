/* SPDX-License-Identifier: MIT */
/*
 * host_cuda.c — GGMK/gpu on a GPU, as one launch that stays.
 *
 * All that may wait for the GPU, or for a lock of the driver, is done before the launch: the image is loaded,
 * memory is taken and zeroed.  Beside the running kernel there are only calls that do not wait: queries of streams,
 * copies between pinned memory and the GPU's, of the console and of payloads, and stream writes, all on streams of
 * their own.
 */
#include "host_cuda.h"
#include "host_console.h"
#include "entry.h"

#include <ggmk/hal.h>

#include <string.h>

#define COPY_LEAST 16384u /* bytes: below, an order costs more than the copy by the kernel's own threads */
#define ALIGN ((uint64_t)2 << 20)
#define PAGES_ROOM ((uint64_t)4 << 20) /* beside the arena: what the kernel takes one by one */
#define WORDS_ROOM (GMK_GPU_COPIES * sizeof(gmk_copy_done_t))

/* Memory of the host that the GPU reaches too. */
typedef struct pinned {
    console_copy_t copies[CONSOLE_COPIES];
    uint64_t result; /* entry.h */
    gmk_copy_ring_t ring[GMK_GPU_COPIES];
} pinned_t;

static struct {
    gpu_t gpu;
    image_t image;
    bool has_context, copying;
    CUmodule module;
    CUfunction entry;
    unsigned blocks;
    void *registered;                                 /* the region, while the driver has it */
    CUdeviceptr region, pages, at_pinned, console_at; /* addresses of the GPU */
    uint64_t pages_bytes;
    pinned_t *pinned;
    CUstream kernel, copies;
    console_t console;
    uint64_t next_look;
    bool has_engines;
    copies_t engines;
} on;

/* ---- open ---------------------------------------------------------------------------------- */

/* The primary context: its threads sleep when they wait. */
static int make_context(host_t *h)
{
    CUcontext context;

    if (DRIVER(h, cuDevicePrimaryCtxSetFlags_v2, on.gpu.device, CU_CTX_SCHED_BLOCKING_SYNC) != 0 ||
        DRIVER(h, cuDevicePrimaryCtxRetain, &context, on.gpu.device) != 0)
        return -1;
    on.has_context = true;
    return DRIVER(h, cuCtxSetCurrent, context);
}

static int find_console(host_t *h)
{
    size_t bytes = 0;

    if (DRIVER(h, cuModuleGetGlobal_v2, &on.console_at, &bytes, on.module, GMK_GPU_CONSOLE) != 0)
        return -1;
    if (bytes != sizeof(console_copy_t))
        return host_fail(h, GMK_HOST_EXIT_TROUBLE,
                         "'%s' is of another version: its console has %zu bytes, not %zu", on.image.path,
                         bytes, sizeof(console_copy_t));
    return 0;
}

static int load(host_t *h)
{
    if (image_load(h, &on.image, &on.module) != 0 ||
        DRIVER(h, cuModuleGetFunction, &on.entry, on.module, GMK_GPU_ENTRY) != 0)
        return -1;
    return find_console(h);
}

int gpu_open(host_t *h, const gpu_t *g)
{
    on.gpu = *g;
    if (image_read(h, &on.image) == 0 && make_context(h) == 0 && load(h) == 0)
        return 0;
    gpu_close();
    return -1;
}

/* With the context go the module and all memory of it.  What fails here is gone anyway. */
void gpu_close(void)
{
    if (on.registered)
        (void)driver.cuMemHostUnregister(on.registered);
    if (on.has_context)
        (void)driver.cuDevicePrimaryCtxRelease_v2(on.gpu.device);
    on.registered = NULL;
    on.has_context = false;
    image_free(&on.image);
}

/* The GPU reads and writes the region in place, at an address of its own. */
static int register_region(host_t *h)
{
    if (DRIVER(h, cuMemHostRegister_v2, h->region, h->region_bytes,
               CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP) != 0)
        return -1;
    on.registered = h->region;
    return DRIVER(h, cuMemHostGetDevicePointer_v2, &on.region, h->region, 0);
}

static int find_gpu(host_t *h, gpu_t *g)
{
    int version;

    if (gpu_driver(h, &version) != 0 || gpu_find(h, h->opt.ordinal, g) != 0)
        return -1;
    if (gpu_check(h, g) == 0)
        return 0;
    char why[GMK_HOST_TEXT / 2];
    memcpy(why, h->why, sizeof(why) - 1);
    why[sizeof(why) - 1] = 0;
    return host_fail(h, GMK_HOST_EXIT_NO_DEVICE, "GPU %u, %s: %s", g->ordinal, g->name, why);
}

static int open_cuda(host_t *h)
{
    gpu_t g;

    if (find_gpu(h, &g) != 0) {
        h->status = GMK_HOST_EXIT_NO_DEVICE;
        return -1;
    }
    if (gpu_open(h, &g) != 0)
        return -1;
    if (register_region(h) == 0)
        return 0;
    gpu_close();
    return -1;
}

/* ---- launch -------------------------------------------------------------------------------- */

/* A block that is not resident would never run: as many as fit at once, and no more than there is work for. */
static int choose_blocks(host_t *h)
{
    unsigned beside = GMK_GPU_BLOCKS_MIN - 1; /* those that are no workers */
    unsigned wanted = beside + (h->opt.workers ? h->opt.workers : GMK_MAX_WORKERS);
    int each = 0;

    if (DRIVER(h, cuOccupancyMaxActiveBlocksPerMultiprocessor, &each, on.entry, GMK_GPU_THREADS, 0) != 0)
        return -1;
    on.blocks = each > 0 ? (unsigned)each * (unsigned)on.gpu.multiprocessors : 0;
    if (on.blocks < GMK_GPU_BLOCKS_MIN)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE,
                         "GPU %u, %s, runs %u blocks of %u threads at once: %u are needed", on.gpu.ordinal,
                         on.gpu.name, on.blocks, GMK_GPU_THREADS, GMK_GPU_BLOCKS_MIN);
    if (on.blocks > wanted)
        on.blocks = wanted;
    return 0;
}

static int take_pinned(host_t *h)
{
    void *p = NULL;

    if (DRIVER(h, cuMemHostAlloc, &p, sizeof(pinned_t), CU_MEMHOSTALLOC_DEVICEMAP) != 0 ||
        DRIVER(h, cuMemHostGetDevicePointer_v2, &on.at_pinned, p, 0) != 0)
        return -1;
    on.pinned = p;
    memset(on.pinned, 0, sizeof(*on.pinned));
    on.console = (console_t){.copies = on.pinned->copies};
    return 0;
}

/* The driver promises less alignment than the kernel wants.  Behind the pages: the words of the copy engines. */
static int take_pages(host_t *h)
{
    on.pages_bytes = (h->opt.arena_bytes + PAGES_ROOM + GMK_CACHE_LINE - 1) & ~(uint64_t)(GMK_CACHE_LINE - 1);
    if (DRIVER(h, cuMemAlloc_v2, &on.pages, on.pages_bytes + WORDS_ROOM + ALIGN) != 0)
        return -1;
    on.pages = (on.pages + ALIGN - 1) & ~(ALIGN - 1);
    return 0;
}

static int make_streams(host_t *h)
{
    if (DRIVER(h, cuStreamCreate, &on.kernel, CU_STREAM_NON_BLOCKING) != 0 ||
        DRIVER(h, cuStreamCreate, &on.copies, CU_STREAM_NON_BLOCKING) != 0)
        return -1;
    return 0;
}

static int copy_console(host_t *h)
{
    return DRIVER(h, cuMemcpyDtoHAsync_v2, console_next(&on.console), on.console_at, sizeof(console_copy_t),
                  on.copies);
}

/* What the driver makes when a copy is first asked for is made before the kernel is there. */
static int try_copy(host_t *h)
{
    if (copy_console(h) != 0)
        return -1;
    return DRIVER(h, cuStreamSynchronize, on.copies);
}

/* A stream that cannot write a word has nothing to say that a copy is there: the kernel copies by itself then. */
static int open_engines(host_t *h)
{
    on.has_engines = on.gpu.writes_words;
    if (!on.has_engines)
        return 0;
    on.engines = (copies_t){.region = on.region, .pages = on.pages, .pages_bytes = on.pages_bytes};
    for (uint32_t i = 0; i < GMK_GPU_COPIES; i++) {
        on.engines.way[i].ring = &on.pinned->ring[i];
        on.engines.way[i].done = on.pages + on.pages_bytes + i * sizeof(gmk_copy_done_t);
    }
    return copies_open(h, &on.engines);
}

static void lend_engines(gmk_gpu_params_t *p)
{
    p->copy_least = COPY_LEAST;
    for (uint32_t i = 0; on.has_engines && i < GMK_GPU_COPIES; i++) {
        p->copy_ring[i] = on.at_pinned + offsetof(pinned_t, ring) + i * sizeof(gmk_copy_ring_t);
        p->copy_done[i] = on.engines.way[i].done;
    }
}

/* The memory is zeroed by the stream that the kernel follows on. */
static int start(host_t *h)
{
    gmk_gpu_params_t params = {.version = GMK_GPU_VERSION,
                               .max_workers = on.blocks - (GMK_GPU_BLOCKS_MIN - 1),
                               .region = on.region,
                               .region_bytes = h->region_bytes,
                               .pages = on.pages,
                               .pages_bytes = on.pages_bytes,
                               .arena_bytes = h->opt.arena_bytes,
                               .result = on.at_pinned + offsetof(pinned_t, result)};
    void *parameters[] = {&params};

    lend_engines(&params);
    if (DRIVER(h, cuMemsetD8Async, on.pages, 0, on.pages_bytes + WORDS_ROOM, on.kernel) != 0)
        return -1;
    return DRIVER(h, cuLaunchCooperativeKernel, on.entry, on.blocks, 1, 1, GMK_GPU_THREADS, 1, 1, 0,
                  on.kernel, parameters);
}

static int launch(host_t *h)
{
    if (DRIVER(h, cuCtxSetLimit, CU_LIMIT_STACK_SIZE, on.image.stack_bytes) != 0 || choose_blocks(h) != 0 ||
        take_pinned(h) != 0 || take_pages(h) != 0 || make_streams(h) != 0 || try_copy(h) != 0 ||
        open_engines(h) != 0)
        return -1;
    return start(h);
}

/* ---- beside the kernel ---------------------------------------------------------------------- */

static void say_lost(void)
{
    static uint64_t said;

    if (on.console.lost != said)
        host_say("%llu lines of the GPU's console were lost", (unsigned long long)(on.console.lost - said));
    said = on.console.lost;
}

/* Takes the copy that is there, if it is, and begins the next. */
static int look_at_console(host_t *h)
{
    if (on.copying) {
        CUresult r = driver.cuStreamQuery(on.copies);
        if (r == CUDA_ERROR_NOT_READY)
            return 0;
        if (gpu_called(h, "cuStreamQuery", r) != 0)
            return -1;
        console_take(&on.console, gmk_hal_console);
        say_lost();
    }
    on.copying = true;
    return copy_console(h);
}

/* Nothing runs any more: a wait is short. */
static int finish_copy(host_t *h)
{
    if (DRIVER(h, cuStreamSynchronize, on.copies) != 0)
        return -1;
    console_take(&on.console, gmk_hal_console);
    return 0;
}

static int end(host_t *h)
{
    if ((on.copying && finish_copy(h) != 0) || copy_console(h) != 0 || finish_copy(h) != 0)
        return -1;
    if (!(on.pinned->result & GMK_GPU_ENDED))
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the kernel on the GPU ended without a result");
    h->code = (int)(uint32_t)on.pinned->result;
    return 0;
}

/* What it wrote last may say why: a line is shown even when it could be of two. */
static void last_words(void)
{
    console_end(&on.console, gmk_hal_console);
    say_lost();
}

static enum host_life look(host_t *h)
{
    uint64_t now = gmk_hal_now_ns();

    if (on.has_engines && copies_serve(h, &on.engines) != 0)
        return HOST_FAULTED;
    if (now < on.next_look)
        return HOST_RUNS;
    on.next_look = now + GPU_LOOK_NS;
    CUresult r = driver.cuStreamQuery(on.kernel);

    if (r == CUDA_ERROR_NOT_READY)
        return look_at_console(h) == 0 ? HOST_RUNS : HOST_FAULTED;
    enum host_life life = gpu_called(h, "cuStreamQuery", r) == 0 && end(h) == 0 ? HOST_ENDED : HOST_FAULTED;
    last_words();
    return life;
}

static const char *name(void) { return on.gpu.name; }
static int wake_fd(void) { return -1; }
static int64_t rest_ns(void) { return on.has_engines ? copies_rest_ns(&on.engines) : GPU_LOOK_NS; }

const host_device_t host_cuda = {.kind = GMK_GPU_CUDA,
                                 .rest_ns = rest_ns,
                                 .open = open_cuda,
                                 .name = name,
                                 .launch = launch,
                                 .wake_fd = wake_fd,
                                 .look = look};
