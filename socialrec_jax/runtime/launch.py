"""How the processes of a job find each other."""

from __future__ import annotations

import os
from typing import Any

import jax
from jax._src import distributed  # see processes.py

from socialrec_jax.errors import Unavailable, UsageError
from socialrec_jax.runtime import peers, processes

_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_SHUTDOWN_SECONDS = 10
_LONGEST = 300  # characters of a message of JAX


def initialize() -> None:
    """Connect with the other processes of the job, if there are any. Must be called before anything
    asks JAX for devices.

    Address, number of processes and number of this process come from the three _VARIABLES, or from
    the cluster: a Slurm step of several tasks, or a Cloud TPU of several workers.
    Raises UsageError when only some of the variables are set.
    """
    variables = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    if variables:
        _initialize_from(variables)
    elif _is_slurm_step() or _is_tpu_pod():
        _connect()


def _initialize_from(variables: dict[str, str]) -> None:
    missing = [name for name in _VARIABLES if name not in variables]
    if missing:
        raise UsageError(
            f"{' and '.join(variables)} is set, {' and '.join(missing)} is not: "
            "set all three or none"
        )
    address, count, number = (variables[name] for name in _VARIABLES)
    if not (count.isdigit() and number.isdigit() and int(number) < int(count)):
        raise UsageError(
            f"JAX_PROCESS_ID is {number} of JAX_NUM_PROCESSES {count}: they count from 0"
        )
    if int(count) > 1:  # a job of one needs no service
        _connect(address, int(count), int(number))


def _connect(*arguments: Any) -> None:
    """jax.distributed.initialize, with the options that hold for every launcher."""
    # JAX's preemption service would take SIGTERM away from this program, which handles it itself.
    jax.config.update("jax_enable_preemption_service", False)
    peers.expect()
    try:
        processes.interruptibly(_initialize, *arguments)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:_LONGEST]
        raise Unavailable(
            f"the processes of this job did not find each other: {problem}"
        ) from error
    peers.watch(distributed.global_state.client, *processes.number_and_count())


def _initialize(*arguments: Any) -> None:
    jax.distributed.initialize(*arguments, shutdown_timeout_seconds=_SHUTDOWN_SECONDS)
    # The first call waits until all processes have made it. Made here, it cannot wait for a
    # process that waits elsewhere.
    jax.devices()


def _is_slurm_step() -> bool:
    """Whether srun started this with several tasks; a batch script itself is no step."""
    return "SLURM_STEP_NODELIST" in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1


def _is_tpu_pod() -> bool:
    return "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
