"""How a kernel is called: which part of each array a program reads and writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from socialrec_jax.models.kernels.fused.blocks import Inputs, Packing

# The fastest on an H100. A second stage would copy the tables' lookups through shared memory.
_WARPS, _STAGES = 4, 1


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
        shape = (None, self.size, None, self.K)
        return pl.BlockSpec(shape, lambda i, h, b: (b, self._block(i), h, 0))

    def whole(self) -> pl.BlockSpec:
        """All positions of [B, T, H, K]."""
        return pl.BlockSpec((None, self.T, None, self.K), lambda i, h, b: (b, 0, h, 0))

    def block_of_sums(self) -> pl.BlockSpec:
        """The program's block of [B, H, T]."""
        return pl.BlockSpec((None, None, self.size), lambda i, h, b: (b, h, self._block(i)))

    def whole_of_sums(self) -> pl.BlockSpec:
        """All positions of [B, H, T]."""
        return pl.BlockSpec((None, None, self.T), lambda i, h, b: (b, h, 0))

    def inputs(self, like: Inputs, query: pl.BlockSpec, key: pl.BlockSpec) -> Inputs:
        """Specs of the inputs; values are read as keys are."""
        row = pl.BlockSpec((None, self.T), lambda i, h, b: (b, 0))
        packing = Packing(*[row] * len(Packing._fields))
        tables = jax.tree.map(_row_of_head, like.tables)
        return Inputs(query, key, key, packing, tables)

    def table_sums(self, tables: Any) -> list[Output]:
        """One float32 vector of each table's length from each program."""
        return [self._vector_of_program(table.shape[1]) for table in jax.tree.leaves(tables)]

    def _vector_of_program(self, length: int) -> Output:
        num_blocks, H, B = self.shape
        shape = jax.ShapeDtypeStruct((B, H, num_blocks, length), jnp.float32)
        return Output(shape, pl.BlockSpec((None, None, None, length), lambda i, h, b: (b, h, i, 0)))

    def _block(self, program: Any) -> Any:
        """The block of a program."""
        return program if self._last is None else self._last - program


def _row_of_head(table: jax.Array) -> pl.BlockSpec:
    """The head's row of a table [H, R]."""
    return pl.BlockSpec((None, table.shape[1]), lambda i, h, b: (h, 0))


def like(array: jax.Array, spec: pl.BlockSpec) -> Output:
    return Output(jax.ShapeDtypeStruct(array.shape, array.dtype), spec)
