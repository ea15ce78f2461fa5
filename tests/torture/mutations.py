"""Broken input files: preparation says what is wrong in one line, or makes a World of the rest."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import logging
import random
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.errors import UserError
from tests.torture.outcomes import Outcome

ROWS = [(f"u{n % 9}", f"i{n % 7}", 1_600_000_000 + 1000 * n) for n in range(60)]
HEADER = ("user", "item", "timestamp")
ENDINGS = ("World", "refused")
LONGEST_SECONDS = 30.0
_TOLERANT = DataConfig(max_bad_share=1.0)  # broken rows come through to the next steps


def _separated(separator: str, header: bool = True) -> bytes:
    rows = [HEADER, *ROWS] if header else ROWS
    return "".join(separator.join(map(str, row)) + "\n" for row in rows).encode()


def _json_lines() -> bytes:
    return "".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in ROWS).encode()


def _parquet() -> bytes:
    columns = dict(zip(HEADER, map(list, zip(*ROWS, strict=True)), strict=True))
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def _numbers(separator: str) -> bytes:
    """Users, items, ratings and times, without a header."""
    rows = [(u[1:], i[1:], 1 + n % 5, t) for n, (u, i, t) in enumerate(ROWS)]
    return "".join(separator.join(map(str, row)) + "\n" for row in rows).encode()


def _atomic() -> bytes:
    header = b"user_id:token\titem_id:token\ttimestamp:float\n"
    return header + _separated("\t", header=False)


FILES: dict[str, Callable[[], bytes]] = {
    "events.csv": lambda: _separated(","),
    "events.tsv": lambda: _separated("\t"),
    "events.jsonl": _json_lines,
    "events.parquet": _parquet,
    "events.csv.gz": lambda: gzip.compress(_separated(","), mtime=0),
    "ratings.dat": lambda: _numbers("::"),
    "u.data": lambda: _numbers("\t"),
    "shop.inter": _atomic,
}
_PIECES = (
    *(
        b"\x00",
        b'"',
        b"\n",
        b"\r",
        b",",
        b"\t",
        b"\xff\xfe",
        b"\xf0\x9f\x98\x80",
        b"'; DROP TABLE--",
    ),
    *(b"{", b"[", b"../../etc/passwd", b"nan", b"-1e400", b"9" * 40, b"\x80\x04\x95"),
)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content after one to four changes of some bytes."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(changed) + 1)
        kind = rng.randrange(5)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[place:place] = rng.choice(_PIECES) * rng.choice((1, 1, 1, 50))
        elif kind == 2:
            del changed[place : place + rng.randint(1, 40)]
        elif kind == 3:
            del changed[place:]
        else:
            changed[place:place] = changed[place : place + rng.randint(1, 200)]
    return bytes(changed)


def mutate(folder: Path, number: int, seed: int) -> Outcome:
    """Prepare so many mutated files, and say how they ended and what it took."""
    for name, make in FILES.items():
        prepared(folder, name, make())
    before = peak_memory()
    outcome = try_mutations(folder, number, seed)
    outcome.megabytes = max(1.0, (peak_memory() - before) / 1e6)
    return outcome


def try_mutations(folder: Path, number: int, seed: int) -> Outcome:
    """Prepare so many mutated files. A problem is an ending that must not be."""
    outcome = Outcome("files whose bytes were changed")
    for name, content in _mutations(number, seed):
        started_at = time.perf_counter()
        ending = prepared(folder, name, content)
        seconds = time.perf_counter() - started_at
        outcome.tries += 1
        outcome.seconds = max(outcome.seconds, seconds)
        outcome.endings[ending if ending in ENDINGS else "problem"] += 1
        if ending not in ENDINGS or seconds > LONGEST_SECONDS:
            kept = folder / f"problem-{len(outcome.problems)}-{name}"
            kept.write_bytes(content)
            outcome.problems.append(f"{kept}: {ending} after {seconds:.1f} s")
    return outcome


def _mutations(number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(seed)
    originals = {name: make() for name, make in FILES.items()}
    for _ in range(number):
        name = rng.choice(list(originals))
        yield name, mutated(originals[name], rng)


def prepared(folder: Path, name: str, content: bytes) -> str:
    """How the preparation of one file ended."""
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    (source / name).write_bytes(content)
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            prepare(source, folder / "world", _TOLERANT, "leave-one-out", replace=True)
    except UserError:
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        logging.disable(logging.NOTSET)
    return "World"


def peak_memory() -> int:
    """Of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
