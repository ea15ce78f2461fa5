"""Devices: the only file that says pmap.

State is replicated without a device axis (`in_axes=None`), batches have one in front, big tables
are sharded by rows. Losses, metrics and gradients are sums: `sum_over_devices` adds them, and the
caller divides once. `jax.pmap` is in maintenance upstream; all that a move away from it would touch
is in this file.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from socialrec_jax.runtime import processes
from socialrec_jax.runtime.timeline import timeline

Tree = TypeVar("Tree")
_AXIS = "devices"


def num_devices() -> int:
    """Devices of all processes."""
    return jax.device_count()


def num_local_devices() -> int:
    return jax.local_device_count()


def process() -> tuple[int, int]:
    """(index of this process, number of processes)."""
    return jax.process_index(), jax.process_count()


def device_kinds() -> list[str]:
    return [device.device_kind for device in jax.devices()]


def has_accelerator() -> bool:
    """Whether the devices are other than the host's own cores."""
    return jax.local_devices()[0].platform != "cpu"


def on_host_cores() -> AbstractContextManager:
    """In this context programs compile for the host's cores and run there.

    For programs that run once: compiling them for an accelerator takes longer than running them
    here. Where JAX has no CPU (JAX_PLATFORMS=cuda) nothing changes.
    """
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:
        return nullcontext()


def memory_for_data() -> int:
    """Bytes of one device that data may occupy beside the model: a quarter of its memory, and 1 GiB
    where JAX does not know it.
    """
    stats = jax.local_devices()[0].memory_stats() or {}  # a CPU has none
    memory = stats.get("bytes_limit", 4 << 30)
    return int(memory) // 4


# ---- Placement of arrays


def replicate(tree: Tree) -> Tree:
    """The tree on every local device.

    It is laid out as pmap itself would: with any other layout, pmap compiles twice.
    """
    return jax.device_put(tree, _sharding(PartitionSpec()))


def shard_rows(tree: Tree) -> Tree:
    """Rows [V, ...] of each leaf as [P, ceil(V / P), ...]: a block of rows on each local device,
    with zeros at the end.
    """
    P = num_local_devices()
    sharding = _sharding(PartitionSpec(_AXIS))

    # Equal blocks, since pmap maps over equal shapes.
    def place(leaf):
        leaf = np.asarray(leaf)
        padding = [(0, -len(leaf) % P)] + [(0, 0)] * (leaf.ndim - 1)
        blocks = np.pad(leaf, padding).reshape(P, -1, *leaf.shape[1:])
        return jax.device_put(blocks, sharding)

    return jax.tree.map(place, tree)


def across_processes(tree: Tree) -> Tree:
    """Arrays of this process's devices as parts of global arrays, which Orbax writes and reads.

    A sharded array becomes one with the shards of all processes, a replicated one stays as it is.
    In a single process this is the tree itself.
    """
    if jax.process_count() == 1:
        return tree
    # The mesh of a global array has the devices of all processes.
    mesh = _mesh(jax.devices())
    return jax.tree.map(
        lambda x: multihost_utils.host_local_array_to_global_array(x, mesh, x.sharding.spec), tree
    )


def within_process(tree: Tree) -> Tree:
    """The inverse of across_processes."""
    if jax.process_count() == 1:
        return tree
    mesh = _mesh(jax.devices())
    return jax.tree.map(
        lambda x: multihost_utils.global_array_to_host_local_array(x, mesh, x.sharding.spec), tree
    )


def of_this_process(rows: np.ndarray) -> np.ndarray:
    """The block of rows [N, ...] that belongs to this process, of one equal block each."""
    number, count = process()
    return np.split(rows, count)[number]


def of_all_processes(tree: Tree) -> Tree:
    """The inverse for sharded leaves: [n, ...] on each process as [N, ...] on every host.

    All processes must call this. In a single process it is the tree itself.
    """
    if jax.process_count() == 1:
        return tree
    # Tiled: the shards are joined along their rows, without a new axis.
    return multihost_utils.process_allgather(across_processes(tree), tiled=True)


def _mesh(devices: list) -> Mesh:
    return Mesh(np.array(devices), (_AXIS,))


def _sharding(spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(_mesh(jax.local_devices()), spec)


# ---- Shapes with an axis of devices


def split_over_devices(tree: Tree) -> Tree:
    """Rows [B, ...] of each leaf as [P, B / P, ...] over the local devices."""
    P = num_local_devices()
    return jax.tree.map(lambda leaf: leaf.reshape(P, leaf.shape[0] // P, *leaf.shape[1:]), tree)


def join_devices(tree: Tree) -> Tree:
    """The inverse of split_over_devices, on the host."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), on_host(tree))


def on_host(tree: Tree) -> Tree:
    """The tree as numpy arrays. Waits for the devices: an asynchronous call ends here."""
    with timeline.waiting():
        return jax.tree.map(np.asarray, tree)


def as_rows(tree: Tree) -> Tree:
    """Sharded leaves [P, n, ...] as [P * n, ...]. No data move; the leaves are donated."""
    return _reshaped(tree, lambda shape: (shape[0] * shape[1], *shape[2:]))


def as_shards(tree: Tree) -> Tree:
    """The inverse of as_rows: what a mapped function takes."""
    P = num_local_devices()
    return _reshaped(tree, lambda shape: (P, shape[0] // P, *shape[1:]))


def _reshaped(tree: Tree, shape_of: Callable) -> Tree:
    sharding = _sharding(PartitionSpec(_AXIS))
    return jax.tree.map(lambda leaf: _reshape(leaf, shape_of(leaf.shape), sharding), tree)


@partial(jax.jit, static_argnums=(1, 2), donate_argnums=0)
def _reshape(leaf: jax.Array, shape: tuple[int, ...], sharding: NamedSharding) -> jax.Array:
    # Donated, and sharded alike before and after: nothing is copied.
    return lax.with_sharding_constraint(leaf.reshape(shape), sharding)


# ---- Inside a mapped function


def sum_over_devices(tree: Tree) -> Tree:
    """Each leaf, added over all devices of all processes."""
    return lax.psum(tree, _AXIS)


def all_to_all(rows: jax.Array) -> jax.Array:
    """Rows [P * n, ...], n for each device of all processes -> the n rows that each device has for
    this one.
    """
    return lax.all_to_all(rows, _AXIS, 0, 0, tiled=True)


def gather_over_devices(tree: Tree) -> Tree:
    """Rows [N, ...] of all P devices, in the order of the devices, as [P * N, ...] on each."""
    return jax.tree.map(lambda leaf: lax.all_gather(leaf, _AXIS, tiled=True), tree)


def device_number() -> jax.Array:
    """The number of this device among those that are mapped over."""
    return lax.axis_index(_AXIS)


# ---- Mapped functions


def scan_steps(step: Callable, shared: object = (), axes: object = None) -> Callable:
    """K steps in one call: (state, batches [P, K, ...]) -> (state, outputs [K, ...]); the state is
    donated.

    shared: arrays that no step changes; they are an argument of the call, since XLA would fold
    constants of that size. See `compiled_steps` for the rest.
    """
    call = compiled_steps(step, axes)
    placed = replicate(shared)
    return lambda state, batches: call(state, placed, batches)


def compiled_steps(step: Callable, axes: object = None) -> Steps:
    """The same for any shared arrays: (state, shared, batches) -> (state, outputs).

    step: (state, shared, batch) -> (state, outputs), both equal on all devices because they come
    from sums over devices. shared must be placed by `replicate`. axes: a prefix of the state,
    hashable, that is 0 where leaves [P, ...] are sharded and None where they are replicated.
    """

    def steps(state, shared, batches):
        return lax.scan(lambda carry, batch: step(carry, shared, batch), state, batches)

    # The state has no axis of devices, unless axes says so; batches have one in front.
    call = jax.pmap(
        steps, axis_name=_AXIS, in_axes=(axes, None, 0), out_axes=(axes, None), donate_argnums=0
    )
    return Steps(call)


class Steps:
    """A mapped call. Its first execution waits until all processes have compiled it.

    One process may find the program in its cache and another not, and collectives on CPUs give up
    on a process that comes 30 seconds late.
    """

    def __init__(self, call: Any):
        self._call, self._is_compiled = call, False

    def __call__(self, *arguments: Any) -> Any:
        if not self._is_compiled and jax.process_count() > 1:
            self.compile(*arguments)
            processes.barrier()
        self._is_compiled = True
        return self._call(*arguments)

    def compile(self, *arguments: Any) -> None:
        """Compile the call for such arguments, which stay as they are, and run nothing."""
        self._call.lower(*arguments).compile()


def map_devices(function: Callable) -> Callable:
    """function(shared, part) on every local device: (replicated, [P, ...]) -> [P, ...].

    Processes may call it independently of each other, since it maps over local devices alone.
    """
    return jax.pmap(
        function, axis_name=_AXIS, in_axes=(None, 0), out_axes=0, devices=jax.local_devices()
    )


def map_shards(function: Callable) -> Callable:
    """function(shard, same) on every local device: ([P, ...] of `shard_rows`, replicated) -> a
    result that is equal on all of them.
    """
    return jax.pmap(
        function, axis_name=_AXIS, in_axes=(0, None), out_axes=None, devices=jax.local_devices()
    )
