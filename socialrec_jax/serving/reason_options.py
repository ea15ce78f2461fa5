"""Options about the reasons of recommendations. Imports little, for the command line."""

from __future__ import annotations

import dataclasses
from typing import Literal

from socialrec_jax.errors import UsageError
from socialrec_jax.serving.option_types import check_types
from socialrec_jax.serving.reason_templates import Language

ReasonMode = Literal["off", "fast", "exact"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrivacyOptions:
    """What reasons may say about friends."""

    # Where a single friend had it, the number alone tells who that is.
    min_friends: int = 2
    """Friends are no reason where fewer than so many had the item."""
    friend_ids: bool = False
    """Name the friends in the column reasons."""

    def check(self) -> None:
        """Raises UsageError for a number that cannot be right."""
        check_types(self)
        if self.min_friends < 1:
            raise UsageError(f"--privacy.min-friends {self.min_friends}: choose at least 1")


DEFAULT_PRIVACY = PrivacyOptions()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReasonOptions:
    """Which reasons are given, and in which words."""

    reasons: ReasonMode = "fast"
    """off: none; fast: what is true by the data; exact: scored again without each input (slow)."""
    language: Language = "en"
    """Of the sentences in the column explanation."""
    privacy: PrivacyOptions = DEFAULT_PRIVACY

    def check(self) -> None:
        """Raises UsageError for an option that cannot be right."""
        check_types(self)
        if not isinstance(self.privacy, PrivacyOptions):
            raise UsageError(f"privacy is {self.privacy!r}: give PrivacyOptions")
        self.privacy.check()
