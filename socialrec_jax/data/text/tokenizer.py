"""Product text as tokens: one text a product, and a byte-level BPE learnt from these texts.

Bytes are the alphabet, so every language and every emoji has tokens and decodes to itself; no
symbol is unknown. `transformers` is imported inside functions: it takes most of a second, and only
the text stage needs it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from socialrec_jax.data.world import Items

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_TEXTS_AT_ONCE = 1 << 14  # the tokenizer keeps a kilobyte and more of each

PAD, EOS = "<pad>", "<eos>"


@dataclasses.dataclass(frozen=True)
class Texts:
    """Tokens of V texts in CSR form: text i is tokens[offsets[i] : offsets[i + 1]]."""

    offsets: np.ndarray  # [V + 1] int64
    tokens: np.ndarray  # [N] int32

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)


def product_texts(items: Items) -> list[str]:
    """One text [V] a product: title, category, tags and description, one a line.

    A product without any of them has the empty text.
    """
    tags = [", ".join(filter(None, listed.split("|"))) for listed in items.tags.tolist()]
    columns = (items.titles.tolist(), items.categories.tolist(), tags, items.descriptions.tolist())
    return [_joined_lines(parts) for parts in zip(*columns, strict=True)]


def _joined_lines(parts: Iterable[str]) -> str:
    return "\n".join(part for part in map(str.strip, parts) if part)


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `vocabulary` tokens, the same one for the same texts.

    It has at least 258 tokens: the bytes and two special ones.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    # No space is added in front: a text decodes to exactly itself.
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        bos_token=EOS,
        clean_up_tokenization_spaces=False,  # decoding gives back every byte, " ," included
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in a folder of Hugging Face's layout."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], max_tokens: int) -> Texts:
    """The tokens of all texts, at most max_tokens each; a text that is not empty ends with <eos>.

    Texts are never padded here: a padded call would change what the tokenizer saves.
    """
    lengths, tokens = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
    for begin in range(0, len(texts), _TEXTS_AT_ONCE):
        rows = _token_rows(tokenizer, texts[begin : begin + _TEXTS_AT_ONCE], max_tokens)
        lengths.append(np.array(list(map(len, rows)), np.int64))
        tokens.append(np.array(list(itertools.chain.from_iterable(rows)), np.int32))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return Texts(offsets, np.concatenate(tokens))


def _token_rows(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], max_tokens: int
) -> list[list[int]]:
    """The tokens of some texts, each with <eos>; see `tokenize`."""
    end = tokenizer.eos_token_id
    assert isinstance(end, int)  # for the type checker
    encodings = tokenizer.backend_tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [[*found.ids[: max_tokens - 1], end] if found.ids else [] for found in encodings]
