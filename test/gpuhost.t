#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""ggmk-gpuhost from the outside: what it is told, what it reports and how it ends, on the software device and on
a driver that is a fake (test/gpu/fake_cuda.c), whose launch runs the same kernel and which fails on demand."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
os.chdir(os.path.join(HERE, ".."))
sys.path.insert(0, os.path.join(HERE, "gpu"))
sys.dont_write_bytecode = True
from gpuhost import *  # noqa: E402, F403

count = 0


def check(name, ok, why=""):
    global count
    count += 1
    print(f"{'ok' if ok else 'not ok'} {count} - {name}", flush=True)
    if not ok:
        print("\n".join("# " + line for line in str(why).splitlines()), flush=True)


def write(path, text):
    path = os.path.join(T, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    return path


IMAGE = write("gmk_gpu.ptx", ".version 7.8\n.target sm_80\n.address_size 64\n")
FACTS = write("gmk_gpu.json", '{\n   "stack_bytes" : 4096,\n   "version" : 1\n}\n')


def cuda(fake="", *options, device="cuda", **more):
    return Host("--device", device, "--image", IMAGE, *options, fake=fake, **more)


def tell(host):
    """Hands over a region, and gives the reports up to the end of the process with how it ended."""
    reports = []
    host.hello(Region())
    while (r := host.report()) is not None:
        reports.append(r)
    return reports, *host.end()


# ---- options

def by_hand(*arguments, fake=None, program=PROGRAM):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env=environment(fake), timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr


def refuses(name, text, *arguments):
    status, out, err = by_hand(*arguments)
    check(name, status == USAGE and out == "" and err.count("\n") == 1 and text in err and
          err.startswith("ggmk-gpuhost: "), f"{status}\n{out}{err}")


def options():
    status, out, err = by_hand("--help")
    check("--help", status == OK and out.startswith("usage: ggmk-gpuhost") and err == "", f"{status}\n{out}{err}")
    refuses("nothing to do", "by hand, try --probe")
    refuses("an unknown option", "unknown option '--bogus' (ggmk-gpuhost --help", "--bogus")
    refuses("an option without its value", "no value for the option '--fd'", "--fd")
    refuses("a word that is no option", "'cuda' is no option", "--probe", "cuda")
    refuses("--device with another name", "'gpu' is none of auto, cuda and soft", "--fd", "3", "--device", "gpu")
    refuses("--image without a name", "--image: an empty name", "--fd", "3", "--image", "")
    for option, bad in ("fd", "x"), ("fd", "-1"), ("ordinal", "1024"), ("workers", "0"), ("workers", "257"), \
            ("arena", "1000"), ("arena", "1G"), ("arena", "99999999999999999999"):
        refuses(f"--{option} {bad}", f"--{option}: '{bad}' is not a number from", "--fd", "3", f"--{option}={bad}")
    refuses("a descriptor that is not open", "--fd 77: Bad file descriptor", "--fd", "77")
    refuses("a descriptor that is no socket", "--fd 0: Socket operation on non-socket", "--fd", "0")
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    done = subprocess.run([PROGRAM, "--fd", str(b.fileno())], pass_fds=[b.fileno()], capture_output=True, text=True)
    check("a socket of another type", done.returncode == USAGE and "not a SOCK_SEQPACKET socket" in done.stderr, done)


# ---- the hello and the region

def refused(name, text, host, status=TROUBLE):
    """No kernel is started: one report says why, and so does standard error."""
    reports = []
    while (r := host.report()) is not None:
        reports.append(r)
    ended, said = host.end()
    check(name, ended == status and [r[0] for r in reports] == [FAILED] and text in reports[0][3] and
          "ggmk-gpuhost: " + reports[0][3] in said, f"{ended}\n{reports}\n{said}")


def hello():
    soft = lambda: Host("--device", "soft")
    region = Region()
    refused("a hello that is too short", "no hello of gpu_drv", soft().hello(region, raw=b"HOST"))
    refused("a hello that is too long", "no hello of gpu_drv", soft().hello(region, raw=struct.pack("<IIQ", MAGIC, VERSION, region.bytes) + b"x"))
    refused("a hello of somebody else", "no hello of gpu_drv", soft().hello(region, magic=1))
    refused("a hello of another version", "gpu_drv speaks version 2, this ggmk-gpuhost 1", soft().hello(region, version=2))
    refused("a hello without a descriptor", "without the region's one descriptor", soft().hello(region, fds=[]))
    refused("a hello with two", "without the region's one descriptor", soft().hello(region, fds=[region.fd] * 2))
    refused("a hello with three", "without the region's one descriptor", soft().hello(region, fds=[region.fd] * 3))
    pipe = os.pipe()
    refused("a descriptor of a pipe", "the descriptor has 0", soft().hello(region, fds=[pipe[0]]))
    refused("a region longer than its memory", f"the hello says {region.bytes + 4096} bytes, the descriptor has {region.bytes}",
            soft().hello(region, bytes=region.bytes + 4096))
    refused("a region of no pages", "no multiple of 4096", soft().hello(region, bytes=region.bytes - 1))
    refused("a region of no bytes", "0 bytes", soft().hello(region, bytes=0))
    refused("a region shorter than it says", "the region is refused: ", soft().hello(region, bytes=region.bytes - 4096))
    for name, at, value in ("magic", 0, 1), ("version", 8, 2), ("size", 16, 8192):
        region = Region()
        region.word(at, value)
        refused(f"a region of another {name}", "the region is refused: ", soft().hello(region))
        refused(f"so does the GPU", "the region is refused: ", cuda().hello(region))


# ---- a life

def live(host, before=lambda: None):
    """A whole life: the reports, whether the two kernels were ready for each other, the status, standard error."""
    region = Region()
    reports = [host.hello(region).report()]
    peer = Peer(region)
    ready = peer.ready(host)
    before()
    peer.ask_stop()
    while (r := host.report()) is not None:
        reports.append(r)
    status, said = host.end()
    peer.end()
    return reports, ready, status, said


def life(name, host, device, text):
    reports, ready, status, said = live(host, lambda: host.process.send_signal(signal.SIGINT))
    check(f"{name}: the device is reported", reports[0] == (DEVICE, device, 0, text), reports)
    check(f"{name}: its kernel meets ours, and ends in order when asked to, not by a Ctrl-C", ready and status == OK and
          [r[:3] for r in reports[1:]] == [(STOPPED, device, 0)], f"{ready} {status}\n{reports}\n{said}")
    return said


def lives():
    life("software device", Host("--device", "soft"), SOFT, "software device")
    said = life("GPU", cuda(), CUDA, "Fake GPU 0")
    check("GPU: as many blocks as are resident at once, with the stack that the image needs",
          "fake kernel: 4 blocks, 2 workers, 4096 bytes of stack\n" in said, said)
    check("GPU: its console is shown to the end", said.rstrip().endswith("fake kernel: ended"), said)
    said = life("GPU, one worker", cuda("", "--workers", "1"), CUDA, "Fake GPU 0")
    check("GPU, one worker: three blocks", "fake kernel: 3 blocks, 1 workers" in said, said)
    said = life("a large GPU", cuda("multiprocessors=150"), CUDA, "Fake GPU 0")
    check("a large GPU: no more blocks than a kernel has workers", "fake kernel: 258 blocks, 256 workers" in said, said)
    life("the second GPU", cuda("devices=2", "--ordinal", "1"), CUDA, "Fake GPU 1")
    said = life("auto, with a GPU", cuda(device="auto"), CUDA, "Fake GPU 0")
    said = life("auto, without a driver", Host(), SOFT, "software device")
    check("auto, without a driver: says why", re.search(r"no GPU, the software device takes its place: no NVIDIA driver: .*libcuda.so.1: ", said), said)
    said = life("auto, with a GPU that is too old", cuda("capability=75", device="auto"), SOFT, "software device")
    check("auto, with a GPU that is too old: says why", "takes its place: GPU 0, Fake GPU 0: its compute capability is 7.5" in said, said)
    said = life("auto, with a region that the GPU cannot reach", cuda("fail=cuMemHostRegister_v2:1", device="auto"), SOFT, "software device")
    check("auto, with a region that the GPU cannot reach: says why", "takes its place: cuMemHostRegister_v2: invalid argument (1, CUDA_ERROR_INVALID_VALUE)" in said, said)


# ---- what fails

def fails(name, fake, text, status=TROUBLE, *options, kinds=(FAILED,), **more):
    reports, ended, said = tell(cuda(fake, *options, **more))
    check(name, ended == status and tuple(r[0] for r in reports) == kinds and text in reports[-1][3] and
          "MISUSE" not in said, f"{ended}\n{reports}\n{said}")
    return reports, said


def failures():
    reports, ended, said = tell(Host("--device", "cuda", fake=None))
    check("no driver", ended == NO_DEVICE and reports[0][0] == FAILED and "no NVIDIA driver: " in reports[0][3], f"{ended} {reports}\n{said}")
    fails("no GPU", "devices=0", "cuInit: no CUDA-capable device is detected (100, CUDA_ERROR_NO_DEVICE)", NO_DEVICE)
    fails("no such GPU", "devices=2", "there is no GPU 2: the last one is GPU 1", NO_DEVICE, "--ordinal", "2")
    fails("a driver that is too old", "version=11080", "the driver is for CUDA 11.8: 12.0 or later is needed", NO_DEVICE)
    fails("compute capability 7.5", "capability=75", "GPU 0, Fake GPU 0: its compute capability is 7.5: 8.0", NO_DEVICE)
    fails("a time limit for kernels", "exec-timeout=1", "ends kernels that run for long", NO_DEVICE)
    fails("no cooperative launch", "cooperative=0", "no cooperative launch", NO_DEVICE)
    fails("no memory of the host", "register=0", "cannot reach memory of the host", NO_DEVICE)
    fails("no unified addressing", "unified=0", "no unified addressing", NO_DEVICE)
    fails("no memory for the arena", "fail=cuMemAlloc_v2:2", "cuMemAlloc_v2: out of memory (2, CUDA_ERROR_OUT_OF_MEMORY)", kinds=(DEVICE, FAILED))
    fails("a launch that is refused", "fail=cuLaunchCooperativeKernel:720", "too many blocks in cooperative launch", kinds=(DEVICE, FAILED))
    fails("too few blocks at once", "occupancy=1", "runs 2 blocks of 128 threads at once: 3 are needed", kinds=(DEVICE, FAILED))
    fails("not one block", "occupancy=0", "runs 0 blocks", kinds=(DEVICE, FAILED))
    fails("an image of another version", "console-bytes=80", "is of another version: its console has 80 bytes, not 8208")
    _, said = fails("an image that the driver refuses", "fail=cuModuleLoadDataEx:218", "cuModuleLoadDataEx: a PTX JIT compilation failed (218")
    check("and what it says of it, line by line", "ggmk-gpuhost: ptxas fatal : Unexpected instruction types\nggmk-gpuhost: ptxas fatal : Ptx assembly aborted\n" in said, said)
    empty = os.path.join(T, "empty")
    os.makedirs(empty)
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-x", "c", "/dev/null", "-o", empty + "/libcuda.so.1"], check=True)
    env = dict(environment(""), LD_LIBRARY_PATH=empty)
    fails("a driver without a call", None, "libcuda.so.1 has no cuInit: the driver is too old", NO_DEVICE, env=env)


def images():
    def image(name, text, ptx, facts):
        path = os.path.join(T, name.replace(" ", "-"), "x.ptx")
        if ptx is not None:
            write(path, ptx)
        if facts is not None:
            write(path[:-4] + ".json", facts)
        reports, ended, said = tell(Host("--device", "cuda", "--image", path, fake=""))
        check(name, ended == TROUBLE and [r[0] for r in reports] == [FAILED] and text in reports[0][3], f"{ended}\n{reports}\n{said}")

    good, facts = ".version 7.8\n", '{"version": 1, "stack_bytes": 1024}'
    image("no image", "x.ptx': No such file", None, facts)
    image("an empty image", "x.ptx': no file of 1 byte to 256 MiB", "", facts)
    image("an image that is none", "cuModuleLoadDataEx: a PTX JIT", "hello", facts)
    image("no facts", "x.json': No such file", good, None)
    for n, bad in enumerate(("{}", '{"version": 2, "stack_bytes": 1024}', '{"version": 1, "stack_bytes": "1024"}',
                             '{"version": 1, "stack_bytes": 99999999999999999999}')):
        image(f"facts that are none {n}", "x.json': no facts of version 1: ", good, bad)
    for bad in "0", "524289":
        image(f"facts with a stack of {bad}", f"stack_bytes is {bad}, not 1 to 524288", good, facts.replace("1024", bad))
    reports, ended, said = tell(Host("--device", "cuda", "--image", T, fake=""))
    check("a folder as an image", ended == TROUBLE and reports[0][0] == FAILED, f"{ended}\n{reports}\n{said}")
    for where, place in ("beside the program", "a/gmk_gpu"), ("where it is installed", "b/lib/ggmk/gmk_gpu"):
        program = os.path.join(T, "a/ggmk-gpuhost" if place[0] == "a" else "b/bin/ggmk-gpuhost")
        os.makedirs(os.path.dirname(program), exist_ok=True)
        shutil.copy(PROGRAM, program)
        status, out, err = by_hand("--probe", fake="", program=program)
        check(f"no image {where}", status == NO_DEVICE and "not usable: no image: " in out, f"{status}\n{out}{err}")
        write(place + ".ptx", good)
        write(place + ".json", facts)
        status, out, err = by_hand("--probe", fake="", program=program)
        check(f"an image {where} is found", status == OK and ": usable" in out, f"{status}\n{out}{err}")


# Each call of the driver fails in its turn: none is overlooked, and the report has its name.
UNCHECKED = {"cuGetErrorName", "cuGetErrorString",  # what says why another failed
             "cuMemHostUnregister", "cuDevicePrimaryCtxRelease_v2"}  # undone after a failure
LATER = {"cuStreamQuery": 1, "cuMemcpyDtoHAsync_v2": 4, "cuStreamSynchronize": 4}  # beside the kernel, or after it


def every_call():
    with open("gpu/cuda.h", encoding="utf-8") as f:
        calls = re.findall(r"^    X\((cu\w+),", f.read(), re.M)
    check("the calls of the driver", len(calls) > 20 and UNCHECKED | set(LATER) < set(calls), calls)
    for call in sorted(set(calls) - UNCHECKED):
        why = f"{call}: an error this driver has no words for (999, unknown)"
        if LATER.get(call) != 1:
            reports, status, said = tell(cuda(f"fail={call}:999"))
            check(f"{call} fails", reports and reports[-1][0] == FAILED and why in reports[-1][3] and "MISUSE" not in said and
                  status in (TROUBLE, NO_DEVICE), f"{status}\n{reports}\n{said}")
        if call in LATER:
            host = cuda(f"fail={call}:999@{LATER[call]}")
            reports, *_, status, said = live(host) if call == "cuStreamSynchronize" else tell(host)
            check(f"{call} fails under the kernel", reports and reports[-1][0] == FAULT and why in reports[-1][3] and
                  "MISUSE" not in said and status == TROUBLE, f"{status}\n{reports}\n{said}")


# ---- under a running kernel

def faults():
    reports, said = fails("a kernel that faults", "fault-ms=50", "cuStreamQuery: an illegal memory access was encountered (700, CUDA_ERROR_ILLEGAL_ADDRESS)", kinds=(DEVICE, FAULT))
    check("what it said first is shown", "fake kernel: 4 blocks" in said, said)
    reports, said = fails("a kernel that faults at once", "fault-ms=0", "CUDA_ERROR_ILLEGAL_ADDRESS", kinds=(DEVICE, FAULT))
    reports, _, status, said = live(cuda("no-result=1"))
    check("a kernel that ends without a result", status == TROUBLE and reports[-1][0] == FAULT and "without a result" in reports[-1][3], f"{status}\n{reports}\n{said}")


def console():
    _, _, _, said = live(cuda("lines=40"))
    check("lines come whole and in order", re.findall(r"^line (\d+)$", said, re.M) == [str(i) for i in range(40)] and "lost" not in said, said)
    host = cuda("lines=1000")
    _, _, _, said = live(host, lambda: host.wait_for("line 999"))
    lines = [int(n) for n in re.findall(r"^line (\d+)$", said, re.M)]
    lost = sum(int(n) for n in re.findall(r"^ggmk-gpuhost: (\d+) lines of the GPU's console were lost$", said, re.M))
    first = said.count("fake kernel: 4 blocks")
    check("a flood: none twice, none out of order, the lost ones are counted", lines == sorted(set(lines)) and lines[-1:] == [999] and
          len(lines) + first + lost == 1001 and lost > 0, f"{len(lines)} shown, {lost} lost\n{said}")


def ends_alone(name, host, how):
    host.hello(Region())
    first = host.report()
    how(host)
    status, said = host.end()
    return first and first[0] == DEVICE, status, said


def parents():
    for name, start in ("software device", lambda: Host("--device", "soft")), ("GPU", cuda), ("a GPU that hangs", lambda: cuda("hang=1")):
        up, status, said = ends_alone(name, start(), lambda host: host.sock.close())
        check(f"{name}: ends when the socket does", up and status == TROUBLE and "the parent has gone" in said, f"{status}\n{said}")
        up, status, said = ends_alone(name, start(), lambda host: host.sock.send(b"more"))
        check(f"{name}: ends on a second message", up and status == TROUBLE and "nothing may follow the hello" in said, f"{status}\n{said}")
        up, status, said = ends_alone(name, start(), lambda host: host.process.kill())
        check(f"{name}: can be killed", up and status == -signal.SIGKILL, f"{status}\n{said}")
    host = Host("--device", "soft")
    host.sock.close()
    status, said = host.end()
    check("a parent that has gone before the hello", status == TROUBLE and "the parent has gone" in said, f"{status}\n{said}")
    orphan()


def orphan():
    """The socket stays open here; the process that started the host ends without a word."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read, write_ = os.pipe()  # the host holds its end open as long as it lives
    fd = theirs.fileno()
    parent = subprocess.Popen([sys.executable, "-c", "import subprocess, sys\n"
                               "subprocess.Popen(sys.argv[1:], close_fds=False)\nsys.stdin.read()", PROGRAM, "--fd",
                               str(fd), "--device", "soft"], pass_fds=[fd, write_], stdin=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, env=environment())
    theirs.close()
    os.close(write_)
    host = Host.__new__(Host)
    host.sock = ours
    host.hello(Region())
    first = host.report()
    alive = not select.select([read], [], [], 0)[0]
    parent.kill()
    parent.wait()
    gone = select.select([read], [], [], PATIENCE)[0] and os.read(read, 1) == b""
    check("ends with the process that started it", first and first[0] == DEVICE and alive and gone, f"{first} {alive} {gone}")


# ---- --probe

def probe():
    status, out, err = by_hand("--probe")
    check("--probe without a driver", status == NO_DEVICE and re.search(r"^software device: usable, \d+ CPUs?$", out, re.M) and
          re.search(r"^CUDA: not usable: no NVIDIA driver: .*libcuda.so.1: ", out, re.M) and err == "", f"{status}\n{out}{err}")
    status, out, err = by_hand("--probe", "--image", IMAGE, fake="devices=2")
    check("--probe with two GPUs", status == OK and "CUDA: driver 12.4, 2 GPUs\n" in out and err == "" and
          re.search(r"^GPU 1: Fake GPU 1, compute capability 9.0, 2 multiprocessors, 1024 MiB: usable$", out, re.M), f"{status}\n{out}{err}")
    for fake, why in ("capability=75", "its compute capability is 7.5"), ("fail=cuModuleLoadDataEx:218", "cuModuleLoadDataEx: a PTX"), \
            ("fail=cuDevicePrimaryCtxRetain:2", "cuDevicePrimaryCtxRetain: out of memory"), ("fail=cuDeviceGetName:1", "cuDeviceGetName: invalid"):
        status, out, err = by_hand("--probe", "--image", IMAGE, fake=fake)
        check(f"--probe with {fake}", status == NO_DEVICE and f"not usable: {why}" in out, f"{status}\n{out}{err}")
    with open("/dev/full", "w") as full:
        for option in "--probe", "--help":
            done = subprocess.run([PROGRAM, option], stdout=full, stderr=subprocess.PIPE, text=True, env=environment())
            check(f"{option} to a full disk", done.returncode == TROUBLE and "No space left" in done.stderr, done)


for part in options, hello, lives, failures, images, every_call, faults, console, parents, probe:
    part()
print(f"1..{count}")
