"""A GPT-2 with its tokenizer in Hugging Face's layout, in both directions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from socialrec_jax.data.text.tokenizer import load_tokenizer
from socialrec_jax.errors import BadData, InputMissing
from socialrec_jax.files import replacing, write_atomically
from socialrec_jax.models.gpt2 import GPT2Sizes, from_hugging_face, tensor_shapes, to_hugging_face

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"

# How this GPT-2 computes; a folder that says otherwise is refused.
_COMPUTED = {
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
}


def save_pretrained(
    folder: Path, sizes: GPT2Sizes, params: dict, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Write a folder that GPT2LMHeadModel and AutoTokenizer open by `from_pretrained`.

    config.json comes last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    # A file that is named is whole, whenever the process dies.
    with replacing(folder / WEIGHTS) as temporary:
        # transformers does not open a file of tensors that names no format.
        save_file(to_hugging_face(params), temporary, metadata={"format": "pt"})
    names = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "tie_word_embeddings": True,
    }
    kinds = ("bos", "eos", "pad")
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in kinds}
    about = names | _COMPUTED | dataclasses.asdict(sizes) | ids
    write_atomically(folder / CONFIG, json.dumps(about, indent=1) + "\n")


def load_pretrained(folder: Path) -> tuple[GPT2Sizes, dict, PreTrainedTokenizerFast]:
    """(sizes, parameters [numpy], tokenizer) of a folder in this layout.

    Raises InputMissing when a file is not there and BadData when it is not a GPT-2's, in one line
    that names the file.
    """
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            raise InputMissing(
                f"{folder / name} does not exist: a GPT-2 is {CONFIG}, {WEIGHTS} and {TOKENIZER}"
            )
    sizes = _read_sizes(folder / CONFIG)
    params = _read_params(folder / WEIGHTS, sizes)
    return sizes, params, _read_tokenizer(folder, sizes)


def _read_sizes(file: Path) -> GPT2Sizes:
    try:
        values = json.loads(file.read_text())
        if values.get("model_type") != "gpt2":
            raise ValueError(f"its model_type is {values.get('model_type')}")
        # A missing name means the default, which is what is supported.
        for name, supported in _COMPUTED.items():
            if values.get(name, supported) != supported:
                raise ValueError(f"{name} {values[name]} is not supported, only {supported}")
        names = [field.name for field in dataclasses.fields(GPT2Sizes)]
        return GPT2Sizes(**{name: values[name] for name in names if name in values})
    except (ValueError, TypeError, AttributeError) as error:
        raise BadData(f"{file} is not the configuration of a GPT-2: {_one_line(error)}") from None


def _read_params(file: Path, sizes: GPT2Sizes) -> dict:
    """The parameters in float32: each one there, of its shape, and none left over."""
    try:
        tensors = {name: np.asarray(tensor, np.float32) for name, tensor in load_file(file).items()}
    except (SafetensorError, OSError, TypeError, ValueError, KeyError) as error:
        raise BadData(f"{file} is not a file of tensors: {_one_line(error)}") from None
    # Compared in Hugging Face's names, which the reader of the message finds in the file.
    params = from_hugging_face(tensors)
    shapes = {name: tensor.shape for name, tensor in to_hugging_face(params).items()}
    expected = tensor_shapes(sizes)
    for name in sorted(expected.keys() | shapes.keys()):
        if shapes.get(name) != expected.get(name):
            is_there = shapes.get(name, "missing")
            should_be = expected.get(name, "nothing of it")
            raise BadData(f"{file}: tensor {name} is {is_there}, {CONFIG} says {should_be}")
    return params


def _read_tokenizer(folder: Path, sizes: GPT2Sizes) -> PreTrainedTokenizerFast:
    file = folder / TOKENIZER
    try:
        tokenizer = load_tokenizer(folder)
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise BadData(f"{file} is not a tokenizer: {_one_line(error)}") from None
    if tokenizer.eos_token_id is None or len(tokenizer) > sizes.vocab_size:
        raise BadData(
            f"{file} has {len(tokenizer)} tokens and end of text {tokenizer.eos_token}: the model "
            f"in {CONFIG} needs an end and has {sizes.vocab_size}"
        )
    return tokenizer


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
