"""The archive: a tar, gzipped, whose last entry is a manifest with the SHA-256 of every other. Written and read in one pass."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import msgspec

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
PART: Final = 1 << 20  # bytes read at once
LEVEL: Final = 1  # of gzip: models and packed rows hardly get smaller with more


class Damaged(ValueError):
    """The archive is not what was written; the text is one sentence that names what is wrong."""


class Entry(msgspec.Struct, frozen=True):
    """One file of the archive: bytes, and hex SHA-256."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What the archive holds.

    Attributes:
        ledger: `sqlite` or `postgresql`.
        revision: of the ledger's tables.
        made_at: RFC 3339, UTC.
        models_at: where MLflow's store kept its files, as a URI; empty if the archive has none.
        settings: what was set, without anything that may be secret.
        missing: artifacts that the ledger names and that were not there when the backup was made.
    """

    format: int
    release: str
    ledger: str
    revision: str
    made_at: str
    models_at: str
    settings: Mapping[str, Any]
    missing: list[str]
    files: dict[str, Entry]


class Writer:
    """An archive that is being written."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.files: dict[str, Entry] = {}

    def add(self, name: str, path: Path) -> None:
        """A file, as long as it is now: one that still grows is cut there."""
        with path.open("rb") as file:
            info = self._tar.gettarinfo(arcname=name, fileobj=file)
            info.mode, info.uid, info.gid, info.uname, info.gname = 0o600, 0, 0, "", ""
            info.type = tarfile.REGTYPE  # not a link, though a draft of ours is one
            hashed = _Hashed(file)
            self._tar.addfile(info, hashed)
        self.files[name] = Entry(info.size, hashed.sha256)

    def add_folder(self, name: str, folder: Path) -> None:
        """All files below a folder, in the order of their names; what is deleted meanwhile is left out."""
        for path in sorted(Path(where, file) for where, _, files in os.walk(folder, onerror=_unless_gone) for file in files):
            with suppress(FileNotFoundError):
                self.add(f"{name}/{path.relative_to(folder)}", path)

    def end(self, manifest: Manifest) -> None:
        """Write the manifest; nothing comes after it."""
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(text)
        self._tar.addfile(info, io.BytesIO(text))


@contextmanager
def writing(out: IO[bytes]) -> Iterator[Writer]:
    """An archive into a stream, which need not be seekable."""
    with gzip.GzipFile("", "wb", LEVEL, out) as packed, tarfile.open(mode="w|", fileobj=packed) as tar:
        yield Writer(tar)


def read(source: IO[bytes], folder: Path | None) -> Manifest:
    """Read an archive from a stream to its end and hold every hash against the manifest.

    Args:
        folder: an empty one, where the files are put; None only looks.

    Raises:
        Damaged: what came is not, to the last byte, what was written.
        OSError: there is no room for the files.
    """
    found: dict[str, Entry] = {}
    manifest = b""
    try:
        with gzip.GzipFile(fileobj=source) as packed, tarfile.open(mode="r|", fileobj=packed) as tar:
            for member in tar:
                if member.name == MANIFEST:
                    manifest = _contents(tar, member).read()
                else:
                    found[member.name] = _unpack(tar, member, folder)
            while packed.read(PART):  # to the checksum at its end
                pass
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as fault:
        raise Damaged(f"it cannot be read to its end ({fault}): expected a whole archive of `backup write`.") from fault
    return _verified(manifest, found)


def _verified(text: bytes, found: Mapping[str, Entry]) -> Manifest:
    if not text:
        raise Damaged(f"it ends without {MANIFEST}: the backup that wrote it did not come to its end.")
    try:
        said = msgspec.json.decode(text, type=dict[str, Any])
        if said.get("format") != FORMAT:
            raise Damaged(f"its format is {said.get('format')!r}, expected {FORMAT}: it was made by another release.")
        manifest = msgspec.convert(said, Manifest)
    except msgspec.MsgspecError as fault:
        raise Damaged(f"{MANIFEST}: {fault}") from fault
    for name, entry in manifest.files.items():
        if name not in found:
            raise Damaged(f"{name} is not in it, though its manifest names it.")
        if found[name] != entry:
            raise Damaged(f"{name} has SHA-256 {found[name].sha256[:12]}…, expected {entry.sha256[:12]}…: it was changed.")
    for name in found.keys() - manifest.files.keys():
        raise Damaged(f"{name} is in it, though its manifest does not name it.")
    return manifest


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path | None) -> Entry:
    if not member.isreg():
        raise Damaged(f"{member.name!r} is no plain file: expected nothing else.")
    hashed = _Hashed(_contents(tar, member))
    if folder is None:
        while hashed.read(PART):
            pass
        return Entry(member.size, hashed.sha256)
    target = (folder / member.name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise Damaged(f"{member.name!r} leads out of the archive.")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with target.open("xb") as out:
        while part := hashed.read(PART):
            out.write(part)
    return Entry(member.size, hashed.sha256)


def _contents(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    contents = tar.extractfile(member)
    if contents is None:
        raise Damaged(f"{member.name!r} is no plain file: expected nothing else.")
    return contents


def _unless_gone(fault: OSError) -> None:
    if not isinstance(fault, FileNotFoundError):
        raise fault


class _Hashed:
    """Reads a stream and hashes what it has read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._hash = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        part = self._stream.read(size)
        self._hash.update(part)
        return part

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()
