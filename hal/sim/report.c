/* SPDX-License-Identifier: MIT */
/* report.c — the console under simulation, and what a failed run leaves to read. */
#include "memory.h"

#include <string.h>

static char console[32 << 10];
static size_t console_used;

void sim_console_reset(void) { console[console_used = 0] = '\0'; }

/* Keeps what fits: the first lines of a run tell more than the last. */
void gmk_hal_console(const char *line)
{
    size_t n = strlen(line);
    if (n + 2 > sizeof console - console_used)
        return;
    memcpy(console + console_used, line, n);
    memcpy(console + console_used + n, "\n", 2);
    console_used += n + 1;
}

bool sim_console_has(const char *text) { return strstr(console, text) != NULL; }

static const char *op_name(uint32_t op)
{
#define SIM_OP_NAME(name) #name,
    static const char *const names[] = {SIM_OPS(SIM_OP_NAME)};
    return names[op];
}

static const char *state_name(enum sim_state s)
{
    static const char *const names[] = {"gone",
                                        "can run",
                                        "waits for a lock",
                                        "is parked",
                                        "spins",
                                        "sleeps",
                                        "is stalled",
                                        "joins a thread",
                                        "is at a block barrier",
                                        "is at a meeting of its warp",
                                        "is stopped",
                                        "has finished"};
    return names[s];
}

static enum sim_space space_of(const void *p, uint32_t *owner, uint64_t *offset)
{
    *owner = 0;
    *offset = 0;
    if (p == NULL)
        return SIM_NOWHERE;
    if (sim_page_of(p, offset))
        return SIM_PAGE;
    if (sim_stack_of(p, owner, offset))
        return SIM_STACK;
    if (!sim_static(p))
        return SIM_OTHER;
    *offset = (uintptr_t)p;
    return SIM_STATIC;
}

/* An address as something that is the same in every replay. */
const char *sim_place(const void *p, char *text, size_t size)
{
    uint32_t owner;
    uint64_t offset;

    switch (space_of(p, &owner, &offset)) {
    case SIM_NOWHERE: snprintf(text, size, "-"); break;
    case SIM_PAGE: snprintf(text, size, "page+0x%llx", (unsigned long long)offset); break;
    case SIM_STACK: snprintf(text, size, "stack%u-0x%llx", owner, (unsigned long long)offset); break;
    case SIM_STATIC: sim_symbol(offset, text, size); break;
    case SIM_OTHER: snprintf(text, size, "elsewhere"); break;
    }
    return text;
}

static void print_place(FILE *to, const void *p)
{
    char text[96];
    fputs(sim_place(p, text, sizeof text), to);
}

void sim_emit(uint64_t number)
{
    const struct sim_entry *e = &sim.events[number & (SIM_EVENTS - 1)];
    const struct sim_fiber *f = sim_fiber_at(e->fiber);
    sim_event_t out = {.number = number,
                       .time = e->time,
                       .fiber = e->fiber,
                       .lane = f->lane,
                       .name = f->team->name,
                       .op = op_name(e->op),
                       .value = e->value,
                       .age = e->age,
                       .caller = (uintptr_t)e->pc};
    out.space = space_of(e->where, &out.owner, &out.offset);
    sim_races_on(false);
    sim.hook(sim.hook_arg, &out);
    sim_races_on(true);
}

static void print_name(FILE *to, const struct sim_fiber *f)
{
    fprintf(to, "%u:%s", f->id, f->team->name);
    if (f->team->lanes > 1)
        fprintf(to, ".%u", f->lane);
}

static void print_event(FILE *to, uint64_t number)
{
    const struct sim_entry *e = &sim.events[number & (SIM_EVENTS - 1)];
    fprintf(to, "  %8llu  ", (unsigned long long)number);
    print_name(to, sim_fiber_at(e->fiber));
    fprintf(to, "  %s ", op_name(e->op));
    print_place(to, e->where);
    fprintf(to, " = 0x%llx", (unsigned long long)e->value);
    if (e->age != 0)
        fprintf(to, " (%u behind)", e->age);
    fprintf(to, "  at ");
    print_place(to, e->pc);
    fprintf(to, "\n");
}

static void print_fiber(FILE *to, const struct sim_fiber *f)
{
    fprintf(to, "  ");
    print_name(to, f);
    fprintf(to, " %s", state_name(f->state));
    if (f->waits_on != NULL && f->state > SIM_RUNNABLE && f->state < SIM_DONE) {
        fprintf(to, " ");
        print_place(to, f->waits_on);
    }
    if (f->due != UINT64_MAX && f->state > SIM_RUNNABLE && f->state < SIM_DONE)
        fprintf(to, ", until %llu", (unsigned long long)f->due);
    fprintf(to, "\n");
}

void sim_report(FILE *to, unsigned events)
{
    uint64_t kept = sim.n_events < SIM_EVENTS ? sim.n_events : SIM_EVENTS;
    uint64_t n = events < kept ? events : kept;

    fprintf(to, "last %llu events (number, fiber, operation, word = value, caller):\n",
            (unsigned long long)n);
    for (uint64_t i = sim.n_events - n; i < sim.n_events; i++)
        print_event(to, i);
    fprintf(to, "fibers at time %llu:\n", (unsigned long long)sim.now);
    for (uint32_t i = 0; i < sim.n_fibers; i++)
        if (sim_fiber_at(i)->state != SIM_FREE)
            print_fiber(to, sim_fiber_at(i));
    if (console_used > 0)
        fprintf(to, "console:\n%s", console);
}
