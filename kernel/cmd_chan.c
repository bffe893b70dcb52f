/* SPDX-License-Identifier: MIT */
/* cmd_chan.c — chan and emit: the core's channels, and messages from the prompt. */
#include "kernel/machine.h"
#include "kernel/monitor.h"

#include "kprintf.h"
#include "string.h"

/* ---- the names of all channels ------------------------------------------------------------ */

static const char label[] = "channel=\"";
#define LABEL (sizeof(label) - 1)

/* Channels have no list of their own; the metrics name each of them. */
typedef struct names {
    char name[GMK_MAX_CHANNELS][GMK_NAME_MAX + 1];
    uint32_t n;
    uint32_t matched; /* bytes of the label; all of them: within a name */
    uint32_t length;  /* of the name so far */
} names_t;

/* A name is complete; true: it was there before, so the first family of metrics is over. */
static bool end_name(names_t *l)
{
    l->name[l->n][l->length] = 0;
    for (uint32_t i = 0; i < l->n; i++)
        if (strcmp(l->name[i], l->name[l->n]) == 0)
            return true;
    l->n++;
    l->matched = l->length = 0;
    return false;
}

static bool take_byte(names_t *l, char c)
{
    if (l->matched < LABEL) {
        l->matched = c == label[l->matched] ? l->matched + 1 : c == label[0] ? 1 : 0;
        return false;
    }
    if (c == '"')
        return end_name(l);
    if (l->length < GMK_NAME_MAX)
        l->name[l->n][l->length++] = c;
    return false;
}

static int collect(void *arg, const void *data, size_t size)
{
    names_t *l = arg;
    const char *text = data;

    for (size_t i = 0; i < size; i++)
        if (l->n == GMK_MAX_CHANNELS || take_byte(l, text[i]))
            return -1;
    return 0;
}

/* ---- chan --------------------------------------------------------------------------------- */

static bool figures(gmk_ctx_t *c, const char *name, gmk_chan_stats_t *st)
{
    gmk_chan_t ch;

    return gmk_chan_find(c, name, &ch) == GMK_OK && gmk_chan_stats(c->kernel, ch, st) == GMK_OK;
}

static void list_channels(gmk_ctx_t *c)
{
    static names_t names;
    gmk_chan_stats_t st;

    names.n = names.matched = names.length = 0;
    (void)gmk_export_prometheus(c->kernel, collect, &names);
    kprintf("NAME                     KIND    SUBS  SLOTS   USED    EMITTED  COMPLETED FAILED\n");
    for (uint32_t i = 0; i < names.n; i++)
        if (figures(c, names.name[i], &st))
            kprintf("%-24.24s %-7s %4u %6u %6lu %10lu %10lu %6lu\n", st.name,
                    st.mode == GMK_P2P ? "P2P" : "fan-out", st.subs, st.slots, st.used, st.emitted,
                    st.completed, st.failed);
}

static bool show_channel(gmk_ctx_t *c, const char *name)
{
    gmk_chan_stats_t st;

    if (!figures(c, name, &st))
        return wrong("no such channel (chan lists them)", name);
    kprintf("%s: %s, %s, message type %u, %u subscriber%s\n", st.name, st.mode == GMK_P2P ? "P2P" : "fan-out",
            st.guarantee == GMK_LOSSY ? "lossy" : "lossless", st.msg_type, st.subs, st.subs == 1 ? "" : "s");
    kprintf("  credits %u, in use %lu, waiting for some %u\n", st.slots, st.used, st.waiters);
    kprintf("  messages emitted %lu, refused %lu, unheard %lu\n", st.emitted, st.refused, st.unheard);
    kprintf("  deliveries completed %lu, failed %lu, dropped %lu (shed %lu)\n", st.completed, st.failed,
            st.dropped, st.shed);
    return true;
}

bool cmd_chan(int argc, char **argv)
{
    gmk_port_t port;
    bool good = true;

    if (argc > 2)
        return wrong("one channel at a time", argv[2]);
    int code = gmk_attach(machine_core(), &port);
    if (code != GMK_OK)
        return report_code("chan", code);
    if (argc > 1)
        good = show_channel(gmk_port_ctx(&port), argv[1]);
    else
        list_channels(gmk_port_ctx(&port));
    gmk_detach(&port);
    return good;
}

/* ---- emit --------------------------------------------------------------------------------- */

static bool emit_on(gmk_ctx_t *c, const char *name, const gmk_task_t *t)
{
    gmk_chan_t ch;
    int code = gmk_chan_find(c, name, &ch);

    if (code == GMK_ERR_NOTFOUND || code == GMK_ERR_INVAL)
        return wrong("neither a handler type nor a channel", name);
    if (code == GMK_OK)
        code = gmk_chan_emit(c, ch, t);
    return report_code(name, code);
}

bool cmd_emit(int argc, char **argv)
{
    gmk_task_t t = {.flags = GMK_PRIO_1};
    uint64_t type = 0;
    gmk_port_t port;
    bool good;

    if (argc < 2)
        return false;
    if (argc > 4)
        return wrong("too many words", argv[4]);
    if (!number_argument(argc, argv, 2, UINT64_MAX, &t.meta0) ||
        !number_argument(argc, argv, 3, UINT64_MAX, &t.meta1))
        return false;
    int code = gmk_attach(machine_core(), &port);
    if (code != GMK_OK)
        return report_code("emit", code);
    if (argv[1][0] >= '0' && argv[1][0] <= '9') {
        good = number_argument(argc, argv, 1, MACHINE_TYPES - 1, &type);
        t.type = (uint32_t)type;
        if (good)
            (void)report_code("emit", gmk_emit(gmk_port_ctx(&port), &t));
    } else {
        good = emit_on(gmk_port_ctx(&port), argv[1], &t);
    }
    gmk_detach(&port);
    return good;
}
