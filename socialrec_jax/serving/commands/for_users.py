"""Tasks about users: recommend, score, audience, profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from socialrec_jax.serving.commands.base import ShardedTask, Task, distinct, file_or_values
from socialrec_jax.serving.list_options import ListOptions
from socialrec_jax.serving.page_options import DEFAULT_SAMPLE, check_page
from socialrec_jax.serving.reason_options import ReasonOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from socialrec_jax.serving.tasks.recommend_options import RecommendOptions
    from socialrec_jax.serving.user_tables import UserTables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommend(ListOptions, ReasonOptions, ShardedTask):
    """The top-k items of each user, best first, over the whole catalogue."""

    users: Path | None = None
    """File of user ids (.txt, .csv, .parquet ...): only these, in this order."""
    histories: Path | None = None
    """Tables of users that the run does not know: events, and in a folder also whom they know."""
    allow: Path | None = None
    """File of item ids: recommend only these."""
    block: Path | None = None
    """File of item ids: never recommend these."""
    report: Path | None = None
    """Also a page .html of some users: history, friends, list, reasons, rules and their cost."""
    sample: int | None = None
    """Users on the page, 50 by default."""

    def answer(self) -> UserTables:
        """The answer, for some of the users at a time."""
        # JAX comes with this import.
        from socialrec_jax.serving.tasks.recommend import recommend_users

        options = self.options()
        # Before the run is loaded, which takes seconds.
        options.check()
        check_page(self.report, self.sample)
        recommender = self.recommender()
        return recommend_users(recommender.engine, recommender.as_of, self.users, options)

    def finish(self) -> None:
        """Write the page."""
        if self.report is None:
            return
        from socialrec_jax.serving.recommender import Recommender
        from socialrec_jax.serving.tasks.recommend_page import write_page

        write_page(
            self.report,
            self.recommender(),
            lambda: Recommender.load(self.run, "test"),
            self.users,
            # The page explains the model's order.
            dataclasses.replace(self.options(), explore=0.0),
            num_users=self.sample or DEFAULT_SAMPLE,
        )

    def options(self) -> RecommendOptions:
        """The options of the task."""
        from socialrec_jax.serving.tasks.recommend_options import RecommendOptions

        # Options of the task have the same names here, and this class has more.
        names = [field.name for field in dataclasses.fields(RecommendOptions)]
        return RecommendOptions(**{name: getattr(self, name) for name in names})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score(Task):
    """How likely each user is to act on a given item, for pairs of user and item."""

    pairs: Path
    """Table with the columns user_id and item_id: .parquet, .csv, .tsv or .jsonl."""
    histories: Path | None = None
    """Tables of users that the pairs name: events, and in a folder also whom they know."""

    def tables(self) -> Iterator[pa.Table]:
        """The answer as a stream of tables."""
        from socialrec_jax.serving.tasks.score import score

        recommender = self.recommender()
        return score(recommender.engine, recommender.as_of, self.pairs, self.histories)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audience(Task):
    """The users who are most likely to act on an item, or on any item of a campaign.

    Give one of --items, --campaigns, --categories and --tags.
    """

    items: tuple[str, ...] = ()
    """Item ids, or one file of item ids: each item is a campaign."""
    campaigns: Path | None = None
    """Table with the columns campaign and item_id: .parquet, .csv, .tsv or .jsonl."""
    categories: tuple[str, ...] = ()
    """Categories: the items of each are a campaign."""
    tags: tuple[str, ...] = ()
    """Tags: the items of each are a campaign."""
    k: int = 100
    """Users a campaign."""
    users: Path | None = None
    """File of user ids: choose among these."""
    repeats: bool = False
    """Count items that a user had already."""

    def tables(self) -> Iterator[pa.Table]:
        """The answer as a stream of tables."""
        from socialrec_jax.serving.tasks.audience import AudienceOptions, audience

        options = AudienceOptions(
            # An empty list means that no campaign is named in this way.
            items=file_or_values(self.items) if self.items else None,
            campaigns=self.campaigns,
            categories=distinct(self.categories),
            tags=distinct(self.tags),
            k=self.k,
            users=self.users,
            repeats=self.repeats,
        )
        # A mistake is named before the run is loaded.
        options.check()
        recommender = self.recommender()
        return audience(recommender.engine, recommender.as_of, options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile(ShardedTask):
    """The portrait of each user: vector, interests, what comes next, friends that matter."""

    users: Path | None = None
    """File of user ids (.txt, .csv, .parquet ...): only these, in this order."""
    histories: Path | None = None
    """Tables of users that the run does not know: events, and in a folder also whom they know."""
    top: int = 5
    """Tags, categories and friends of a user."""

    def answer(self) -> UserTables:
        """The answer, for some of the users at a time."""
        from socialrec_jax.serving.tasks.profile import ProfileOptions, profile_users

        options = ProfileOptions(top=self.top, histories=self.histories)
        recommender = self.recommender()
        return profile_users(recommender.engine, recommender.as_of, self.users, options)
