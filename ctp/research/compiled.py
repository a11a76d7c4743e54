"""The compiled twin of the trading definition.

`compile_kernel` takes a function marked with `@kernel`, gives a copy of it globals in which every other kernel is replaced by
its own compiled twin, and hands that to numba. So there is one source: the bot runs it as Python, research runs it compiled.
No fastmath: the results are equal to the bit. Compiled code is kept under CTP_HOME/cache/numba/<hash of sources and versions>,
because numba's own cache does not notice an edit in a callee's file.
"""

from __future__ import annotations

import hashlib
import sys
import types
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.cpython.unsafe.tuple import tuple_setitem

import ctp.core
from ctp.config import home_folder
from ctp.core.code_hash import code_hash
from ctp.core.strategies import (
    Strategy,
    observation_of,
    strategy_advance,
    strategy_judge,
    strategy_observe,
    strategy_step,
)
from ctp.core.trader import put

njit: Any = numba.njit  # its stubs do not know the options used here
_SOURCES = (Path(ctp.core.__file__).parent, Path(__file__).parent)


@cache
def source_hash() -> str:
    """Return the SHA-256 of everything that decides what compiled code does; research keeps its kernels on its top level."""
    digest = hashlib.sha256(f"{numba.__version__} {np.__version__}".encode())
    for folder in _SOURCES:
        for file in sorted([*folder.glob("*.py"), *folder.glob("strategies/*.py")]):
            digest.update(file.relative_to(folder).as_posix().encode() + b"\\0" + file.read_bytes())
    return digest.hexdigest()


@njit(_nrt=False)  # type: ignore[untyped-decorator]
def put_in_tuple(items: Any, index: int, item: Any) -> Any:
    """Return a tuple with one item replaced: what `put` is when compiled, where symbols are a tuple kept in registers."""
    return tuple_setitem(items, index, item)  # type: ignore[call-arg]


def compile_kernel(function: Callable[..., Any], strategy: Strategy) -> Any:
    """Return the compiled twin of a kernel for one strategy; where the plain kernel takes lists of symbols, it takes tuples.

    Compiled without reference counting (the kernel may allocate nothing): the atomic counts of the arrays inside the states
    cost ten times the arithmetic.
    """
    folder = home_folder() / "cache" / "numba" / f"{source_hash()[:16]}-{code_hash(strategy)[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.rglob("*.nbc")) and (sys.stderr.isatty() or "ipykernel" in sys.modules):
        print("Compiling the trading definition: 10 to 30 seconds, once after each change ...", file=sys.stderr)
    numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    return _compiler(strategy).entry(function)


@cache
def _compiler(strategy: Strategy) -> _Compiler:
    """Return what compiles kernels for a strategy; one for all of them, so that none is compiled twice."""
    replaced: dict[Any, Any] = {strategy_step: strategy.step, put: put_in_tuple}
    if strategy.factors is not None:
        halves = strategy.factors
        replaced[strategy_advance], replaced[strategy_observe] = halves.advance, halves.observe
        replaced[observation_of], replaced[strategy_judge] = halves.observation_of, halves.judge
    return _Compiler(replaced)


class _Compiler:
    """Compiles one kernel and everything it calls, each function once."""

    def __init__(self, replaced: Mapping[Any, Any]) -> None:
        """Take the globals to be replaced, by their plain values."""
        self.replaced = replaced
        self.done: dict[Any, Any] = {}

    def entry(self, function: Callable[..., Any]) -> Any:
        """Compile the function that is called from Python; it alone is cached, with all it calls inside."""
        return njit(cache=True, nogil=True, error_model="numpy", _nrt=False, no_cfunc_wrapper=True)(self._rebound(function))

    def _rebound(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a copy of the function whose globals are compiled twins."""
        assert isinstance(function, types.FunctionType)
        scope = dict(function.__globals__)
        for name in function.__code__.co_names:
            if name in scope:
                scope[name] = self._twin(scope[name])
        copy = types.FunctionType(
            function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
        )
        copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
        return copy

    def _twin(self, value: Any) -> Any:
        """Return what a global is when compiled: kernels are, everything else stays as it is."""
        if not isinstance(value, types.FunctionType):
            return value
        value = self.replaced.get(value, value)
        if not getattr(value, "__ctp_kernel__", False):
            return value
        if value not in self.done:
            # Nobody calls these from Python or C, and their wrappers take longer to compile than they do.
            options = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
            self.done[value] = njit(nogil=True, error_model="numpy", _nrt=False, **options)(self._rebound(value))
        return self.done[value]
