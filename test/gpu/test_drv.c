/* SPDX-License-Identifier: MIT */
/*
 * The module gpu_drv against fake_host.c, a host process that misbehaves as it is told, and against the real
 * ggmk-gpuhost on the software device.
 * An argument chooses tests by their names (* and ? are wildcards); LOUD=1 shows the kernel's lines.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <ggmk/gpu.h>

#include "bridge/region.h"
#include "test/gpu/accept.h"
#include "test/gpu/fake_host.h"
#include "gpu/host_proto.h"

/* ---- a kernel with a peer ------------------------------------------------------------------ */

enum { T_BACK = 1, T_LETTER, T_LOCAL };

typedef struct peer_fix {
    gmk_kernel_t k;
    gmk_module_t *drv;
    gmk_port_t port;
    gmk_ctx_t *c;
    gmk_chan_t in;
} peer_fix_t;
static peer_fix_t P;

static atomic_uint n_back, n_local;      /* answers; local tasks that were done */
static atomic_uint n_reset, n_not_reset; /* deliveries that sys.error reported, by code */
static atomic_uint n_bridge;             /* deliveries that sys.dropped reported with GMK_DROP_BRIDGE */

static int on_back(gmk_ctx_t *c)
{
    (void)c;
    atomic_fetch_add(&n_back, 1);
    return GMK_OK;
}

static int on_local(gmk_ctx_t *c)
{
    (void)c;
    atomic_fetch_add(&n_local, 1);
    return GMK_OK;
}

static int on_letter(gmk_ctx_t *c)
{
    int code = gmk_dead_code(c->task);
    atomic_fetch_add(code == GMK_ERR_KERNEL_RESET ? &n_reset
                     : code == GMK_DROP_BRIDGE    ? &n_bridge
                                                  : &n_not_reset,
                     gmk_dead_count(c->task));
    return GMK_OK;
}

static const gmk_handler_reg_t user_handlers[] = {
    {.type = T_BACK, .fn = on_back, .name = "back"},
    {.type = T_LETTER, .fn = on_letter, .name = "letter"},
    {.type = T_LOCAL, .fn = on_local, .name = "local"},
};
static const gmk_chan_decl_t user_channels[] = {
    {.name = "t.in", .direction = GMK_PRODUCES, .msg_type = FAKE_TYPE},
    {.name = "t.out", .direction = GMK_CONSUMES, .msg_type = FAKE_ECHOED, .handler = T_BACK},
    {.name = "a.hang", .direction = GMK_PRODUCES, .msg_type = A_HANG},
    {.name = "sys.error", .direction = GMK_CONSUMES, .handler = T_LETTER},
    {.name = "sys.dropped", .direction = GMK_CONSUMES, .handler = T_LETTER},
};
static gmk_module_t user = {
    .name = "user", .handlers = user_handlers, .n_handlers = 3, .channels = user_channels, .n_channels = 5};

/* Beside this program. */
static const char *fake_host(void)
{
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
    assert_true(n > 0);
    path[n] = '\0';
    (void)strcpy(strrchr(path, '/') + 1, "fake_host");
    return path;
}

static const char *real_host; /* set: it is taken instead */

/* Quick, but not so quick that a busy machine looks like a dead one. */
static gmk_gpu_cfg_t gpu_cfg(void)
{
    return (gmk_gpu_cfg_t){.device = GMK_GPU_SOFT,
                           .host = real_host != NULL ? real_host : fake_host(),
                           .arena_size = (uint64_t)32 << 20,
                           .workers = 2,
                           .pool_bytes = (uint64_t)1 << 20,
                           .beat_ns = 20 * KIT_MS,
                           .budget_ns = 250 * KIT_MS};
}

static int boot_with(const gmk_gpu_cfg_t *cfg, const char *words)
{
    gmk_boot_cfg_t boot = kit_cfg(2);
    if (kit_env("LOUD"))
        boot.flags = 0;
    memset(&P, 0, sizeof P);
    atomic_store(&n_back, 0);
    atomic_store(&n_local, 0);
    atomic_store(&n_reset, 0);
    atomic_store(&n_not_reset, 0);
    atomic_store(&n_bridge, 0);
    assert_int_equal(setenv("GGMK_FAKE", words, 1), 0);
    P.drv = gmk_gpu_drv(cfg);
    assert_non_null(P.drv);
    gmk_module_t *mods[] = {&user, P.drv};
    return gmk_boot(&P.k, &boot, mods, 2);
}

static void attach(void)
{
    assert_int_equal(gmk_attach(&P.k, &P.port), GMK_OK);
    P.c = gmk_port_ctx(&P.port);
    assert_int_equal(gmk_chan_find(P.c, "t.in", &P.in), GMK_OK);
}

static void boot_up(const char *words)
{
    gmk_gpu_cfg_t cfg = gpu_cfg();
    assert_int_equal(boot_with(&cfg, words), GMK_OK);
    attach();
}

static gmk_gpu_status_t status_now(void)
{
    gmk_gpu_status_t s;
    assert_int_equal(gmk_gpu_status(P.drv, &s), GMK_OK);
    return s;
}

static bool is_up_in(uint32_t epoch)
{
    gmk_gpu_status_t s = status_now();
    return s.state == GMK_GPU_UP && s.epoch == epoch && s.bridge.state == GMK_BRIDGE_READY;
}

static bool is_gone(int pid) { return kill(pid, 0) < 0 && errno == ESRCH; }

/* Drains, compares what every counter says, and halts; no process stays. */
static void end(void)
{
    assert_int_equal(gmk_drain(&P.k, KIT_PATIENCE), GMK_OK);
    gmk_gpu_status_t g = status_now();
    gmk_stats_t s;
    assert_int_equal(gmk_stats(&P.k, &s), GMK_OK);
    assert_int_equal(s.accepted, s.completed + s.failed + s.dropped);
    assert_int_equal(s.pending, 0);
    assert_int_equal(atomic_load(&n_reset), g.bridge.reset);
    assert_int_equal(atomic_load(&n_not_reset), 0);
    assert_int_equal(s.failed, g.bridge.reset);
    assert_int_equal(s.dropped, atomic_load(&n_bridge));
    assert_int_equal(atomic_load(&n_back), g.bridge.received);
    gmk_detach(&P.port);
    assert_int_equal(gmk_halt(&P.k), GMK_OK);
    assert_true(g.pid == 0 || is_gone(g.pid));
    gmk_gpu_free(P.drv);
}

/* ---- messages ------------------------------------------------------------------------------ */

/* Emits until n were accepted, or the channel is closed. */
static void emit_some(uint32_t n, uint64_t what)
{
    uint64_t until = kit_now() + KIT_PATIENCE;
    for (uint32_t i = 0; i < n;) {
        gmk_task_t t = {.meta0 = i, .meta1 = what};
        int rc = gmk_chan_emit(P.c, P.in, &t);
        if (rc == GMK_CHAN_CLOSED)
            return;
        assert_true(rc == GMK_OK || rc == GMK_CHAN_FULL);
        assert_true(kit_now() < until);
        if (rc == GMK_OK)
            i++;
        else
            kit_nap();
    }
}

static void emit_one(uint64_t what)
{
    gmk_task_t t = {.meta1 = what};
    assert_int_equal(gmk_chan_emit(P.c, P.in, &t), GMK_OK);
}

/* The peer answers: what it is asked now, it does. */
static void roundtrip(uint32_t n)
{
    uint32_t before = atomic_load(&n_back);
    for (uint32_t i = 0; i < n; i++)
        emit_some(1, FAKE_ECHO);
    KIT_WAIT(atomic_load(&n_back) >= before + n);
}

/* This kernel's own work is done, whatever the peer does. */
static void serves(void)
{
    uint32_t before = atomic_load(&n_local);
    gmk_task_t t = {.type = T_LOCAL};
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(gmk_submit(&P.k, &t), GMK_OK);
    KIT_WAIT(atomic_load(&n_local) == before + 100);
}

/* ---- boots that cannot be ------------------------------------------------------------------ */

static uint32_t count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    uint32_t n = 0;
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    (void)closedir(d);
    return n;
}

static bool no_child(void) { return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD; }

/* The boot answers rc, says why, and leaves neither a process nor a descriptor. */
static void refused(const gmk_gpu_cfg_t *cfg, const char *words, int rc, const char *why)
{
    gmk_gpu_status_t s;
    uint32_t fds = count_fds();
    assert_int_equal(boot_with(cfg, words), rc);
    assert_int_equal(P.k.magic, 0);
    assert_int_equal(gmk_gpu_status(P.drv, &s), GMK_ERR_STATE);
    assert_int_equal(s.state, GMK_GPU_DOWN);
    if (strstr(s.last_reset, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", s.last_reset, why);
    assert_true(no_child());
    gmk_gpu_free(P.drv);
    assert_int_equal(count_fds(), fds);
}

static void a_host_that_is_not_there(void **state)
{
    (void)state;
    gmk_gpu_cfg_t cfg = gpu_cfg();
    cfg.host = "/nonexistent/ggmk-gpuhost";
    refused(&cfg, "serve", GMK_ERR_NOTFOUND, "cannot start /nonexistent/ggmk-gpuhost: No such file");
}

static void a_host_that_is_no_program(void **state)
{
    (void)state;
    char path[] = "/tmp/ggmk-drv.XXXXXX";
    gmk_gpu_cfg_t cfg = gpu_cfg();
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "text\n", 5), 5);
    assert_int_equal(close(fd), 0);
    cfg.host = path;
    refused(&cfg, "serve", GMK_ERR_IO, "Permission denied");
    assert_int_equal(chmod(path, 0755), 0);
    refused(&cfg, "serve", GMK_ERR_IO, "Exec format error");
    assert_int_equal(unlink(path), 0);
    cfg.host = "/tmp";
    refused(&cfg, "serve", GMK_ERR_IO, "Permission denied");
}

static void a_host_on_the_path(void **state)
{
    (void)state;
    char folder[] = "/tmp/ggmk-drv.XXXXXX", link[64];
    char *path = strdup(getenv("PATH"));
    gmk_gpu_cfg_t cfg = gpu_cfg();
    cfg.host = NULL;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(link, sizeof link, "%s/ggmk-gpuhost", folder);
    assert_int_equal(setenv("PATH", "::relative:/nonexistent", 1), 0);
    refused(&cfg, "failed", GMK_ERR_NOTFOUND, "ggmk-gpuhost is neither in ");
    assert_int_equal(symlink(fake_host(), link), 0);
    char paths[128];
    (void)snprintf(paths, sizeof paths, "/nonexistent:%s", folder);
    assert_int_equal(setenv("PATH", paths, 1), 0);
    refused(&cfg, "failed", GMK_ERR_UNSUPPORTED, "no such luck");
    assert_int_equal(setenv("PATH", path, 1), 0);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(rmdir(folder), 0);
    free(path);
}

static void a_host_that_fails(void **state)
{
    (void)state;
    gmk_gpu_cfg_t cfg = gpu_cfg();
    refused(&cfg, "failed", GMK_ERR_UNSUPPORTED, "no such luck");
    refused(&cfg, "exit", GMK_ERR_IO, "the process has ended with status 7");
    refused(&cfg, "nodev", GMK_ERR_UNSUPPORTED, "the process has ended with status 3");
    refused(&cfg, "garbage", GMK_ERR_VERSION, "is ggmk-gpuhost of this version?");
}

static void a_host_that_does_not_get_ready(void **state)
{
    (void)state;
    gmk_gpu_cfg_t cfg = gpu_cfg();
    cfg.start_timeout_ns = 200 * KIT_MS;
    refused(&cfg, "silent", GMK_ERR_TIMEOUT, "has not said which device it found");
    refused(&cfg, "stubborn", GMK_ERR_TIMEOUT, "has not booted its kernel");
    cfg.start_timeout_ns = KIT_PATIENCE;
    refused(&cfg, "closed", GMK_ERR_STATE, "closed its socket");
}

static void configurations_out_of_range(void **state)
{
    (void)state;
    gmk_gpu_cfg_t cfg = gpu_cfg();
    cfg.device = 3;
    refused(&cfg, "serve", GMK_ERR_RANGE, "device is 3, it must be 0 .. 2");
    cfg = gpu_cfg();
    cfg.workers = GMK_MAX_WORKERS + 1;
    refused(&cfg, "serve", GMK_ERR_RANGE, "workers is 257");
    cfg = gpu_cfg();
    cfg.ring_slots = 100;
    refused(&cfg, "serve", GMK_ERR_RANGE, "ring_slots is 100");
    cfg = gpu_cfg();
    cfg.name = "no name";
    refused(&cfg, "serve", GMK_ERR_INVAL, "\"no name\"");
    char *args = malloc(3000);
    memset(args, 'a', 2999);
    args[2999] = '\0';
    cfg = gpu_cfg();
    cfg.args = args;
    refused(&cfg, "serve", GMK_ERR_INVAL, "args");
    free(args);
}

static void what_the_process_is_given(void **state)
{
    (void)state;
    gmk_gpu_cfg_t cfg = gpu_cfg();
    cfg.image = "x.ptx";
    cfg.ordinal = 2;
    refused(&cfg, "args", GMK_ERR_UNSUPPORTED,
            "--fd 3 --device soft --ordinal 2 --image x.ptx --arena 33554432 --workers 2");
    cfg = (gmk_gpu_cfg_t){.host = fake_host()};
    refused(&cfg, "args", GMK_ERR_UNSUPPORTED, "--fd 3 --device auto --arena 67108864");
}

/* Whatever this program has open, blocks or ignores. */
static void what_the_process_does_not_inherit(void **state)
{
    (void)state;
    gmk_gpu_cfg_t cfg = gpu_cfg();
    int fd = dup2(STDERR_FILENO, 40);
    sigset_t set, before;
    (void)sigfillset(&set);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, &before), 0);
    (void)signal(SIGPIPE, SIG_IGN);
    refused(&cfg, "table", GMK_ERR_UNSUPPORTED,
            "fds 0 1 2 3 SigBlk: 0000000000000000 SigIgn: 0000000000000000");
    (void)signal(SIGPIPE, SIG_DFL);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    (void)close(fd);
}

static void declarations_that_disagree(void **state)
{
    (void)state;
    static const gmk_chan_decl_t wrong[] = {{.name = "t.in", .direction = GMK_PRODUCES, .msg_type = 5}};
    gmk_gpu_cfg_t cfg = gpu_cfg();
    gmk_module_t right = user;
    user.channels = wrong;
    user.n_channels = 1;
    refused(&cfg, "serve", GMK_CHAN_TYPE_MISMATCH, "t.in");
    user = right;
}

/* ---- a peer that serves -------------------------------------------------------------------- */

static void a_peer_serves_and_stops(void **state)
{
    (void)state;
    boot_up("serve");
    gmk_gpu_status_t s = status_now();
    assert_int_equal(s.state, GMK_GPU_UP);
    assert_int_equal(s.device, GMK_GPU_SOFT);
    assert_string_equal(s.device_name, "software device");
    assert_int_equal(s.epoch, 1);
    assert_int_equal(s.resets, 0);
    assert_string_equal(s.last_reset, "");
    assert_int_equal(s.bridge.routes_out, 1);
    assert_int_equal(s.bridge.routes_in, 1);
    assert_int_equal(s.bridge.peer.workers, 2);
    roundtrip(5000);
    serves();
    end();
    assert_int_equal(atomic_load(&n_back), 5000);
}

static uint64_t metric(const char *name)
{
    uint32_t id;
    uint64_t value = UINT64_MAX;
    assert_int_equal(gmk_metric_register(&P.k, name, GMK_GAUGE, &id), GMK_OK);
    assert_int_equal(gmk_metric_read(&P.k, id, &value), GMK_OK);
    return value;
}

static void a_reset_on_request(void **state)
{
    (void)state;
    boot_up("serve");
    roundtrip(100);
    assert_int_equal(metric("gpu_up"), 1);
    assert_int_equal(metric("gpu_resets"), 0);
    int pid = status_now().pid;
    assert_int_equal(gmk_gpu_reset(P.drv, "somebody wants it"), GMK_OK);
    KIT_WAIT(is_up_in(2));
    gmk_gpu_status_t s = status_now();
    assert_int_equal(s.resets, 1);
    assert_string_equal(s.last_reset, "somebody wants it");
    assert_true(s.pid != pid && is_gone(pid));
    assert_int_equal(metric("gpu_up"), 1);
    assert_int_equal(metric("gpu_resets"), 1);
    roundtrip(100);
    assert_int_equal(gmk_gpu_reset(P.drv, NULL), GMK_OK);
    KIT_WAIT(is_up_in(3));
    assert_string_equal(status_now().last_reset, "asked for");
    end();
}

static void calls_at_the_wrong_moment(void **state)
{
    (void)state;
    gmk_gpu_status_t s;
    gmk_gpu_cfg_t cfg = gpu_cfg();
    gmk_module_t *m = gmk_gpu_drv(&cfg);
    assert_int_equal(gmk_gpu_status(m, &s), GMK_ERR_STATE);
    assert_int_equal(gmk_gpu_reset(m, "why"), GMK_ERR_STATE);
    assert_int_equal(gmk_gpu_status(m, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_gpu_status(NULL, &s), GMK_ERR_INVAL);
    assert_int_equal(gmk_gpu_status(&user, &s), GMK_ERR_INVAL);
    assert_int_equal(gmk_gpu_reset(&user, "why"), GMK_ERR_INVAL);
    gmk_gpu_free(NULL);
    gmk_gpu_free(m);
    m = gmk_gpu_drv(NULL);
    assert_non_null(m);
    gmk_gpu_free(m);
}

/* The halt, an unload, and the next boot of the same module. */
static void it_boots_again(void **state)
{
    (void)state;
    gmk_boot_cfg_t boot = kit_cfg(2);
    boot_up("serve");
    roundtrip(10);
    gmk_module_t *drv = P.drv;
    gmk_detach(&P.port);
    assert_int_equal(gmk_module_unload(&P.k, "gpu_drv"), GMK_OK);
    assert_true(no_child());
    assert_int_equal(gmk_module_load(&P.k, drv), GMK_OK);
    attach();
    roundtrip(10);
    gmk_detach(&P.port);
    assert_int_equal(gmk_halt(&P.k), GMK_OK);
    assert_true(no_child());
    gmk_module_t *mods[] = {&user, drv};
    assert_int_equal(gmk_boot(&P.k, &boot, mods, 2), GMK_OK);
    attach();
    assert_true(is_up_in(1));
    atomic_store(&n_back, 0);
    roundtrip(10);
    end();
}

static void *boot_in_thread(void *arg)
{
    (void)arg;
    boot_up("serve");
    gmk_detach(&P.port);
    return NULL;
}

/* The process is tied to a thread of the module, not to the one that boots. */
static void the_booting_thread_may_end(void **state)
{
    (void)state;
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, boot_in_thread, NULL), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    attach();
    for (uint32_t i = 0; i < 10; i++) {
        uint64_t beats = status_now().bridge.peer.beats;
        KIT_WAIT(status_now().bridge.peer.beats > beats);
    }
    assert_int_equal(status_now().resets, 0);
    end();
}

/* A program that is killed takes its host process along, also one that is stopped. */
static void the_process_goes_with_its_parent(void **state)
{
    (void)state;
    int fds[2], pid = 0, status;
    assert_int_equal(pipe(fds), 0);
    int child = fork();
    if (child == 0) {
        boot_up("serve");
        pid = status_now().pid;
        (void)kill(pid, SIGSTOP);
        (void)!write(fds[1], &pid, sizeof pid);
        for (;;)
            (void)pause();
    }
    assert_int_equal(close(fds[1]), 0);
    assert_int_equal(read(fds[0], &pid, sizeof pid), sizeof pid);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    char path[64], stat[256];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (uint64_t until = kit_now() + KIT_PATIENCE;;
         kit_nap()) { /* a zombie is dead enough: init may be slow */
        int f = open(path, O_RDONLY);
        ssize_t n = f < 0 ? 0 : read(f, stat, sizeof stat - 1);
        stat[n > 0 ? n : 0] = '\0';
        if (f >= 0)
            (void)close(f);
        if (n <= 0 || strstr(stat, ") Z ") != NULL)
            break;
        assert_true(kit_now() < until);
    }
    assert_int_equal(close(fds[0]), 0);
}

static void nap_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Its own absence, in which the peer was away, too, is no silence of the peer. */
static void a_program_that_is_stopped(void **state)
{
    (void)state;
    int down[2], up[2], pid = 0, status;
    assert_int_equal(pipe(down), 0);
    assert_int_equal(pipe(up), 0);
    int child = fork();
    if (child == 0) {
        boot_up("serve");
        roundtrip(10);
        pid = status_now().pid;
        (void)!write(up[1], &pid, sizeof pid);
        (void)!read(down[0], &pid, sizeof pid);
        roundtrip(10);
        uint32_t resets = status_now().resets;
        gmk_detach(&P.port);
        _exit(gmk_halt(&P.k) == GMK_OK && resets == 0 ? 0 : 1);
    }
    assert_int_equal(read(up[0], &pid, sizeof pid), sizeof pid);
    assert_int_equal(kill(child, SIGSTOP), 0);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    nap_ms(2000); /* twice what a reset needs */
    assert_int_equal(kill(child, SIGCONT), 0);
    nap_ms(50);
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(write(down[1], &pid, sizeof pid), sizeof pid);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(close(down[i]), 0);
        assert_int_equal(close(up[i]), 0);
    }
}

/* ---- resets -------------------------------------------------------------------------------- */

static void expect_reset(const char *why)
{
    KIT_WAIT(is_up_in(2));
    gmk_gpu_status_t s = status_now();
    assert_int_equal(s.resets, 1);
    if (strstr(s.last_reset, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", s.last_reset, why);
    roundtrip(200);
    end();
}

static atomic_uint load_on;
static atomic_uint n_loaded;

/* Emits without a pause, also while the peer is away. */
static void *load(void *arg)
{
    gmk_port_t port;
    gmk_task_t t = {.meta1 = FAKE_ECHO};
    gmk_chan_t in;
    (void)arg;
    if (gmk_attach(&P.k, &port) != GMK_OK)
        return NULL;
    int found = gmk_chan_find(gmk_port_ctx(&port), "t.in", &in);
    while (found == GMK_OK && atomic_load(&load_on) != 0) {
        if (gmk_chan_emit(gmk_port_ctx(&port), in, &t) == GMK_OK)
            atomic_fetch_add(&n_loaded, 1);
        else
            kit_nap();
    }
    gmk_detach(&port);
    return NULL;
}

static void killed_under_load(void **state)
{
    (void)state;
    pthread_t t;
    boot_up("serve");
    atomic_store(&load_on, 1);
    atomic_store(&n_loaded, 0);
    assert_int_equal(pthread_create(&t, NULL, load, NULL), 0);
    for (uint32_t epoch = 1; epoch <= 4; epoch++) {
        uint32_t before = atomic_load(&n_back);
        KIT_WAIT(is_up_in(epoch) && atomic_load(&n_back) > before + 500);
        assert_int_equal(kill(status_now().pid, SIGKILL), 0);
        serves();
        KIT_WAIT(is_up_in(epoch + 1));
    }
    atomic_store(&load_on, 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    gmk_gpu_status_t s = status_now();
    assert_int_equal(s.resets, 4);
    assert_string_equal(s.last_reset, "the process was ended by signal 9 (SIGKILL)");
    assert_int_equal(gmk_drain(&P.k, KIT_PATIENCE), GMK_OK);
    s = status_now();
    assert_int_equal(s.bridge.sent, s.bridge.acknowledged + s.bridge.reset);
    assert_int_equal(s.bridge.sent, atomic_load(&n_loaded));
    end();
}

static void a_handler_that_hangs(void **state)
{
    (void)state;
    boot_up("serve");
    roundtrip(10);
    uint64_t start = kit_now();
    emit_one(FAKE_HANG);
    serves();
    KIT_WAIT(is_up_in(2));
    assert_true(kit_now() - start >= KIT_S); /* 4 budgets */
    expect_reset("has run type 201 for 1");
}

static void a_process_that_ends(void **state)
{
    (void)state;
    boot_up("serve");
    emit_one(FAKE_EXIT);
    expect_reset("the process has ended with status 7");
    boot_up("serve");
    emit_one(FAKE_ABORT);
    expect_reset("the process was ended by signal 6 (SIGABRT)");
}

static void a_device_that_faults(void **state)
{
    (void)state;
    boot_up("serve");
    emit_one(FAKE_FAULT);
    expect_reset("device fault: cuStreamQuery: illegal address");
}

/* It is killed where it stands: to be let go later is of no use to it. */
static void a_process_that_is_stopped(void **state)
{
    (void)state;
    boot_up("serve");
    roundtrip(10);
    int pid = status_now().pid;
    assert_int_equal(kill(pid, SIGSTOP), 0);
    serves();
    KIT_WAIT(is_up_in(2));
    assert_int_equal(kill(pid, SIGCONT), -1);
    assert_int_equal(errno, ESRCH);
    expect_reset("no sign of life for 1");
}

/* The handler stops its process while a message is under way; others wait for it. */
static void a_process_that_stops_itself(void **state)
{
    (void)state;
    boot_up("serve");
    emit_one(FAKE_STOP);
    emit_some(50, FAKE_ECHO);
    KIT_WAIT(is_up_in(2));
    expect_reset("for 1"); /* either silence may come first: of the worker or of the whole kernel */
}

/* What the peer may run again is sent again; what was under way besides fails. */
static void idempotent_messages(void **state)
{
    (void)state;
    boot_up("serve");
    roundtrip(10);
    emit_one(FAKE_STOP);
    for (uint32_t i = 0; i < 50; i++) {
        gmk_task_t t = {.flags = GMK_TASK_IDEMPOTENT};
        assert_int_equal(gmk_chan_emit(P.c, P.in, &t), GMK_OK);
    }
    KIT_WAIT(is_up_in(2) && atomic_load(&n_back) == 60);
    gmk_gpu_status_t s = status_now();
    assert_true(s.bridge.reset <= 1); /* the first: its delivery may have been acknowledged in time */
    assert_true(s.bridge.resent >= 1 && s.bridge.resent <= 50);
    end();
}

/* Where this process sees the region of the peer that is up. */
static gmk_region_head_t *find_region(void)
{
    char line[512];
    gmk_region_head_t *head = NULL;
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        if (strstr(line, "/memfd:ggmk-region") != NULL) {
            assert_null(head); /* one that was given up is not kept */
            head = (gmk_region_head_t *)(uintptr_t)strtoull(line, NULL, 16);
        }
    (void)fclose(f);
    assert_non_null(head);
    assert_int_equal(head->epoch, status_now().epoch);
    return head;
}

/* Damages the region by another process's hand.  The peer is stopped: it must not mend anything. */
static void damage(void (*how)(gmk_region_head_t *head, uint64_t seed), uint64_t seed)
{
    int status;
    gmk_region_head_t *head = find_region();
    assert_int_equal(kill(status_now().pid, SIGSTOP), 0);
    int child = fork();
    if (child == 0) {
        how(head, seed);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

KIT_WILD static void claim_too_much(gmk_region_head_t *head, uint64_t seed)
{
    gmk_region_side_t *peer = (gmk_region_side_t *)(void *)((unsigned char *)head + head->side_at[1]);
    for (uint32_t i = 0; i < GMK_REGION_ROUTES; i++)
        peer->ack[i].delivered.v = seed;
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 7;
}

/* Messages that are due, of rubbish; from seed 4 on also everything else that the peer can write. */
KIT_WILD static void fill_with_rubbish(gmk_region_head_t *head, uint64_t seed)
{
    unsigned char *base = (unsigned char *)head;
    gmk_region_slot_t *ring = (gmk_region_slot_t *)(void *)(base + head->ring_at[1]);
    uint64_t random = seed;
    for (uint32_t i = 0; i < head->ring_slots; i++) {
        for (uint32_t j = 0; j < 6; j++)
            ring[i].body[j] = seed % 2 == 0 ? UINT64_MAX : next_random(&random);
        ring[i].commit.v = (uint64_t)head->epoch << 32 | 1;
    }
    if (seed < 4)
        return;
    for (uint64_t *at = (uint64_t *)(void *)(base + head->side_at[1]);
         (unsigned char *)at < base + head->ring_at[0]; at++)
        *at = next_random(&random);
    for (uint64_t i = 0; i < head->control_slots * sizeof(gmk_region_slot_t) / 8; i++)
        ((uint64_t *)(void *)(base + head->control_at[1]))[i] = next_random(&random);
}

static void a_counter_that_cannot_be(void **state)
{
    (void)state;
    boot_up("serve");
    roundtrip(10);
    damage(claim_too_much, UINT64_MAX);
    emit_some(10, FAKE_ECHO);
    expect_reset("the bridge has failed: the peer acknowledges messages that were never sent");
}

static void a_region_full_of_rubbish(void **state)
{
    (void)state;
    boot_up("serve");
    for (uint32_t epoch = 1; epoch <= 6; epoch++) {
        roundtrip(300);
        damage(fill_with_rubbish, epoch);
        emit_some(10, FAKE_ECHO);
        serves();
        KIT_WAIT(is_up_in(epoch + 1));
    }
    assert_int_equal(status_now().resets, 6);
    roundtrip(10);
    end();
}

/* ---- given up ------------------------------------------------------------------------------ */

/* By a signal. */
static bool is_stopped(int pid)
{
    char path[64], line[256] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return false;
    (void)!fgets(line, sizeof line, f);
    (void)fclose(f);
    const char *behind = strrchr(line, ')');
    return behind != NULL && strncmp(behind, ") T", 3) == 0;
}

static void expect_gone(const char *why, uint32_t resets)
{
    KIT_WAIT(status_now().state == GMK_GPU_GONE);
    gmk_gpu_status_t s = status_now();
    assert_int_equal(s.resets, resets);
    assert_int_equal(s.pid, 0);
    if (strstr(s.last_reset, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", s.last_reset, why);
    assert_true(no_child());
    assert_int_equal(metric("gpu_up"), 0);
    assert_int_equal(gmk_gpu_reset(P.drv, "late"), GMK_ERR_STATE);
    serves();
}

/* Nothing waits for ever for a peer that does not come back. */
static void a_peer_that_is_given_up(void **state)
{
    (void)state;
    boot_up("serve,failed");
    roundtrip(10);
    emit_one(FAKE_STOP);
    KIT_WAIT(is_stopped(status_now().pid)); /* or it might take all of the following */
    emit_some(900, FAKE_ECHO);              /* more than can be under way */
    expect_gone("no such luck", 3);
    assert_int_equal(gmk_drain(&P.k, KIT_PATIENCE), GMK_OK);
    gmk_bridge_stats_t s = status_now().bridge;
    assert_true(atomic_load(&n_bridge) > 0);
    assert_int_equal(s.acknowledged + s.reset + atomic_load(&n_bridge), 911);
    end();
}

static void no_second_try(void **state)
{
    (void)state;
    gmk_gpu_cfg_t cfg = gpu_cfg();
    cfg.max_resets = UINT32_MAX;
    assert_int_equal(boot_with(&cfg, "serve"), GMK_OK);
    attach();
    roundtrip(10);
    emit_one(FAKE_EXIT);
    expect_gone("status 7", 0);
    end();
}

/* Resets are counted in a row: a message in between begins a new one. */
static void a_message_in_between(void **state)
{
    (void)state;
    boot_up("serve");
    for (uint32_t i = 0; i < 5; i++) {
        roundtrip(10);
        assert_int_equal(kill(status_now().pid, SIGKILL), 0);
        KIT_WAIT(is_up_in(i + 2));
    }
    assert_int_equal(status_now().resets, 5);
    end();
}

/* ---- halts --------------------------------------------------------------------------------- */

static void a_halt_while_a_handler_hangs(void **state)
{
    (void)state;
    gmk_boot_cfg_t boot = kit_cfg(2);
    gmk_gpu_cfg_t cfg = gpu_cfg();
    gmk_halt_report_t r;
    boot.halt_timeout_ns = KIT_S;
    cfg.budget_ns = 3600 * KIT_S;
    assert_int_equal(setenv("GGMK_FAKE", "serve", 1), 0);
    memset(&P, 0, sizeof P);
    P.drv = gmk_gpu_drv(&cfg);
    gmk_module_t *mods[] = {&user, P.drv};
    assert_int_equal(gmk_boot(&P.k, &boot, mods, 2), GMK_OK);
    attach();
    roundtrip(10);
    emit_one(FAKE_HANG);
    int pid = status_now().pid;
    gmk_detach(&P.port);
    assert_int_equal(gmk_halt_within(&P.k, KIT_PATIENCE, &r), GMK_OK);
    assert_true(is_gone(pid));
    gmk_gpu_free(P.drv);
}

static void a_halt_while_it_is_reset(void **state)
{
    (void)state;
    boot_up("serve,silent");
    roundtrip(10);
    assert_int_equal(kill(status_now().pid, SIGKILL), 0);
    KIT_WAIT(status_now().state == GMK_GPU_RESETTING);
    gmk_detach(&P.port);
    uint64_t start = kit_now();
    assert_int_equal(gmk_halt(&P.k), GMK_OK);
    assert_true(kit_now() - start < 2 * KIT_S); /* not half of the halt timeout */
    assert_true(no_child());
    gmk_gpu_free(P.drv);
}

/* A program whose children are waited for by somebody else. */
static void children_that_nobody_waits_for(void **state)
{
    (void)state;
    (void)signal(SIGCHLD, SIG_IGN);
    boot_up("serve");
    roundtrip(10);
    assert_int_equal(kill(status_now().pid, SIGKILL), 0);
    expect_reset("the process has ended");
    (void)signal(SIGCHLD, SIG_DFL);
}

/* ---- the real one -------------------------------------------------------------------------- */

/* ggmk-gpuhost with the modules of the test image, on the software device. */
static int real_up(void **state)
{
    static char path[4096];
    (void)state;
    const char *build = getenv("BUILD");
    (void)snprintf(path, sizeof path, "%s/test/ggmk-gpuhost-test", build != NULL ? build : "build");
    real_host = path;
    return 0;
}

static int real_down(void **state)
{
    (void)state;
    real_host = NULL;
    return 0;
}

static void a_real_peer_serves_and_stops(void **state)
{
    (void)state;
    boot_up("");
    gmk_gpu_status_t s = status_now();
    assert_int_equal(s.device, GMK_GPU_SOFT);
    assert_int_equal(s.bridge.routes_out, 2);
    assert_int_equal(s.bridge.routes_in, 1);
    roundtrip(5000);
    end();
    assert_int_equal(atomic_load(&n_back), 5000);
}

static void a_real_handler_that_hangs(void **state)
{
    (void)state;
    gmk_chan_t hang;
    gmk_task_t t = {.meta0 = 1};
    boot_up("");
    roundtrip(10);
    assert_int_equal(gmk_chan_find(P.c, "a.hang", &hang), GMK_OK);
    assert_int_equal(gmk_chan_emit(P.c, hang, &t), GMK_OK);
    serves();
    expect_reset("worker ");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_that_is_not_there),
        cmocka_unit_test(a_host_that_is_no_program),
        cmocka_unit_test(a_host_on_the_path),
        cmocka_unit_test(a_host_that_fails),
        cmocka_unit_test(a_host_that_does_not_get_ready),
        cmocka_unit_test(configurations_out_of_range),
        cmocka_unit_test(what_the_process_is_given),
        cmocka_unit_test(what_the_process_does_not_inherit),
        cmocka_unit_test(declarations_that_disagree),
        cmocka_unit_test(calls_at_the_wrong_moment),
        cmocka_unit_test(a_peer_serves_and_stops),
        cmocka_unit_test(a_reset_on_request),
        cmocka_unit_test(it_boots_again),
        cmocka_unit_test(the_booting_thread_may_end),
        cmocka_unit_test(the_process_goes_with_its_parent),
        cmocka_unit_test(a_program_that_is_stopped),
        cmocka_unit_test(killed_under_load),
        cmocka_unit_test(a_handler_that_hangs),
        cmocka_unit_test(a_process_that_ends),
        cmocka_unit_test(a_device_that_faults),
        cmocka_unit_test(a_process_that_is_stopped),
        cmocka_unit_test(a_process_that_stops_itself),
        cmocka_unit_test(idempotent_messages),
        cmocka_unit_test(a_counter_that_cannot_be),
        cmocka_unit_test(a_region_full_of_rubbish),
        cmocka_unit_test(a_peer_that_is_given_up),
        cmocka_unit_test(no_second_try),
        cmocka_unit_test(a_message_in_between),
        cmocka_unit_test(a_halt_while_a_handler_hangs),
        cmocka_unit_test(a_halt_while_it_is_reset),
        cmocka_unit_test(children_that_nobody_waits_for),
        cmocka_unit_test_setup_teardown(declarations_that_disagree, real_up, real_down),
        cmocka_unit_test_setup_teardown(a_real_peer_serves_and_stops, real_up, real_down),
        cmocka_unit_test_setup_teardown(killed_under_load, real_up, real_down),
        cmocka_unit_test_setup_teardown(a_real_handler_that_hangs, real_up, real_down),
        cmocka_unit_test_setup_teardown(a_process_that_is_stopped, real_up, real_down),
        cmocka_unit_test_setup_teardown(a_counter_that_cannot_be, real_up, real_down),
        cmocka_unit_test_setup_teardown(a_region_full_of_rubbish, real_up, real_down),
        cmocka_unit_test_setup_teardown(a_reset_on_request, real_up, real_down),
        cmocka_unit_test_setup_teardown(the_process_goes_with_its_parent, real_up, real_down),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
