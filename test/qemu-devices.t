#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PCI and disks: every kind of virtio disk that QEMU has, and disks that break the rules."""

import os
import subprocess
import sys
import time

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "qemu")
sys.path.insert(0, HERE)
import machine as m  # noqa: E402

SECTORS = 8192
WRITTEN = 2048  # sectors that the drivers' test writes at the end of the scratch disk
tests = m.Tests()


def numbered(fill):
    """Each sector begins with its number, as the drivers' test wants it."""
    return b"".join(i.to_bytes(8, "little") + bytes([fill]) * (m.SECTOR - 8) for i in range(SECTORS))


def content(path):
    with open(path, "rb") as f:
        return f.read()


def halt(vm):
    vm.run("halt", "core: halted")
    vm.ends_with(0)


# ---- kinds of disks -----------------------------------------------------------------------------


def disks(folder, first, second, line, **options):
    """Runs the drivers' test on a disk that is only read and on one that may be written."""
    data, scratch = m.padded(f"{folder}/data", numbered(0x11)), m.padded(f"{folder}/scratch", numbered(0x22))
    extra = m.disk(data, "data", device="virtio-blk-pci" + first)
    extra += m.disk(scratch, "ggmk-scratch", device="virtio-blk-pci" + second)
    with m.Machine(extra=extra, **options) as vm:
        vm.expect("vda: virtio-blk .*" + line)
        vm.prompt()
        vm.run("test dev", r"1\.\.(\d+)\r\n# 0 of \1 failed")
        m.check("# SKIP" not in vm.text(), "the drivers' test did not find its disks")
        halt(vm)
    m.check(content(data) == numbered(0x11), "the disk that is only read has changed")
    keep = (SECTORS - WRITTEN) * m.SECTOR
    m.check(content(scratch)[:keep] == numbered(0x22)[:keep], "the scratch disk changed where nothing was written")
    m.check(content(scratch)[keep:] == numbered(0x5A)[keep:], "the scratch disk does not hold what was written")


LEGACY, MODERN, NO_MSIX = ",disable-modern=on", ",disable-legacy=on", ",vectors=0"
for machine in ("pc", "q35"):
    tests.add(f"{machine}: both kinds of registers, 1 CPU", disks, "", LEGACY, "modern.*MSI-X", machine=machine, cpus=1)
    tests.add(f"{machine}: legacy first", disks, LEGACY, MODERN, "legacy.*4 queues.*MSI-X", machine=machine)
tests.add("modern, polled", disks, MODERN + NO_MSIX, LEGACY + NO_MSIX, "modern.*polled")
tests.add("legacy, polled", disks, LEGACY + NO_MSIX, MODERN + NO_MSIX, "legacy.*polled", cpus=1)
tests.add("fewer queues than CPUs", disks, ",num-queues=2", ",num-queues=1", "2 queues")
tests.add("fewer vectors than queues", disks, ",num-queues=4,vectors=3", ",vectors=2", "2 queues.*MSI-X")
tests.add("without event indexes", disks, ",event_idx=off", LEGACY + ",event_idx=off", "modern")
tests.add(
    "without indirect descriptors",
    disks,
    ",indirect_desc=off,queue-size=16",
    LEGACY + ",indirect_desc=off,event_idx=off,queue-size=8,num-queues=1",
    "queues of 5",
)
tests.add("tiny and large queues", disks, ",queue-size=4,seg-max-adjust=off", ",queue-size=1024", "queues of 4")


def refused(folder, device, pattern):
    data = m.padded(f"{folder}/data", numbered(0x11))
    with m.Machine(extra=m.disk(data, device=device)) as vm:
        vm.expect(pattern)
        vm.prompt()
        vm.run("blk", "no disks")
        halt(vm)
    m.check(content(data) == numbered(0x11), "the disk has changed")


tests.add(
    "a disk that wants an IOMMU", refused, "virtio-blk-pci,iommu_platform=on,disable-legacy=on", "ACCESS_PLATFORM"
)


def read_only(folder):
    data = m.padded(f"{folder}/data", numbered(0x11))
    with m.Machine(extra=m.disk(data, readonly=True)) as vm:
        vm.expect(r"vda: .* read-only")
        vm.prompt()
        vm.run("test dev", r"ok \d+ - a read-only disk refuses writes.*1\.\.(\d+)\r\n# 0 of \1 failed")
        halt(vm)


def many_disks(folder):
    data = m.padded(f"{folder}/data", numbered(0x11))
    extra = []
    for i in range(18):
        extra += ["-drive", f"if=none,id=d{i},format=raw,readonly=on,file.locking=off,file={data}"]
        extra += ["-device", f"virtio-blk-pci,drive=d{i},num-queues=1"]
    with m.Machine(extra=extra) as vm:
        vm.expect("vdp: virtio-blk .*no room for more than 16 disks")
        vm.prompt()
        vm.run("blk vdp 7", "0000  07 00 00")
        halt(vm)


def grows(folder):
    data = m.padded(f"{folder}/data", numbered(0x11))
    monitor = f"{folder}/monitor"
    extra = ["-drive", f"if=none,id=d0,format=raw,file={data}", "-device", "virtio-blk-pci,drive=d0"]
    with m.Machine(extra=extra + ["-monitor", f"unix:{monitor},server=on,wait=off"]) as vm:
        vm.prompt()
        vm.run("blk vda 8192", r"sector 8192 \+ 1 is beyond the end, 8192 sectors")
        command = (
            f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({monitor!r}); s.recv(1000);"
            "s.send(b'block_resize d0 8M\\n'); s.recv(1000)"
        )
        subprocess.run([sys.executable, "-c", command], check=True)
        vm.expect("vda: now has 16384 sectors")
        vm.run("blk vda 16383", "01f0  00 00")
        halt(vm)


tests.add("a read-only disk", read_only)
tests.add("more disks than there is room for", many_disks)
tests.add("a disk that grows", grows)


# ---- buses ----------------------------------------------------------------------------------------


def behind_bridges(folder):
    data = m.padded(f"{folder}/data", numbered(0x11))
    extra = ["-drive", f"if=none,id=d0,format=raw,readonly=on,file={data}"]
    for device in (
        "pcie-root-port,id=port1,slot=1,chassis=1",
        "virtio-blk-pci,drive=d0,bus=port1",
        "pcie-root-port,id=port2,slot=2,chassis=2",
        "pcie-pci-bridge,id=bridge1,bus=port2",
        "pci-bridge,id=bridge2,bus=bridge1,chassis_nr=3",
        "virtio-rng-pci,bus=bridge2,addr=4",
        "virtio-rng-pci,addr=9.0,multifunction=on",
        "virtio-rng-pci,addr=9.5",
    ):
        extra += ["-device", device]
    with m.Machine(machine="q35", extra=extra) as vm:
        vm.expect("configuration through ECAM.*vda: virtio-blk 01:00.0 .modern")
        vm.prompt()
        vm.run("pci", r"00:09.0 .*00:09.5 .*01:00.0 .*SCSI storage.*04:04.0 +1af4:1005.*ggmk> ")
        vm.run("test dev", r"1\.\.(\d+)\r\n# 0 of \1 failed")
        halt(vm)


def wide_bar(folder):
    extra = ["-object", "memory-backend-ram,id=shared,size=4G,share=on,reserve=off"]
    extra += ["-device", "ivshmem-plain,memdev=shared,addr=9"]
    with m.Machine(extra=extra) as vm:
        vm.expect("configuration through ports")
        vm.prompt()
        vm.run("pci 00:09.0", r"1af4:1110.*BAR 2: memory at 0x[1-9a-f]\w{8,}, 4 GiB, 64 bits, prefetchable")
        halt(vm)


tests.add("a disk behind a root port, functions behind bridges", behind_bridges)
tests.add("a BAR of 4 GiB", wide_bar)


# ---- disks that fail, disks that lie ------------------------------------------------------------------


def disk_error(folder):
    """One sector cannot be read; the others still can."""
    data = m.padded(f"{folder}/data", numbered(0x11))
    drive = "driver=raw,node-name=bad,read-only=on,file.driver=blkdebug,file.image.driver=file"
    drive += f",file.image.filename={data},file.inject-error.0.event=read_aio,file.inject-error.0.errno=5"
    drive += ",file.inject-error.0.sector=100"
    with m.Machine(extra=["-blockdev", drive, "-device", "virtio-blk-pci,drive=bad,rerror=report"]) as vm:
        vm.prompt()
        vm.run("blk vda 99", "0000  63 00")
        vm.run("blk vda 100", r"vda: read of sector 100 \+ 1: the device reports an error")
        vm.run("blk vda 101", "0000  65 00")
        vm.run("blk", "errors 1\r")
        halt(vm)


class HostileDisk:
    """hostile_disk.py, and QEMU's options for it."""

    def __init__(self, folder, lie):
        self.socket, self.lie = f"{folder}/socket", lie

    def __enter__(self):
        command = [sys.executable, f"{HERE}/hostile_disk.py", self.socket, self.lie]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)
        until = time.monotonic() + m.BOUND
        while not os.path.exists(self.socket):
            m.check(self.process.poll() is None and time.monotonic() < until, "the disk did not start")
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def options(self):
        options = ["-object", "memory-backend-memfd,id=memory,size=256M,share=on", "-machine", "memory-backend=memory"]
        options += ["-chardev", f"socket,id=disk,path={self.socket}"]
        return options + ["-device", "vhost-user-blk-pci,chardev=disk,num-queues=1"]


def honest(folder):
    with HostileDisk(folder, "honest") as disk, m.Machine(extra=disk.options()) as vm:
        vm.prompt()
        vm.run("test dev", r"1\.\.(\d+)\r\n# 0 of \1 failed")
        halt(vm)


def lies(folder, lie, pattern):
    """The lie comes with the fifth request; the disk is switched off, and nobody waits for it any more."""
    with HostileDisk(folder, lie) as disk, m.Machine(extra=disk.options()) as vm:
        vm.prompt()
        for sector in (0, 1, 2):
            vm.run(f"blk vda {sector}", f"0000  0{sector} 00")
        vm.run("blk vda 3", f"vda: {pattern}; the disk is switched off")
        vm.run("blk vda 3", "vda: input or output failed")
        vm.run("test dev", r"1\.\.\d+\r\n# [1-9]\d* of")
        vm.run("blk", r"in flight 0, SWITCHED OFF")
        halt(vm)


def fails_once(folder, lie):
    with HostileDisk(folder, lie) as disk, m.Machine(extra=disk.options()) as vm:
        vm.prompt()
        for sector in (0, 1, 2):
            vm.run(f"blk vda {sector}", f"0000  0{sector} 00")
        vm.run("blk vda 3", r"vda: read of sector 3 \+ 1: the device reports an error")
        vm.run("blk vda 3", "0000  03 00")
        halt(vm)


tests.add("a disk outside of QEMU", honest)
tests.add("a sector with an error", disk_error)
for lie, pattern in {
    "wild": r"queue 0: the device returned a descriptor beyond the queue, \d+",
    "idle": r"queue 0: the device returned a descriptor that is not in flight, \d+",
    "twice": r"queue 0: the used index is ahead of what is in flight, by 2",
    "jump": r"queue 0: the used index is ahead of what is in flight, by 1001",
    "long": r"queue 0: the device says that it wrote more than it was given, 514",
    "silent": r"no answer within 10000 ms",
}.items():
    tests.add(f"a disk that lies: {lie}", lies, lie, pattern)
tests.add("a disk that reports an error", fails_once, "error")
tests.add("a disk that leaves the status out", fails_once, "nostatus")

sys.exit(tests.main())
