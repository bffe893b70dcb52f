# SPDX-License-Identifier: MIT
"""Bare-metal machines in QEMU, and TAP, for the tests test/qemu*.t.

A machine's serial line is a pair of pipes.  A test waits for what it wants to read, never for a time;
BOUND only ends a run that hangs, as a failure.  GGMK_QEMU_BOUND changes it (seconds).
"""

import concurrent.futures
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

BUILD = os.environ.get("BUILD", "build")
QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
BOUND = float(os.environ.get("GGMK_QEMU_BOUND", "100"))
KERNEL = f"{BUILD}/gmk_kernel.elf"
KERNEL_UBSAN = f"{BUILD}/gmk_kernel_ubsan.elf"
LOADER = f"{BUILD}/gmk_loader.elf"
SECTOR = 512

PASSED, FAILED, DEMO_FAILED, PANIC = 33, 35, 3, 7  # QEMU's status by isa-debug-exit: (code << 1) | 1
OVMF = next((p for p in ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/ovmf/OVMF.fd") if os.path.exists(p)), None)


running = set()  # process groups, for a test that is ended from outside


def end_all(*_):
    """Leaves no machine behind."""
    for group in list(running):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    os._exit(1)


class Failure(Exception):
    """What a test saw instead of what it wanted."""


class Skip(Exception):
    """Why a test cannot run here."""


class Machine:
    """One QEMU.  Use it in a `with`: it is gone at the end whatever happens."""

    def __init__(
        self,
        append="",
        *,
        cpus=4,
        memory=256,
        machine="pc",
        kernel=KERNEL,
        boot="loader",  # or the path of an image for GRUB
        extra=(),  # more of QEMU's arguments
        command=None,  # instead of all that
        terminal=False,  # gives it a terminal, not pipes
        restarts=False,  # a restart does not end QEMU
    ):
        self.command = command or self._command(append, cpus, memory, machine, kernel, boot)
        self.command += [] if restarts or command else ["-no-reboot"]
        self.command += extra
        self.terminal = terminal
        self.output = b""
        self.seen = 0  # what expect() has gone past
        self.changed = threading.Condition()
        self.ended = False

    @staticmethod
    def _command(append, cpus, memory, machine, kernel, boot):
        command = [QEMU, "-nodefaults", "-display", "none", "-machine", machine]
        command += ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(cpus), "-m", str(memory)]
        command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-serial", "stdio"]
        if boot == "loader":
            command += ["-kernel", LOADER, "-initrd", kernel, "-append", append]
        else:  # an image for GRUB
            command += ["-drive", f"if=none,id=cd,format=raw,readonly=on,file={boot}"]
            command += ["-device", "ide-cd,drive=cd,bus=ide.0,bootindex=0"]
        return command

    def __enter__(self):
        if self.terminal:
            ours, theirs = os.openpty()
            given = taken = theirs
        else:
            given = taken = subprocess.PIPE
        self.process = subprocess.Popen(
            self.command, stdin=given, stdout=taken, stderr=subprocess.STDOUT, bufsize=0, start_new_session=True
        )
        running.add(self.process.pid)
        if self.terminal:
            os.close(theirs)
            self.keys, self.screen = os.fdopen(ours, "wb", 0), os.fdopen(os.dup(ours), "rb", 0)
        else:
            self.keys, self.screen = self.process.stdin, self.process.stdout
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # of a make, its QEMU too
        self.process.wait()
        running.discard(self.process.pid)
        self.reader.join(5)
        self.keys.close()
        self.screen.close()

    def _read(self):
        while True:
            try:
                data = os.read(self.screen.fileno(), 65536)
            except (OSError, ValueError):
                data = b""
            with self.changed:
                self.output += data
                self.ended = self.ended or not data
                self.changed.notify_all()
            if not data:
                return

    def text(self):
        return self.output.decode("latin-1").replace("\r\n", "\n")

    def _fail(self, why):
        raise Failure(why + "\nthe machine's last lines:\n" + "\n".join(self.text().splitlines()[-25:]))

    def expect(self, pattern, bound=BOUND):
        """Waits for the pattern behind what was expected last; returns the match."""
        want = re.compile(pattern.encode("latin-1"), re.S)
        until = time.monotonic() + bound
        with self.changed:
            while True:
                found = want.search(self.output, self.seen)
                if found:
                    self.seen = found.end()
                    return found
                if self.ended:
                    self._fail(f"QEMU ended before /{pattern}/ came")
                if not self.changed.wait(max(0, until - time.monotonic())) and time.monotonic() >= until:
                    self._fail(f"no /{pattern}/ within {bound:g} s")

    def type(self, keys):
        self.keys.write(keys.encode("latin-1"))

    def run(self, command, pattern, bound=BOUND):
        """Types a command at the prompt and waits for the pattern in what it prints."""
        self.type(command + "\r")
        return self.expect(pattern, bound)

    def prompt(self):
        self.expect(r"ready: .*ggmk> ")
        return self

    def wait(self, bound=BOUND):
        """Waits until the machine is off; returns QEMU's exit status."""
        try:
            status = self.process.wait(bound)
        except subprocess.TimeoutExpired:
            self._fail(f"still running after {bound:g} s")
        self.reader.join(5)
        return status

    def ends_with(self, status):
        got = self.wait()
        if got != status:
            self._fail(f"exit status {got}, not {status}")

    def cpu_seconds(self):
        """The processor time that QEMU has used."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def disk(path, serial="", *, readonly=False, device="virtio-blk-pci"):
    """QEMU's arguments for one more virtio disk."""
    name = f"disk{abs(hash(path)) % 10**8}"
    drive = f"if=none,id={name},format=raw,file={path}" + (",readonly=on" if readonly else "")
    return ["-drive", drive, "-device", f"{device},drive={name}" + (f",serial={serial}" if serial else "")]


def uefi(folder):
    """QEMU's arguments for firmware that speaks UEFI."""
    if OVMF is None:
        raise Failure("no OVMF on this machine: install ovmf")
    if not OVMF.endswith("CODE.fd"):
        return ["-bios", OVMF]
    shutil.copy(OVMF.replace("CODE", "VARS"), f"{folder}/vars.fd")
    flash = "if=pflash,format=raw"
    return ["-drive", f"{flash},readonly=on,file={OVMF}", "-drive", f"{flash},file={folder}/vars.fd"]


def padded(path, data):
    """A disk with that text: whole sectors, at least one."""
    with open(path, "wb") as f:
        f.write(data + bytes(-len(data) % SECTOR if data else SECTOR))
    return path


def check(good, why):
    if not good:
        raise Failure(why)


# ---- TAP --------------------------------------------------------------------------------------


class Tests:
    """Functions to run, a few at a time; their results come in the order in which they were added."""

    def __init__(self):
        self.all = []

    def add(self, name, function, *arguments, **options):
        self.all.append((name, function, arguments, options))

    def _run(self, test):
        _, function, arguments, options = test
        with tempfile.TemporaryDirectory(prefix="ggmk-qemu.") as folder:
            try:
                function(folder, *arguments, **options)
                return None
            except Skip as skip:
                return skip
            except Failure as failure:
                return str(failure)
            except Exception as error:  # a mistake in the test itself fails it too
                return f"{type(error).__name__}: {error}"

    def main(self):
        failed = 0
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, end_all)
        print(f"1..{len(self.all)}", flush=True)
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            running = [pool.submit(self._run, test) for test in self.all]
            for number, (test, result) in enumerate(zip(self.all, running), 1):
                why = result.result()
                skipped = isinstance(why, Skip)
                failed += why is not None and not skipped
                print(("ok" if why is None or skipped else "not ok") + f" {number} - {test[0]}", end="")
                print(f" # SKIP {why}" if skipped else "")
                for line in (why or "").splitlines() if not skipped else ():
                    print("# " + line)
                sys.stdout.flush()
        return 1 if failed else 0
