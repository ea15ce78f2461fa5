"""Sentences for the reasons of recommendations, by language.

Another language is another entry with the same keys and the same names in braces. A sentence is
made for each reason; `between` stands between them.
"""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]

# Whole sentences, because languages differ in the order of words and in the plural.
TEMPLATES: dict[Language, dict[str, str]] = {
    "en": {
        "history": "It goes with “{item}” in your history.",
        "one friend": "One of your friends had it.",
        "friends": "{friends} of your friends had it.",
        "text": "It shares {terms} with what you had lately.",
        "popularity": "It is number {place} among the popular items now.",
        "between terms": ", ",
        "between": " ",
    },
    "zh": {
        "history": "与您看过的“{item}”相配。",
        "one friend": "您的一位好友有过这件商品。",
        "friends": "您的{friends}位好友有过这件商品。",
        "text": "与您最近的商品有共同点：{terms}。",
        "popularity": "近期热门第{place}名。",
        "between terms": "、",
        "between": "",
    },
}
