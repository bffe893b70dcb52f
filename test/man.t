#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The manual is complete and true to the headers: every public call has a page, which gives its prototype as
it is declared and the errors that the header gives, and names only codes and other pages that exist; ggmk(7)
names every call; examples stand whole between .nf and .fi; and the pages format without a warning."""
import glob
import os
import re
import shutil
import subprocess

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
HEADERS = "kernel chan mem module observe error gpu bridge".split()
count = 0


def result(ok, name, why=""):
    global count
    count += 1
    print(f"{'ok' if ok else 'not ok'} {count} - {name}")
    if not ok:
        print("\n".join("# " + line for line in str(why).splitlines()))


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def declarations(text):
    """name → prototype, of every function that is declared and not defined in the text of a header"""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"^[ \t]*#(?:\\\n|.)*|\bGMK_(?:BEGIN|END)_DECLS\b", "", text, flags=re.M)
    for _ in range(3):
        text = re.sub(r"\{[^{}]*\}", ";", text)
    found = {}
    for d in text.split(";"):
        d = " ".join(d.split())
        m = re.match(r"(?!static|typedef|enum|struct).*?\b(gmk_\w+) ?\(", d)
        if m:
            found[m.group(1)] = d
    return found


def errors_said(text):
    """name → the codes that the comment before or behind a call's declaration gives, as they are called in full"""
    known = {}
    for code in re.findall(r"^    (GMK_\w+) = -", read("include/ggmk/error.h"), re.M):
        known[re.sub(r"^GMK_(ERR_)?", "", code)] = code
    found = {}
    comment = r"/\*(?:(?!\*/).)*\*/"
    call = rf"({comment}\n)?(?:\w[\w ]*[ *])(gmk_\w+)\([^;{{}}]*\);( *{comment})?"
    for before, name, behind in re.findall(call, text, re.S):
        words = re.findall(r"(?<!GMK_)(?<!GMK_BOOT_)\b[A-Z][A-Z_]+\b", before + behind)
        found[name] = {known[w] for w in words if w in known}
    return found


def page_text(path):
    """The text of a page, through one .so"""
    text = read(path)
    m = re.match(r"\.so (\S+)", text)
    return read(os.path.join("man", m.group(1))) if m else text


def plain(roff):
    return " ".join(re.sub(r"\\f.|^\.\w+ ?", "", roff.replace("\\-", "-").replace('"', ""), flags=re.M).split())


def untidy(text):
    """Lines that show on the terminal as they were not meant: code among the prose, marks of another format, an
    identifier that was given a capital letter."""
    found, section, literal = [], "", False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(".SH"):
            section = line[3:].strip()
        if line in (".nf", ".fi"):
            found += [f"{number}: a second {line}"] if literal == (line == ".nf") else []
            literal = line == ".nf"
        if "```" in line:
            found.append(f"{number}: {line}")
        elif literal or line.startswith("."):
            continue
        elif line.strip() == "" or line.startswith((" ", "}")) or line.endswith(("{", "}")) or (
                section == "EXAMPLES" and line.endswith(";")):
            found.append(f"{number}: code, or an empty line, outside .nf: {line}")
        elif re.search(r"\b[A-Z][a-z]+_[a-z]", line):
            found.append(f"{number}: {line}")
    return found + ([f"{number}: .nf without .fi"] if literal else [])


declared, said, codes = {}, {}, set()
for h in HEADERS:
    text = read(f"include/ggmk/{h}.h")
    declared.update(declarations(text))
    said.update(errors_said(text))
for path in glob.glob("include/ggmk/*.h"):
    codes |= set(re.findall(r"\bGMK_\w+", read(path)))
pages = sorted(glob.glob("man/man3/*.3"))
result(len(declared) > 50, "the headers declare calls", len(declared))
result(sum(map(len, said.values())) > 80, "the headers give errors", said)
for name, prototype in sorted(declared.items()):
    path = f"man/man3/{name}.3"
    if not os.path.exists(path):
        result(False, f"{name} has a page", path)
        continue
    try:
        text = plain(page_text(path))
    except OSError as e:
        result(False, f"{name} has a page", e)
        continue
    result(prototype.replace('"', "") + ";" in text, f"{name}: its page gives the prototype", prototype)
    unsaid = sorted(code for code in said.get(name, ()) if not re.search(rf"\b{code}\b", text))
    result(not unsaid, f"{name}: its page gives the errors of the header", unsaid)
strangers = [p for p in pages if os.path.basename(p)[:-2] not in declared]
result(not strangers, "no page for a call that is gone", strangers)

for path in pages + sorted(glob.glob("man/man7/*.7")):
    text = read(path)
    if text.startswith(".so "):
        continue
    unknown = sorted(c for c in set(re.findall(r"\bGMK_\w+", text)) if c not in codes and not c.endswith("_"))
    missing = [f"{n}({s})" for n, s in re.findall(r"^\.BR (\w+) \((\d)\)", text, re.M)
               if not os.path.exists(f"man/man{s}/{n}.{s}")]
    missing += [f"{n}(3)" for n in re.findall(r"\\fB(gmk_\w+)\\fR\(3\)", text) if not os.path.exists(f"man/man3/{n}.3")]
    result(not unknown and not missing, f"{path} refers to what exists", f"{unknown} {missing}")
    found = untidy(text)
    result(not found, f"{path} keeps its examples whole", "\n".join(found))

overview = plain(read("man/man7/ggmk.7"))
unnamed = [n for n in sorted(declared) if not re.search(rf"\b{n}\b", overview)]
result(not unnamed, "ggmk(7) names every call", unnamed)

if shutil.which("groff"):
    for path in pages + sorted(glob.glob("man/man7/*.7")):
        done = subprocess.run(["groff", "-man", "-ww", "-b", "-z", "-Tutf8", "-Iman", path], capture_output=True, text=True)
        if done.returncode or done.stderr:
            result(False, f"{path} formats without a warning", done.stderr)
    result(True, "the pages were formatted")
else:
    print(f"ok {count + 1} # SKIP no groff here")
    count += 1
print(f"1..{count}")
