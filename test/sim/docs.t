#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs.t — docs/simulation.md tells the truth: its steps are done, in a copy of the tree, one after the other.

A block of C is written to the file that its second line names.  A block of console is a dialogue: each `$` line is run,
and prints what follows it, where … stands for anything, and alone on a line for any lines.  A command with --seed is
the one that the failure before it printed, with the options that the text adds to it.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
os.chdir(ROOT)
BUILD = os.environ.get("BUILD", "build")
PAGE = "docs/simulation.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n", re.S | re.M)
count = 0


def result(ok, name, why=""):
    global count
    count += 1
    print(f"{'ok' if ok else 'not ok'} {count} - {name}")
    if not ok:
        print("\n".join("# " + line for line in str(why).splitlines()[-40:]))
    sys.stdout.flush()


def copy_tree(to):
    """The tree, and what is built of the simulator in BUILD as if it had been built there."""
    shutil.copytree(".", to, symlinks=True, ignore=lambda d, names: {
        n for n in names if n == ".git" or d == "." and (n.startswith("build") or n == os.path.basename(BUILD))})
    for part in ("sim", "deps"):
        if os.path.isdir(os.path.join(BUILD, part)):
            shutil.copytree(os.path.join(BUILD, part), os.path.join(to, "build", part))
    for d, _, names in os.walk(os.path.join(to, "build")):
        for name in names:
            if name.endswith(".d"):
                edit(os.path.join(d, name), BUILD + "/", "build/")


def edit(path, old, new):
    stat = os.stat(path)
    with open(path, encoding="utf-8") as f:
        text = f.read()
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace(old, new))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def matches(expected, printed):
    """Line by line; … alone on a line takes as few lines as it can."""
    if not expected:
        return not printed
    if expected[0] == "…":
        return any(matches(expected[1:], printed[i:]) for i in range(len(printed) + 1))
    pattern = ".*".join(re.escape(part) for part in expected[0].split("…"))
    return bool(printed) and re.fullmatch(pattern, printed[0]) is not None and matches(expected[1:], printed[1:])


def dialogue(block):
    """(command, lines expected) for each step."""
    steps = []
    for line in block.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    return steps


class Reader:
    def __init__(self, tree):
        self.tree = tree
        self.again = None
        self.env = {k: v for k, v in os.environ.items() if k not in ("BUILD", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")}

    def write(self, code):
        name = "test/sim/" + re.match(r".*\n/\* (\w+\.c) ", code).group(1)
        with open(os.path.join(self.tree, name), "w", encoding="utf-8") as f:
            f.write(code)
        result(True, f"{PAGE}: {name}")

    def do(self, command, expected):
        said = command
        if " --seed " in command and command.startswith("build/"):
            command = f"{self.again} {re.sub(r'.* --faults [a-z,]+', '', command)}"
        done = subprocess.run(["sh", "-c", command], cwd=self.tree, env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=240, check=False)
        lines = done.stdout.splitlines()
        self.again = next((line[len("again: "):] for line in lines if line.startswith("again: ")), self.again)
        failed = any(line.startswith("scenario ") for line in lines)
        result(done.returncode == (1 if failed else 0) and matches(expected, lines), f"{PAGE}: {said}",
               f"{command}\nstatus {done.returncode}\n{done.stdout}{done.stderr}")


def main():
    tmp = tempfile.mkdtemp(prefix="ggmk-docs.")
    try:
        tree = os.path.join(tmp, "tree")
        copy_tree(tree)
        reader = Reader(tree)
        with open(PAGE, encoding="utf-8") as f:
            text = f.read()
        for language, block in FENCE.findall(text):
            if language == "c":
                reader.write(block)
            elif language == "console":
                for command, expected in dialogue(block):
                    reader.do(command, expected)
        trace = os.path.join(tree, "box.fxt")
        result(os.path.isfile(trace) and subprocess.run([os.path.join(BUILD, "sim/check-fxt"), trace, "FAILED"],
                                                        check=False).returncode == 0, f"{PAGE}: the trace is one")
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    print(f"1..{count}")


main()
