# SPDX-License-Identifier: MIT
"""GGMK in gdb: what the bare-metal kernel does, read from its memory while it stands still.

    (gdb) source tools/gdb/ggmk.py
    (gdb) target remote :1234
    (gdb) ggmk              everything below, in short
    (gdb) ggmk cpus         what each CPU runs, its lists, its interrupts
    (gdb) ggmk threads      all threads
    (gdb) ggmk tasks        what each worker runs and has queued, and the queues they share
    (gdb) ggmk task NUMBER  a worker's task in full, and its batch
    (gdb) ggmk channels     channels, their credits, who hears them
    (gdb) ggmk bt NUMBER    the stack of a thread that does not run (its id in `ggmk threads`)

Nothing in the machine is changed but by `ggmk bt`, which puts the registers back.
"""

import gdb

THREAD_STATES = ("ready", "running", "blocked", "dead")
WORKER_STATES = ("free", "running", "zombie", "gone")
MAILBOX_STATES = ("idle", "queued", "running", "?")
TICKET = 1 << 24
SAVED_RBP = 6  # words above the stack pointer of a thread that called context_switch (switch.S)
MOST = 100_000  # of any list: memory may be damaged


def static(file, name):
    """A variable that is static in a file."""
    return gdb.parse_and_eval(f"'{file}'::{name}")


def number(value):
    """An atomic's number, or a plain one."""
    value = gdb.Value(value)
    return int(value["v"]) if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT else int(value)


def text(value):
    return value.string("utf-8", "replace")


def pointer(value, type_name):
    return gdb.Value(number(value)).cast(gdb.lookup_type(type_name).pointer())


def print_table(heads, rows):
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [heads] + rows) for i in range(len(heads))]
    for row in [heads] + rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


# ---- the machine ------------------------------------------------------------------------------


def cpus():
    table = static("arch/x86_64/cpu.c", "cpus")
    for i in range(table.type.range()[1] + 1):
        if int(table[i]) != 0 and number(table[i]["online"]):
            yield table[i].dereference()


def threads():
    thread = static("arch/x86_64/thread_life.c", "all_threads")
    for _ in range(MOST):
        if int(thread) == 0:
            return
        yield thread.dereference()
        thread = thread["all_next"]


def show_cpus():
    rows = []
    for cpu in cpus():
        current = cpu["current"]
        interrupts = sum(number(cpu["counts"][v]) for v in range(32, 256))
        rows.append(
            (
                int(cpu["index"]),
                int(cpu["lapic_id"]),
                text(current["name"]) if int(current) else "-",
                number(cpu["n_ready"]),
                number(cpu["n_threads"]),
                interrupts,
                number(cpu["counts"][0xFC]),
            )
        )
    print_table(("CPU", "LAPIC", "RUNS", "READY", "THREADS", "INTERRUPTS", "TIMER"), rows)


def show_threads():
    rows = []
    for t in threads():
        state = int(t["state"])
        rows.append(
            (
                int(t["id"]),
                int(t["cpu"]["index"]),
                THREAD_STATES[state] if state < 4 else state,
                text(t["name"]),
                f"{int(t['ran_ns']) / 1e9:.3f} s",
                int(t["switches"]),
            )
        )
    print_table(("ID", "CPU", "STATE", "NAME", "RAN", "SWITCHES"), sorted(rows))


def show_backtrace(wanted):
    """Through the saved registers: a thread that was switched out has pushed RBP and its way back."""
    for t in threads():
        if int(t["id"]) != wanted:
            continue
        if THREAD_STATES[int(t["state"])] == "running":
            print("it runs: see `info threads` and `bt`")
            return
        registers = {name: int(gdb.parse_and_eval("$" + name)) for name in ("rsp", "rbp", "rip")}
        saved = {name: int(t["frame"][name]) for name in registers} if int(t["preempted"]) else switched(t)
        try:
            for name in ("rsp", "rbp", "rip"):
                gdb.execute(f"set ${name} = {saved[name]}", to_string=True)
            gdb.execute("bt")
        finally:
            for name, value in registers.items():
                gdb.execute(f"set ${name} = {value}", to_string=True)
        return
    print(f"no thread {wanted}: `ggmk threads` lists them")


def switched(thread):
    """context_switch (switch.S) pushes rbp, rbx, r12 to r15, and puts MXCSR on top."""
    stack = gdb.Value(int(thread["rsp"])).cast(gdb.lookup_type("unsigned long").pointer())
    return {"rbp": int(stack[SAVED_RBP]), "rip": int(stack[SAVED_RBP + 1]), "rsp": int(stack) + 8 * (SAVED_RBP + 2)}


# ---- the core ---------------------------------------------------------------------------------


def core():
    kernel = static("kernel/machine.c", "kernel")
    if int(kernel["core"]) == 0:
        raise gdb.GdbError("cpu.0 has not booted yet")
    return kernel["core"].dereference()


def workers(k):
    for i in range(int(k["n_all"])):
        yield k["workers"][i]


def type_name(k, t):
    return f'{t} {text(k["types"][t]["name"])}' if 0 < t < int(k["n_types"]) else "-"


def queued(w):
    """Tasks in the local queue: the thieves' index is the upper half of head."""
    return (number(w["lq"]["tail"]) - (number(w["lq"]["head"]) & 0xFFFFFFFF)) & 0xFFFFFFFF


def show_tasks():
    k = core()
    rows = []
    for w in workers(k):
        state = WORKER_STATES[number(w["state"])]
        if state == "free":
            continue
        running = number(w["cur"])
        rows.append(
            (
                int(w["index"]),
                state,
                type_name(k, number(w["cur_type"])) if running else "-",
                f"{running}/{number(w['batched'])}" if running else "-",
                queued(w),
                number(w["has_next"]),
                number(w["beats"]),
            )
        )
    print_table(("WORKER", "STATE", "TASK", "OF BATCH", "QUEUED", "NEXT", "BEATS"), rows)
    shared = []
    for i in range(int(k["n_buckets"])):
        ring = k["buckets"][i]["ring"]
        shared.append(f"priority {int(k['buckets'][i]['prio'])}: {number(ring['tail']) - number(ring['head'])}")
    print("shared queues: " + ", ".join(shared))
    timers, waiting, free = number(k["evq"]["count"]), number(k["waiting"]), number(k["credits"])
    print(f"timers {timers}, waiting on channels {waiting}, free task credits {free} of {int(k['task_max'])}")


def show_task(index):
    k = core()
    for w in workers(k):
        if int(w["index"]) != index or WORKER_STATES[number(w["state"])] == "free":
            continue
        for position in range(min(number(w["batched"]), 64)):
            slot = w["batch"][int(w["order"][position])]["task"]
            mark = "->" if position + 1 == number(w["cur"]) else "  "
            words = f"meta0 0x{int(slot['meta0']):x} meta1 0x{int(slot['meta1']):x}"
            payload = f"payload 0x{int(slot['payload_ptr']):x}+{int(slot['payload_len'])}"
            print(f"{mark} {type_name(k, int(slot['type']))}: seq {int(slot['seq'])} {words} {payload}")
        print(f"local queue: {queued(w)} tasks")


def mailboxes(channel):
    for i in range(32):
        address = number(channel["subs"][i])
        if address:
            yield pointer(channel["subs"][i], "gmk_mailbox_t")


def show_channels():
    k = core()
    rows = []
    for i in range(256):
        if number(k["chans"]["slot"][i]) == 0:
            continue
        c = pointer(k["chans"]["slot"][i], "gmk_channel_t").dereference()
        emitted = number(c["in"]["word"]) // TICKET
        heard = []
        for m in mailboxes(c):
            done = number(m["done"]) // TICKET
            state = MAILBOX_STATES[number(m["in"]["word"]) & 3]
            heard.append(f"{type_name(k, int(m['handler']))} ({emitted - done} open, {state})")
        mode = "fan-out" if int(c["mode"]) else "P2P"
        rows.append((text(c["name"]), mode, int(c["slots"]), emitted, number(c["waiters"]), "; ".join(heard)))
    print_table(("CHANNEL", "KIND", "SLOTS", "EMITTED", "WAITERS", "HEARD BY"), rows)


def show_all():
    for title, show in (("CPUs", show_cpus), ("tasks", show_tasks), ("channels", show_channels)):
        print(f"---- {title}")
        show()


class Ggmk(gdb.Command):
    """What GGMK does: cpus, threads, tasks, task NUMBER, channels, bt NUMBER; alone, an overview."""

    WORDS = {
        "": show_all,
        "cpus": show_cpus,
        "threads": show_threads,
        "tasks": show_tasks,
        "channels": show_channels,
    }
    NUMBERS = {"task": show_task, "bt": show_backtrace}

    def __init__(self):
        super().__init__("ggmk", gdb.COMMAND_DATA)

    def complete(self, words, _):
        return [w for w in (*self.WORDS, *self.NUMBERS) if w and w.startswith(words)]

    def invoke(self, arguments, _):
        words = arguments.split()
        word = words[0] if words else ""
        if word in self.WORDS and len(words) <= 1:
            self.WORDS[word]()
        elif word in self.NUMBERS and len(words) == 2 and words[1].isdigit():
            self.NUMBERS[word](int(words[1]))
        else:
            raise gdb.GdbError(f"ggmk {arguments}: " + self.__doc__)


Ggmk()
