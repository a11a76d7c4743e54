"""Memory that is used again: fresh pages cost a sweep more time than what is written into them."""

from __future__ import annotations

import math
from threading import Lock
from typing import Any

import numpy as np


class Scratch:
    """Arrays to borrow, from any thread; what is in them is left over from whoever had them before."""

    def __init__(self) -> None:
        """Begin with none."""
        self._free: list[np.ndarray] = []
        self._lent: dict[int, np.ndarray] = {}
        self._lock = Lock()

    def borrow(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an array of that shape."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        with self._lock:
            fitting = [place for place, each in enumerate(self._free) if size <= len(each) <= 2 * size]
            buffer = self._free.pop(fitting[0]) if fitting else np.empty(size, np.uint8)
            array: np.ndarray = buffer[:size].view(dtype).reshape(shape)
            self._lent[id(array)] = buffer
        return array

    def give_back(self, *arrays: np.ndarray) -> None:
        """Take arrays back that were borrowed; nobody may read them any more."""
        with self._lock:
            self._free += [self._lent.pop(id(array)) for array in arrays]
