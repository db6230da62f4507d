"""Power loss, simulated: the system calls of a program are recorded with strace, and the disk is rebuilt as it may look after a cut.

The model is POSIX at its strictest. Written bytes are on the disk for certain once the file was fsynced; names (create, rename,
unlink) once their folder was. Until then any of the pending writes and names may be there or not, in any combination. An
acknowledgement is a line `ack SEQ HASH` written to standard output: from then on the entry must survive.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CALLS = "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,ftruncate,mkdir,mkdirat,rmdir,lseek,sendfile"
_LINE = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?")
_QUOTED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass
class Node:
    """A file: its bytes as the program sees them, and what is certain plus what is pending on the disk."""

    seen: bytearray = field(default_factory=bytearray)
    certain: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)


@dataclass
class Folder:
    """Names as the program sees them, as they are for certain, and the pending changes (name, node or None)."""

    seen: dict[str, Node | Folder] = field(default_factory=dict)
    certain: dict[str, Node | Folder] = field(default_factory=dict)
    pending: list[tuple[str, Node | Folder | None]] = field(default_factory=list)

    def set(self, name: str, value: Node | Folder | None) -> None:
        self.pending.append((name, value))
        _change(self.seen, name, value)


class Disk:
    """Replays recorded calls below one root, call by call."""

    def __init__(self, root: Path) -> None:
        self._root, self.top = str(root), Folder()
        self.acknowledged: list[tuple[int, str]] = []
        self._position: dict[tuple[str, str], int] = {}

    def apply(self, call: str, arguments: str, result: int, target: str | None) -> bool:
        """Applies one call; whether it could have changed the disk."""
        handler = getattr(self, f"_{call}", None)
        if result < 0 or handler is None:
            return False
        return bool(handler(arguments, result, target))

    def image(self, folder: Path, keep: random.Random | None, everything: bool = False) -> None:
        """Writes one disk that may be found after a cut now: certain things, and pending ones by chance (none without `keep`)."""
        _write(self.top, folder, keep, everything)

    def _openat(self, arguments: str, result: int, target: str | None) -> bool:
        path = self._inside(_texts(arguments)[0])
        self._position[_descriptor(f"{result}<{target}>")] = 0
        if path is None:
            return False
        folder, name = path
        if "O_CREAT" in arguments and name not in folder.seen:
            folder.set(name, Node())
            return True
        node = folder.seen.get(name)
        if "O_TRUNC" in arguments and isinstance(node, Node) and node.seen:
            _truncate(node, 0)
            return True
        if "O_APPEND" in arguments and isinstance(node, Node):
            self._position[_descriptor(f"{result}<{target}>")] = len(node.seen)
        return False

    def _write(self, arguments: str, result: int, target: str | None) -> bool:
        key, data = _descriptor(arguments), _data(arguments)[:result]
        if key[0] == "1":
            self.acknowledged += [(int(seq), value) for seq, value in re.findall(r"ack (\d+) ([0-9a-f]{64})\n", data.decode())]
            return True
        node = self._file(key[1])
        if node is None:
            return False
        at = self._position.get(key, len(node.seen))
        self._position[key] = at + len(data)
        _put(node, at, data)
        return True

    def _pwrite64(self, arguments: str, result: int, target: str | None) -> bool:
        node = self._file(_descriptor(arguments)[1])
        if node is None:
            return False
        _put(node, int(arguments.rsplit(",", 1)[1]), _data(arguments)[:result])
        return True

    def _lseek(self, arguments: str, result: int, target: str | None) -> bool:
        self._position[_descriptor(arguments)] = result
        return False

    def _ftruncate(self, arguments: str, result: int, target: str | None) -> bool:
        node = self._file(_descriptor(arguments)[1])
        if node is None:
            return False
        _truncate(node, int(arguments.rsplit(",", 1)[1]))
        return True

    def _fsync(self, arguments: str, result: int, target: str | None) -> bool:
        found = self._thing(_descriptor(arguments)[1])
        if isinstance(found, Node):
            found.certain, found.pending = bytearray(found.seen), []
        elif isinstance(found, Folder):
            found.certain, found.pending = dict(found.seen), []
        return found is not None

    _fdatasync = _fsync

    def _mkdir(self, arguments: str, result: int, target: str | None) -> bool:
        return self._made(_texts(arguments)[0])

    _mkdirat = _mkdir

    def _rename(self, arguments: str, result: int, target: str | None) -> bool:
        old, new = (self._inside(text) for text in _texts(arguments)[:2])
        if old is None or new is None:
            return False
        moved = old[0].seen[old[1]]
        new[0].set(new[1], moved)
        old[0].set(old[1], None)
        return True

    _renameat = _renameat2 = _rename

    def _unlink(self, arguments: str, result: int, target: str | None) -> bool:
        return self._removed(_texts(arguments)[0])

    _rmdir = _unlink

    def _unlinkat(self, arguments: str, result: int, target: str | None) -> bool:
        """rmtree removes relative to an open folder: unlinkat(3</ws/x>, "name", 0)."""
        text, base = _texts(arguments)[0], _descriptor(arguments)[1]
        return self._removed(text if text.startswith("/") or not base else f"{base}/{text}")

    def _sendfile(self, arguments: str, result: int, target: str | None) -> bool:
        """shutil.copy: sendfile(OUT</b>, IN</a>, [OFFSET] => [END], COUNT)."""
        (out, to), (_, source) = re.findall(r"(\d+)<([^>]*)>", arguments)[:2]
        node, origin, offset = self._file(to), self._file(source), re.search(r"\[(\d+)\]", arguments)
        if node is None or origin is None or offset is None:
            return False
        at = self._position.get((out, to), 0)
        self._position[out, to] = at + result
        _put(node, at, bytes(origin.seen[int(offset[1]) : int(offset[1]) + result]))
        return True

    def _removed(self, text: str) -> bool:
        path = self._inside(text)
        if path is None:
            return False
        path[0].set(path[1], None)
        return True

    def _made(self, text: str) -> bool:
        path = self._inside(text)
        if path is None:
            return False
        path[0].set(path[1], Folder())
        return True

    def _inside(self, path: str) -> tuple[Folder, str] | None:
        """The folder and the name of a path below the root, or None."""
        if not path.startswith(self._root + "/"):
            return None
        *parents, name = path[len(self._root) + 1 :].split("/")
        folder: Node | Folder | None = self.top
        for part in parents:
            folder = folder.seen.get(part) if isinstance(folder, Folder) else None
        return (folder, name) if isinstance(folder, Folder) else None

    def _thing(self, path: str) -> Node | Folder | None:
        if path == self._root:
            return self.top
        found = self._inside(path)
        return found[0].seen.get(found[1]) if found else None

    def _file(self, path: str) -> Node | None:
        found = self._thing(path)
        return found if isinstance(found, Node) else None


def record(program: Sequence[str], log: Path) -> list[tuple[str, str, int, str | None]]:
    """Runs a program under strace; its calls as (name, arguments, result, path of a returned descriptor)."""
    command = ["strace", "-f", "-y", "-xx", "-s", "4000000", "-e", f"trace={CALLS}", "-o", str(log), sys.executable, *program]
    subprocess.run(command, check=True, capture_output=True)
    return [parsed for line in log.read_text(errors="replace").splitlines() if (parsed := _parsed(line))]


def boundaries(root: Path, calls: Sequence[tuple[str, str, int, str | None]]) -> Iterator[Disk]:
    """The disk after every call that could have changed it."""
    disk = Disk(root)
    yield disk
    for call in calls:
        if disk.apply(*call):
            yield disk


def _parsed(line: str) -> tuple[str, str, int, str | None] | None:
    found = _LINE.match(line)
    if not found:
        return None
    target = found[4]
    return found[1], _paths(found[2]), int(found[3]), _plain(target) if target else None


def _paths(arguments: str) -> str:
    """With -xx the paths of descriptors are escaped too."""
    return re.sub(r"<((?:\\x[0-9a-f]{2})+)>", lambda m: f"<{_plain(m[1])}>", arguments)


def _plain(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode() if text.startswith("\\x") else text


def _texts(arguments: str) -> list[str]:
    return [bytes.fromhex(m.replace("\\x", "")).decode() for m in _QUOTED.findall(arguments)]


def _data(arguments: str) -> bytes:
    return bytes.fromhex(_QUOTED.findall(arguments)[0].replace("\\x", ""))


def _descriptor(arguments: str) -> tuple[str, str]:
    found = re.match(r"(\d+)<([^>]*)>", arguments)
    return (found[1], _plain(found[2])) if found else ("", "")


def _put(node: Node, at: int, data: bytes) -> None:
    node.pending.append((at, data))
    _overwrite(node.seen, at, data)


def _truncate(node: Node, size: int) -> None:
    node.pending.append(size)
    _cut(node.seen, size)


def _overwrite(content: bytearray, at: int, data: bytes) -> None:
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


def _cut(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _change(names: dict[str, Node | Folder], name: str, value: Node | Folder | None) -> None:
    if value is None:
        names.pop(name, None)
    else:
        names[name] = value


def _write(folder: Folder, place: Path, keep: random.Random | None, everything: bool) -> None:
    place.mkdir(parents=True, exist_ok=True)
    names = dict(folder.certain)
    for name, value in folder.pending:
        if everything or (keep and keep.random() < 0.5):
            _change(names, name, value)
    for name, value in names.items():
        if isinstance(value, Folder):
            _write(value, place / name, keep, everything)
        else:
            (place / name).write_bytes(_content(value, keep, everything))
            (place / name).chmod(0o600)


def _content(node: Node, keep: random.Random | None, everything: bool) -> bytes:
    content = bytearray(node.certain)
    for change in node.pending:
        if everything or (keep and keep.random() < 0.5):
            if isinstance(change, int):
                _cut(content, change)
            else:
                _overwrite(content, *change)
    return bytes(content)
