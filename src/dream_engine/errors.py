"""Every error that a user can meet, with the exit code it ends in (DESIGN: formats, exit codes).

A message says what was wrong, with the key and the value, and what to do about it.
"""

from __future__ import annotations


class DreamError(Exception):
    """A problem with a clear message; the command line prints it without a traceback."""

    exit_code = 70


class InputError(DreamError):
    """The configuration, a data file or an argument cannot be used as it is."""

    exit_code = 2


class IntegrityError(DreamError):
    """Stored bytes do not match the digest that was recorded for them."""

    exit_code = 5


class StorageError(DreamError):
    """The disk refused: full, read-only, or failing."""

    exit_code = 74


class BusyError(DreamError):
    """Another run holds the workspace."""

    exit_code = 75
