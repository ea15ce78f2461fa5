"""Reasons in columns and in sentences, what they hide, and the page that shows them."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest

from socialrec_jax.data.world import BEFORE_TEST, NOW, TEST
from socialrec_jax.errors import UsageError
from socialrec_jax.evaluation import protocol
from socialrec_jax.serving.reason_options import PrivacyOptions
from socialrec_jax.serving.reason_templates import TEMPLATES
from socialrec_jax.serving.recommender import Recommender
from socialrec_jax.serving.tasks.recommend import RecommendOptions
from socialrec_jax.serving.tasks.recommend_page import write_page
from socialrec_jax.serving.tasks.rule_costs import ndcg_of
from socialrec_jax.serving.writer import write_tables
from tests.inference.test_reranker import ranked_engine
from tests.reports.test_run_report import Page
from tests.serving.shops import with_labels
from tests.worlds import with_texts

K = 5


@pytest.fixture(scope="module")
def recommender(tmp_path_factory) -> Recommender:
    """Every ninth item has a word in common; the titles want to be more than text."""
    engine = ranked_engine(tmp_path_factory.mktemp("world"))
    world = with_labels(engine.world)
    titles = [f"<b>{t} number{n % 9}" for n, t in enumerate(world.items.titles.tolist())]
    return Recommender(dataclasses.replace(engine, world=with_texts(world, titles=titles)), NOW)


def reasons_of(table) -> list[dict]:
    return [reason for row in table["reasons"].to_pylist() for reason in row]


def test_each_kind_has_its_fields_and_its_sentence(recommender):
    privacy = PrivacyOptions(min_friends=1, friend_ids=True)
    table = recommender.recommend(k=K, privacy=privacy)
    world = recommender.engine.world
    titles = dict(zip(world.items.ids.tolist(), world.items.titles.tolist(), strict=True))
    kinds = set()
    for row in table.to_pylist():
        assert len(row["reasons"]) <= 3
        sentences = []
        for why in row["reasons"]:
            kinds.add(why["kind"])
            assert why["contribution"] is None, "fast reasons measure nothing"
            given = {name for name, value in why.items() if value is not None}
            if why["kind"] == "history":
                assert given == {"kind", "item_id"}
                sentences.append(f"It goes with “{titles[why['item_id']]}” in your history.")
            if why["kind"] == "friends":
                assert given == {"kind", "friends", "friend_ids"}
                assert len(why["friend_ids"]) == why["friends"]
                number = why["friends"]
                some = "One of your friends" if number == 1 else f"{number} of your friends"
                sentences.append(f"{some} had it.")
            if why["kind"] == "text":
                assert given == {"kind", "terms"}
                terms = ", ".join(why["terms"])
                sentences.append(f"It shares {terms} with what you had lately.")
            if why["kind"] == "popularity":
                assert given == {"kind", "place"}
                sentences.append(f"It is number {why['place']} among the popular items now.")
        assert row["explanation"] == " ".join(sentences)
    assert kinds == {"history", "friends", "text", "popularity"}


def test_other_modes_and_languages_change_only_the_reasons(recommender):
    fast = recommender.recommend(k=K)
    chinese = recommender.recommend(k=K, language="zh")
    off = recommender.recommend(k=K, reasons="off")
    exact = recommender.recommend(k=K, reasons="exact")
    assert off.schema == fast.schema == exact.schema
    for other in (chinese, off, exact):
        assert other.drop_columns(["reasons", "explanation"]) == fast.drop_columns(
            ["reasons", "explanation"]
        )
    assert chinese["reasons"] == fast["reasons"]
    assert "好友" in "".join(chinese["explanation"].to_pylist())
    assert set(off["explanation"].to_pylist()) == {""}
    assert not reasons_of(off)
    assert all(reason["contribution"] > 0 for reason in reasons_of(exact))
    assert {tuple(sorted(texts)) for texts in TEMPLATES.values()} == {
        tuple(sorted(TEMPLATES["en"]))
    }


def test_few_friends_are_hidden_and_none_is_named_by_default(recommender):
    counts = [r["friends"] for r in reasons_of(recommender.recommend(k=K)) if r["friends"]]
    assert min(counts) == 2
    assert not any(reason["friend_ids"] for reason in reasons_of(recommender.recommend(k=K)))
    many = PrivacyOptions(min_friends=1000, friend_ids=True)
    assert not any(r["friends"] for r in reasons_of(recommender.recommend(k=K, privacy=many)))
    with pytest.raises(UsageError, match="min-friends 0"):
        recommender.recommend(privacy=PrivacyOptions(min_friends=0))


@pytest.mark.parametrize("placement", ["trending", "friends", "new"])
def test_placements_and_rules_have_reasons(recommender, placement):
    table = recommender.recommend(
        k=K, placement=placement, reasons="exact", per_category=2, repeats=placement == "new"
    )
    assert reasons_of(table)


def test_reasons_are_json(recommender, tmp_path):
    table = recommender.recommend(k=K, reasons="exact")
    write_tables(tmp_path / "out.jsonl", [table])
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    (first, *_) = [line["reasons"] for line in lines if line["reasons"]]
    assert set(first[0]) == {field.name for field in table.schema.field("reasons").type.value_type}


def page_of(recommender: Recommender, path, **options) -> Page:
    tested = dataclasses.replace(recommender, as_of=BEFORE_TEST)
    write_page(path, recommender, lambda: tested, None, RecommendOptions(k=K, **options), 7)
    return Page(path.read_text())


def test_the_page_shows_users_and_rules_and_escapes_names(recommender, tmp_path):
    page = page_of(recommender, tmp_path / "a.html", per_category=1, where="price < 70")
    assert page.tags.count("section") == 7
    assert page.tags.count("ol") == 7
    assert not {"script", "link", "img"} & set(page.tags)
    assert "<b>red" in page.text, "a title is text"
    for rule in ("--per-category 1", "--where price < 70", "availability"):
        assert rule in page.text
    assert "not measured" in page.text
    assert re.search(r"It goes with|among the popular", page.text)
    plain = page_of(recommender, tmp_path / "b.html", unavailable=True)
    assert "Rules and what they cost" not in plain.text


def test_the_page_names_friends_only_where_allowed(recommender, tmp_path):
    hidden = page_of(recommender, tmp_path / "a.html")
    privacy = PrivacyOptions(friend_ids=True)
    named = page_of(recommender, tmp_path / "b.html", privacy=privacy)
    assert len(re.findall(r"user\d+", named.text)) > len(re.findall(r"user\d+", hidden.text)) == 7


def test_the_ndcg_without_rules_is_that_of_the_evaluation(recommender):
    engine = recommender.engine
    options = RecommendOptions(k=10, per_category=3)
    without = RecommendOptions(k=10)
    costs = ndcg_of(lambda: recommender, options, {"rule": without})
    queries = protocol.held_out(engine.world, TEST)
    lists = list(engine.recommend(engine.query(queries.users, BEFORE_TEST), k=10))
    items = np.concatenate([part.items for part in lists])
    gains = []
    for place, listed in enumerate(items):
        targets = queries.targets.part(place, place + 1).items.tolist()
        found = [1 / np.log2(2 + rank) for rank, item in enumerate(listed) if item in targets]
        ideal = sum(1 / np.log2(2 + rank) for rank in range(min(10, len(targets))))
        gains.append(sum(found) / ideal)
    assert costs["rule"][1] == pytest.approx(np.mean(gains))
    assert costs["rule"][0] != costs["rule"][1]
