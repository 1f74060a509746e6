"""Content store in a folder, one file per block, safe for concurrent processes on one machine.

    blocks/ab/abcd…    a block, named by its sha2-256 in hex: visible only when complete and fsynced
    pins/bafy…         one file per pin, holding `recursive` or `direct`
    tmp/               blocks being written; files there while nobody holds `lock` are left from a crash
    quarantine/        corrupt blocks, which do not hash to their name
    lock               held shared by writers, exclusively by garbage collection

A block is written to tmp, fsynced, then renamed: after kill -9 or a power failure it is complete or absent. Locks are
flock(2), which the kernel releases when a process dies and which, unlike those of the filelock package, can be shared.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

from registry.content.cid import parse_cid
from registry.durable import sync_folder
from registry.errors import BlockNotFound, BlockTooLarge, FormError, StoreUnavailable
from registry.store.after_fork import make_anew_after_fork
from registry.store.ahead import ordered
from registry.store.base import ContentStore
from registry.store.links import reachable
from registry.types import MAX_BLOCK_BYTES, Cid

__all__ = ["LocalStore"]

_WRITERS = 8
"""Threads that write and fsync in parallel: a disk completes several fsyncs in little more than the time of one."""
_AHEAD = 12
_serial = itertools.count()


class LocalStore(ContentStore):
    """Blocks in a folder, which is created at the first write.

    Args:
        root: The folder.
        lock_timeout: Seconds to wait for the lock before giving up.
    """

    def __init__(self, root: Path, *, lock_timeout: float = 30.0) -> None:
        self.root = root
        self._lock_timeout = lock_timeout
        self._locks: set[int] = set()
        make_anew_after_fork(self)

    def after_fork(self) -> None:
        """Hold no lock of the parent's, which would last until this process ends."""
        for handle in self._locks:
            os.close(handle)
        self._locks = set()

    def pin(self, cid: Cid, *, recursive: bool = True) -> None:
        with self.locked(exclusive=False):
            for member in reachable(self.get, cid) if recursive else (cid,):
                if not self._has(member):
                    raise BlockNotFound(f"{member}: not in {self.root}, so {cid} cannot be pinned")
            with self.locked("pins.lock", exclusive=True):
                if self._pin_kind(cid) != "recursive":
                    self._write(self._pin_path(cid), b"recursive\n" if recursive else b"direct\n")
                    self._sync(self.root / "pins")

    def unpin(self, cid: Cid) -> None:
        if self._pin_kind(cid) is None:
            return
        with self.locked("pins.lock", exclusive=True), _storing(self.root):
            self._pin_path(cid).unlink(missing_ok=True)
            self._sync(self.root / "pins")

    def pins(self) -> Iterator[tuple[Cid, bool]]:
        for name in sorted(_names(self.root / "pins")):
            try:
                cid = parse_cid(name)
            except FormError as error:
                raise StoreUnavailable(f"{self.root / 'pins' / name}: expected a pin: {error}") from error
            kind = self._pin_kind(cid)
            if kind is not None:  # unpinned since the folder was listed
                yield cid, kind == "recursive"

    @contextlib.contextmanager
    def locked(self, name: str = "lock", *, exclusive: bool) -> Iterator[None]:
        """Hold a lock file of this store.

        Raises:
            StoreUnavailable: Other processes held it for lock_timeout seconds.
        """
        import fcntl  # lazy: POSIX only

        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        with _storing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        self._locks.add(handle)
        try:
            deadline = time.monotonic() + self._lock_timeout
            while True:
                try:
                    fcntl.flock(handle, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        wait = f"{self._lock_timeout:g} s"
                        raise StoreUnavailable(f"{self.root / name}: others held it for {wait}") from None
                    time.sleep(0.01)
            yield
        finally:
            if handle in self._locks:  # else this is a process forked meanwhile, which has closed it
                self._locks.discard(handle)
                os.close(handle)

    def path_of(self, digest: bytes) -> Path:
        """Return the path of the block with this sha2-256, whether or not it exists."""
        name = digest.hex()
        return self.root / "blocks" / name[:2] / name

    def _get(self, cid: Cid) -> bytes:
        path = self.path_of(cid.digest)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlockNotFound(f"{cid}: not in {self.root}") from None
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from error
        try:
            size = os.fstat(handle).st_size
            if size > MAX_BLOCK_BYTES:
                raise BlockTooLarge(f"{cid}: expected at most {MAX_BLOCK_BYTES} bytes, got {size}")
            with _storing(path):
                return os.read(handle, size)  # returns all of a regular file, or less if it was truncated
        finally:
            os.close(handle)

    def _has(self, cid: Cid) -> bool:
        return self.path_of(cid.digest).is_file()

    def _put(self, cid: Cid, data: bytes) -> None:
        for folder in self._keep((cid, data)):
            self._sync(folder)

    def _put_many(self, blocks: Iterator[tuple[Cid, bytes]], root: Cid | None) -> None:
        folders: set[Path] = set()
        for touched in ordered(self._keep, blocks, workers=_WRITERS, ahead=_AHEAD):
            folders.update(touched)
        for _ in ordered(self._sync, folders, workers=_WRITERS, ahead=_AHEAD):
            pass

    def _keep(self, block: tuple[Cid, bytes]) -> list[Path]:
        """Write a block and return the folders to fsync for its name to be durable."""
        cid, data = block
        path = self.path_of(cid.digest)
        with self.locked(exclusive=False), _storing(path):
            if path.is_file() and path.stat().st_size == len(data):
                os.utime(path)  # restarts the grace period, so that garbage collection leaves it to be pinned
                return []
            new_folder = not path.parent.is_dir()
            self._write(path, data)
        return [*path.parents[:4]] if new_folder else [path.parent]

    def _write(self, path: Path, data: bytes) -> None:
        """Write data to path atomically and durably, or leave nothing."""
        partial = self.root / "tmp" / f"{path.name}.{os.getpid()}.{next(_serial)}"
        with _storing(self.root):
            for folder in (partial.parent, path.parent):
                if not folder.is_dir():
                    folder.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
                try:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[os.write(handle, rest) :]
                    os.fsync(handle)
                finally:
                    os.close(handle)
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    def _sync(self, folder: Path) -> None:
        with _storing(folder):
            sync_folder(folder)

    def _damaged(self, cid: Cid) -> None:
        self.set_aside(self.path_of(cid.digest))

    def set_aside(self, path: Path) -> None:
        """Move a corrupt block file to quarantine, so that the block can be put again."""
        aside = self.root / "quarantine"
        try:
            aside.mkdir(exist_ok=True)
            path.replace(aside / path.name)
        except FileNotFoundError:
            return  # another reader was first
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise StoreUnavailable(f"{path}: cannot be moved to quarantine: {error.strerror}") from error

    def _pin_path(self, cid: Cid) -> Path:
        return self.root / "pins" / str(cid)

    def _pin_kind(self, cid: Cid) -> str | None:
        try:
            kind = self._pin_path(cid).read_text().strip()
        except FileNotFoundError:
            return None
        if kind not in ("recursive", "direct"):
            raise StoreUnavailable(f"{self._pin_path(cid)}: expected recursive or direct, got {kind[:20]!r}")
        return kind


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def _storing(path: Path) -> Iterator[None]:
    """Translate OSError on path to StoreUnavailable."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"{error.filename or path}: {error.strerror or error}") from error
