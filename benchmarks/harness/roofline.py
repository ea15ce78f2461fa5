"""What share of the hardware a case uses, and what it is bound by."""

from __future__ import annotations

import dataclasses

from benchmarks.harness import hardware
from benchmarks.harness.cases import Work
from benchmarks.harness.hardware import Peaks
from benchmarks.harness.schema import IMPOSSIBLE, Row

_HALF = 0.5  # of a ceiling: above, that is what a case is bound by
_WAITING = 0.2  # share of the time


def against_ceiling(row: Row, work: Work, ceiling: Peaks) -> Row:
    """Shares of what the devices can do at most, and what a case is bound by; above 100% it is
    IMPOSSIBLE.

    A CPU's ceiling was measured, maybe while others had the cores: it is measured once more before
    it condemns.
    """
    if work.on_host:
        return dataclasses.replace(row, bound_by="host")
    row = _shares(row, work, ceiling)
    if _exceeds(row) and ceiling.device == "cpu":
        row = _shares(row, work, hardware.at_least(ceiling, hardware.measured()))
    if _exceeds(row):
        reason = f"{row.mfu or 0:.0%} of the FLOPs, {row.bandwidth_share or 0:.0%} of the bandwidth there are"
        return dataclasses.replace(row, status=IMPOSSIBLE, reason=reason)
    return row


def _shares(row: Row, work: Work, ceiling: Peaks) -> Row:
    assert row.p50 is not None
    peak = ceiling.flops(work.dtype)
    mfu = work.flops / row.p50 / (peak * _ceilings(work, ceiling)) if work.flops and peak else None
    memory = None
    if work.bytes and ceiling.bandwidth and work.bytes > hardware.CACHE_BYTES:
        memory = work.bytes / row.p50 / (ceiling.bandwidth * _ceilings(work, ceiling))
    network = None
    if work.network_bytes and ceiling.interconnect:
        network = work.network_bytes / row.p50 / ceiling.interconnect
    bound = bound_by(mfu, memory, network, row.wait_share)
    return dataclasses.replace(
        row, mfu=mfu, bandwidth_share=memory, network_share=network, bound_by=bound
    )


def _ceilings(work: Work, ceiling: Peaks) -> int:
    """Virtual devices share one CPU."""
    return 1 if ceiling.device == "cpu" else work.devices


def bound_by(
    mfu: float | None, memory: float | None, network: float | None, wait_share: float | None
) -> str:
    """What to mend first. launch: neither products nor memory nor network is busy, so it is many
    small operations.
    """
    if (wait_share or 0) > _WAITING:
        return "input"
    known = {"compute": mfu, "memory": memory, "network": network}
    shares = {name: share for name, share in known.items() if share is not None}
    if not shares:
        return "n/a"
    most = max(shares, key=shares.__getitem__)
    return most if shares[most] >= _HALF else "launch"


def _exceeds(row: Row) -> bool:
    """Not by the network: switches that add up themselves are sent less than a ring sends."""
    return max(row.mfu or 0, row.bandwidth_share or 0) > 1
