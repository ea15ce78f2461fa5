"""Recommendations of some users as one self-contained page, as a person would look at them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from socialrec_jax.files import write_atomically
from socialrec_jax.reports import html


@dataclasses.dataclass(frozen=True)
class RuleEffect:
    """A business rule: what it changed on the page, and what it costs."""

    rule: str  # as on the command line
    changed_users: int  # of the page
    changed_places: int  # recommendations that are there by the rule alone
    ndcg: float | None = None  # on the test part, with all rules; None where not measured
    ndcg_without: float | None = None  # without this one

    @property
    def cost(self) -> str:
        """The NDCG that the rule costs, with its share of the whole."""
        if self.ndcg is None or self.ndcg_without is None:
            return "not measured"
        cost = self.ndcg_without - self.ndcg
        share = f" ({cost / self.ndcg_without:.1%})" if self.ndcg_without else ""
        return f"{cost:.4f}{share}"


@dataclasses.dataclass(frozen=True)
class PastEvent:
    """An event of a user's history."""

    time: str
    event_type: str
    item: str
    item_id: str


@dataclasses.dataclass(frozen=True)
class ReasonLine:
    """A reason in words."""

    text: str
    contribution: str  # "" where not measured
    share: float  # % of the widest bar


@dataclasses.dataclass(frozen=True)
class Recommended:
    """One recommendation."""

    rank: int
    item: str
    item_id: str
    details: str
    source: str
    score: str
    reasons: list[ReasonLine]


@dataclasses.dataclass(frozen=True)
class UserView:
    """All that the page shows of one user."""

    user_id: str
    attributes: str
    num_events: int
    history: list[PastEvent]
    friends: str
    recommendations: list[Recommended]
    left_out: dict[str, str]  # items that would be on the list, by the rule that keeps them off


def write_recommendation_page(
    path: Path,
    title: str,
    summary: str,
    tiles: dict[str, str],
    rules: list[RuleEffect],
    users: list[UserView],
) -> None:
    """Write the page. tiles: {label: figure} at the top."""
    page = html.render(
        "recommendations.html",
        title=title,
        summary=summary,
        tiles=tiles,
        rules=rules,
        measured=any(rule.ndcg is not None for rule in rules),
        contributions=any(_has_contributions(user) for user in users),
        users=users,
    )
    write_atomically(path, page)


def _has_contributions(user: UserView) -> bool:
    reasons = [reason for item in user.recommendations for reason in item.reasons]
    return any(reason.contribution for reason in reasons)
