/* SPDX-License-Identifier: MIT */
/*
 * raw.c — what the GPU, its link and its driver do by themselves: the limits beside which the kernel's figures stand,
 * and the same work done the usual way, by a launch for each task and by CUDA graphs.
 *
 * raw [--json FILE] [--ordinal N] [--quick]; the kernels are in raw.ptx beside this program.  NVIDIA's driver is opened
 * when it runs.  Exit status 3: there is no GPU that can be used.
 */
#include <dlfcn.h>
#include <getopt.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "../bench_sched.h"
#include "raw.h"
#include "table.h"

enum { ROUNDS = 7, TRIPS = 20000, LAUNCHES = 20000, NODES = 1000, EXIT_NO_DEVICE = 3 };
#define COPY_BYTES ((size_t)256 << 20)
#define WAIT_NS 10e9 /* for what takes microseconds */

typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;

enum { CU_MEMHOSTALLOC_MAPPED = 2, CU_CAPTURE_THREAD_LOCAL = 1 };

/* The calls of the driver that are used here. */
#define RAW_CALLS(X)                                                                                         \
    X(cuInit, (unsigned flags))                                                                              \
    X(cuGetErrorName, (CUresult r, const char **text))                                                       \
    X(cuDeviceGet, (CUdevice * device, int ordinal))                                                         \
    X(cuDeviceGetName, (char *name, int bytes, CUdevice device))                                             \
    X(cuDeviceGetPCIBusId, (char *id, int bytes, CUdevice device))                                           \
    X(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                                      \
    X(cuCtxSetCurrent, (CUcontext context))                                                                  \
    X(cuMemHostAlloc, (void **out, size_t bytes, unsigned flags))                                            \
    X(cuMemHostGetDevicePointer_v2, (CUdeviceptr * out, void *p, unsigned flags))                            \
    X(cuMemAlloc_v2, (CUdeviceptr * out, size_t bytes))                                                      \
    X(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))               \
    X(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream))                     \
    X(cuModuleLoadDataEx, (CUmodule * out, const void *image, unsigned n, int *options, void **values))      \
    X(cuModuleGetFunction, (CUfunction * out, CUmodule module, const char *name))                            \
    X(cuStreamCreate, (CUstream * out, unsigned flags))                                                      \
    X(cuStreamSynchronize, (CUstream stream))                                                                \
    X(cuLaunchKernel,                                                                                        \
      (CUfunction f, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,  \
       unsigned block_z, unsigned shared, CUstream stream, void **parameters, void **extra))                 \
    X(cuStreamBeginCapture_v2, (CUstream stream, int mode))                                                  \
    X(cuStreamEndCapture, (CUstream stream, CUgraph * out))                                                  \
    X(cuGraphInstantiateWithFlags, (CUgraphExec * out, CUgraph graph, unsigned long long flags))             \
    X(cuGraphLaunch, (CUgraphExec graph, CUstream stream))

static struct {
#define MEMBER(name, parameters) CUresult(*name) parameters;
    RAW_CALLS(MEMBER)
#undef MEMBER
} cu;

/* Words of the host's memory that both sides touch, each on lines of its own. */
typedef struct words {
    _Alignas(256) _Atomic uint64_t in;
    _Alignas(256) _Atomic uint64_t out;
} words_t;

static uint32_t rounds = ROUNDS, less = 1; /* less: with --quick a part of the ring's messages */
static char folder[PATH_MAX];
static CUdevice device;
static CUstream stream[2];
static CUmodule kernels;
static CUfunction empty, store, line;
static words_t *words;
static CUdeviceptr words_in, words_out, memory[2];
static void *pinned[2];

static double median_of(double (*measure)(void))
{
    double v[ROUNDS];

    (void)measure();
    for (uint32_t i = 0; i < rounds; i++)
        v[i] = measure();
    return bench_percentile(v, rounds, 50);
}

/* ---- the driver ---------------------------------------------------------------------------- */

static void no_device(const char *why)
{
    fprintf(stderr, "raw: no GPU that can be used here: %s\n", why);
    exit(EXIT_NO_DEVICE);
}

static void check(CUresult r, const char *call)
{
    const char *name = "unknown";

    if (r == CUDA_SUCCESS)
        return;
    (void)cu.cuGetErrorName(r, &name);
    fprintf(stderr, "raw: %s: %s (%d)\n", call, name, r);
    exit(1);
}

#define CU(call, ...) check(cu.call(__VA_ARGS__), #call)

static void open_driver(void)
{
    void *library = dlopen(CUDA_LIBRARY, RTLD_NOW);

    if (library == NULL)
        no_device(dlerror());
#define FIND(name, parameters)                                                                               \
    *(void **)&cu.name = dlsym(library, #name);                                                              \
    if (cu.name == NULL)                                                                                     \
        no_device(CUDA_LIBRARY " has no " #name ": the driver is older than CUDA 12");
    RAW_CALLS(FIND)
#undef FIND
}

static void *read_kernels(void)
{
    static char text[65536];
    char path[PATH_MAX + 16];
    FILE *f;

    snprintf(path, sizeof path, "%s/raw.ptx", folder);
    f = fopen(path, "r");
    if (f == NULL || fread(text, 1, sizeof text - 1, f) == 0) {
        perror(path);
        exit(1);
    }
    fclose(f);
    return text;
}

static void open_device(int ordinal)
{
    CUcontext context;
    CUdeviceptr at;

    if (cu.cuInit(0) != CUDA_SUCCESS || cu.cuDeviceGet(&device, ordinal) != CUDA_SUCCESS)
        no_device("the driver has none of this number");
    CU(cuDevicePrimaryCtxRetain, &context, device);
    CU(cuCtxSetCurrent, context);
    CU(cuModuleLoadDataEx, &kernels, read_kernels(), 0, NULL, NULL);
    empty = raw_kernel("empty");
    store = raw_kernel("store");
    line = raw_kernel("line");
    words = raw_shared(sizeof *words, &at);
    words_in = at + offsetof(words_t, in);
    words_out = at + offsetof(words_t, out);
    for (uint32_t i = 0; i < 2; i++) {
        CU(cuStreamCreate, &stream[i], CU_STREAM_NON_BLOCKING);
        CU(cuMemAlloc_v2, &memory[i], COPY_BYTES);
        CU(cuMemHostAlloc, &pinned[i], COPY_BYTES, 0);
        memset(pinned[i], (int)i + 1, COPY_BYTES);
    }
}

/* ---- the driver, for ring.c too -------------------------------------------------------------- */

CUfunction raw_kernel(const char *name)
{
    CUfunction f;

    CU(cuModuleGetFunction, &f, kernels, name);
    return f;
}

void *raw_shared(size_t bytes, CUdeviceptr *at)
{
    void *p;

    CU(cuMemHostAlloc, &p, bytes, CU_MEMHOSTALLOC_MAPPED);
    CU(cuMemHostGetDevicePointer_v2, at, p, 0);
    return memset(p, 0, bytes);
}

void raw_launch(CUfunction f, unsigned blocks, unsigned lanes, void **parameters)
{
    CU(cuLaunchKernel, f, blocks, 1, 1, lanes, 1, 1, 0, stream[0], parameters, NULL);
}

static void launch(CUfunction f, void **parameters) { raw_launch(f, 1, 1, parameters); }

void raw_wait(void) { CU(cuStreamSynchronize, stream[0]); }

void raw_spin(raw_spin_t *s, bool progress)
{
    if (progress) {
        *s = (raw_spin_t){0};
        return;
    }
    BENCH_RELAX();
    if (++s->rounds % 65536 != 0)
        return;
    if (s->give_up == 0)
        s->give_up = bench_ns() + WAIT_NS;
    if (bench_ns() > s->give_up) {
        fprintf(stderr, "raw: the GPU does not answer\n");
        _exit(1);
    }
}

/* ---- the link ------------------------------------------------------------------------------ */

static double of_bus(const char *id, const char *what)
{
    char path[128];
    double value = 0;

    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/%s", id, what);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%lf", &value) != 1)
        value = 0;
    fclose(f);
    return value;
}

/* Where the system says it: a virtual machine may not. */
static void show_link(void)
{
    char id[32] = "", name[128] = "";

    CU(cuDeviceGetName, name, sizeof name, device);
    CU(cuDeviceGetPCIBusId, id, sizeof id, device);
    for (char *c = id; *c != '\0'; c++)
        *c = (char)(*c >= 'A' && *c <= 'F' ? *c + 32 : *c);
    double speed = of_bus(id, "current_link_speed"), width = of_bus(id, "current_link_width");
    printf("GPU: %s at %s\n", name, id);
    if (speed > 0 && width > 0) {
        table_row("link speed", speed, "GT/s", "of a lane");
        table_row("link width", width, "lanes", "");
    } else {
        printf("the system does not say how wide and how fast the link is\n");
    }
}

/* ---- a word there and back ------------------------------------------------------------------ */

static void wait_for(uint64_t value)
{
    raw_spin_t spin = {0};

    while (atomic_load_explicit(&words->out, memory_order_acquire) != value)
        raw_spin(&spin, false);
}

static void percentiles(const char *test, double *ns, uint32_t n)
{
    char name[64];

    for (uint32_t p = 50; p <= 99; p += 49) {
        snprintf(name, sizeof name, "%s p%u", test, p);
        table_row(name, bench_percentile(ns, n, p) / 1e3, "us", "");
    }
}

static void line_trips(double *ns)
{
    uint64_t n = TRIPS + TRIPS / 10;
    void *parameters[] = {&words_in, &words_out, &n};

    atomic_store(&words->in, 0);
    atomic_store(&words->out, 0);
    launch(line, parameters);
    for (uint64_t i = 1; i <= n; i++) {
        double start = bench_ns();
        atomic_store_explicit(&words->in, i, memory_order_release);
        wait_for(i);
        if (i > n - TRIPS)
            ns[i - (n - TRIPS) - 1] = bench_ns() - start;
    }
    CU(cuStreamSynchronize, stream[0]);
    percentiles("raw: a word there and back", ns, TRIPS);
}

/* A launch whose only work is to say that it ran. */
static void launch_trips(double *ns)
{
    atomic_store(&words->out, 0);
    for (uint64_t i = 1; i <= TRIPS + TRIPS / 10; i++) {
        void *parameters[] = {&words_out, &i};
        double start = bench_ns();
        launch(store, parameters);
        wait_for(i);
        if (i > TRIPS / 10)
            ns[i - TRIPS / 10 - 1] = bench_ns() - start;
    }
    CU(cuStreamSynchronize, stream[0]);
    percentiles("raw: a launch there and back", ns, TRIPS);
}

/* A graph of so many launches of f. */
static CUgraphExec graph_of(uint32_t nodes, CUfunction f, void **parameters)
{
    CUgraph made;
    CUgraphExec graph;

    CU(cuStreamBeginCapture_v2, stream[0], CU_CAPTURE_THREAD_LOCAL);
    for (uint32_t i = 0; i < nodes; i++)
        launch(f, parameters);
    CU(cuStreamEndCapture, stream[0], &made);
    CU(cuGraphInstantiateWithFlags, &graph, made, 0);
    return graph;
}

/* What a graph stores is fixed when it is made: two by turns, one that stores 1 and one that stores 2. */
static void graph_trips(double *ns)
{
    CUgraphExec turn[2];

    for (uint64_t value = 1; value <= 2; value++) {
        void *parameters[] = {&words_out, &value};
        turn[value - 1] = graph_of(1, store, parameters);
    }
    atomic_store(&words->out, 0);
    for (uint32_t i = 0; i < TRIPS + TRIPS / 10; i++) {
        double start = bench_ns();
        CU(cuGraphLaunch, turn[i % 2], stream[0]);
        wait_for(i % 2 + 1);
        if (i >= TRIPS / 10)
            ns[i - TRIPS / 10] = bench_ns() - start;
    }
    CU(cuStreamSynchronize, stream[0]);
    percentiles("raw: a graph there and back", ns, TRIPS);
}

/* ---- the bridge's ring ----------------------------------------------------------------------- */

static void slot_trips(double *ns)
{
    ring_trips(ns, TRIPS / 10);
    ring_trips(ns, TRIPS);
    percentiles("raw: a message there and back", ns, TRIPS);
}

static const struct ring_shape {
    const char *to, *from;
    uint32_t rings, lanes;
    uint64_t n; /* messages of each ring */
} shapes[] = {
    {"raw: ring to the GPU", "raw: ring from the GPU", 1, 32, 1 << 20},
    {"raw: ring to the GPU, one a publication", "raw: ring from the GPU, one a publication", 1, 1, 1 << 16},
    {"raw: 8 rings to the GPU", "raw: 8 rings from the GPU", RING_MOST, 32, 1 << 19},
};
static const struct ring_shape *shape;

static double ring_there(void)
{
    uint64_t n = shape->n / less;

    return ring_to(shape->rings, shape->lanes, n) / (double)(shape->rings * n);
}

static double ring_back(void)
{
    uint64_t n = shape->n / less;

    return ring_from(shape->rings, shape->lanes, n) / (double)(shape->rings * n);
}

static void measure_rings(double *ns)
{
    ring_open();
    slot_trips(ns);
    for (uint32_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        shape = &shapes[i];
        table_rate(shape->to, median_of(ring_there));
        table_rate(shape->from, median_of(ring_back));
    }
}

/* ---- empty tasks --------------------------------------------------------------------------- */

static double launches(void)
{
    double start = bench_ns();

    for (uint32_t i = 0; i < LAUNCHES; i++)
        launch(empty, NULL);
    CU(cuStreamSynchronize, stream[0]);
    return (bench_ns() - start) / LAUNCHES;
}

static CUgraphExec graph;

static double graphs(void)
{
    double start = bench_ns();

    for (uint32_t i = 0; i < LAUNCHES / NODES; i++)
        CU(cuGraphLaunch, graph, stream[0]);
    CU(cuStreamSynchronize, stream[0]);
    return (bench_ns() - start) / LAUNCHES;
}

/* ---- the copy engines ----------------------------------------------------------------------- */

static double copy(bool to, bool from)
{
    double start = bench_ns();

    if (to)
        CU(cuMemcpyHtoDAsync_v2, memory[0], pinned[0], COPY_BYTES, stream[0]);
    if (from)
        CU(cuMemcpyDtoHAsync_v2, pinned[1], memory[1], COPY_BYTES, stream[1]);
    CU(cuStreamSynchronize, stream[0]);
    CU(cuStreamSynchronize, stream[1]);
    return (bench_ns() - start) / (double)COPY_BYTES;
}

static double copy_to(void) { return copy(true, false); }
static double copy_from(void) { return copy(false, true); }
static double copy_both(void) { return copy(true, true); }

/* What went down comes up again as it was. */
static void check_copies(void)
{
    CU(cuMemcpyHtoDAsync_v2, memory[0], pinned[0], COPY_BYTES, stream[0]);
    CU(cuMemcpyDtoHAsync_v2, pinned[1], memory[0], COPY_BYTES, stream[0]);
    CU(cuStreamSynchronize, stream[0]);
    if (memcmp(pinned[0], pinned[1], COPY_BYTES) != 0) {
        fprintf(stderr, "raw: a copy to the GPU and back is not what was sent\n");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"json", required_argument, NULL, 'j'},
                                          {"ordinal", required_argument, NULL, 'o'},
                                          {"quick", no_argument, NULL, 'q'},
                                          {0}};
    static double ns[TRIPS];
    const char *json = NULL;
    int o, ordinal = 0;
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);

    while ((o = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (o) {
        case 'j': json = optarg; break;
        case 'o': ordinal = atoi(optarg); break;
        case 'q': rounds = 1, less = 64; break;
        default: fputs("usage: raw [--json FILE] [--ordinal N] [--quick]\n", stderr); return 2;
        }
    }
    if (n <= 0)
        return 1;
    folder[n] = '\0';
    *strrchr(folder, '/') = '\0';
    open_driver();
    open_device(ordinal);
    table_open(json);
    show_link();
    line_trips(ns);
    launch_trips(ns);
    graph_trips(ns);
    measure_rings(ns);
    graph = graph_of(NODES, empty, NULL);
    table_rate("raw: empty tasks, a launch each", median_of(launches));
    table_rate("raw: empty tasks, a graph", median_of(graphs));
    check_copies();
    table_row("raw: copy engine to the GPU", 1 / median_of(copy_to), "GB/s", "");
    table_row("raw: copy engine from the GPU", 1 / median_of(copy_from), "GB/s", "");
    table_row("raw: copy engines, each way of both", 1 / median_of(copy_both), "GB/s", "");
    table_close();
    return 0;
}
