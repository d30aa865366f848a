"""Orthogonal matrices that spread what a few channels of a model's hidden state hold over all of them. Pure.

Rounded to 8 bits, a row is as coarse as its largest value is far from the others, and in Qwen2 a few channels are
hundreds of times as large as most. A rotation of the hidden state, written into the weights before and after it,
changes nothing but the rounding ("QuaRot", https://arxiv.org/abs/2404.00456, section 4, without what is rotated while
the model runs).
"""

from __future__ import annotations

from hashlib import shake_128

import numpy as np

from arhn.engines.ctranslate2.gguf_file import Floats


class Rotation:
    """An orthogonal matrix R of `size` rows and columns: signs, a cosine transform and a Hadamard transform.

    The same on every machine. Never held as a whole: a row is a table of its odd part by the power of two in its size.
    """

    def __init__(self, size: int) -> None:
        power = size & -size
        bits = np.frombuffer(shake_128(b"arhn rotation").digest(size), np.uint8)
        self._signs = np.where(bits & 1, np.float32(1), np.float32(-1))
        self._cosine = self._make_cosine(size // power)
        self._hadamard = self._make_hadamard(power)

    def turn(self, rows: Floats) -> Floats:
        """`rows` @ R; shape (..., a multiple of size), of which each `size` columns are turned alone."""
        tables = (rows.reshape(-1, len(self._signs)) * self._signs).reshape(-1, len(self._cosine), len(self._hadamard))
        turned = np.matmul(self._cosine.T, tables) @ self._hadamard
        found: Floats = turned.reshape(rows.shape).astype(np.float32, copy=False)
        return found

    def turn_outputs(self, weights: Floats) -> Floats:
        """R transposed @ `weights`; shape (a multiple of size, ...): what a layer gives is turned."""
        found: Floats = np.ascontiguousarray(self.turn(np.ascontiguousarray(weights.T)).T)
        return found

    def _make_cosine(self, size: int) -> Floats:
        rows, columns = np.mgrid[:size, :size]
        matrix = np.sqrt(2 / size) * np.cos(np.pi * (columns + 0.5) * rows / size)
        matrix[0] /= np.sqrt(2)
        found: Floats = matrix.astype(np.float32)
        return found

    def _make_hadamard(self, size: int) -> Floats:
        matrix = np.ones((1, 1))
        while len(matrix) < size:
            matrix = np.block([[matrix, matrix], [matrix, -matrix]])
        found: Floats = (matrix / np.sqrt(size)).astype(np.float32)
        return found


__all__ = ["Rotation"]
