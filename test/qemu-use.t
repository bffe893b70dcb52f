#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The machine at work: the word counter, the monitor, faults, errors for people, switching off."""

import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "qemu"))
import machine as m  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORDCOUNT = f"{m.BUILD}/wordcount"
tests = m.Tests()


def real_text(size):
    """Text of this machine, or of this tree."""
    parts, have = [], 0
    for folder in ("/usr/share/common-licenses", f"{ROOT}/docs", f"{ROOT}/src"):
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            path = f"{folder}/{name}"
            if os.path.isfile(path) and have < size:
                with open(path, "rb") as f:
                    parts.append(f.read())
                have += len(parts[-1])
    text = b"".join(parts)
    return (text * (size // max(1, len(text)) + 1))[:size]


# ---- the word counter -------------------------------------------------------------------------


def hosted(path, *options):
    return subprocess.run([WORDCOUNT, *options, path], check=True, capture_output=True).stdout.decode()


def words_of(vm):
    return "".join(line + "\n" for line in vm.text().splitlines() if re.match(r" *\d+ [a-z]+$", line))


def counts_as_hosted(folder, size, top="20", device="virtio-blk-pci", **options):
    with open(f"{folder}/text", "wb") as f:
        f.write(real_text(size))
    disk = m.padded(f"{folder}/disk", real_text(size))
    extra = m.disk(disk, readonly=True, device=device)
    with m.Machine(f"auto top={top} input_bytes={size}", extra=extra, **options) as vm:
        vm.ends_with(0)
        got = words_of(vm)
    m.check(got == hosted(f"{folder}/text", "--top", top), f"not what the hosted program says:\n{got[:2000]}")


tests.add("word counter, 4 CPUs", counts_as_hosted, 300_000)
tests.add("word counter, 1 CPU, every word", counts_as_hosted, 300_000, top="0", cpus=1)
tests.add("word counter, 3 MB on 64 MB of memory", counts_as_hosted, 3_000_001, memory=64, machine="q35")
for name, device in (
    ("a legacy disk", "virtio-blk-pci,disable-modern=on"),
    ("a modern disk", "virtio-blk-pci-non-transitional"),
    ("a disk without MSI-X", "virtio-blk-pci,vectors=0"),
):
    tests.add(f"word counter, {name}", counts_as_hosted, 100_000, device=device)
for size in (0, 1, 511, 512, 513):
    tests.add(f"word counter, {size} bytes", counts_as_hosted, size)


def demo_fails(folder, append, pattern, extra=None):
    if extra is None:
        extra = m.disk(m.padded(f"{folder}/disk", real_text(1000)), readonly=True)
    with m.Machine(append, extra=extra) as vm:
        vm.expect(pattern)
        vm.ends_with(m.DEMO_FAILED)


def disk_error(folder):
    """The disk reports an error for the sector at 256 KiB."""
    disk = m.padded(f"{folder}/disk", real_text(600_000))
    with open(f"{folder}/rules", "w", encoding="ascii") as f:
        f.write('[inject-error]\nevent = "read_aio"\nsector = "513"\nonce = "off"\nerrno = "5"\n')
    drive = f"driver=raw,node-name=bad,read-only=on,file.driver=blkdebug,file.config={folder}/rules"
    drive += f",file.image.driver=file,file.image.filename={disk}"
    extra = ["-blockdev", drive, "-device", "virtio-blk-pci,drive=bad"]
    demo_fails(folder, "auto input_bytes=600000", r"wordcount: disk 0, sector \d+: ", extra=extra)


tests.add(
    "a disk smaller than the text", demo_fails, "auto input_bytes=2000", "the disk has 1024 bytes, and the text 2000"
)
tests.add("a length that is no number", demo_fails, "auto input_bytes=12x", "input_bytes=12x: give the length")
tests.add("no disk", demo_fails, "auto input_bytes=1", "there is no disk", extra=[])
tests.add("a disk error", disk_error)


# ---- the monitor ------------------------------------------------------------------------------


def every_command(folder):
    disk = m.padded(f"{folder}/disk", b"The first sector of a disk.")
    with m.Machine("input_bytes=27", extra=m.disk(disk, "eins")) as vm:
        vm.prompt()
        vm.run("help", r"  halt +halts the core.*ggmk> ")
        vm.run("help trace", r"usage: trace \[LEVEL.*ggmk> ")
        vm.run("ps", r" 0 +running +monitor.* threads on 4 CPUs")
        vm.run("top 1", r"cpu   0 +[\d.]+ %.*THREAD.*monitor.*ggmk> ")
        vm.run("stats", r"accepted (\d+) = completed.*workers +4.*ggmk> ")
        vm.run("stats wc.count", r'type 3, "wc.count" of module "wc.count".*run time: .*ggmk> ')
        vm.run("mod", r"wc.reader\n? *.*wc.read .*ggmk> ")
        vm.run("chan", r"sys.error +fan-out +.*wc.chunk +P2P .*ggmk> ")
        vm.run("chan wc.top", r"wc.top: P2P, lossless, message type 4, 1 subscriber.*ggmk> ")
        vm.run("mem", r"physical .*virtual .*arena +64 MiB.*ggmk> ")
        vm.run("mem map", r"usable.*kernel, modules.*ggmk> ")
        vm.run("pci", r"1af4:1001 .*functions, configured through.*ggmk> ")
        vm.run("pci 00:02.0", r"MSI-X: \d+ entries.*ggmk> ")
        vm.run("blk", r"vda .*serial eins.*reads \d+ .*ggmk> ")
        vm.run("blk vda 0", r"0000  54 68 65 20 66 69 72 73 .*The first sector.*ggmk> ")
        vm.run("emit machine.echo 7 0x10", r"echo: message 0 on worker \d: 7 \(0x7\) 16 \(0x10\)")
        vm.run("emit 34 1", r"echo: message \d+ on worker \d: 1 ")
        vm.run("trace", r"level .*ggmk> ")
        vm.run("trace all", r"ggmk> ")
        vm.run("fault", r"everywhere .*ggmk> ")
        vm.run("test mem", r"1\.\.(\d+)\r\n# 0 of \1 failed")
        vm.run("halt", r"core: halted; \d+ completed, 0 failed")
        vm.ends_with(0)
        lines = vm.text().partition("ready: ")[2].splitlines()
        wide = [line for line in lines if len(line.replace("\x1b[K", "")) > 80]
        m.check(not wide, "wider than 80 columns: " + repr(wide[:5]))


def wrong_words(folder):
    wrong = {
        "nonsense": r"no such command: 'nonsense' \(help",
        "ps all": r"no arguments here: 'all'\r\nusage: ps",
        "top x": r"not a number: 'x'\r\nusage: top",
        "top 61": r"too large: '61'",
        "stats 300": r"no such handler type .*: '300'\r\nusage: stats",
        "chan no.such": r"no such channel .*: 'no.such'",
        "emit no.such": r"neither a handler type nor a channel: 'no.such'",
        "emit 1 x": r"not a number: 'x'",
        "trace loud": r"no such level .*: 'loud'",
        "trace all x": r"no such module .*: 'x'",
        "trace every 0": r"at least 1: '0'",
        "trace send": r"no second serial port: ",
        "pci 99:0": r"no such device .*: '99:0'",
        "blk 3 0": r"no such disk .*: '3'",
        "blk 0": r"a disk and a sector: '0'\r\nusage: blk",
        "mem all": r"only 'map' can be asked for: 'all'",
        "fault x": r"no such fault .*: 'x'",
        "test x": r"no such group: 'x'",
        "help x": r"no such command: 'x'",
        "emit a b c d e f g h i": r"too many words: 'h'",
    }
    with m.Machine() as vm:
        vm.prompt()
        for command, pattern in wrong.items():
            vm.run(command, pattern + ".*ggmk> ")
        vm.run("halt", "core: halted")
        vm.ends_with(0)


def editing(folder):
    up, down, left, home, end, delete = "\x1b[A", "\x1b[B", "\x1b[D", "\x1b[H", "\x1b[F", "\x1b[3~"
    with m.Machine() as vm:
        vm.prompt()
        vm.run("xelp fault" + home + delete + "h", r"usage: fault")
        vm.run("fault" + "\x01" + "help " + end + " ", r"usage: fault")
        vm.run("help topp\x7f", r"usage: top")
        vm.run("help halx" + left + "\x0bt", r"usage: halt")
        vm.run("garbage\x15help pci", r"usage: pci")
        vm.run("help nonsense\x17blk", r"usage: blk")
        vm.run(up + up, r"usage: pci")
        vm.run(up + up + up + down, r"usage: blk")
        vm.run("no\x03help mem", r"usage: mem")
        vm.run("x" * 200 + "\x15" + "help chan", r"usage: chan")
        vm.run("\x1b[99;99z\x1bOA\x15help stats", r"usage: stats")
        vm.type("".join(f"help x{i}\r" for i in range(40)))
        vm.expect(r"'x39'")
        vm.run(up * 32, r"'x8'")
        vm.run("halt", "core: halted")
        vm.ends_with(0)


def idle(folder):
    """At the prompt nothing runs: QEMU needs next to no time of the host's processor."""
    with m.Machine() as vm:
        vm.prompt()
        vm.run("top 3", r"cpu   3 +[\d.]+ %.*ggmk> ")  # the watchdog has gone to sleep meanwhile
        before = vm.cpu_seconds()
        vm.type("top 5\r")
        vm.expect(r"cpu   0 .*ggmk> ")
        used = vm.cpu_seconds() - before
        m.check(used < 0.5, f"QEMU used {used:.2f} s of the host's processor in 5 s")


tests.add("each command of the monitor, within 80 columns", every_command)
tests.add("wrong words get a usage line", wrong_words)
tests.add("editing lines, and their history", editing)
tests.add("an idle machine rests", idle)


# ---- faults -----------------------------------------------------------------------------------

CONTAINED = {
    "divide": r"fault: gmk\.\d: #DE, .* on_divide",
    "page": r"fault: gmk\.\d: #PF, page fault at .* on_page.*, address 0x1000\r",
    "stack": r"fault: gmk\.\d: #PF, stack overflow at ",
    "ud": r"fault: gmk\.\d: #UD, invalid opcode at .* on_ud",
}


def contained(folder, kind, pattern):
    with m.Machine() as vm:
        vm.prompt()
        vm.run(f"fault {kind}", pattern)
        vm.expect(rf'core: 1 delivery of "fault.{kind}" failed: CPU fault in the handler')
        vm.run("stats", r"completed \d+ \+ failed 1 \+.*faults 1,")
        vm.run("halt", r"core: halted; \d+ completed, 1 failed")
        vm.ends_with(0)


def everywhere(folder, cpus):
    with m.Machine(cpus=cpus) as vm:
        vm.prompt()
        vm.run("fault everywhere", r"ggmk> ")
        vm.run("stats", rf"failed {cpus} \+.*faults {cpus},")
        faults = re.findall(r"fault: gmk\.(\d+): #DE", vm.text())
        m.check(sorted(map(int, faults)) == list(range(cpus)), f"faults of the workers {faults}")
        vm.run("halt", "core: halted")
        vm.ends_with(0)


def hang(folder, cpus):
    with m.Machine(cpus=cpus) as vm:
        vm.prompt()
        vm.run("fault hang", r'worker \d is stalled in handler "fault.hang"')
        vm.run("emit machine.echo 5", r"echo: message 0 on worker \d: 5 ")
        until = time.monotonic() + m.BOUND
        while vm.run("stats", r"zombies (\d+),")[1] not in (b"1", "1"):  # it is replaced a little later
            m.check(time.monotonic() < until, "the worker was not replaced")
        vm.run("fault release", r"1 released")
        vm.run("emit machine.echo 6", r"echo: message 1 on worker \d: 6 ")
        vm.run("halt", r"core: halted; \d+ completed, 0 failed")
        vm.ends_with(0)


def fatal(folder, kind, pattern):
    with m.Machine() as vm:
        vm.prompt()
        vm.run(f"fault {kind}", r"\*\*\* PANIC on CPU 0: " + pattern)
        vm.expect(r"CPU 0 .*thread monitor.*inject.*cmd_fault.*monitor_main.*CPU 3 .*idle")
        vm.ends_with(m.PANIC)


for kind, pattern in CONTAINED.items():
    tests.add(f"a fault of a handler: {kind}", contained, kind, pattern)
tests.add("a fault on every CPU at once", everywhere, 4)
tests.add("a handler that hangs, 1 CPU", hang, 1)
tests.add("a handler that hangs, 4 CPUs", hang, 4)
tests.add("a double fault", fatal, "double", "#DF double fault")
tests.add("a panic", fatal, "panic", "a panic, as asked for")


# ---- COM2, and make run -----------------------------------------------------------------------

FXT_MAGIC = bytes.fromhex("1000044678541600")
COM2 = f"{ROOT}/tools/ggmk-com2"


def look_at_exports(trace, metrics, size):
    with open(trace, "rb") as f:
        data = f.read()
    m.check(data.startswith(FXT_MAGIC) and b"wc.tokenize" in data, "no trace of the word counter")
    with open(metrics, encoding="ascii") as f:
        text = f.read()
    m.check(f'ggmk_user_wc_bytes_read_total{{kernel="cpu.0"}} {size}\n' in text, text[-2000:])


def sent_by_hand(folder):
    """Two pieces of each kind: those asked for on the command line, and those from the prompt."""
    disk, line = m.padded(f"{folder}/disk", b"some words, some more words"), f"{folder}/com2"
    extra = [*m.disk(disk, readonly=True), "-serial", f"file:{line}"]
    with m.Machine("input_bytes=27 com2=metrics,trace", extra=extra) as vm:
        vm.expect(r"com2: sent metrics.*com2: sent trace.*ggmk> ")
        vm.run("stats send", r"sent metrics, [\d.]+ KiB")
        vm.run("trace send", r"sent the trace, [\d.]+ ")
        vm.run("halt", "core: halted")
        vm.ends_with(0)
    files = [f"{folder}/t", f"{folder}/m"]
    done = plain(COM2, "--trace", files[0], "--metrics", files[1], line)
    m.check(done.returncode == 0 and not done.stderr, done.stderr)
    look_at_exports(*files, 27)


def make(*words):
    program = os.environ.get("MAKE", "make")
    return [program, "-s", "--no-print-directory", "-C", ROOT, f"BUILD={os.path.abspath(m.BUILD)}", *words]


def plain(*words):
    """Runs a program that has nobody to ask."""
    return subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=m.BOUND, check=False
    )


def run_without_terminal(folder):
    """make run: the report, the exports, status 0."""
    text, trace, metrics = (f"{folder}/{name}" for name in ("text", "out.fxt", "out.prom"))
    with open(text, "wb") as f:
        f.write(real_text(50_000))
    words = make("run", f"INPUT={text}", f"TRACE={trace}", f"METRICS={metrics}", f"RUN_DIR={folder}/run")
    done = plain(*words)
    m.check(done.returncode == 0, f"status {done.returncode}: {done.stdout[-1500:]}{done.stderr}")
    m.check(hosted(text) in done.stdout, f"not what the hosted program says:\n{done.stdout[-1500:]}")
    look_at_exports(trace, metrics, 50_000)
    done = plain(*make("run", "INPUT=-x"))
    m.check(done.returncode != 0 and "'-x': no such file" in done.stderr, done.stderr)


def run_at_a_terminal(folder):
    """The same with a terminal: the prompt comes back, ^C is a key like others, halt ends it."""
    with m.Machine(extra=(), command=make("run", "INPUT=README.md", f"RUN_DIR={folder}/run"), terminal=True) as vm:
        vm.expect(r"wordcount: .*ggmk> ")
        vm.run("nonsense\x03help ps", r"usage: ps")
        vm.run("halt", "core: halted")
        vm.ends_with(0)


def in_gdb(folder):
    """tools/gdb/ggmk.py shows what there is, and leaves the machine as it was."""
    if not shutil.which("gdb"):
        raise m.Skip("no gdb on this machine")
    disk, socket = m.padded(f"{folder}/disk", b"words"), f"{folder}/gdb"
    extra = [*m.disk(disk, readonly=True), "-chardev", f"socket,id=gdb,path={socket},server=on,wait=off"]
    words = ["source tools/gdb/ggmk.py", f"target remote {socket}", "ggmk", "ggmk threads", "ggmk bt 1", "ggmk task 0"]
    with m.Machine("input_bytes=5", extra=[*extra, "-gdb", "chardev:gdb"]) as vm:
        vm.expect(r"wordcount: .*ggmk> ")
        commands = [word for w in [*words, *(f"ggmk bt {i}" for i in range(2, 20))] for word in ("-ex", w)]
        done = plain("gdb", "-batch", "-nx", m.KERNEL, *commands)
        for pattern in (
            r"^3 +3 +idle\.3 ",
            r"^0 +running +- ",
            r"^shared queues: priority 0: 0,",
            r"^wc\.chunk +P2P .* wc\.tokenize \(0 open, idle\)",
            r"^\d+ +\d +blocked +monitor ",
            r"monitor_main \(",
            r"gmk_worker_main \(",
        ):
            m.check(re.search(pattern, done.stdout, re.M), f"no /{pattern}/ in\n{done.stdout}{done.stderr}")
        m.check("Python Exception" not in done.stderr, done.stderr)
        vm.run("halt", "core: halted")
        vm.ends_with(0)


tests.add("gdb and tools/gdb/ggmk.py", in_gdb)
tests.add("metrics and a trace by COM2", sent_by_hand)
tests.add("make run without a terminal", run_without_terminal)
tests.add("make run at a terminal", run_at_a_terminal)


# ---- machines that lack something -------------------------------------------------------------


def stops(folder, append, pattern, **options):
    with m.Machine(append, **options) as vm:
        vm.expect(pattern)
        vm.ends_with(m.PANIC)


def without_acpi(folder):
    with m.Machine(extra=["-no-acpi"]) as vm:
        vm.expect(r"acpi: none: one CPU")
        vm.prompt()
        vm.run("ps", r"threads on 1 CPU")
        vm.run("halt", "core: halted.*power: this machine cannot be switched off by software")


def reboots(folder, machine):
    with m.Machine(machine=machine, restarts=True) as vm:
        vm.prompt()
        vm.run("reboot", r"core: halted.*GGMK on x86-64")
        vm.prompt()
        vm.run("halt", "core: halted")
        vm.ends_with(0)


tests.add("too little memory", stops, "", r"PANIC.*too little memory: ", memory=8)
tests.add("an arena larger than the memory", stops, "arena=1G", r"PANIC.*arena=1G: only .* are free")
tests.add("an arena that is no size", stops, "arena=much", r"PANIC.*arena=much: give a size")
tests.add("no ACPI", without_acpi)
for machine in ("pc", "q35"):
    tests.add(f"restart, and off, of a {machine}", reboots, machine)

sys.exit(tests.main())
