"""What share of the hardware a case uses, and what it is bound by."""

from __future__ import annotations

import dataclasses

from benchmarks.harness import hardware
from benchmarks.harness.cases import Work
from benchmarks.harness.schema import IMPOSSIBLE, Peaks, Row

# A case is bound by the ceiling of which it uses more than this share.
_BOUND_SHARE = 0.5
# A case that waits for data for more than this share of the time is bound by its input.
_WAIT_SHARE = 0.2


def against_ceiling(row: Row, work: Work, ceiling: Peaks) -> Row:
    """The row with its shares of what the devices can do at most, and with what it is bound by.

    Above 100% its status is IMPOSSIBLE. A CPU's ceiling was measured, perhaps while other programs
    had the cores, so it is measured once more before that.
    """
    if work.on_host:
        return dataclasses.replace(row, bound_by="host")
    row = _with_shares(row, work, ceiling)
    if _exceeds(row) and ceiling.device == "cpu":
        ceiling = hardware.at_least(ceiling, hardware.measured())
        row = _with_shares(row, work, ceiling)
    if _exceeds(row):
        flops, bandwidth = row.mfu or 0, row.bandwidth_share or 0
        reason = f"{flops:.0%} of the FLOPs, {bandwidth:.0%} of the bandwidth that exist"
        return dataclasses.replace(row, status=IMPOSSIBLE, reason=reason)
    return row


def _with_shares(row: Row, work: Work, ceiling: Peaks) -> Row:
    assert row.p50 is not None
    # Virtual devices share one CPU, and thus one ceiling.
    devices = 1 if ceiling.device == "cpu" else work.devices
    mfu = _share(work.flops, row.p50, ceiling.flops(work.dtype), devices)
    bandwidth = None
    # What fits into a cache may never reach the memory.
    if work.bytes and work.bytes > hardware.CACHE_BYTES:
        bandwidth = _share(work.bytes, row.p50, ceiling.bandwidth, devices)
    network = _share(work.network_bytes, row.p50, ceiling.interconnect, 1)
    return dataclasses.replace(
        row,
        mfu=mfu,
        bandwidth_share=bandwidth,
        network_share=network,
        bound_by=bound_by(mfu, bandwidth, network, row.wait_share),
    )


def _share(amount: float | None, seconds: float, peak: float | None, devices: int) -> float | None:
    """amount a second over the peak of all devices; None where either is unknown."""
    if not amount or not peak:
        return None
    return amount / seconds / (peak * devices)


def bound_by(
    mfu: float | None, memory: float | None, network: float | None, wait_share: float | None
) -> str:
    """What limits a case: one of schema.BOUNDS.

    launch: neither products nor memory nor network is busy, so it is many small operations.
    """
    if (wait_share or 0) > _WAIT_SHARE:
        return "input"
    known = {"compute": mfu, "memory": memory, "network": network}
    shares = {name: share for name, share in known.items() if share is not None}
    if not shares:
        return "n/a"
    largest = max(shares, key=shares.__getitem__)
    return largest if shares[largest] >= _BOUND_SHARE else "launch"


def _exceeds(row: Row) -> bool:
    # The network does not count: switches that add up themselves are sent less than a ring sends.
    return max(row.mfu or 0, row.bandwidth_share or 0) > 1
