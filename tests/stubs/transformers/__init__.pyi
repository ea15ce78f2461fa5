# What this package uses of transformers. Reading the whole of it takes a third of the time in which
# the types of all files are checked.
from os import PathLike
from typing import Self

from tokenizers import Tokenizer

class PreTrainedTokenizerFast:
    backend_tokenizer: Tokenizer
    eos_token: str | None
    eos_token_id: int | None

    def __init__(
        self,
        *,
        tokenizer_object: Tokenizer,
        pad_token: str,
        eos_token: str,
        bos_token: str,
        clean_up_tokenization_spaces: bool,
    ) -> None: ...
    def __len__(self) -> int: ...
    @classmethod
    def from_pretrained(
        cls, folder: str | PathLike[str], *, local_files_only: bool = ...
    ) -> Self: ...
    def save_pretrained(self, folder: str | PathLike[str]) -> tuple[str, ...]: ...
