"""Writing files so that a reader sees the old content or the new, never a part; and reading no more than is sane."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

__all__ = ["read_at_most", "write_atomically"]


def read_at_most(path: str | os.PathLike[str], limit: int) -> bytes:
    """Read a file, but no more than `limit` + 1 bytes of it: more than `limit` is too long, whatever its size says.

    Raises `OSError` as `open` does.
    """
    with Path(path).open("rb") as file:
        return file.read(limit + 1)


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write `data` to `path`: into a temporary file in the same folder, then a rename over it.

    Text is written as UTF-8, its line ends as they are. A symbolic link is followed; an existing file keeps its mode.
    The folder must exist; a device or a pipe is not replaced. Raises `OSError` as `open` does, always with the name of
    `path`, and leaves no temporary file behind. Only a process that is killed leaves one: hidden, .NAME.*.tmp.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {str(path)!r}: it is a folder; give the name of a file")
    if target.exists() and not target.is_file():
        raise FileExistsError(f"cannot write {str(path)!r}: it is a device or a pipe; give the name of a file")
    name = os.fsencode(target.name)[:200].decode(errors="ignore")  # a file system counts bytes, and takes 255
    temporary = target.with_name(f".{name}.{secrets.token_hex(6)}.tmp")
    content = data.encode("utf-8") if isinstance(data, str) else data
    try:
        with temporary.open("xb") as file:
            if target.exists():
                shutil.copymode(target, temporary)  # before there is anything in it that others may not read
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise
