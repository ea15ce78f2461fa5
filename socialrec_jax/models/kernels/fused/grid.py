"""How a kernel is called: which part of each array a program reads and writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from socialrec_jax.models.kernels.fused.blocks import Inputs, Packing

# The fastest on an H100.
_WARPS, _STAGES = 4, 2


class Output(NamedTuple):
    """An array that a kernel writes, and the program's part of it."""

    shape: jax.ShapeDtypeStruct
    spec: pl.BlockSpec


class Grid:
    """Programs (blocks, heads, rows): each sees one row, one head, and its block or all positions.

    A block has `size` positions. backwards: the last block is the first program.
    """

    def __init__(self, inputs: Inputs, size: int, backwards: bool = False):
        B, self.T, H, self.K = inputs.query.shape
        self.size = size
        self.shape = (self.T // size, H, B)
        self._last = self.shape[0] - 1 if backwards else None

    def call(self, kernel: Callable, name: str, specs: Any, outputs: list[Output], interpret: bool):
        """The function of the arrays that specs describe; it returns the outputs."""
        return pl.pallas_call(
            kernel,
            grid=self.shape,
            in_specs=specs,
            out_specs=[output.spec for output in outputs],
            out_shape=[output.shape for output in outputs],
            compiler_params=triton.CompilerParams(num_warps=_WARPS, num_stages=_STAGES),
            interpret=interpret,
            name=name,
        )

    def block(self) -> pl.BlockSpec:
        """The program's block of [B, T, H, K]."""

        def index(program: Any, head: Any, row: Any) -> tuple:
            return row, self._block(program), head, 0

        shape = (None, self.size, None, self.K)
        return pl.BlockSpec(shape, index)

    def whole(self) -> pl.BlockSpec:
        """All positions of [B, T, H, K]."""

        def index(program: Any, head: Any, row: Any) -> tuple:
            return row, 0, head, 0

        shape = (None, self.T, None, self.K)
        return pl.BlockSpec(shape, index)

    def block_of_sums(self) -> pl.BlockSpec:
        """The program's block of [B, H, T]."""

        def index(program: Any, head: Any, row: Any) -> tuple:
            return row, head, self._block(program)

        return pl.BlockSpec((None, None, self.size), index)

    def whole_of_sums(self) -> pl.BlockSpec:
        """All positions of [B, H, T]."""

        def index(program: Any, head: Any, row: Any) -> tuple:
            return row, head, 0

        return pl.BlockSpec((None, None, self.T), index)

    def inputs(self, query: pl.BlockSpec, key: pl.BlockSpec) -> Inputs:
        """Specs of the inputs; values are read as keys are."""

        def index(program: Any, head: Any, row: Any) -> tuple:
            return row, 0

        # All positions of each column [B, T].
        column = pl.BlockSpec((None, self.T), index)
        return Inputs(query, key, key, Packing(column, column, column))

    def _block(self, program: Any) -> Any:
        """The block of a program."""
        return program if self._last is None else self._last - program


def like(array: jax.Array, spec: pl.BlockSpec) -> Output:
    """An output of the shape and type of an array."""
    shape = jax.ShapeDtypeStruct(array.shape, array.dtype)
    return Output(shape, spec)
