/* SPDX-License-Identifier: MIT */
/*
 * drv_watch.c — the watchdog of a GPU kernel: one thread that starts it, looks at its signs of life, resets it
 * when they stop, and ends it.
 *
 * The process is killed when the thread that started it ends (PR_SET_PDEATHSIG), so all is done by this one.
 *
 * Silence is counted in what this thread has seen of it: one round adds no more than a beat interval, so that
 * a program that was stopped, or got no CPU, does not take its own absence for the peer's.
 */
#include "drv.h"

#include <poll.h>
#include <unistd.h>

#include "core.h"
#include "registry.h"
#include "say.h"

#define START_LOOK_NS 2000000u
#define GRACE_NS 50000000u
#define LAST_WORDS_NS 1000000000u /* from the end of the socket to the end of the process */
#define WARN_BEATS 2u
#define RESET_BEATS 5u
#define RESET_BUDGETS 4u

/* ---- what is told -------------------------------------------------------------------------- */

static gmk_core_t *core_of(const gmk_gpu_t *g) { return g->kernel->core; }

static void begin_line(const gmk_gpu_t *g, gmk_out_t *o)
{
    gmk_say(o, core_of(g)->name);
    gmk_out_str(o, g->cfg.name);
    gmk_out_str(o, ": ");
}

void gmk_drv_say(const gmk_gpu_t *g, const char *text)
{
    gmk_out_t o;
    if ((core_of(g)->flags & GMK_BOOT_QUIET) != 0)
        return;
    begin_line(g, &o);
    gmk_out_str(&o, text);
    gmk_said(&o);
}

static uint32_t count_modules(gmk_core_t *k)
{
    uint32_t n = 0;
    gmk_hal_lock_acquire(&k->control);
    for (uint32_t i = 0; i < k->registry->n; i++)
        n += k->registry->mods[i].state != GMK_MODULE_NONE;
    gmk_hal_lock_release(&k->control);
    return n;
}

static void out_count(gmk_out_t *o, const char *before, uint64_t n, const char *noun)
{
    gmk_out_str(o, before);
    gmk_out_u64(o, n);
    gmk_out_str(o, noun);
    if (n != 1)
        gmk_out_str(o, "s");
}

/* ggmk: cpu.0: ready: cpu.0 (4 workers, 2 modules), gpu.0 on software device (2 workers), bridge 3 out 2 in */
static void say_ready(gmk_gpu_t *g)
{
    gmk_core_t *k = core_of(g);
    gmk_bridge_stats_t s;
    gmk_out_t o;
    if ((k->flags & GMK_BOOT_QUIET) != 0 || gmk_bridge_stats(g->bridge, &s) < 0)
        return;
    gmk_say(&o, k->name);
    gmk_out_str(&o, "ready: ");
    gmk_out_str(&o, k->name);
    out_count(&o, " (", k->n_workers, " worker");
    out_count(&o, ", ", count_modules(k), " module");
    gmk_out_str(&o, "), ");
    gmk_out_str(&o, g->cfg.name);
    gmk_out_str(&o, " on ");
    gmk_out_str(&o, g->device_name);
    out_count(&o, " (", s.peer.workers, " worker");
    gmk_out_str(&o, "), bridge ");
    gmk_out_u64(&o, s.routes_out);
    gmk_out_str(&o, " out ");
    gmk_out_u64(&o, s.routes_in);
    gmk_out_str(&o, " in");
    gmk_said(&o);
}

static void set_state(gmk_gpu_t *g, uint32_t state)
{
    gmk_hal_lock_acquire(&g->lock);
    g->state = state;
    g->pid = g->host.pid;
    gmk_hal_lock_release(&g->lock);
    gmk_umetrics_set(&core_of(g)->umetrics, g->metric_up, state == GMK_GPU_UP);
}

static void set_reason(gmk_gpu_t *g, const char *why)
{
    gmk_hal_lock_acquire(&g->lock);
    gmk_drv_text(g->last_reset, sizeof g->last_reset, "%s", why);
    gmk_hal_lock_release(&g->lock);
}

int gmk_drv_refuse(gmk_gpu_t *g, const char *why, int rc)
{
    set_reason(g, why);
    gmk_drv_say(g, why);
    return rc;
}

static bool stopping(gmk_gpu_t *g)
{
    gmk_hal_lock_acquire(&g->lock);
    bool stop = g->stop;
    gmk_hal_lock_release(&g->lock);
    return stop;
}

/* ---- what is heard ------------------------------------------------------------------------- */

/* Sleeps until the process ends or says something, or somebody nudges, or the time is over. */
static void listen_for(gmk_gpu_t *g, uint64_t ns)
{
    uint64_t count;
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    struct pollfd p[] = {{.fd = g->event, .events = POLLIN},
                         {.fd = g->host.pidfd, .events = POLLIN},
                         {.fd = g->host.sock, .events = POLLIN}};
    (void)ppoll(p, sizeof p / sizeof p[0], ns == GMK_HAL_FOREVER ? NULL : &t, NULL);
    (void)!read(g->event, &count, sizeof count);
}

static void set_device(gmk_gpu_t *g, const gmk_host_report_t *r)
{
    gmk_hal_lock_acquire(&g->lock);
    g->device = r->device == GMK_GPU_CUDA ? GMK_GPU_CUDA : GMK_GPU_SOFT;
    gmk_drv_text(g->device_name, sizeof g->device_name, "%s",
                 r->text[0] != '\0'          ? r->text
                 : r->device == GMK_GPU_CUDA ? "GPU"
                                             : "software device");
    gmk_hal_lock_release(&g->lock);
}

/* The bridge: its state, or the code and why it is of no use any more. */
static int check_bridge(gmk_gpu_t *g, gmk_bridge_stats_t *s, char why[GMK_DRV_TEXT])
{
    int rc = gmk_bridge_stats(g->bridge, s);
    if (rc < 0)
        return rc;
    if (s->state == GMK_BRIDGE_FAILED) {
        gmk_drv_text(why, GMK_DRV_TEXT, "the bridge has failed: %s",
                     s->text[0] != '\0' ? s->text : gmk_strerror(s->code));
        return s->code < 0 ? s->code : GMK_ERR_INVAL;
    }
    if (s->state == GMK_BRIDGE_STOPPED) {
        gmk_drv_text(why, GMK_DRV_TEXT, "the kernel has stopped by itself");
        return GMK_ERR_STATE;
    }
    return GMK_OK;
}

/* Where the peer's kernel has failed, the region says why; the bridge sees it soon.  OK: it does not. */
static int hear_bridge(gmk_gpu_t *g, char why[GMK_DRV_TEXT])
{
    static const struct timespec nap = {.tv_nsec = 1000000};
    gmk_bridge_stats_t s;
    for (uint32_t round = 0; round < 100; round++) {
        int rc = check_bridge(g, &s, why);
        if (rc < 0 && s.state == GMK_BRIDGE_FAILED)
            return rc;
        (void)nanosleep(&nap, NULL);
    }
    return GMK_OK;
}

/* What a report means for a kernel that ought to run: OK, or the code and why it does not. */
static int take_report(gmk_gpu_t *g, const gmk_host_report_t *r, char why[GMK_DRV_TEXT])
{
    int code = r->code < 0 ? r->code : GMK_ERR_IO, rc;
    switch (r->kind) {
    case GMK_HOST_DEVICE: set_device(g, r); return GMK_OK;
    case GMK_HOST_FAILED: gmk_drv_text(why, GMK_DRV_TEXT, "%s", r->text); return code;
    case GMK_HOST_FAULT: gmk_drv_text(why, GMK_DRV_TEXT, "device fault: %s", r->text); return GMK_ERR_FAULT;
    default:
        if (r->code < 0 && (rc = hear_bridge(g, why)) < 0)
            return rc;
        gmk_drv_text(why, GMK_DRV_TEXT, "the kernel has ended by itself: %s%s%s", gmk_strerror(r->code),
                     r->text[0] != '\0' ? ": " : "", r->text);
        return code;
    }
}

/* All reports that are there.  STATE: the process has closed its socket. */
static int hear(gmk_gpu_t *g, char why[GMK_DRV_TEXT])
{
    gmk_host_report_t r;
    int rc;
    while ((rc = gmk_drv_host_report(&g->host, &r)) == GMK_OK)
        if ((rc = take_report(g, &r, why)) < 0)
            return rc;
    if (rc == GMK_ERR_NOTFOUND)
        return GMK_OK;
    gmk_drv_text(why, GMK_DRV_TEXT,
                 rc == GMK_ERR_STATE
                     ? "the process has closed its socket"
                     : "the process says what is no report; is ggmk-gpuhost of this version?");
    return rc == GMK_ERR_STATE ? rc : GMK_ERR_VERSION;
}

static int code_of_exit(int status)
{
    return status == GMK_HOST_EXIT_NO_DEVICE ? GMK_ERR_UNSUPPORTED
         : status == GMK_HOST_EXIT_USAGE     ? GMK_ERR_INVAL
                                             : GMK_ERR_IO;
}

/* The process: OK while it lives and has nothing bad to say.  Its own words come before its exit status. */
static int check_process(gmk_gpu_t *g, char why[GMK_DRV_TEXT])
{
    bool ended = gmk_drv_host_ended(&g->host, 0);
    int rc = hear(g, why);
    if (rc < 0 && rc != GMK_ERR_STATE)
        return rc;
    if (!ended && rc == GMK_ERR_STATE)
        ended = gmk_drv_host_ended(&g->host, LAST_WORDS_NS);
    return ended ? code_of_exit(gmk_drv_host_how(&g->host, why)) : rc;
}

/* ---- up ------------------------------------------------------------------------------------ */

static int too_late(const gmk_gpu_t *g, const gmk_bridge_stats_t *s, char why[GMK_DRV_TEXT])
{
    gmk_drv_text(why, GMK_DRV_TEXT,
                 "not ready within %llu ms: process %d %s (gmk_gpu_cfg_t.start_timeout_ns)",
                 (unsigned long long)(g->cfg.start_timeout_ns / 1000000), g->host.pid,
                 g->device == GMK_GPU_AUTO ? "has not said which device it found"
                 : s->peer.beats == 0      ? "has not booted its kernel"
                                           : "and this kernel have not agreed on their channels");
    return GMK_ERR_TIMEOUT;
}

static int wait_until_ready(gmk_gpu_t *g, char why[GMK_DRV_TEXT])
{
    uint64_t start = gmk_hal_now_ns();
    gmk_bridge_stats_t s;
    for (;;) {
        bool ready = gmk_bridge_wait_ready(g->bridge, 0) == GMK_OK;
        int rc = check_bridge(g, &s, why);
        if (rc == GMK_OK)
            rc = check_process(g, why); /* after the bridge: whatever led to READY has been said */
        if (rc < 0 || ready)
            return rc;
        if (stopping(g)) {
            gmk_drv_text(why, GMK_DRV_TEXT, "the kernel halts");
            return GMK_ERR_STATE;
        }
        if (gmk_hal_now_ns() - start > g->cfg.start_timeout_ns)
            return too_late(g, &s, why);
        listen_for(g, START_LOOK_NS);
    }
}

static void begin_watch(gmk_gpu_t *g)
{
    gmk_bridge_stats_t s = {0};
    (void)gmk_bridge_stats(g->bridge, &s);
    g->messages = s.received + s.acknowledged;
    g->looked_ns = gmk_hal_now_ns();
    g->peer = (gmk_drv_pulse_t){.beats = s.peer.beats};
    for (uint32_t i = 0; i < GMK_MAX_WORKERS; i++)
        g->worker[i] = (gmk_drv_pulse_t){0};
}

/* A message that passed since the last look ends a row of resets. */
static void count_messages(gmk_gpu_t *g, const gmk_bridge_stats_t *s)
{
    if (s->received + s->acknowledged == g->messages)
        return;
    g->messages = s->received + s->acknowledged;
    g->in_a_row = 0;
}

/* A new process with a new region.  What an error leaves behind, put_down takes away. */
static int bring_up(gmk_gpu_t *g, char why[GMK_DRV_TEXT])
{
    gmk_hal_lock_acquire(&g->lock);
    uint32_t epoch = ++g->epoch;
    g->device = GMK_GPU_AUTO;
    gmk_drv_text(g->device_name, sizeof g->device_name, "unknown device");
    gmk_hal_lock_release(&g->lock);
    int rc = gmk_drv_host_start(&g->host, &g->cfg, core_of(g)->name, epoch, why);
    if (rc < 0)
        return rc;
    rc = gmk_bridge_up(g->bridge, g->host.region, g->host.region_bytes, 0);
    if (rc < 0)
        gmk_drv_text(why, GMK_DRV_TEXT, "the bridge does not take its region: %s", gmk_strerror(rc));
    else
        rc = wait_until_ready(g, why);
    if (rc == GMK_OK) {
        begin_watch(g);
        set_state(g, GMK_GPU_UP);
    }
    return rc;
}

/* ---- down ---------------------------------------------------------------------------------- */

/* Ends the process, in order where it can, and unties the bridge.  False: it does not go away. */
static bool put_down(gmk_gpu_t *g, uint64_t grace_ns, bool keep)
{
    bool ended = gmk_drv_host_ended(&g->host, 0);
    if (!ended) {
        (void)gmk_bridge_ask_stop(g->bridge);
        ended = gmk_drv_host_ended(&g->host, grace_ns);
    }
    if (!ended) {
        gmk_drv_host_kill(&g->host);
        ended = gmk_drv_host_ended(&g->host, GMK_DRV_END_NS);
    }
    (void)gmk_bridge_down(g->bridge, keep && ended);
    gmk_drv_host_release(&g->host);
    return ended;
}

static void note_reset(gmk_gpu_t *g, const char *why)
{
    char line[GMK_DRV_TEXT + 32];
    set_reason(g, why);
    gmk_hal_lock_acquire(&g->lock);
    uint32_t resets = ++g->resets;
    g->asked[0] = '\0';
    gmk_hal_lock_release(&g->lock);
    gmk_umetrics_set(&core_of(g)->umetrics, g->metric_resets, resets);
    gmk_drv_text(line, sizeof line, "reset: %s", why);
    gmk_drv_say(g, line);
}

static void give_up(gmk_gpu_t *g, const char *before, const char *why)
{
    char line[2 * GMK_DRV_TEXT];
    set_reason(g, why);
    set_state(g, GMK_GPU_GONE);
    gmk_drv_text(line, sizeof line, "given up%s: %s; %s goes on without it", before, why, core_of(g)->name);
    gmk_drv_say(g, line);
}

/* Resets until it is up again, or has been reset too often in a row. */
static void recover(gmk_gpu_t *g, char why[GMK_DRV_TEXT])
{
    char before[48];
    gmk_bridge_stats_t s;
    int rc = GMK_ERR_KERNEL_RESET;
    if (gmk_bridge_stats(g->bridge, &s) == GMK_OK)
        count_messages(g, &s);
    while (rc < 0 && !stopping(g)) {
        bool last = g->in_a_row >= g->cfg.max_resets;
        set_state(g, GMK_GPU_RESETTING);
        if (!last)
            note_reset(g, why);
        int pid = g->host.pid;
        if (!put_down(g, GRACE_NS, !last)) {
            gmk_drv_text(why, GMK_DRV_TEXT, "process %d does not end, though it was killed", pid);
            give_up(g, "", why);
            return;
        }
        if (last) {
            gmk_drv_text(before, sizeof before, " after %u resets in a row", g->in_a_row);
            give_up(g, g->in_a_row > 0 ? before : "", why);
            return;
        }
        g->in_a_row++;
        rc = bring_up(g, why);
    }
    if (rc == GMK_OK)
        gmk_drv_say(g, "up again");
}

/* ---- the watch ----------------------------------------------------------------------------- */

static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }

static uint64_t reset_after(const gmk_gpu_t *g)
{
    return most(RESET_BEATS * g->cfg.beat_ns, RESET_BUDGETS * g->cfg.budget_ns);
}

/* Adds a round of silence, or notes that there was none.  True: it is time to warn. */
static bool feel(gmk_drv_pulse_t *p, uint64_t beats, uint32_t type, bool idle, uint64_t step,
                 uint64_t warn_ns)
{
    if (idle || p->beats != beats || p->type != type) {
        *p = (gmk_drv_pulse_t){.beats = beats, .type = type};
        return false;
    }
    p->silent_ns += step;
    bool warn = !p->warned && p->silent_ns >= warn_ns;
    p->warned = p->warned || warn;
    return warn;
}

static void silence_text(const gmk_drv_pulse_t *p, uint32_t worker, char text[GMK_DRV_TEXT])
{
    unsigned long long ms = (unsigned long long)(p->silent_ns / 1000000);
    if (worker == UINT32_MAX)
        gmk_drv_text(text, GMK_DRV_TEXT, "no sign of life for %llu ms", ms);
    else
        gmk_drv_text(text, GMK_DRV_TEXT, "worker %u has run type %u for %llu ms without a sign of life",
                     worker, p->type, ms);
}

static bool too_silent(gmk_gpu_t *g, const gmk_drv_pulse_t *p, uint32_t worker, bool warn,
                       char why[GMK_DRV_TEXT])
{
    bool reset = p->silent_ns >= reset_after(g);
    if (reset || warn)
        silence_text(p, worker, why);
    if (warn && !reset)
        gmk_drv_say(g, why);
    return reset;
}

/* A worker that runs nothing is not silent. */
static bool is_silent(gmk_gpu_t *g, const gmk_bridge_stats_t *s, char why[GMK_DRV_TEXT])
{
    uint64_t now = gmk_hal_now_ns(), step = now - g->looked_ns, beat = g->cfg.beat_ns;
    g->looked_ns = now;
    step = step < beat ? step : beat;
    bool warn = feel(&g->peer, s->peer.beats, 0, false, step, WARN_BEATS * beat);
    if (too_silent(g, &g->peer, UINT32_MAX, warn, why))
        return true;
    for (uint32_t i = 0; i < GMK_MAX_WORKERS; i++) {
        uint64_t beats;
        uint32_t type;
        if (gmk_bridge_peer_worker(g->bridge, i, &beats, &type) < 0)
            break;
        warn = feel(&g->worker[i], beats, type, type == 0, step, WARN_BEATS * beat);
        if (too_silent(g, &g->worker[i], i, warn, why))
            return true;
    }
    return false;
}

static bool reset_is_asked(gmk_gpu_t *g, char why[GMK_DRV_TEXT])
{
    gmk_hal_lock_acquire(&g->lock);
    bool asked = g->asked[0] != '\0';
    if (asked)
        gmk_drv_text(why, GMK_DRV_TEXT, "%s", g->asked);
    gmk_hal_lock_release(&g->lock);
    return asked;
}

/* One look at a kernel that is up: does it have to be reset? */
static bool has_failed(gmk_gpu_t *g, char why[GMK_DRV_TEXT])
{
    gmk_bridge_stats_t s;
    if (reset_is_asked(g, why) || check_process(g, why) < 0 || check_bridge(g, &s, why) < 0)
        return true;
    count_messages(g, &s);
    return is_silent(g, &s, why);
}

static void watch(gmk_gpu_t *g)
{
    char why[GMK_DRV_TEXT];
    while (!stopping(g)) {
        bool gone = g->state == GMK_GPU_GONE;
        listen_for(g, gone ? GMK_HAL_FOREVER : g->cfg.beat_ns / 2);
        if (!gone && !stopping(g) && has_failed(g, why))
            recover(g, why);
    }
}

/* ---- the life of the thread ---------------------------------------------------------------- */

/* The halt: half of its time for a peer that is up to stop in order. */
static void stop_in_order(gmk_gpu_t *g)
{
    char why[GMK_DRV_TEXT], line[GMK_DRV_TEXT + 64];
    bool up = g->state == GMK_GPU_UP;
    (void)gmk_bridge_ask_stop(g->bridge);
    bool ended = up && gmk_drv_host_ended(&g->host, core_of(g)->halt_timeout_ns / 2);
    if (up && !ended)
        gmk_drv_say(g, "has not stopped in order within half of the halt timeout; its process is killed");
    if (ended && gmk_drv_host_how(&g->host, why) != GMK_HOST_EXIT_OK) {
        gmk_drv_text(line, sizeof line, "did not stop in order: %s", why);
        gmk_drv_say(g, line);
    }
    if (!put_down(g, 0, false))
        gmk_drv_say(g, "its process does not end, though it was killed");
}

void gmk_drv_main(void *arg)
{
    gmk_gpu_t *g = arg;
    char why[GMK_DRV_TEXT] = "";
    int rc = bring_up(g, why);
    if (rc == GMK_OK) {
        say_ready(g);
    } else {
        (void)gmk_drv_refuse(g, why, rc);
        (void)put_down(g, 0, false);
    }
    g->start_code = rc;
    gmk_hal_park_wake(&g->started);
    if (rc < 0)
        return;
    watch(g);
    stop_in_order(g);
}
