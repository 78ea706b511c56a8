"""A call that was handed over, and whether it stays on this machine and within its folder."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from .filters import AT_FDCWD, MAY_WRITE, Call, Machine

NOTIFICATION: Final = struct.Struct("QIIiIQ6Q")
"""struct seccomp_notif: id, pid, flags, number, architecture, instruction, six arguments."""

ADDRESS_ARGUMENT: Final = {"connect": 1, "bind": 1, "sendto": 4}
DNS: Final = 53
RESOLVERS: Final = ("nscd", "systemd/resolve", "avahi")
"""Local services that look names up for others: said to be absent, so that a lookup shows."""

DEVICES: Final = frozenset({"/dev/null", "/dev/tty", "/dev/ptmx"})


@dataclass(frozen=True)
class Asked:
    """What a thread asks of the kernel, and waits for."""

    id: int
    pid: int
    number: int
    arguments: tuple[int, ...]

    @classmethod
    def read(cls, notification: bytes) -> Asked:
        """From the kernel's structure."""
        id_, pid, _, number, _, _, *arguments = NOTIFICATION.unpack(notification)
        return cls(id_, pid, number, tuple(arguments))

    def memory(self, at: int, size: int) -> bytes:
        """What lies in the asking process's memory. Raises OSError if it is gone, or hides."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            return os.pread(memory.fileno(), size, at)

    def text(self, at: int) -> str:
        """A path in the asking process's memory, which ends with a zero."""
        read = b""
        while b"\0" not in read and len(read) < 4096:
            read += self.memory(at + len(read), 256 - (at + len(read)) % 256)
        return os.fsdecode(read.partition(b"\0")[0])

    def folder(self, descriptor: int) -> str:
        """What a path is relative to: an open folder, or the current one."""
        signed = struct.unpack("i", struct.pack("I", descriptor & 0xFFFFFFFF))[0]
        link = "cwd" if signed == AT_FDCWD else f"fd/{signed}"
        return os.readlink(f"/proc/{self.pid}/{link}")


@dataclass(frozen=True)
class Verdict:
    """What is answered: an error number (0: go on), and what is noted about it."""

    error: int = 0
    breach: str = ""


GO_ON: Final = Verdict()


@dataclass(frozen=True)
class Judge:
    """Lets calls go on that stay on this machine and write in one folder.

    Attributes:
        machine: Whose calls they are.
        folder: Where files may be written; None leaves files alone.
    """

    machine: Machine
    folder: Path | None = None

    def judge(self, asked: Asked) -> Verdict:
        """What to answer. Raises OSError if the asking process's memory cannot be read."""
        for name, number in self.machine.network.items():
            if asked.number == number:
                return self._network(name, asked)
        for name, call in self.machine.files.items():
            if asked.number == call.number:
                return self._files(name, call, asked)
        return GO_ON

    def _network(self, name: str, asked: Asked) -> Verdict:
        for address in _addresses(name, asked):
            verdict = judge_address(name, address)
            if verdict != GO_ON:
                return verdict
        return GO_ON

    def _files(self, name: str, call: Call, asked: Asked) -> Verdict:
        """Writing elsewhere is noted and goes on, so that all of it is seen."""
        if name == "openat2" and not _may_write(asked):
            return GO_ON
        for descriptor, at in call.paths:
            where = asked.folder(AT_FDCWD if descriptor is None else asked.arguments[descriptor])
            path = os.path.normpath(os.path.join(where, asked.text(asked.arguments[at])))
            if path not in DEVICES and not Path(path).is_relative_to(self.folder or "/"):
                return Verdict(breach=f"{name} {path}")
        return GO_ON


def _may_write(asked: Asked) -> bool:
    """What the filter cannot read: the flags that `openat2` takes in a structure."""
    flags: int = struct.unpack("Q", asked.memory(asked.arguments[2], 8))[0]
    return bool(flags & MAY_WRITE)


def _addresses(name: str, asked: Asked) -> Iterator[bytes]:
    """The addresses that a call names."""
    if name in ADDRESS_ARGUMENT:
        at = ADDRESS_ARGUMENT[name]
        yield asked.memory(asked.arguments[at], min(asked.arguments[at + 1], 128))
        return
    count = asked.arguments[2] if name == "sendmmsg" else 1
    for message in range(count):
        pointer, size = struct.unpack("QI", asked.memory(asked.arguments[1] + 64 * message, 12))
        if pointer:
            yield asked.memory(pointer, min(size, 128))


def judge_address(call: str, address: bytes) -> Verdict:
    """Whether an address, as the kernel takes it, is of this machine and asks for no name."""
    family = struct.unpack_from("H", address)[0] if len(address) >= 2 else socket.AF_UNSPEC
    if family in (socket.AF_UNSPEC, socket.AF_NETLINK):
        return GO_ON
    if family == socket.AF_UNIX:
        path = os.fsdecode(address[2:].partition(b"\0")[0])
        return Verdict(errno.ENOENT) if any(each in path for each in RESOLVERS) else GO_ON
    if family not in (socket.AF_INET, socket.AF_INET6):
        return Verdict(errno.ENETUNREACH, f"{call} to address family {family}")
    host, port = _internet(family, address)
    if port == DNS and call != "bind":
        return Verdict(errno.ENETUNREACH, f"{call} to {host} port {port}: a name is looked up")
    if host.is_loopback or (host.is_unspecified and call != "bind"):  # then it means loopback
        return GO_ON
    return Verdict(errno.ENETUNREACH, f"{call} to {host} port {port}")


def _internet(family: int, address: bytes) -> tuple[IPv4Address | IPv6Address, int]:
    port: int = struct.unpack_from("!H", address, 2)[0]
    if family == socket.AF_INET:
        return IPv4Address(address[4:8]), port
    host = IPv6Address(address[8:24])
    return host.ipv4_mapped or host, port
