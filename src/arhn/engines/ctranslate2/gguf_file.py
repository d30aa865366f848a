"""A GGUF file: what its header says, and its tensors as 32-bit floats.

The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. The header is read
here, for the reader of the package `gguf` takes 20 seconds for the vocabulary of Qwen2; the numbers of each kind of
quantisation are made by that package.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from arhn.errors import EngineError, ModelCorrupt

Floats = NDArray[np.float32]

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = "general.alignment"


@dataclass(frozen=True, slots=True)
class _Tensor:
    """`shape` as numpy has it: rows first. `kind`: a number of GGML's kinds of quantisation."""

    shape: tuple[int, ...]
    kind: int
    offset: int


class GgufFile:
    """A GGUF file, read as it is asked.

    Attributes:
        metadata: the header's keys and values.

    Raises:
        ModelCorrupt: it ends too early, or its header makes no sense.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            self._read_header()
        except (struct.error, KeyError, UnicodeDecodeError, OverflowError, MemoryError) as error:
            raise ModelCorrupt(
                f"{path}: the header of this GGUF file can't be read ({error!r}). Fetch it again."
            ) from error

    def _read_header(self) -> None:
        _, version, tensors, entries = self._take("<4sIQQ", 0)
        if version not in (2, 3):
            raise ModelCorrupt(f"{self.path}: GGUF version {version}; versions 2 and 3 can be read.")
        self._at = struct.calcsize("<4sIQQ")
        self.metadata = {self._string(): self._value(self._scalar("I")) for _ in range(entries)}
        self._tensors = dict(self._tensor_info() for _ in range(tensors))
        alignment = self.metadata.get(_ALIGNMENT, 32)
        self._data = -(-self._at // alignment) * alignment

    @property
    def tensors(self) -> frozenset[str]:
        """The names of its tensors."""
        return frozenset(self._tensors)

    def tensor(self, name: str) -> Floats:
        """A tensor as 32-bit floats, rows first.

        Raises:
            ModelCorrupt: it isn't there whole.
            EngineError: it is quantised in a way that `gguf` doesn't know.
        """
        if name not in self._tensors:
            raise ModelCorrupt(f"{self.path}: there is no tensor {name!r} in it.")
        info = self._tensors[name]
        try:
            kind = gguf.GGMLQuantizationType(info.kind)
            shape = gguf.quants.quant_shape_to_byte_shape(info.shape, kind)
            raw = np.frombuffer(self._bytes, np.uint8, int(np.prod(shape)), self._data + info.offset).reshape(shape)
            floats = raw.view(np.float32) if kind == 0 else gguf.quants.dequantize(raw, kind)
        except (NotImplementedError, KeyError) as error:
            raise EngineError(f"{self.path}: {name} is quantised in a way that can't be read here: {error}") from error
        except ValueError as error:
            raise ModelCorrupt(f"{self.path}: {name} isn't there whole ({error}). Fetch the file again.") from error
        found: Floats = floats.reshape(info.shape).astype(np.float32)
        return found

    def _tensor_info(self) -> tuple[str, _Tensor]:
        name = self._string()
        shape = [self._scalar("Q") for _ in range(self._scalar("I"))]
        return name, _Tensor(tuple(reversed(shape)), self._scalar("I"), self._scalar("Q"))

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            kind, length = self._scalar("I"), self._scalar("Q")
            if kind in _SCALARS:
                return list(self._take_on(f"{length}{_SCALARS[kind]}"))
            return [self._value(kind) for _ in range(length)]
        return self._scalar(_SCALARS[kind])

    def _string(self) -> str:
        length = self._scalar("Q")
        end = self._at + length
        if end > len(self._bytes):
            raise struct.error("a text reaches beyond the end of the file")
        text = self._bytes[self._at : end].decode("utf-8")
        self._at = end
        return text

    def _scalar(self, code: str) -> Any:
        return self._take_on(code)[0]

    def _take_on(self, code: str) -> tuple[Any, ...]:
        values = self._take("<" + code, self._at)
        self._at += struct.calcsize("<" + code)
        return values

    def _take(self, code: str, at: int) -> tuple[Any, ...]:
        return struct.unpack_from(code, self._bytes, at)


__all__ = ["GgufFile"]
