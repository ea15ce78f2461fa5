"""A GPT-2 with its tokenizer in Hugging Face's layout: what is saved here opens there, and the
other way round.
"""

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
from socialrec_jax.models.gpt2 import GPT2Sizes, from_hugging_face, tensor_shapes, to_hugging_face
from socialrec_jax.runtime.run import replacing, write_atomically

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
_COMPUTED = {
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
}


def save_pretrained(
    folder: Path, sizes: GPT2Sizes, params: dict, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Write folder so that GPT2LMHeadModel and AutoTokenizer `.from_pretrained(folder)`;
    config.json comes last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    with replacing(folder / WEIGHTS) as temporary:
        save_file(to_hugging_face(params), temporary, metadata={"format": "pt"})
    about = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "tie_word_embeddings": True,
        **_COMPUTED,
    }
    ids = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")
    }
    write_atomically(
        folder / CONFIG, json.dumps(about | dataclasses.asdict(sizes) | ids, indent=1) + "\n"
    )


def load_pretrained(folder: Path) -> tuple[GPT2Sizes, dict, PreTrainedTokenizerFast]:
    """(sizes, parameters [numpy], tokenizer) of a folder that anybody's `save_pretrained` wrote.

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
    try:
        tokenizer = load_tokenizer(folder)
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise BadData(f"{folder / TOKENIZER} is not a tokenizer: {_one_line(error)}") from None
    if tokenizer.eos_token_id is None or len(tokenizer) > sizes.vocab_size:
        raise BadData(
            f"{folder / TOKENIZER} has {len(tokenizer)} tokens and end of text {tokenizer.eos_token}: the model in "
            f"{CONFIG} needs an end and has {sizes.vocab_size}"
        )
    return sizes, params, tokenizer


def _read_sizes(file: Path) -> GPT2Sizes:
    try:
        values = json.loads(file.read_text())
        if values.get("model_type") != "gpt2":
            raise ValueError(f"its model_type is {values.get('model_type')}")
        for name, ours in _COMPUTED.items():
            if values.get(name, ours) != ours:
                raise ValueError(f"{name} {values[name]} is not supported, only {ours}")
        fields = dataclasses.fields(GPT2Sizes)
        return GPT2Sizes(
            **{field.name: values[field.name] for field in fields if field.name in values}
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise BadData(f"{file} is not the configuration of a GPT-2: {_one_line(error)}") from None


def _read_params(file: Path, sizes: GPT2Sizes) -> dict:
    """The parameters in float32, each one there, of its shape, and none left over."""
    try:
        tensors = {name: np.asarray(tensor, np.float32) for name, tensor in load_file(file).items()}
    except (SafetensorError, OSError, TypeError, ValueError, KeyError) as error:
        raise BadData(f"{file} is not a file of tensors: {_one_line(error)}") from None
    params = from_hugging_face(tensors)
    found = {name: tensor.shape for name, tensor in to_hugging_face(params).items()}
    expected = tensor_shapes(sizes)
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            ours, theirs = found.get(name, "missing"), expected.get(name, "nothing of it")
            raise BadData(f"{file}: tensor {name} is {ours}, {CONFIG} says {theirs}")
    return params


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
