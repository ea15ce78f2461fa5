"""What does one accelerator reach, part by part, beside what others published for such a card?

    python -m benchmarks run --suite accelerator --budget 300 [--data DIR]

Cases are alone, so that each row is printed as soon as it is known; the most valuable come first.
The last two are whole runs of `train.py`, on --data or on a made-up shop of Beauty's size.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from benchmarks.harness import workloads
from benchmarks.harness.cases import Case
from benchmarks.harness.schema import Reference
from benchmarks.harness.workloads import TABLES
from benchmarks.work import start_to_end, updates
from benchmarks.work.attention import attention
from benchmarks.work.language_model import text_step
from benchmarks.work.search import search
from benchmarks.work.steps import step
from benchmarks.work.transformer import behavior

_H100 = "H100 SXM"

# Read in 2026; nothing of it was run here.
_HSTU = Reference(
    name="HSTU attention by CUTLASS",
    figure=169,
    unit="TFLOP/s",
    hardware=_H100,
    source="NVIDIA, recsys-examples",
    remark="forward and backward, 512 events, heads of 64, no bias",
)
_HSTU_LAYER = Reference(
    name="HSTU layer",
    figure=302,
    unit="TFLOP/s",
    hardware=_H100,
    source="NVIDIA, recsys-examples",
    remark="the lowest of 302 to 476 by size",
)
_TOKAMAX = Reference(
    name="tokamax attention with a dense bias",
    figure=115,
    unit="TFLOP/s",
    hardware=_H100,
    source="tokamax",
    remark="backward, the lowest of 115 to 132 by size",
)
_LLM_C = Reference(
    name="llm.c, GPT-2 small",
    figure=463_000,
    unit="tokens/s",
    hardware=_H100,
    source="llm.c",
)
_FBGEMM = Reference(
    name="FBGEMM, row-wise Adam",
    figure=775e6,
    unit="ids/s",
    hardware=_H100,
    source="FBGEMM",
    remark="10 tables of 1.68M rows of 128; Adam, where this project has Adagrad",
)


def cases(tiny: bool, data: Path | None = None) -> list[Case]:
    all_cases = [
        *_model_cases(tiny),
        *_search_cases(tiny),
        *_attention_cases(tiny),
        _update_case(tiny),
        *_program_cases(tiny, data),
    ]
    if not tiny:
        return all_cases
    # Published figures are of full sizes.
    return [dataclasses.replace(case, references=()) for case in all_cases]


def _model_cases(tiny: bool) -> list[Case]:
    large, small = workloads.sized(("dlrmv4-mini", "sasrec-ml1m"), tiny)
    (text,) = workloads.sized(("gpt2-small-bf16",), tiny)
    return [
        Case("behavior", large, partial(behavior, large), references=(_HSTU_LAYER,)),
        Case("text", text, partial(text_step, text), references=(_LLM_C,)),
        Case("step", large, partial(step, large)),
        Case("behavior", small, partial(behavior, small)),
    ]


def _search_cases(tiny: bool) -> list[Case]:
    one_million, many_users, ten_millions = workloads.sized(
        ("catalogue-1m", "catalogue-1m-many-users", "catalogue-10m"), tiny
    )
    return [
        Case("search k=100", one_million, partial(search, one_million, 100)),
        Case("search k=100", many_users, partial(search, many_users, 100)),
        Case("search k=10", one_million, partial(search, one_million, 10)),
        Case("search k=100", ten_millions, partial(search, ten_millions, 100)),
        Case("search k=10", ten_millions, partial(search, ten_millions, 10)),
    ]


def _attention_cases(tiny: bool) -> list[Case]:
    """Forward and backward first: it is what training pays."""
    names = workloads.sized(("64x512x8x64-bf16", "256x128x4x64-bf16", "128x200x1x64-f32"), tiny)
    # Published for the first shape alone.
    references = {names[0]: (_HSTU, _TOKAMAX)}
    learning = [
        Case(
            "attention, forward and backward",
            name,
            partial(attention, name, gradients=True),
            references=references.get(name, ()),
        )
        for name in names
    ]
    forward = [
        Case("attention, forward", name, partial(attention, name, gradients=False))
        for name in names
    ]
    return learning + forward


def _update_case(tiny: bool) -> Case:
    (name,) = workloads.sized(("rows-16.8m",), tiny)
    table = updates.fitting(TABLES[name])
    work = partial(updates.rows_of_large_table, table)
    return Case("embedding update by rows", table.name, work, references=(_FBGEMM,))


def _program_cases(tiny: bool, data: Path | None) -> list[Case]:
    shop = data.name if data else "made-up-shop"
    preset = f"{shop}{workloads.TINY}" if tiny else shop
    return [
        Case(name, preset, partial(start_to_end.train, data, tiny, is_warm), single_call=True)
        for name, is_warm in (("train.py, cold cache", False), ("train.py, warm cache", True))
    ]
