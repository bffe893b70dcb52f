#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""README.md and docs/ tell the truth: every C program and every command in them is run.

A fenced block of C that contains main() is compiled as it stands, against the library, and run; a block of
text that follows it is its output.  A block of shell is run in a copy of what a user would have: HOME is an empty
folder, the current one is the root of the tree.  Every link to a file of the tree leads somewhere.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
os.chdir(ROOT)
BUILD = os.environ.get("BUILD", "build")
CC = os.environ.get("CC", "cc")
MAKE = os.environ.get("MAKE", "make")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n", re.S | re.M)
# What these would start again is the tests themselves.
NOT_RUN = {"make test", ".ci/run"}
count = 0


def result(ok, name, why=""):
    global count
    count += 1
    print(f"{'ok' if ok else 'not ok'} {count} - {name}")
    if not ok:
        print("\n".join("# " + line for line in str(why).splitlines()[-40:]))
    sys.stdout.flush()


def run(command, **more):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, **more)
    except (OSError, subprocess.TimeoutExpired) as e:
        return None, "", str(e)
    return done.returncode, done.stdout, done.stderr


def try_program(where, code, expected, tmp):
    source, program = os.path.join(tmp, "program.c"), os.path.join(tmp, "program")
    with open(source, "w", encoding="utf-8") as f:
        f.write(code)
    status, _, why = run([CC, "-std=c11", "-Wall", "-Wextra", "-Werror", "-Iinclude", source, "-o", program,
                          os.path.join(BUILD, "libgmk_cpu.a"), "-pthread"])
    result(status == 0, f"{where}: the program compiles", why)
    if status != 0:
        return
    status, out, why = run([program])
    result(status == 0, f"{where}: it runs", f"status {status}\n{out}{why}")
    if expected is not None:
        result(out == expected, f"{where}: it prints what is said", f"{out}{why}\n--- expected ---\n{expected}")


def try_shell(where, code, tmp):
    lines = [line for line in code.splitlines() if line.strip() not in NOT_RUN and line.strip()]
    if not lines:
        return
    home = os.path.join(tmp, "home")
    os.makedirs(home, exist_ok=True)
    env = dict(os.environ, HOME=home, BUILD=BUILD)
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PREFIX", "DESTDIR"):
        env.pop(name, None)
    # In the tree, because a command of the README is; what it leaves there goes.
    before = set(os.listdir("."))
    status, out, why = run(["sh", "-eu", "-c", "\n".join(lines)], env=env)
    result(status == 0, f"{where}: the commands work", f"{lines}\nstatus {status}\n{out}{why}")
    for left in set(os.listdir(".")) - before - {os.path.basename(BUILD)}:
        if os.path.isfile(left):
            os.unlink(left)


def try_links(path, text):
    here = os.path.dirname(path)
    text = re.sub(FENCE, "", text)
    dead = [to for to in re.findall(r"\]\(([^)#\s]+)", text)
            if "://" not in to and not os.path.exists(os.path.join(here, to))]
    result(not dead, f"{path}: every link leads somewhere", dead)


def main():
    first = open("examples/first/first.c", encoding="utf-8").read()
    readme = open("README.md", encoding="utf-8").read()
    result(f"```c\n{first}```\n" in readme, "README.md holds examples/first/first.c as it is",
           "copy the file into the README")
    programs = 0
    tmp = tempfile.mkdtemp(prefix="ggmk-docs.")
    try:
        for path in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"] + sorted(
                glob.glob("docs/**/*.md", recursive=True)):
            text = open(path, encoding="utf-8").read()
            try_links(path, text)
            blocks = FENCE.findall(text)
            for i, (language, code) in enumerate(blocks):
                where = f"{path}, block {i + 1}"
                if language == "c" and re.search(r"\bmain\s*\(", code):
                    follows = blocks[i + 1] if i + 1 < len(blocks) else ("", "")
                    try_program(where, code, follows[1] if follows[0] == "text" else None, tmp)
                    programs += 1
                elif language == "sh":
                    try_shell(where, code, tmp)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    result(programs >= 2, "programs were found", f"{programs}")
    print(f"1..{count}")


main()
