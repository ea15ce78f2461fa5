"""The embedding tables among a model's parameters: the only ones that grow with the shop.

Each lies at one path of the parameter tree; training may keep it apart from the rest
(`training/embeddings.py`), and whoever evaluates or serves puts it back.
"""

from __future__ import annotations

from flax.traverse_util import flatten_dict, unflatten_dict

PATHS = {"items": ("items", "ids"), "users": ("social", "features", "users")}


def take_out(params: dict, names: tuple[str, ...]) -> tuple[dict, dict]:
    """(params without some tables, {name: table [V, D]})."""
    flat = flatten_dict(params)
    tables = {name: flat.pop(PATHS[name]) for name in names}
    return unflatten_dict(flat), tables


def put_in(params: dict, tables: dict) -> dict:
    """The inverse of `take_out`."""
    return unflatten_dict(
        flatten_dict(params) | {PATHS[name]: table for name, table in tables.items()}
    )
