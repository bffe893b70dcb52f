#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The kernel's own tests: {1, 2, 4 CPUs} x {pc, q35} x {own loader, GRUB on a BIOS}."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "qemu"))
import machine as m  # noqa: E402
from selftests import TEST_ISO, says_cpus  # noqa: E402

tests = m.Tests()

for machine in ("pc", "q35"):
    for cpus in (1, 2, 4):
        tests.add(f"{machine}, {cpus} CPUs, own loader", says_cpus, cpus, machine=machine)
        tests.add(f"{machine}, {cpus} CPUs, GRUB on a BIOS", says_cpus, cpus, machine=machine, boot=TEST_ISO)

sys.exit(tests.main())
