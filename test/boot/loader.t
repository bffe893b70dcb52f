#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The loader in QEMU: every way in with a kernel that checks what it finds, and every kernel to be refused.

QEMU emulates (no KVM).  BUILD names the build directory.
"""
import concurrent.futures
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.path.join(ROOT, os.environ.get("BUILD", "build")))
LOADER = f"{BUILD}/gmk_loader.elf"
STATE = f"{BUILD}/loader/state.elf"
ISO = f"{BUILD}/loader/state.iso"
OVMF = "/usr/share/ovmf/OVMF.fd"
QEMU = "qemu-system-x86_64"
LIMIT = int(os.environ.get("QEMU_TIMEOUT", "120"))

PASSED, REFUSED = 1, 255  # isa-debug-exit: (value << 1) | 1


def qemu(*args):
    """Status and serial output; status None: it did not end in time."""
    command = [QEMU, "-accel", "tcg,thread=multi", "-display", "none", "-no-reboot", "-monitor", "none",
               "-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", *args]
    if "-cpu" not in args:
        command += ["-cpu", "max"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=LIMIT, check=False)
        return done.returncode, done.stdout.decode("latin-1")
    except subprocess.TimeoutExpired as e:
        return None, (e.stdout or b"").decode("latin-1") + f"\nended after {LIMIT} s"


def lines_of(out):
    """What the loader said."""
    return [line for line in out.splitlines() if line.startswith("loader: ")]


def content(status, out):
    """What the kernel of test/boot/state.c says when all is as it should be."""
    return status == PASSED and "not ok" not in out and re.search(r"^1\.\.\d+", out, re.M) is not None


def pvh(kernel, *args):
    return qemu("-kernel", LOADER, "-initrd", kernel, *args)


def state_holds(machine, cpus, memory, *args):
    """The kernel of test/boot/state.c is content, and the loader had nothing to say."""
    status, out = pvh(STATE, "-M", machine, "-smp", str(cpus), "-m", memory, "-append", f"cpus={cpus}", *args)
    return content(status, out) and not lines_of(out), out


def iso_state_holds(machine, *args):
    status, out = qemu("-M", machine, "-smp", "4", "-m", "256", "-cdrom", ISO, *args)
    return content(status, out) and not lines_of(out), out


def refused(result, what, value):
    """One line, that says what and the value and what to do."""
    status, out = result
    lines = lines_of(out)
    good = status == REFUSED and len(lines) == 1
    good = good and lines[0].startswith(f"loader: {what}") and f": {value}; " in lines[0]
    return good, f"status {status}, expected: loader: {what} ... {value}\n{out}"


def refused_kernel(directory, name, what, value):
    return refused(pvh(f"{directory}/{name}.elf", "-m", "128"), what, value)


def old_cpu():
    status, out = pvh(STATE, "-m", "64", "-cpu", "pentium3")
    return status in (None, REFUSED) and "loader: this CPU has no 64-bit mode" in out, out


def no_kernel():
    return refused(qemu("-kernel", LOADER, "-m", "64"), "no kernel was given, modules", "0x0")


def madt(lapic_ids):
    """A MADT (ACPI 6.4, 5.2.12) with these CPUs and QEMU's IOAPIC."""
    body = struct.pack("<II", 0xFEE00000, 1)
    for i in lapic_ids:
        body += struct.pack("<BBBBI", 0, 8, i, i, 1)
    body += struct.pack("<BBBBII", 1, 12, 0, 0, 0xFEC00000, 0)
    header = struct.pack("<4sIBB6s8sI4sI", b"APIC", 36 + len(body), 3, 0, b"GGMK", b"TEST", 1, b"TEST", 1)
    table = bytearray(header + body)
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def dead_cpu(directory):
    """GRUB gives two more modules, and a MADT with a CPU that does not exist: it is named, and left out."""
    tree, iso = f"{directory}/dead", f"{directory}/dead.iso"
    os.makedirs(f"{tree}/boot/grub")
    shutil.copy(LOADER, f"{tree}/boot/gmk_loader.elf")
    shutil.copy(STATE, f"{tree}/boot/gmk_kernel.elf")
    with open(f"{tree}/boot/madt.bin", "wb") as f:
        f.write(madt([0, 7, 1]))
    with open(f"{ROOT}/boot/grub.cfg", encoding="ascii") as f:
        config = f.read().replace("@CMDLINE@", "cpus=2 modules=2")
    config = config.replace("    multiboot2 ", "    acpi --exclude=APIC /boot/madt.bin\n    multiboot2 ")
    more = "    module2 /boot/madt.bin 1\n    module2 /boot/gmk_loader.elf 2\n"
    with open(f"{tree}/boot/grub/grub.cfg", "w", encoding="ascii") as f:
        f.write(config.replace("    boot\n", more + "    boot\n"))
    command = ["grub-mkrescue", "-o", iso, tree]
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if made.returncode != 0:
        return False, made.stdout.decode("latin-1")
    status, out = qemu("-smp", "2", "-m", "128", "-cdrom", iso)
    said = lines_of(out)
    good = len(said) == 1 and said[0].startswith("loader: CPU left out, it does not answer, LAPIC ID: 0x7; ")
    return good and content(status, out), out


def cases(directory):
    for machine in ("pc", "q35"):
        for cpus in (1, 2, 4):
            yield f"PVH, {machine}, {cpus} CPUs", lambda m=machine, n=cpus: state_holds(m, n, "128")
    yield "PVH, 64 MiB", lambda: state_holds("q35", 4, "64")
    yield "PVH, memory above 4 GiB", lambda: state_holds("q35", 2, "5G")
    yield "PVH, no pages of 1 GiB", lambda: state_holds("q35", 2, "5G", "-cpu", "qemu64,-pdpe1gb")
    yield "PVH, 24 CPUs", lambda: state_holds("q35", 24, "256")
    bare = ("-cpu", "max,-hypervisor")
    yield "PVH, not known to be a guest: CPUs spin", lambda: state_holds("q35", 2, "128", *bare)
    yield "PVH, microvm", lambda: state_holds("microvm", 2, "128")
    why = None if os.path.exists(ISO) else f"{ISO} is not there"
    for machine in ("pc", "q35"):
        if why is None:
            yield f"GRUB, BIOS, {machine}", lambda m=machine: iso_state_holds(m)
        else:
            yield f"GRUB, BIOS, {machine} # SKIP {why}", None
        if why is None and os.path.exists(OVMF):
            yield f"GRUB, UEFI, {machine}", lambda m=machine: iso_state_holds(m, "-bios", OVMF)
        else:
            yield f"GRUB, UEFI, {machine} # SKIP {why or OVMF + ' is not there'}", None
    if why is None:
        yield "GRUB, more modules, a CPU that never answers", lambda: dead_cpu(directory)
    else:
        yield f"GRUB, more modules, a CPU that never answers # SKIP {why}", None
    yield "refused: no kernel", no_kernel
    yield "refused: a CPU without 64-bit mode", old_cpu
    made = subprocess.run([sys.executable, f"{ROOT}/test/boot/bad_kernels.py", STATE, directory], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    for line in made.splitlines():
        name, what, value = line.split("\t")
        yield f"refused: {name}", lambda n=name, w=what, v=value: refused_kernel(directory, n, w, v)


def main():
    if shutil.which(QEMU) is None:
        print(f"1..0 # SKIP {QEMU} is not there: apt-get install qemu-system-x86")
        return
    with tempfile.TemporaryDirectory() as directory, concurrent.futures.ThreadPoolExecutor(2) as pool:
        todo = [(name, pool.submit(run) if run else None) for name, run in cases(directory)]
        print(f"1..{len(todo)}")
        for number, (name, result) in enumerate(todo, 1):
            good, out = result.result() if result else (True, "")
            print(f"{'ok' if good else 'not ok'} {number} - {name}", flush=True)
            if not good:
                print("\n".join("# " + l for l in out.splitlines()[-60:]), flush=True)


if __name__ == "__main__":
    main()
