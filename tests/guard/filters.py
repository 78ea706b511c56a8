"""The seccomp filter: which calls are handed over, and putting it into force.

Sources: seccomp(2), seccomp_unotify(2), Linux's `uapi/linux/{seccomp,filter,audit}.h`, and the
tables of system calls of the two architectures.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from dataclasses import dataclass
from typing import Final

AT_FDCWD: Final = -100
MAY_WRITE: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Call:
    """A system call that writes files: its number, and which arguments hold a path.

    Attributes:
        paths: For each path, the argument with the folder's descriptor (None: the current
            folder), and the one with the path.
        flags: The argument with the flags of an open; only what may write is handed over.
    """

    number: int
    paths: tuple[tuple[int | None, int], ...]
    flags: int | None = None


@dataclass(frozen=True)
class Machine:
    """An architecture, and the numbers of its calls."""

    audit: int
    prctl: int
    network: dict[str, int]
    files: dict[str, Call]


_HERE, _ONE, _TWO = ((None, 0),), ((0, 1),), ((0, 1), (2, 3))
MACHINES: Final = {
    "x86_64": Machine(
        0xC000003E,
        157,
        {"connect": 42, "sendto": 44, "sendmsg": 46, "bind": 49, "sendmmsg": 307},
        {
            "open": Call(2, _HERE, flags=1),
            "openat": Call(257, _ONE, flags=2),
            "openat2": Call(437, _ONE),
            "creat": Call(85, _HERE),
            "truncate": Call(76, _HERE),
            "mkdir": Call(83, _HERE),
            "mkdirat": Call(258, _ONE),
            "mknod": Call(133, _HERE),
            "mknodat": Call(259, _ONE),
            "rmdir": Call(84, _HERE),
            "unlink": Call(87, _HERE),
            "unlinkat": Call(263, _ONE),
            "rename": Call(82, ((None, 0), (None, 1))),
            "renameat": Call(264, _TWO),
            "renameat2": Call(316, _TWO),
            "link": Call(86, ((None, 1),)),
            "linkat": Call(265, ((2, 3),)),
            "symlink": Call(88, ((None, 1),)),
            "symlinkat": Call(266, ((1, 2),)),
        },
    ),
    "aarch64": Machine(
        0xC00000B7,
        167,
        {"connect": 203, "sendto": 206, "sendmsg": 211, "bind": 200, "sendmmsg": 269},
        {
            "openat": Call(56, _ONE, flags=2),
            "openat2": Call(437, _ONE),
            "truncate": Call(45, _HERE),
            "mkdirat": Call(34, _ONE),
            "mknodat": Call(33, _ONE),
            "unlinkat": Call(35, _ONE),
            "renameat": Call(38, _TWO),
            "renameat2": Call(276, _TWO),
            "linkat": Call(37, ((2, 3),)),
            "symlinkat": Call(36, ((1, 2),)),
        },
    ),
}
_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_IO_URING_SETUP: Final = 425  # the same everywhere; a ring's calls would pass unseen

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _HAND_OVER, _REFUSE = 0x7FFF0000, 0x7FC00000, 0x00050000
_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data; argument n stands at 16 + 8 n

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS, _SET_MODE_FILTER, _NEW_LISTENER = 38, 1, 8


def machine() -> Machine | None:
    """This machine's calls; None where there is no guard for it."""
    wide = sys.maxsize > 1 << 32
    return MACHINES.get(platform.machine()) if sys.platform == "linux" and wide else None


def install(*, files: bool) -> int:
    """Put the filter over this thread and all that it will start, for ever.

    Args:
        files: Also hand over what writes files.

    Returns:
        The descriptor at which the calls arrive. They wait until they are answered.

    Raises:
        OSError: The kernel refuses, or such a filter is in force already.
    """
    here = machine()
    if here is None:
        raise OSError(errno.ENOSYS, "no system calls are known for this machine")
    program = _program(here, files)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    number = _SECCOMP[platform.machine()]
    listener: int = libc.syscall(number, _SET_MODE_FILTER, _NEW_LISTENER, header)
    if listener < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return listener


def _program(here: Machine, files: bool) -> bytes:
    """The filter in classic BPF; each rule skips itself if the call is another."""
    program = [_step(_LOAD, _ARCH), _step(_EQUAL, here.audit, 1, 0), _step(_RETURN, _ALLOW)]
    program += [_step(_LOAD, _NUMBER), *_rule(_IO_URING_SETUP, returns=_REFUSE | errno.ENOSYS)]
    for name, number in here.network.items():
        program += _sendto(number) if name == "sendto" else _rule(number)
    if files:
        program += _stay_readable(here.prctl)
    for call in here.files.values() if files else ():
        program += _rule(call.number) if call.flags is None else _open(call.number, call.flags)
    return b"".join([*program, _step(_RETURN, _ALLOW)])


def _rule(number: int, returns: int = _HAND_OVER) -> list[bytes]:
    return [_step(_EQUAL, number, 0, 1), _step(_RETURN, returns)]


def _sendto(number: int) -> list[bytes]:
    """Without an address it goes where `connect` was allowed to; most calls are such."""
    low = 16 + 8 * 4
    return [
        _step(_EQUAL, number, 0, 6),
        _step(_LOAD, low), _step(_EQUAL, 0, 0, 2),
        _step(_LOAD, low + 4), _step(_EQUAL, 0, 1, 0),
        _step(_RETURN, _HAND_OVER), _step(_RETURN, _ALLOW),
    ]  # fmt: skip


def _open(number: int, flags: int) -> list[bytes]:
    return [
        _step(_EQUAL, number, 0, 4),
        _step(_LOAD, 16 + 8 * flags), _step(_ANY_BIT, MAY_WRITE, 0, 1),
        _step(_RETURN, _HAND_OVER), _step(_RETURN, _ALLOW),
    ]  # fmt: skip


def _stay_readable(prctl: int) -> list[bytes]:
    """What forbids others to read its memory is told that it did: only root could judge it then."""
    return [
        _step(_EQUAL, prctl, 0, 4),
        _step(_LOAD, 16), _step(_EQUAL, _PR_SET_DUMPABLE, 0, 1),
        _step(_RETURN, _REFUSE), _step(_RETURN, _ALLOW),
    ]  # fmt: skip


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
