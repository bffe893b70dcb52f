# SPDX-License-Identifier: MIT
"""The kernel's own tests (`test` on its command line), and what they do to two disks."""

import re

import machine as m

TEST_ISO = f"{m.BUILD}/qemu/test.iso"
SECTORS = 8192
WRITTEN = 2048  # sectors that the drivers' test writes at the end of the scratch disk


def numbered(fill):
    """Each sector begins with its number; so the drivers' test knows what to read."""
    return b"".join(i.to_bytes(8, "little") + bytes([fill]) * (m.SECTOR - 8) for i in range(SECTORS))


def self_tests(folder, append="test", **options):
    """Boots with two disks, reads the TAP, and looks at the disks afterwards."""
    data, scratch = m.padded(f"{folder}/data", numbered(0x11)), m.padded(f"{folder}/scratch", numbered(0x22))
    extra = list(options.pop("extra", [])) + m.disk(data, "data") + m.disk(scratch, "ggmk-scratch")
    if options.pop("firmware", None):
        extra += m.uefi(folder)
    with m.Machine(append, extra=extra, **options) as vm:
        status, text = vm.wait(), vm.text()
    lines = re.findall(r"^(not )?ok (\d+) - (.*)$", text, re.M)
    bad = [name for no, _, name in lines if no]
    m.check(not bad, "failed inside: " + "; ".join(bad))
    plan = re.search(r"^1\.\.(\d+)$", text, re.M)
    m.check(status == m.PASSED, f"exit status {status}, not {m.PASSED}\n" + "\n".join(text.splitlines()[-40:]))
    m.check(plan and int(plan.group(1)) == len(lines) > 0, f"{len(lines)} results do not fit the plan\n{text}")
    look_at_disks(data, scratch, text, append == "test" or "dev" in append)
    return text


def look_at_disks(data, scratch, text, asked):
    with open(data, "rb") as f:
        m.check(f.read() == numbered(0x11), "the disk that nobody asked to write to has changed")
    with open(scratch, "rb") as f:
        after = f.read()
    wrote = "scratch disk: a large write" in text
    m.check(wrote or not asked, "the drivers' test did not find its disks")
    if wrote:
        keep = (SECTORS - WRITTEN) * m.SECTOR
        m.check(after[:keep] == numbered(0x22)[:keep], "the scratch disk changed where nothing was written")
        m.check(after[keep:] == numbered(0x5A)[keep:], "the scratch disk does not hold what was written")


def says_cpus(folder, cpus, **options):
    text = self_tests(folder, cpus=cpus, **options)
    m.check(f"ready: {cpus} CPU" in text, f"not {cpus} CPUs: " + text)
