"""Errors that a user can fix, each with its exit code; every other exception is a bug.

The codes follow BSD's sysexits.h, so that schedulers and shell scripts can tell them apart.
"""

from __future__ import annotations

USAGE = 64
BAD_DATA = 65
INPUT_MISSING = 66
UNAVAILABLE = 69
INTERNAL = 70
STALLED = 71  # a step never ended
DISK = 74
LOCKED = 75
INTERRUPTED = 130
BROKEN_PIPE = 141  # 128 + SIGPIPE: whoever read the output has ended
TERMINATED = 143


class UserError(Exception):
    """One line that says what is wrong, where, and what to do about it."""

    code = USAGE


class UsageError(UserError):
    code = USAGE


class BadData(UserError):
    code = BAD_DATA


class InputMissing(UserError):
    code = INPUT_MISSING


class Unavailable(UserError):
    """A part of a program or of the machine that is needed is not there."""

    code = UNAVAILABLE


class TrainingDiverged(UserError):
    code = INTERNAL


class DiskError(UserError):
    code = DISK


class DamagedFile(DiskError):
    """A file is missing, or is not what was written."""

    def __init__(self, file: object, what: str, advice: str = ""):
        self.file, self.what = file, what
        super().__init__(f"{file} is damaged: {what}" + (f"; {advice}" if advice else ""))

    def with_advice(self, advice: str) -> DamagedFile:
        """The same error, with what the file was made from and what to do."""
        return DamagedFile(self.file, self.what, advice)


class RunLocked(UserError):
    code = LOCKED


# What the others say of a process that died.
PEER_GONE = (
    "another process of this job has ended, its output says why; the same commands go on from the "
    "newest checkpoint"
)


class PeerStopped(UserError):
    """Another process of the same job stopped; the message says why."""

    code = INTERNAL
