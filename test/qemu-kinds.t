#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The kernel's own tests on UEFI, with many CPUs, with little and with much memory, and under UBSan."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "qemu"))
import machine as m  # noqa: E402
from selftests import TEST_ISO, says_cpus  # noqa: E402

tests = m.Tests()

for machine in ("pc", "q35"):
    tests.add(f"{machine}, GRUB on UEFI", says_cpus, 4, machine=machine, boot=TEST_ISO, firmware=True)
tests.add("64 CPUs", says_cpus, 64, append="test=platform,core", memory=512)
tests.add("64 MB of memory", says_cpus, 4, memory=64, append="test=mem,dev,core")
tests.add("4 GB of memory", says_cpus, 4, memory=4096, append="test=mem,dev,core")
tests.add("undefined behaviour caught", says_cpus, 4, kernel=m.KERNEL_UBSAN, machine="q35")

sys.exit(tests.main())
