"""gzip and Zstandard: recognised by their first bytes when read, chosen by the suffix when written."""

from __future__ import annotations

import gzip
import zlib
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import zstandard

from arhn.errors import FileMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from arhn.files.remote import Remote

_CHUNK = 1 << 16
_COMPRESSED_CHUNK = 1 << 13  # repetitive text grows a hundredfold and more when it is decompressed
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # after a byte 0x50 to 0x5f; pzstd and seekable files start with such a frame
_ZSTD_WINDOW = 1 << 31  # also what `zstd --ultra --long=31` wrote
_GZIP_LEVEL, _ZSTD_LEVEL = 6, 3


class BrokenStream(Exception):  # readers turn it into an error with file and line
    """The compressed file is damaged or ends early."""


class _Frame(Protocol):
    """One gzip member or Zstandard frame in the course of being decompressed."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def read_chunks(path: Path | Remote) -> Generator[bytes]:
    """The content of a file, decompressed if need be, a piece at a time.

    Raises:
        FileMissing: the file can't be opened or read.
        BrokenStream: it is damaged or ends early; everything before has been yielded.
    """
    try:
        with path.open("rb") as file:
            make = _choose_decompressor(file.peek(4))
            if make is None:
                yield from iter(partial(file.read, _CHUNK), b"")
            else:
                yield from _decompress_frames(make, iter(partial(file.read, _COMPRESSED_CHUNK), b""))
    except OSError as error:
        raise FileMissing(f"can't be read: {error.strerror}", path=str(path)) from error


def open_compressor(path: Path, raw: BinaryIO) -> AbstractContextManager[BinaryIO]:
    """A writer onto `raw` that compresses as the suffix of `path` says; leaving it doesn't close `raw`.

    The same content gives the same bytes: no time stamp and no name is stored.
    """
    if path.suffix == ".gz":
        stream = gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=raw, mtime=0)
        return cast("AbstractContextManager[BinaryIO]", stream)
    if path.suffix == ".zst":
        # The checksum lets a reader notice damage.
        compress = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
        return cast("AbstractContextManager[BinaryIO]", compress.stream_writer(raw, closefd=False))
    return nullcontext(raw)


def _choose_decompressor(magic: bytes) -> Callable[[], _Frame] | None:
    if magic[:2] == _GZIP_MAGIC:
        return partial(zlib.decompressobj, wbits=16 + zlib.MAX_WBITS)
    if magic[:4] == _ZSTD_MAGIC or (magic[1:4] == _ZSTD_SKIPPABLE and magic[0] >> 4 == 5):
        return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj
    return None


def _decompress_frames(make: Callable[[], _Frame], blocks: Iterator[bytes]) -> Generator[bytes]:
    """All frames of a file, one after the other, with zero padding between them skipped."""
    frame = make()
    for block in blocks:
        rest = block
        while rest:
            if frame.eof:
                rest = rest.lstrip(b"\0")
                frame = make() if rest else frame
            if rest:
                yield _decompress(frame, rest)
                rest = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise BrokenStream("the compressed file ends early")


def _decompress(frame: _Frame, data: bytes) -> bytes:
    try:
        return frame.decompress(data)
    except (zlib.error, zstandard.ZstdError) as error:
        raise BrokenStream(f"the compressed file is damaged ({error})") from error
