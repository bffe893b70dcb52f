# SPDX-License-Identifier: MIT
"""ggmk-gpuhost as its parent sees it: a process, a socket, a region.  For test/gpuhost.t."""
import array
import atexit
import ctypes
import mmap
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
PROGRAM = os.path.join(BUILD, "test", "ggmk-gpuhost-test")
FAKE = os.path.join(BUILD, "test", "fake-cuda")
T = tempfile.mkdtemp(prefix="ggmk-gpuhost.")
atexit.register(shutil.rmtree, T, ignore_errors=True)
PATIENCE = 60  # seconds for what takes milliseconds on an idle machine

MAGIC, VERSION = 0x54534F48, 1
DEVICE, FAILED, FAULT, STOPPED = 1, 2, 3, 4  # kinds of reports
AUTO, CUDA, SOFT = 0, 1, 2
OK, TROUBLE, USAGE, NO_DEVICE = 0, 1, 2, 3  # exit statuses
REPORT = struct.Struct("<IIIi240s")

library = ctypes.CDLL(os.path.join(BUILD, "libgmk_cpu.so"))
library.gmk_region_bytes.restype = ctypes.c_uint64
library.gmk_strerror.restype = ctypes.c_char_p


def call(name, *arguments):
    code = getattr(library, name)(*arguments)
    assert code == 0, f"{name}: {library.gmk_strerror(code).decode()}"


class Config(ctypes.Structure):
    """gmk_region_cfg_t"""
    _fields_ = [("epoch", ctypes.c_uint32), ("ring_slots", ctypes.c_uint32), ("control_slots", ctypes.c_uint32),
                ("pool_bytes", ctypes.c_uint64), ("name", ctypes.c_char_p * 2), ("args", ctypes.c_char_p)]


class Region:
    """A formatted region in a memfd."""

    def __init__(self):
        cfg = Config(pool_bytes=1 << 16, args=b"modules=t.echo")
        self.bytes = library.gmk_region_bytes(ctypes.byref(cfg))
        self.fd = os.memfd_create("region", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, self.bytes)
        self.memory = mmap.mmap(self.fd, self.bytes)
        self.at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(self.memory)))
        call("gmk_region_format", self.at, ctypes.c_uint64(self.bytes), ctypes.byref(cfg))

    def word(self, at, value=None):
        if value is not None:
            struct.pack_into("<I", self.memory, at, value)
        return struct.unpack_from("<I", self.memory, at)[0]


class Peer:
    """A kernel of this process on side 0 of a region."""

    def __init__(self, region):
        self.kernel = (ctypes.c_uint64 * 64)()  # gmk_kernel_t
        self.bridge = ctypes.c_void_p()
        self.region = region  # stays
        call("gmk_boot", self.kernel, (ctypes.c_uint64 * 64)(), None, 0)  # gmk_boot_cfg_t, all defaults
        call("gmk_bridge_create", self.kernel, None, ctypes.byref(self.bridge))
        call("gmk_bridge_up", self.bridge, region.at, ctypes.c_uint64(region.bytes), 0)

    def ready(self, host):
        """Waits for the other kernel, as long as there is a host."""
        timeout = code = -6  # GMK_ERR_TIMEOUT
        until = time.monotonic() + PATIENCE
        while code == timeout and host.process.poll() is None and time.monotonic() < until:
            code = library.gmk_bridge_wait_ready(self.bridge, ctypes.c_uint64(20 * 10**6))
        return code == 0

    def ask_stop(self):
        call("gmk_bridge_ask_stop", self.bridge)

    def end(self):
        library.gmk_bridge_destroy(self.bridge)
        call("gmk_halt", self.kernel)


# A library that none can open hides the driver that this machine may have.
NO_DRIVER = os.path.join(T, "no-driver")
os.makedirs(NO_DRIVER)
open(os.path.join(NO_DRIVER, "libcuda.so.1"), "w").close()


def environment(fake=None):
    """fake: what FAKE_CUDA says; None: there is no driver."""
    return dict(os.environ, LD_LIBRARY_PATH=NO_DRIVER if fake is None else FAKE, FAKE_CUDA=fake or "")


class Host:
    """A running ggmk-gpuhost.  Its standard error is kept; its end shows as the end of that pipe."""

    def __init__(self, *options, fake=None, env=None):
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.said = b""
        fd = theirs.fileno()
        self.process = subprocess.Popen([PROGRAM, "--fd", str(fd), *options], pass_fds=[fd], stderr=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL, env=env or environment(fake))
        theirs.close()

    def hello(self, region, bytes=None, magic=MAGIC, version=VERSION, fds=None, raw=None):
        fds = [region.fd] if fds is None else fds
        size = region.bytes if bytes is None else bytes
        message = struct.pack("<IIQ", magic, version, size) if raw is None else raw
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([message], ancillary)
        return self

    def report(self):
        """(kind, device, code, text) of the next report; None at the end of the socket"""
        self.sock.settimeout(PATIENCE)
        try:
            message = self.sock.recv(4096)
        except ConnectionResetError:
            return None  # it ended before it read all that it was sent
        except TimeoutError:
            self.process.kill()
            return None
        if not message:
            return None
        magic, kind, device, code, text = REPORT.unpack(message)
        assert magic == MAGIC, f"a report with the magic {magic:#x}"
        return kind, device, code, text.split(b"\0")[0].decode()

    def wait_for(self, text):
        """Reads standard error until it has the text; False when it ended without."""
        until = time.monotonic() + PATIENCE
        while text.encode() not in self.said:
            if not select.select([self.process.stderr], [], [], max(0, until - time.monotonic()))[0]:
                return False
            more = os.read(self.process.stderr.fileno(), 65536)
            if not more:
                return False
            self.said += more
        return True

    def end(self):
        """(status, standard error) when the process has ended, which it must do by itself"""
        try:
            self.said += self.process.communicate(timeout=PATIENCE)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.said += self.process.communicate()[1] + b"\n(did not end)"
        self.sock.close()
        return self.process.returncode, self.said.decode(errors="replace")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        return self.end()
