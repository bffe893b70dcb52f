#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/ggmk-com2 takes frames apart, whatever lies between them, and never writes half a piece."""
import os
import random
import struct
import subprocess
import sys
import tempfile
import zlib

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TOOL = os.path.join(ROOT, "tools", "ggmk-com2")
METRICS, TRACE, FIRST, LAST = 1, 2, 1, 2
count = 0


def check(name, ok, why=""):
    global count
    count += 1
    print(f"{'ok' if ok else 'not ok'} {count} - {name}")
    if not ok:
        print(f"# {why}")


def frame(kind, flags, sequence, payload):
    head = struct.pack("<4sHBBII", b"GMK\x01", len(payload), kind, flags, sequence, zlib.crc32(payload))
    return head + struct.pack("<I", zlib.crc32(head)) + payload


def piece(kind, data, sequence):
    parts = [data[i : i + 1024] for i in range(0, len(data), 1024)] or [b""]
    flags = lambda i: (FIRST if i == 0 else 0) | (LAST if i == len(parts) - 1 else 0)
    return [frame(kind, flags(i), sequence + i, part) for i, part in enumerate(parts)]


def receive(stream, *wanted):
    with tempfile.TemporaryDirectory() as where:
        files = {kind: os.path.join(where, kind) for kind in wanted}
        arguments = [word for kind, path in files.items() for word in ("--" + kind, path)]
        done = subprocess.run([TOOL] + arguments, input=stream, capture_output=True, timeout=60)
        got = {}
        for kind, path in files.items():
            if os.path.exists(path):
                with open(path, "rb") as f:
                    got[kind] = f.read()
        return done.returncode, got, done.stderr.decode()


rng = random.Random(1)
text, trace = b"gmk_tasks 1\n" * 300, bytes(rng.randrange(256) for _ in range(5000))
both = piece(METRICS, text, 0)
both += piece(TRACE, trace, len(both))
whole = b"".join(both)

status, got, why = receive(whole, "metrics", "trace")
check("what was sent arrives", status == 0 and got == {"metrics": text, "trace": trace} and why == "", why)

noisy = b"login: GMK\x01GMK" + b"GMK\x01 garbage ".join(both) + b"GMK\x01"
status, got, why = receive(noisy, "metrics", "trace")
check("noise between frames is skipped, and said", status == 0 and got == {"metrics": text, "trace": trace} and
      "belonged to no frame" in why, why)

status, got, why = receive(b"".join(both[:2] + both[3:]), "metrics", "trace")
check("a lost frame costs its piece alone", status == 1 and got == {"trace": trace} and "missing" in why, why)

status, got, why = receive(whole[:-1], "metrics", "trace")
check("an end in the middle of a piece", status == 1 and got == {"metrics": text} and "ended" in why, why)

again = b"".join(piece(METRICS, b"old", 0) + piece(METRICS, b"new", 1))
check("the last of a kind stays", receive(again, "metrics")[1] == {"metrics": b"new"})

restart = b"".join(piece(METRICS, text, 0)[:1] + piece(METRICS, b"after", 0))
status, got, why = receive(restart, "metrics")
check("a machine that starts again", got == {"metrics": b"after"}, why)

wrong = 0
for _ in range(60):
    damaged = bytearray(whole)
    for _ in range(rng.randrange(1, 4)):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    status, got, why = receive(bytes(damaged), "metrics", "trace")
    wrong += got.get("metrics", text) != text or got.get("trace", trace) != trace or (len(got) < 2) != (status == 1)
check("a flipped bit never comes through", wrong == 0, f"{wrong} of 60")

status, _, why = receive(b"", "trace")
check("nothing came", status == 1 and "no trace came" in why, why)
done = subprocess.run([TOOL, "--trace", "/dev/null", "/nonexistent"], capture_output=True, text=True)
check("an input that is not there", done.returncode == 1 and "/nonexistent: No such file" in done.stderr, done.stderr)
done = subprocess.run([TOOL, "--bogus"], capture_output=True, text=True)
check("an unknown option", done.returncode == 2 and "--bogus" in done.stderr, done.stderr)
print(f"1..{count}")
