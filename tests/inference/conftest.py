"""What these tests share."""

from tests.short_calls import short_calls

__all__ = ["short_calls"]
