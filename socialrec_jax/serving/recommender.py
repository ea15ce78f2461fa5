"""The face of a trained run: ids in, pyarrow tables out."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.text_encoder import TextEncoder
from socialrec_jax.runtime.generations import current_generation, number_of
from socialrec_jax.serving.as_of_option import parse_as_of, warn_of_no_events
from socialrec_jax.serving.frames import Frame, Ids
from socialrec_jax.serving.list_options import Placement
from socialrec_jax.serving.queries import with_friends
from socialrec_jax.serving.reason_options import DEFAULT_PRIVACY, PrivacyOptions, ReasonMode
from socialrec_jax.serving.reason_templates import Language
from socialrec_jax.serving.recent import engine_with_recent
from socialrec_jax.serving.tasks.audience import AudienceOptions, audience
from socialrec_jax.serving.tasks.demand import DemandOptions, demand
from socialrec_jax.serving.tasks.profile import ProfileOptions, profile_users
from socialrec_jax.serving.tasks.recommend import recommend
from socialrec_jax.serving.tasks.recommend_options import RecommendOptions
from socialrec_jax.serving.tasks.score import score
from socialrec_jax.serving.tasks.search import QueryTexts, SearchIndex, SearchOptions, search
from socialrec_jax.serving.tasks.similar import SimilarOptions, similar


@dataclasses.dataclass(frozen=True, eq=False)
class Recommender:
    """A trained run that answers queries by ids. It never changes.

    Each task is a method, and a function in `serving/tasks` that gives the same rows as a stream
    of tables. Tables are pyarrow's: `.to_pandas()`, or `polars.from_arrow(table)`.
    """

    engine: Engine
    as_of: AsOf
    text_folder: Path | None = None  # of the text encoder, which only `search` reads
    generation: int = 0  # of the run, docs/loop.md

    @classmethod
    def load(
        cls,
        run: Path | str,
        as_of: AsOf | datetime.date | int | str = "now",
        recent: Path | str | None = None,
    ) -> Recommender:
        """The Recommender of a run directory.

        as_of: what may be seen, see `parse_as_of`. It chooses the model too: as of now, the one
        that learnt from all events. recent: a folder of tables that arrived after the training, see
        `serving.recent`; as of now alone. Raises UsageError, InputMissing, BadData or DiskError.
        """
        # First, because it needs no run: a mistake is named at once.
        time = parse_as_of(as_of)
        serving = current_generation(Path(run))
        about = (serving.text, number_of(serving))
        if recent is None:
            engine = Engine.load(Path(run), time)
            warn_of_no_events(engine.world, time)
            return cls(engine, time, *about)
        if not time.is_now:
            raise UsageError("--recent goes without --as-of: recent events are known now")
        return cls(engine_with_recent(Path(run), Path(recent)), time, *about)

    def __repr__(self) -> str:
        # That of a dataclass would print the World and all parameters.
        world = self.engine.world
        about = f"{world.num_users:,} users, {world.num_items:,} items"
        return f"Recommender({str(world.path.parent)!r}: {about})"

    def recommend(
        self,
        users: Ids | None = None,
        *,
        k: int = 10,
        histories: Frame | None = None,
        friends: Frame | None = None,
        allow: Ids | None = None,
        block: Ids | None = None,
        where: str | None = None,
        unavailable: bool = False,
        per_category: int | None = None,
        diversity: float = 0.0,
        promote: str | None = None,
        promote_share: float | None = None,
        boost_popularity: float = 0.0,
        boost_freshness: float = 0.0,
        new_items: float = 0.0,
        new_items_days: float | None = None,
        repeats: bool = False,
        repeats_half_life: float | None = None,
        placement: Placement | None = None,
        explore: float = 0.0,
        reasons: ReasonMode = "fast",
        language: Language = "en",
        privacy: PrivacyOptions = DEFAULT_PRIVACY,
    ) -> pa.Table:
        """The k best items of each user, best first, over the whole catalogue.

        users: ids, all users where None; whoever is in a list twice has the rows twice.
        histories: instead, raw events of new users; friends: whom they know, see
        `frames.read_histories`. For the options see `RecommendOptions`, for the columns
        `tasks.recommend.schema`. Raises BadData where an id is unknown, UsageError for
        options that do not go together.
        """
        options = RecommendOptions(
            k=k,
            histories=with_friends(histories, friends),
            allow=allow,
            block=block,
            where=where,
            unavailable=unavailable,
            per_category=per_category,
            diversity=diversity,
            promote=promote,
            promote_share=promote_share,
            boost_popularity=boost_popularity,
            boost_freshness=boost_freshness,
            new_items=new_items,
            new_items_days=new_items_days,
            repeats=repeats,
            repeats_half_life=repeats_half_life,
            placement=placement,
            explore=explore,
            reasons=reasons,
            language=language,
            privacy=privacy,
        )
        return whole_table(recommend(self.engine, self.as_of, users, options))

    def score(
        self, pairs: Frame, *, histories: Frame | None = None, friends: Frame | None = None
    ) -> pa.Table:
        """How likely each user is to act on the item of the same row, in the order of the rows.

        pairs: a data frame or a file with the columns user_id and item_id. histories: raw events of
        new users, whom the pairs name instead of users of the run; friends: whom they know. Scores
        and probabilities are those of a recommendation of the item. For the columns see
        `tasks.score.schema`. Raises BadData where an id is unknown.
        """
        source = with_friends(histories, friends)
        return whole_table(score(self.engine, self.as_of, pairs, source))

    def audience(
        self,
        items: Ids | None = None,
        *,
        campaigns: Frame | None = None,
        categories: Sequence[str] = (),
        tags: Sequence[str] = (),
        k: int = 100,
        users: Ids | None = None,
        repeats: bool = False,
    ) -> pa.Table:
        """The k users who are most likely to act on each item or campaign, best first.

        For the options see `AudienceOptions`, for the columns `tasks.audience.schema`. Raises
        BadData where an id or a label is unknown, UsageError unless one option names the campaigns.
        """
        options = AudienceOptions(
            items=items,
            campaigns=campaigns,
            categories=categories,
            tags=tags,
            k=k,
            users=users,
            repeats=repeats,
        )
        return whole_table(audience(self.engine, self.as_of, options))

    def profile(
        self,
        users: Ids | None = None,
        *,
        top: int = 5,
        histories: Frame | None = None,
        friends: Frame | None = None,
    ) -> pa.Table:
        """The portrait of each user (ids, all where None), see `tasks.profile`.

        top: tags, categories and friends of a user. histories: instead, raw events of new users;
        friends: whom they know. Raises BadData where an id is unknown.
        """
        options = ProfileOptions(top=top, histories=with_friends(histories, friends))
        return whole_table(profile_users(self.engine, self.as_of, users, options).tables())

    def similar(
        self,
        items: Ids | None = None,
        *,
        k: int = 10,
        by: Literal["vectors", "text", "events"] = "vectors",
    ) -> pa.Table:
        """The k items most similar to each item (ids, all where None), see `tasks.similar`.

        Raises BadData where an id is unknown, or by text for a run without texts.
        """
        options = SimilarOptions(k=k, by=by)
        return whole_table(similar(self.engine, self.as_of, items, options))

    def search(
        self, queries: QueryTexts, *, k: int = 10, by: Literal["both", "text", "words"] = "both"
    ) -> pa.Table:
        """The k best items of each query in text, see `tasks.search`.

        queries: texts, or a file with one a line. Raises BadData for a run without product texts.
        """
        options = SearchOptions(k=k, by=by)
        return whole_table(search(self.search_index, queries, options))

    def demand(
        self, by: Sequence[str] | str = ("item",), *, days: Sequence[int] | int = (7,)
    ) -> pa.Table:
        """Expected events of each key and type over the coming days, see `tasks.demand`.

        by: item, category, tag and user attributes, several of which make one key. Raises
        UsageError for another name, or a horizon longer than the past.
        """
        options = DemandOptions(
            by=(by,) if isinstance(by, str) else tuple(by),
            days=(days,) if isinstance(days, int | float) else tuple(days),
        )
        return whole_table(demand(self.engine.world, self.as_of, options))

    @functools.cached_property
    def search_index(self) -> SearchIndex:
        """What `search` reads, made once."""
        return SearchIndex(self.engine, self.encode)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Texts [n] to vectors [n, F] in the space of the product texts."""
        if isinstance(texts, str):
            raise UsageError(f"{texts!r} is one text: give a list of texts")
        return self._text_encoder.encode(texts)

    @functools.cached_property
    def _text_encoder(self) -> TextEncoder:
        if self.text_folder is None:
            raise BadData("this Recommender was made without the text encoder of a run")
        return TextEncoder.load(self.text_folder)


def whole_table(parts: Iterator[pa.Table]) -> pa.Table:
    """All parts of a task's stream, of which there is at least one."""
    # One chunk a column, so that a row is found without a search.
    return pa.concat_tables(parts).combine_chunks()
