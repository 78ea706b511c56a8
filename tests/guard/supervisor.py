"""The supervisor: answers the calls that are handed over until its child ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

from .calls import NOTIFICATION, Asked, Judge, Verdict

_RECEIVE: Final = 0xC0502100  # ioctl numbers of linux/seccomp.h
_SEND: Final = 0xC0182101
_IS_VALID: Final = 0x40082102
_CONTINUE: Final = 1
_ANSWER = struct.Struct("QqiI")  # struct seccomp_notif_resp: id, value, error, flags


def supervise(listener: int, child: int, judge: Judge, log: TextIO) -> int:
    """Answer what `child` and all below it ask; returns its exit status as a shell tells it.

    Each breach is a line of JSON in `log` before its caller goes on.
    """
    ended = os.pidfd_open(child)
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    waiting.register(ended, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in waiting.poll()]
        if listener in ready:
            _answer(listener, judge, log)
        elif ended in ready:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            return 128 - status if status < 0 else status


def _answer(listener: int, judge: Judge, log: TextIO) -> None:
    notification = bytearray(NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, notification)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):  # who asked was killed meanwhile
            return
        raise
    asked = Asked.read(bytes(notification))
    verdict = _judge(judge, asked)
    with suppress(FileNotFoundError):  # as above
        fcntl.ioctl(listener, _IS_VALID, struct.pack("Q", asked.id))
        if verdict.breach:
            _note(log, asked, verdict.breach)
        go_on = _CONTINUE if not verdict.error else 0
        fcntl.ioctl(listener, _SEND, _ANSWER.pack(asked.id, 0, -verdict.error, go_on))


def _judge(judge: Judge, asked: Asked) -> Verdict:
    """A process whose memory cannot be read is not trusted."""
    try:
        return judge.judge(asked)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        return Verdict(errno.EACCES, f"call {asked.number}, which cannot be seen: {why}")


def _note(log: TextIO, asked: Asked, breach: str) -> None:
    with suppress(OSError):
        command = Path(f"/proc/{asked.pid}/cmdline").read_bytes().split(b"\0")
        program = " ".join(os.fsdecode(word) for word in command if word)[:200]
        print(json.dumps({"breach": breach, "by": program}), file=log, flush=True)


def forward_signals(child: int) -> None:
    """What ends this process ends the child; what a terminal sends reaches the child by itself."""

    def forward(number: int, _: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    action: Callable[[int, object], None] = forward
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, action)
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
