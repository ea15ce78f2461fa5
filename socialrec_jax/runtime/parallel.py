"""Devices: the only file that says pmap.

State is replicated without a device axis (`in_axes=None`), batches carry one in front, big tables
are split by rows. Losses, metrics and gradients are sums; `sum_over_devices` adds them, and the
caller divides once. `jax.pmap` is in maintenance upstream: all that a move away from it would touch
is here.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import TypeVar

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from socialrec_jax.runtime import processes

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


def memory_for_data() -> int:
    """Bytes of one device that data may occupy beside the model: a quarter of it, and 1 GiB where
    JAX cannot say.
    """
    known = jax.local_devices()[0].memory_stats() or {}  # a CPU has none
    return int(known.get("bytes_limit", 4 << 30)) // 4


def replicate(tree: Tree) -> Tree:
    """The tree on every local device. Laid out as pmap itself would: any other layout makes it
    compile twice.
    """
    mesh = _mesh(jax.local_devices())
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def across_processes(tree: Tree) -> Tree:
    """Arrays of this process's devices as parts of arrays of all processes, which is what Orbax
    writes and reads.

    An array with an axis for devices becomes one with all of them; a replicated one stays as it is.
    Alone: the tree.
    """
    if jax.process_count() == 1:
        return tree
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
    """This process's run of rows [N, ...] that are split evenly over all of them, in their
    order.
    """
    number, count = process()
    return np.split(rows, count)[number]


def of_all_processes(tree: Tree) -> Tree:
    """The inverse: leaves split over devices, [n, ...] on each process, as [N, ...] on every host.
    Alone: the tree.

    All processes must come here.
    """
    if jax.process_count() == 1:
        return tree
    return multihost_utils.process_allgather(across_processes(tree), tiled=True)


def _mesh(devices: list) -> Mesh:
    return Mesh(np.array(devices), (_AXIS,))


def shard_rows(tree: Tree) -> Tree:
    """Rows [V, ...] of each leaf as [P, ceil(V / P), ...], each local device holding its run of
    them; zeros fill up.
    """
    P = num_local_devices()
    mesh = _mesh(jax.local_devices())

    def place(leaf):
        leaf = np.asarray(leaf)
        padded = np.pad(leaf, [(0, -len(leaf) % P)] + [(0, 0)] * (leaf.ndim - 1))
        return jax.device_put(
            padded.reshape(P, -1, *leaf.shape[1:]), NamedSharding(mesh, PartitionSpec(_AXIS))
        )

    return jax.tree.map(place, tree)


def split_over_devices(tree: Tree) -> Tree:
    """Rows [B, ...] of each leaf as [P, B / P, ...] over the local devices."""
    P = num_local_devices()
    return jax.tree.map(lambda leaf: leaf.reshape(P, leaf.shape[0] // P, *leaf.shape[1:]), tree)


def join_devices(tree: Tree) -> Tree:
    """The inverse of split_over_devices, on the host."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), tree)


def sum_over_devices(tree: Tree) -> Tree:
    """Inside a function given to `scan_steps`: each leaf added over all devices of all
    processes.
    """
    return lax.psum(tree, _AXIS)


def all_to_all(rows: jax.Array) -> jax.Array:
    """Inside a step: [P * n, ...], n rows for each device of all processes -> the n that each
    device has for this.
    """
    return lax.all_to_all(rows, _AXIS, 0, 0, tiled=True)


def as_rows(tree: Tree) -> Tree:
    """Leaves [P, n, ...] split over the devices as [P * n, ...], still where they lie; the given
    ones are donated.
    """
    return _reshaped(tree, lambda shape: (shape[0] * shape[1], *shape[2:]))


def as_shares(tree: Tree) -> Tree:
    """The inverse of as_rows: what a mapped function takes."""
    P = num_local_devices()
    return _reshaped(tree, lambda shape: (P, shape[0] // P, *shape[1:]))


def _reshaped(tree: Tree, shape_of: Callable) -> Tree:
    split = NamedSharding(_mesh(jax.local_devices()), PartitionSpec(_AXIS))
    return jax.tree.map(lambda leaf: _reshape(leaf, shape_of(leaf.shape), split), tree)


@partial(jax.jit, static_argnums=(1, 2), donate_argnums=0)
def _reshape(leaf: jax.Array, shape: tuple[int, ...], split: NamedSharding) -> jax.Array:
    """Donated, and split before and after alike: nothing is moved."""
    return lax.with_sharding_constraint(leaf.reshape(shape), split)


def gather_over_devices(tree: Tree) -> Tree:
    """Inside a mapped function: rows [N, ...] of all P devices, in the devices' order, as [P * N,
    ...] on each.
    """
    return jax.tree.map(lambda leaf: lax.all_gather(leaf, _AXIS, tiled=True), tree)


def device_number() -> jax.Array:
    """Inside a mapped function: which of the devices that are mapped over this is."""
    return lax.axis_index(_AXIS)


def scan_steps(step: Callable, shared: object = (), axes: object = None) -> Callable:
    """K steps in one device call: (state, batches [P, K, ...]) -> (state, outputs [K, ...]); state
    is donated.

    step: (state, shared, batch) -> (state, outputs), both equal on all devices because they come
    from sums over devices. shared: arrays that no step changes; an argument of the call, since
    constants of that size would be folded. axes: a prefix of the state, hashable, that is 0 where
    the leaves [P, ...] are split over devices, not replicated.
    """

    def steps(state, shared, batches):
        return lax.scan(lambda carry, batch: step(carry, shared, batch), state, batches)

    call = jax.pmap(
        steps, axis_name=_AXIS, in_axes=(axes, None, 0), out_axes=(axes, None), donate_argnums=0
    )
    call, placed = _begun_together(call), replicate(shared)
    return lambda state, batches: call(state, placed, batches)


def _begun_together(call: Callable) -> Callable:
    """The same call, of which the first waits until all processes have compiled it.

    One may find it in its cache and another not, and collectives on CPUs give up on whoever comes
    30 seconds late.
    """
    begun = False

    def begin(*arguments):
        nonlocal begun
        if not begun and jax.process_count() > 1:
            call.lower(*arguments).compile()
            processes.barrier()
        begun = True
        return call(*arguments)

    return begin


def map_devices(function: Callable) -> Callable:
    """function(shared, part) on every local device: (replicated, [P, ...]) -> [P, ...].

    Local devices alone: with several processes each may call it as often as it likes.
    """
    return jax.pmap(
        function, axis_name=_AXIS, in_axes=(None, 0), out_axes=0, devices=jax.local_devices()
    )


def map_shares(function: Callable) -> Callable:
    """function(share, same) on every local device: ([P, ...] of `deal`, replicated) -> what is
    equal on all of them.
    """
    return jax.pmap(
        function, axis_name=_AXIS, in_axes=(0, None), out_axes=None, devices=jax.local_devices()
    )


def prefetch(items: Iterable[Tree], depth: int = 2) -> Generator[Tree]:
    """The same items, made by a thread of their own while the devices work; errors come through.

    depth: items that may wait; memory grows with it.
    """
    ready: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry) -> None:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if stopped.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    threading.Thread(target=work, daemon=True, name="prefetch").start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
