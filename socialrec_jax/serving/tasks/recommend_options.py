"""Options of the task `recommend`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.errors import UsageError
from socialrec_jax.serving import exploration
from socialrec_jax.serving.frames import Frame, Ids
from socialrec_jax.serving.list_options import ListOptions
from socialrec_jax.serving.queries import NamedQuery
from socialrec_jax.serving.reason_options import ReasonOptions
from socialrec_jax.serving.rules.allowed import ItemRules
from socialrec_jax.serving.rules.boosts import Boosts
from socialrec_jax.serving.rules.lists import ListRules
from socialrec_jax.serving.rules.new_items import DEFAULT_DAYS, NewItems
from socialrec_jax.serving.rules.promotions import DEFAULT_SHARE, Promotion
from socialrec_jax.serving.rules.repeats import RepeatDecay
from socialrec_jax.serving.rules.where import parse_where


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecommendOptions(ListOptions, ReasonOptions):
    """Options of the task, besides the users."""

    histories: Frame | None = None  # events of new users, instead of users of the run
    allow: Ids | None = None  # recommend only these items
    block: Ids | None = None  # never recommend these items

    def item_rules(self, as_of: AsOf) -> ItemRules:
        """The rules about single items."""
        # What was available at a time in the past is not known.
        only_available = as_of.is_now and not self.unavailable
        return ItemRules(
            allow=self.allow, block=self.block, where=self.where, only_available=only_available
        )

    def list_rules(self) -> ListRules:
        """The rules about whole lists."""
        return ListRules(per_category=self.per_category, diversity=self.diversity)

    def promotion(self) -> Promotion | None:
        """What is promoted, if anything."""
        if self.promote is None:
            return None
        share = DEFAULT_SHARE if self.promote_share is None else self.promote_share
        return Promotion(self.promote, share)

    def places_for_new_items(self) -> NewItems | None:
        """The places for new items, if any."""
        if not self.new_items:
            return None
        days = DEFAULT_DAYS if self.new_items_days is None else self.new_items_days
        return NewItems(self.new_items, days)

    def boosts(self) -> Boosts:
        """What is added to scores."""
        return Boosts(self.boost_popularity, self.boost_freshness)

    def repeat_decay(self) -> RepeatDecay | None:
        """How items of the history come back, if they do so by time."""
        return None if self.repeats_half_life is None else RepeatDecay(self.repeats_half_life)

    def check(self) -> None:
        """Raises UsageError for a rule that cannot be right, before a run is loaded."""
        super().check()
        self.list_rules()
        exploration.check_share(self.explore)
        for rule in (
            self.promotion(),
            self.places_for_new_items(),
            self.boosts(),
            self.repeat_decay(),
        ):
            if rule is not None:
                rule.check()
        self._check_together()
        of_users = self.where is not None and parse_where(self.where).user_attributes
        # New users are in no users table, but a request of the service brings their attributes.
        if of_users and not isinstance(self.histories, NamedQuery):
            _refuse_together("--where with attributes of users", {"--histories": self.histories})

    def _check_together(self) -> None:
        if self.promote is None and self.promote_share is not None:
            raise UsageError("--promote-share goes with --promote CONDITION")
        if not self.new_items and self.new_items_days is not None:
            raise UsageError("--new-items-days goes with --new-items SHARE")
        shares = [rule.share for rule in (self.promotion(), self.places_for_new_items()) if rule]
        if sum(shares) > 1:
            raise UsageError("--promote-share and --new-items leave more than all places")
        if self.placement is not None:
            # They are added to the model's scores, which a placement does not sort by.
            weights = {
                "--boost-popularity": self.boost_popularity or None,
                "--boost-freshness": self.boost_freshness or None,
                "--repeats-half-life": self.repeats_half_life,
            }
            _refuse_together("--placement", weights)


def _refuse_together(option: str, others: Mapping[str, object]) -> None:
    """Raises UsageError where another option is given."""
    for name, value in others.items():
        if value is not None:
            raise UsageError(f"{option} goes without {name}")
