"""The message's form as a Discord embed: colours, limits, escaping."""

from dataclasses import replace

import pytest

from notify.message import COLOURS, Message, embed, rfc3339

DRIFT = Message(
    kind="drift",
    title="Drift in default, fixed by itself",
    lines=("alarm after 131 rows (10:40:12 UTC)", "v1 → v2 at 10:40:31"),
    fields=(("Accuracy", "0.97 → 0.55 → 0.95"),),
    model="default",
    at=1_795_242_600.1234,
)


LOOK = (("dashboard", "http://127.0.0.1:8501/why/12"), ("Flower", "http://127.0.0.1:5555"))


def size(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def test_a_message_becomes_the_embed_that_discord_documents() -> None:
    """Every part of a message is at its place in the embed, in the timeline's order."""
    assert embed(replace(DRIFT, links=LOOK)) == {
        "title": "Drift in default, fixed by itself",
        "description": "alarm after 131 rows \\(10:40:12 UTC\\)\nv1 → v2 at 10:40:31",
        "color": 0xE67E22,
        "fields": [
            {"name": "Model", "value": "default", "inline": True},
            {"name": "Accuracy", "value": "0.97 → 0.55 → 0.95", "inline": True},
            {
                "name": "Look",
                "value": "[dashboard](http://127.0.0.1:8501/why/12) · [Flower](http://127.0.0.1:5555)",
                "inline": False,
            },
        ],
        "footer": {"text": "continual-ml · service"},
        "timestamp": "2026-11-21T06:30:00.123Z",
        "url": "http://127.0.0.1:8501/why/12",
    }


def test_each_kind_has_the_contract_s_colour() -> None:
    """Five kinds, five colours, as the contract names them."""
    assert {kind: f"{colour:06X}" for kind, colour in COLOURS.items()} == {
        "success": "2ECC71",
        "failure": "E74C3C",
        "warning": "F1C40F",
        "drift": "E67E22",
        "info": "3498DB",
    }
    assert [embed(replace(DRIFT, kind=kind))["color"] for kind in COLOURS] == list(COLOURS.values())


@pytest.mark.parametrize("letter", ["x", "*", "é", "😀", "\\"])
def test_no_limit_is_broken_whatever_is_said(letter: str) -> None:
    """Titles, timelines and fields far too long are cut with … to the documented lengths, also in sum."""
    long = letter * 9000
    made = embed(replace(DRIFT, title=long, lines=(long, long, "newest"), fields=((long, long),) * 40, links=LOOK))
    fields = made["fields"]
    assert size(made["title"]) <= 256
    assert made["title"].endswith("…")
    assert size(made["description"]) <= 4096
    assert made["description"].endswith("\nnewest")
    assert len(fields) <= 25
    assert all(1 <= size(field["name"]) <= 256 and 1 <= size(field["value"]) <= 1024 for field in fields)
    said = [made["title"], made["description"], made["footer"]["text"]]
    said += [text for field in fields for text in (field["name"], field["value"])]
    assert sum(map(size, said)) <= 6000


def test_many_short_fields_are_cut_at_twenty_five() -> None:
    """Discord takes 25 fields; the first are kept, the model's before them."""
    made = embed(replace(DRIFT, fields=tuple((f"name {i}", str(i)) for i in range(40))))
    assert [field["name"] for field in made["fields"]] == ["Model", *(f"name {i}" for i in range(24))]


def test_links_keep_their_place_however_many_fields_there_are() -> None:
    """The last of 25 fields is the links'; a link too long for a field is left out."""
    many = replace(DRIFT, fields=tuple((f"name {i}", str(i)) for i in range(40)))
    assert [field["name"] for field in embed(replace(many, links=LOOK))["fields"]][-2:] == ["name 22", "Look"]
    assert "Look" not in [field["name"] for field in embed(replace(DRIFT, links=(("x", "http://x/" + "y" * 2000),)))["fields"]]


def test_a_long_timeline_loses_its_oldest_lines() -> None:
    """Of 500 lines the newest are shown, under a … for the others."""
    made = embed(replace(DRIFT, lines=tuple(f"line {i}" for i in range(500))))["description"].split("\n")
    assert made[0] == "…"
    assert made[-1] == "line 499"
    assert made[1:] == [f"line {i}" for i in range(500 - len(made) + 1, 500)]


def test_a_timeline_that_just_fits_is_whole() -> None:
    """Two lines and the break between them, 4,094 characters, are left as they are."""
    lines = ("a" * 2046, "b" * 2047)
    assert embed(replace(DRIFT, lines=lines))["description"] == "\n".join(lines)


@pytest.mark.parametrize(
    ("named", "shown"),
    [
        ("**bold**", r"\*\*bold\*\*"),
        ("my_model_2", r"my\_model\_2"),
        ("[click](https://evil.test)", r"\[click\]\(https\://evil.test\)"),
        ("<@123> @everyone", r"\<\@123\> \@everyone"),
        ("`code` ||spoiler|| ~~no~~", r"\`code\` \|\|spoiler\|\| \~\~no\~\~"),
        ("# head", r"\# head"),
        ("- item", r"\- item"),
        (":smile: at 10:40:31", r"\:smile: at 10:40:31"),
        ("two\nlines", "two lines"),
        ("half \ud83d of a pair", "half ? of a pair"),
    ],
)
def test_names_that_users_gave_are_shown_as_they_are(named: str, shown: str) -> None:
    """Markdown, links, mentions, emoji and line breaks in a name have no effect, in any part."""
    made = embed(replace(DRIFT, title=named, lines=(named,), fields=((named, named),), model=named))
    assert (made["title"], made["description"]) == (shown, shown)
    assert [(field["name"], field["value"]) for field in made["fields"]] == [("Model", shown), (shown, shown)]


def test_empty_fields_get_a_dash() -> None:
    """Discord refuses a message with an empty field, so none is ever sent."""
    assert embed(replace(DRIFT, model=None, fields=(("", " "),)))["fields"] == [{"name": "-", "value": "-", "inline": True}]


def test_times_are_rfc_3339_with_milliseconds() -> None:
    """Whole seconds get their zeros too."""
    assert rfc3339(0.0) == "1970-01-01T00:00:00.000Z"
