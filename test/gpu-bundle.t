#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The bundle for a machine with a GPU, on the software device: it is small and needs nothing, its tests pass, its
table is complete, and where there is no GPU it says so."""
import json
import os
import re
import shutil
import subprocess
import tempfile

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
T = tempfile.mkdtemp(prefix="ggmk-bundle.")
HERE = os.path.join(T, "somewhere else")
PATIENCE = 300  # seconds for what takes ten
GLIBC = (2, 34)  # of 2021: what the programs may ask for at most
count = 0

ROWS = ["device", "workers", "clock step", "empty tasks, queued before", "empty tasks, spawned by one",
        "empty tasks, each by the last", "emit to handler, idle p50", "emit to handler, idle p99",
        "round trip through both p50", "round trip through both p99", "messages to the GPU", "messages from the GPU",
        "messages, both ways, each way", "messages a publication", "messages to the GPU, one a publication",
        "messages from the GPU, one a publication"]
ROWS += [f"payloads of {size} {way} the GPU" for size in ("4 KiB", "64 KiB", "1 MiB") for way in ("to", "from")]

RAW = ["raw: empty tasks, a launch each", "raw: empty tasks, a graph", "raw: copy engine to the GPU",
       "raw: copy engine from the GPU", "raw: copy engines, each way of both"]
RAW += [f"raw: {what} there and back p{p}" for what in ("a word", "a message", "a launch", "a graph") for p in (50, 99)]
RAW += [f"raw: {rings} {way} the GPU{how}" for way in ("to", "from")
        for rings, how in (("ring", ""), ("ring", ", one a publication"), ("8 rings", ""))]


def check(name, ok, why=""):
    global count
    count += 1
    print(f"{'ok' if ok else 'not ok'} {count} - {name}", flush=True)
    if not ok:
        print("\n".join("# " + line for line in str(why).splitlines()), flush=True)


def run(*arguments):
    """In an environment that has almost nothing."""
    done = subprocess.run([os.path.join(HERE, "run"), *arguments], cwd=T, env={"PATH": "/usr/bin:/bin"}, timeout=PATIENCE,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def tool(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def rows(path):
    with open(os.path.join(T, path), encoding="ascii") as f:
        return [json.loads(line) for line in f]


shutil.copytree(os.path.join(BUILD, "gpu-bundle"), HERE)
size = sum(os.path.getsize(os.path.join(HERE, name)) for name in os.listdir(HERE))
check("the bundle is below 64 MiB", size < 64 << 20, size)

for program in ("ggmk-gpuhost", "raw"):
    symbols = tool("objdump", "-p", os.path.join(HERE, program))
    needed = re.findall(r"NEEDED\s+(\S+)", symbols)
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([0-9.]+)", symbols)}
    check(f"{program} needs a C library and no other", needed == ["libc.so.6"], needed)
    check("one of 2021 will do", versions and max(versions) <= GLIBC, sorted(versions))
check("measure needs none", "NEEDED" not in tool("objdump", "-p", os.path.join(HERE, "measure")))

probe = subprocess.run([os.path.join(HERE, "ggmk-gpuhost"), "--probe"], capture_output=True, text=True)
if probe.returncode != 0:
    status, text = run()
    check("without a GPU: a clear line, and status 3",
          status == 3 and "no GPU that can be used here" in text and "--soft" in text, f"{status}\n{text}")

status, text = run("--soft", "--quick", "--json", "r.json")
check("tests and figures on the software device", status == 0 and "everything passed" in text, f"{status}\n{text}")
check("no test failed, and some ran", "not ok" not in text and "\nok 13 " in text, text)
got = {row["test"]: row for row in rows("r.json")}
check("the table is complete", set(got) == set(ROWS), set(got) ^ set(ROWS))
check("every figure is one", all(row.get("value", 1) > 0 for row in got.values()), got)
check("it says what was measured", got["device"].get("kind") == "soft", got["device"])

status, text = run("residence", "--soft", "--quick", "--seconds", "2", "--json", "s.json")
check("residence", status == 0 and "resident" in text, f"{status}\n{text}")
check("residence without a reset", [r["value"] for r in rows("s.json") if r["test"].startswith("resets")] == [0], text)

done = subprocess.run([os.path.join(HERE, "raw"), "--quick", "--json", os.path.join(T, "raw.json")], text=True,
                      env={"LD_LIBRARY_PATH": os.path.join(BUILD, "test", "fake-raw")}, capture_output=True,
                      timeout=PATIENCE)
got = {row["test"]: row["value"] for row in rows("raw.json")}
check("the limits, on a driver that is a fake", done.returncode == 0 and set(got) == set(RAW), done.stdout + done.stderr)
check("every limit is a figure", all(value > 0 for value in got.values()), got)

with open(os.path.join(T, "far.json"), "w", encoding="ascii") as f:  # figures of a GPU that there is not
    for test, value in (("raw: a launch there and back p50", 8), ("round trip through both p50", 4),
                        ("messages to the GPU", 15), ("raw: ring to the GPU", 60),
                        ("empty tasks, queued before", 900.5)):
        print(json.dumps({"bench": "gpu", "test": test, "value": value, "unit": ""}), file=f)
status, text = run("goals", "--json", "far.json")
lines = [re.sub(" +", " ", line.strip()) for line in text.splitlines()]
check("figures beside their limits", status == 0 and "messages to, share of the ring 0.250" in lines and
      "round trip, launches there and back 0.500" in lines, text)
check("figures beside the goals", "round trip through both p50 4.000 us goal <= 6: met" in lines and
      "messages to the GPU 15.000 M/s goal >= 20: missed" in lines and
      "empty tasks, queued before 900.500 M/s goal >= 1000: missed" in lines and
      "messages from the GPU - M/s goal >= 20: not measured" in lines, text)
check("the file is as it was", len(rows("far.json")) == 5, text)
status, text = run("goals", "--json", "none.json")
check("goals of no figures", status == 1 and "no figures in 'none.json'" in text, f"{status}\n{text}")

ptxas = shutil.which("ptxas")
for arch in ("sm_80", "sm_90"):
    if ptxas is None:
        count += 1
        print(f"ok {count} # SKIP no ptxas: raw.ptx is not assembled for {arch}")
        continue
    done = subprocess.run([ptxas, f"-arch={arch}", "-o", os.path.join(T, "raw.cubin"), os.path.join(HERE, "raw.ptx")],
                          capture_output=True, text=True)
    check(f"raw.ptx assembles for {arch}", done.returncode == 0, done.stderr)

status, text = run("--sofft")
check("a word it does not know", status == 2 and "unknown word '--sofft'" in text and "./run [--soft]" in text, text)
status, text = run("--soft", "--json", "/nowhere/r.json")
check("a file that cannot be written", status == 1 and "/nowhere/r.json" in text, f"{status}\n{text}")

shutil.rmtree(T, ignore_errors=True)
print(f"1..{count}")
