"""Inner loops compiled by numba, kept on disk between runs where there is a place for that."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(*, fastmath: bool = False) -> Callable[[Function], Function]:
    """Compile a function at its first call; it runs without Python's lock and is typed as the plain one.

    Where nothing can be kept, in a read-only installation without a home folder or on a full disk, it is
    compiled in every run. A folder for everybody, as `/tmp`, is no place for it: what is kept there is run.

    Args:
        fastmath: allow sums to be reordered, for speed, where the last bits do not matter.
    """

    def compile_it(function: Function) -> Function:
        import numba

        plain = inspect.unwrap(function)  # without what checks types while tests run
        made: Any = numba.njit(fastmath=fastmath, error_model="numpy", nogil=True)(plain)
        if made is not plain:  # numba compiles at all
            with suppress(RuntimeError):  # it knows no place to keep what it compiles
                made.enable_caching()
                _let_saving_fail(made._cache)
        return cast(Function, made)

    return compile_it


def _let_saving_fail(cache: Any) -> None:
    """Let a place that cannot be written to be no fault."""
    save = cache.save_overload

    def save_where_possible(signature: Any, result: Any) -> None:
        try:
            save(signature, result)
        except OSError:  # what was compiled is in memory; only the next run waits again
            cache.disable()

    cache.save_overload = save_where_possible
