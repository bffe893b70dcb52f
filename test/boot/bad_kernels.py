#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bad_kernels.py GOOD DIRECTORY — kernels that the loader must refuse, made from one that it loads.

Writes DIRECTORY/NAME.elf for each, and prints NAME, a tab, and the start of the line that the loader says,
with the value that is wrong.
"""
import struct
import sys

E_TYPE, E_MACHINE, E_ENTRY, E_PHOFF, E_PHENTSIZE, E_PHNUM = 16, 18, 24, 32, 54, 56
P_TYPE, P_FLAGS, P_OFFSET, P_VADDR, P_FILESZ, P_MEMSZ, P_ALIGN = 0, 4, 8, 16, 32, 40, 48
COMMON = struct.pack("<QQ", 0xC7B1DD30DF4C8B88, 0x0A82E883A194F07B)
HHDM = COMMON + struct.pack("<QQ", 0x48DCF1CB8AD2B852, 0x63984E959A98244B)
STACK = COMMON + struct.pack("<QQ", 0x224EF0460A8E8926, 0xE1CB0FC25F46EA3D)
ENTRY = COMMON + struct.pack("<QQ", 0x13D86C035A1CD3E1, 0x2B0CAA89D8F3026A)
REVISION = struct.pack("<QQ", 0xF9562B2D5C95A6C8, 0x6A7B384944536BDC)


class Kernel:
    def __init__(self, data):
        self.data = bytearray(data)
        self.phoff = self.get("<Q", E_PHOFF)

    def get(self, form, at):
        return struct.unpack_from(form, self.data, at)[0]

    def put(self, form, at, value):
        struct.pack_into(form, self.data, at, value)
        return self

    def field(self, segment, field):
        return self.phoff + 56 * segment + field

    def segment(self, i, field):
        return self.get("<I" if field <= P_FLAGS else "<Q", self.field(i, field))

    def set(self, i, field, value):
        return self.put("<I" if field <= P_FLAGS else "<Q", self.field(i, field), value)

    def after(self, pattern, offset, value):
        at = self.data.index(pattern)
        return self.put("<Q", at + offset, value)

    def cut(self, length):
        del self.data[length:]
        return self


def corpus(good):
    """(name, kernel, what the loader says, value)"""
    def new():
        return Kernel(good)

    k = new()
    text, data = k.segment(0, P_VADDR), k.segment(2, P_VADDR)
    size = len(good)
    yield "empty", new().cut(1), "kernel file is shorter than an ELF header, bytes", 1
    yield "text", Kernel(b"#!/bin/sh\n" * 20), "kernel file is not ELF, it starts with", 0x622F2123
    yield "elf32", new().put("<B", 4, 1), "kernel ELF is not 64-bit little-endian", 0x101
    yield "pie", new().put("<H", E_TYPE, 3), "kernel ELF is not of type EXEC, but", 3
    yield "arm", new().put("<H", E_MACHINE, 183), "kernel ELF is for another machine", 183
    yield "phentsize", new().put("<H", E_PHENTSIZE, 57), "kernel ELF has program headers of a wrong size", 57
    yield ("phoff", new().put("<Q", E_PHOFF, size - 8),
           "kernel ELF program headers lie outside of the file", size - 8)
    yield ("phoff-wraps", new().put("<Q", E_PHOFF, 2**64 - 56),
           "kernel ELF program headers lie outside", 2**64 - 56)
    yield "truncated-header", new().cut(100), "kernel ELF program headers lie outside of the file", 64
    yield ("truncated", new().cut(0x2000),
           "kernel ELF segment reaches beyond the file, which has bytes", 0x2000)
    yield "no-load", new().put("<H", E_PHNUM, 0), "kernel ELF has nothing to load", 0
    yield "dynamic", new().set(1, P_TYPE, 2), "kernel ELF is linked dynamically", 2
    yield "wx", new().set(0, P_FLAGS, 7), "kernel ELF segment is both writable and executable", text
    yield ("unaligned", new().set(2, P_VADDR, data + 16),
           "kernel ELF segment does not start on a page", data + 16)
    yield "low", new().set(0, P_VADDR, 0x100000), "kernel ELF segment lies below 0xffffffff80000000", 0x100000
    yield "overlap", new().set(2, P_VADDR, text), "kernel ELF segments overlap, or share a page", text
    yield "overlap-bss", new().set(1, P_MEMSZ, data - text), "kernel ELF segments overlap", data
    yield "memsz", new().set(2, P_MEMSZ, 2**64 - 1), "kernel ELF segment is too large, bytes", 2**64 - 1
    yield ("memsz-small", new().set(0, P_MEMSZ, 1),
           "kernel ELF segment is larger in the file", k.segment(0, P_FILESZ))
    yield ("filesz", new().set(2, P_FILESZ, 2**63).set(2, P_MEMSZ, 2**63),
           "kernel ELF segment reaches beyond", size)
    yield "align", new().set(0, P_ALIGN, 0x1800), "kernel ELF segment has an impossible alignment", 0x1800
    yield "offset", new().set(0, P_OFFSET, 0x1008), "kernel ELF segment's offset does not match", 0x1008
    yield "entry-outside", new().put("<Q", E_ENTRY, 0x100000), "kernel ELF entry point lies in no", 0x100000
    yield "entry-data", new().put("<Q", E_ENTRY, data), "kernel ELF entry point lies in no", data
    yield ("huge", new().set(2, P_MEMSZ, 0x40000000), "no memory for the kernel, contiguous bytes needed",
           0x40000000 + data - text)
    yield "stack", new().after(STACK, 48, 1 << 40), "kernel asks for a stack of more than 256 MiB", 1 << 40
    yield "stack-memory", new().after(STACK, 48, 1 << 28), "no memory for a stack, bytes", 1 << 28
    yield "entry-request", new().after(ENTRY, 48, data), "kernel's entry point request names no code", data
    yield "revision-0", new().after(REVISION, 16, 0), "kernel asks for Limine base revision", 0
    yield "no-revision", new().after(REVISION, 0, 0), "kernel asks for Limine base revision", 0
    twice = new()
    at = twice.data.index(STACK)
    twice.data[at:at + 32] = HHDM
    yield "twice", twice, "kernel has the same Limine request twice, its id ends in", 0x63984E959A98244B


def main():
    good, directory = sys.argv[1:]
    with open(good, "rb") as f:
        data = f.read()
    for name, kernel, what, value in corpus(data):
        with open(f"{directory}/{name}.elf", "wb") as f:
            f.write(kernel.data)
        print(f"{name}\t{what}\t{value:#x}")


if __name__ == "__main__":
    main()
