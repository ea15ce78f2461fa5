"""Which events of the tables are left out, as the user says."""

from __future__ import annotations

import dataclasses
import datetime

from socialrec_jax.config import DataConfig
from socialrec_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Filters:
    """Conditions that an event must meet. Bounds are unix seconds, until is exclusive."""

    min_value: float | None = None
    since: int | None = None
    until: int | None = None
    min_user_events: int = 0
    min_item_events: int = 0

    @classmethod
    def of(cls, config: DataConfig) -> Filters:
        """UsageError: an option is no date, or the dates leave no time."""
        since, until = _seconds("since", config.since), _seconds("until", config.until)
        if since is not None and until is not None and since >= until:
            raise UsageError(f"--data.since {config.since} is not before --data.until")
        return cls(
            min_value=config.min_value,
            since=since,
            until=until,
            min_user_events=config.min_user_events,
            min_item_events=config.min_item_events,
        )

    def of_rows(self) -> Filters:
        """The conditions that a row meets or not by itself."""
        return dataclasses.replace(self, min_user_events=0, min_item_events=0)

    @property
    def are_set(self) -> bool:
        return self != Filters()


def _seconds(option: str, text: str | None) -> int | None:
    """Unix seconds of a date in ISO 8601, UTC where it has no offset."""
    if text is None:
        return None
    try:
        date = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--data.{option} {text}: write a date such as 2024-01-31") from None
    return int(date.replace(tzinfo=date.tzinfo or datetime.UTC).timestamp())
