"""Options about the reasons of recommendations. Imports little, for the command line."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from socialrec_jax.errors import UsageError
from socialrec_jax.serving.reason_templates import TEMPLATES, Language

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
        if self.min_friends < 1:
            raise UsageError(f"--privacy.min-friends {self.min_friends}: choose at least 1")


DEFAULT_PRIVACY = PrivacyOptions()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReasonOptions:
    """Which reasons are given, and in which words."""

    reasons: ReasonMode = "fast"
    """None; what is true by the data; or measured by scoring again without each input (slow)."""
    language: Language = "en"
    """Of the sentences in the column explanation."""
    privacy: PrivacyOptions = DEFAULT_PRIVACY

    def check(self) -> None:
        """Raises UsageError for an option that cannot be right."""
        # The command line refuses other values by itself, the library does not.
        for name, value, known in (
            ("reasons", self.reasons, get_args(ReasonMode)),
            ("language", self.language, tuple(TEMPLATES)),
        ):
            if value not in known:
                raise UsageError(f"--{name} {value}: choose one of {', '.join(known)}")
        self.privacy.check()
