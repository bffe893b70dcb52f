#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A virtio disk that keeps the rules until it breaks one, for QEMU's vhost-user-blk-pci.

usage: hostile_disk.py SOCKET LIE [AFTER]

Serves one connection.  Each sector begins with its number, 8 bytes, little-endian.  After AFTER honest
requests (default 4) comes one LIE: honest, wild (a descriptor beyond the queue), idle (one that is not in
flight), twice, jump (the used index runs ahead), long (more bytes than there is room for), error,
nostatus, silent (and from then on nothing).

QEMU's options: -object memory-backend-memfd,id=m,size=256M,share=on -machine memory-backend=m
-chardev socket,id=c,path=SOCKET -device vhost-user-blk-pci,chardev=c,num-queues=1
"""
import array
import mmap
import os
import select
import socket
import struct
import sys

SECTORS = 20000
REPLY, VERSION, NEED_REPLY = 4, 1, 8
(GET_FEATURES, SET_FEATURES, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE,
 SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM,
 GET_CONFIG) = (1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 24)
F_SEG_MAX, F_RO, F_INDIRECT, F_VHOST_PROTOCOL, F_VERSION_1 = 1 << 2, 1 << 5, 1 << 28, 1 << 30, 1 << 32
PROTOCOL_MQ, PROTOCOL_REPLY_ACK, PROTOCOL_CONFIG = 1 << 0, 1 << 3, 1 << 9
DESC_NEXT, DESC_WRITE, DESC_INDIRECT = 1, 2, 4


class Memory:
    """The guest's memory, as the frontend shares it."""

    def __init__(self, payload, fds):
        self.regions = []
        count = struct.unpack_from("<I", payload)[0]
        for i in range(count):
            guest, size, user, offset = struct.unpack_from("<4Q", payload, 8 + 32 * i)
            view = memoryview(mmap.mmap(fds[i], size + offset))[offset:]
            self.regions.append((guest, user, size, view))

    def at(self, address, length, user=False):
        for guest, user_address, size, view in self.regions:
            start = user_address if user else guest
            if start <= address and address + length <= start + size:
                return view[address - start:address - start + length]
        raise ValueError("the driver gave an address that is no memory: %#x + %d" % (address, length))


class Queue:
    def __init__(self):
        self.size, self.seen, self.done = 0, 0, 0
        self.addresses, self.kick, self.call = None, None, None


class Disk:
    def __init__(self, lie, after):
        self.memory, self.queue = None, Queue()
        self.lie, self.after = lie, after

    def ring(self, which, offset, length):
        return self.memory.at(self.queue.addresses[which] + offset, length, user=True)

    def chain(self, head):
        """The buffers of a chain as (view, device may write)."""
        table = self.ring("desc", 0, 16 * self.queue.size)
        index, chain = head, []
        while True:
            address, length, flags, following = struct.unpack_from("<QIHH", table, 16 * index)
            if flags & DESC_INDIRECT:
                table, index = self.memory.at(address, length), 0
                continue
            chain.append((self.memory.at(address, length), bool(flags & DESC_WRITE)))
            if not flags & DESC_NEXT:
                return chain
            index = following

    def execute(self, chain, status):
        kind, _, sector = struct.unpack("<IIQ", chain[0][0])
        written = 0
        if kind == 0:
            total = sum(len(view) for view, _ in chain[1:-1])
            data = b"".join(struct.pack("<Q", sector + i) + bytes(504) for i in range(total // 512))
            for view, _ in chain[1:-1]:
                view[:] = data[written:written + len(view)]
                written += len(view)
        elif kind == 8:
            chain[1][0][:] = b"hostile".ljust(len(chain[1][0]), b"\0")
            written = len(chain[1][0])
        elif kind != 4:
            status = 2
        if status is not None:
            chain[-1][0][:] = bytes([status])
        return written + 1

    def complete(self, head, written):
        q = self.queue
        struct.pack_into("<II", self.ring("used", 4 + 8 * (q.done % q.size), 8), 0, head & 0xFFFFFFFF, written)
        self.show(q.done + 1)

    def show(self, index):
        self.queue.done = index & 0xFFFF
        struct.pack_into("<H", self.ring("used", 2, 2), 0, self.queue.done)

    def answer(self, head):
        q, lie = self.queue, "honest"
        if self.after > 0:
            self.after -= 1
        else:
            lie, self.lie = self.lie, self.lie if self.lie in ("honest", "silent") else "honest"
        if lie == "silent":
            return
        chain = self.chain(head)
        room = sum(len(view) for view, writable in chain if writable)
        written = self.execute(chain, {"error": 1, "nostatus": None}.get(lie, 0))
        number = {"wild": q.size + head, "idle": (head + q.size // 2) % q.size}.get(lie, head)
        self.complete(number, room + 1 if lie == "long" else written)
        if lie == "twice":
            self.complete(head, written)
        if lie == "jump":
            self.show(q.done + 1000)

    def kicked(self):
        q = self.queue
        os.read(q.kick, 8)
        while q.seen != struct.unpack("<H", self.ring("avail", 2, 2))[0]:
            head = struct.unpack("<H", self.ring("avail", 4 + 2 * (q.seen % q.size), 2))[0]
            q.seen = (q.seen + 1) & 0xFFFF
            self.answer(head)
        if q.call is not None:
            os.write(q.call, struct.pack("<Q", 1))

    # The frontend's messages: the reply's payload, or None.

    def config(self, payload):
        offset, size, flags = struct.unpack_from("<III", payload)
        space = bytearray(256)
        struct.pack_into("<QII", space, 0, SECTORS, 0, 30)
        struct.pack_into("<I", space, 20, 512)
        struct.pack_into("<H", space, 34, 1)
        return struct.pack("<III", offset, size, flags) + bytes(space[offset:offset + size])

    def message(self, request, payload, fds):
        q = self.queue
        if request == GET_FEATURES:
            return struct.pack("<Q", F_SEG_MAX | F_RO | F_INDIRECT | F_VHOST_PROTOCOL | F_VERSION_1)
        if request == GET_PROTOCOL_FEATURES:
            return struct.pack("<Q", PROTOCOL_MQ | PROTOCOL_REPLY_ACK | PROTOCOL_CONFIG)
        if request == GET_QUEUE_NUM:
            return struct.pack("<Q", 1)
        if request == GET_CONFIG:
            return self.config(payload)
        if request == SET_MEM_TABLE:
            self.memory = Memory(payload, fds)
        elif request == SET_VRING_NUM:
            q.size = struct.unpack_from("<II", payload)[1]
        elif request == SET_VRING_BASE:
            q.seen = q.done = struct.unpack_from("<II", payload)[1] & 0xFFFF
        elif request == SET_VRING_ADDR:
            _, _, desc, used, avail, _ = struct.unpack_from("<IIQQQQ", payload)
            q.addresses = {"desc": desc, "used": used, "avail": avail}
        elif request == SET_VRING_KICK:
            q.kick = fds[0] if fds else None
        elif request == SET_VRING_CALL:
            q.call = fds[0] if fds else None
        elif request == GET_VRING_BASE:
            q.kick = None
            return struct.pack("<II", 0, q.seen)
        return None


def receive(connection):
    fds = array.array("i")
    data, ancillary, _, _ = connection.recvmsg(12, socket.CMSG_SPACE(8 * fds.itemsize))
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(value[:len(value) - len(value) % fds.itemsize])
    if len(data) < 12:
        return None
    request, flags, size = struct.unpack("<III", data)
    payload = connection.recv(size, socket.MSG_WAITALL) if size else b""
    return request, flags, payload, list(fds)


def serve(connection, disk):
    while True:
        waiting = [connection] + ([disk.queue.kick] if disk.queue.kick is not None else [])
        ready = select.select(waiting, [], [])[0]
        if disk.queue.kick in ready:
            disk.kicked()
        if connection not in ready:
            continue
        message = receive(connection)
        if message is None:
            return
        request, flags, payload, fds = message
        reply = disk.message(request, payload, fds)
        if reply is None and flags & NEED_REPLY:
            reply = struct.pack("<Q", 0)
        if reply is not None:
            connection.sendall(struct.pack("<III", request, VERSION | REPLY, len(reply)) + reply)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1] + ".new")
    listener.listen(1)
    os.rename(sys.argv[1] + ".new", sys.argv[1])  # whoever sees the name may connect
    serve(listener.accept()[0], Disk(sys.argv[2], int(sys.argv[3]) if len(sys.argv) == 4 else 4))


main()
