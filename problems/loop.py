"""How the loop treats a model: the optional keys of a problem that say when it is checked and when it may train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from typing import Any, Final, Literal, get_args

LONGEST_INTERVAL_S: Final = 604_800.0
SMALLEST_COOLDOWN: Final = 10
LONGEST_TRIAL_DAYS: Final = 365.0
LARGEST_SHARE: Final = 0.5
Detector = Literal["esr", "adwin", "threshold"]
Mode = Literal["shadow", "canary"]
WARNINGS: Final = {
    "threshold": "detector = threshold retrains on noise: on 24 shuffled streams without any drift (546,000 rows) "
    "this rule started 707 trainings, the default none."
}
Add = Callable[[str, str], None]  # (key, fault)


@dataclass(frozen=True, slots=True)
class Loop:
    """When a model is checked, by what, and when and on what it may train.

    Attributes:
        interval_s: seconds between two checks, where CHECK_INTERVAL_SECONDS is less; None leaves it at that.
        cooldown_rows: labelled rows from one attempt to train to the next.
        recall: whether the last ten versions are candidates at the gate, for concepts that come back.
        detector: what raises the alarm over labelled losses; "adwin" needs the extra of that name.
        trial: whether a challenger that won the gate must prove itself on the traffic that follows, unseen by clients
            ("shadow") or answering a share of them ("canary"), before it is promoted; None promotes it at once.
        canary_share: the share of jobs that it answers.
        trial_days: after which a trial ends, however few labels have come.
    """

    interval_s: float | None = None
    cooldown_rows: int = 100
    detector: Detector = "esr"
    recall: bool = False
    trial: Mode | None = None
    canary_share: float = 0.1
    trial_days: float = 7.0


DEFAULT: Final = Loop()
KEYS: Final = tuple(each.name for each in fields(Loop))


def parse_loop(declared: Mapping[str, Any], add: Add) -> Loop:
    """The keys that are declared, each checked; faults go to `add`."""
    given = {key: declared[key] for key in KEYS if key in declared}
    faults = [(key, fault) for key, value in given.items() if (fault := _FAULTS[key](value))]
    for key, text in faults:
        add(key, text)
    return DEFAULT if faults else Loop(**given)


def declared_loop(loop: Loop) -> dict[str, object]:
    """The inverse of `parse_loop`: what differs from the defaults."""
    return {key: value for key, value in asdict(loop).items() if value != getattr(DEFAULT, key)}


def missing(loop: Loop) -> str | None:
    """What is not installed and would be needed, in a sentence."""
    if loop.detector == "adwin" and find_spec("river") is None:
        return "detector = adwin needs river, which is not installed: uv sync --extra adwin"
    return None


def warnings(loop: Loop) -> list[str]:
    """What a declaration costs that its author may not know."""
    return [WARNINGS[loop.detector]] if loop.detector in WARNINGS else []


def _cooldown(value: object) -> str | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and SMALLEST_COOLDOWN <= value <= 2**31
    return None if fits else f"expected a whole number of labelled rows, at least {SMALLEST_COOLDOWN}"


def _one_of(*names: str) -> Callable[[object], str | None]:
    return lambda value: None if value in names else f"expected one of {', '.join(names)}"


def _up_to(most: float, unit: str) -> Callable[[object], str | None]:
    def fault(value: object) -> str | None:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most
        return None if fits else f"expected {unit}, more than 0 and at most {most:,g}"

    return fault


_FAULTS: Final[dict[str, Callable[[object], str | None]]] = {
    "interval_s": _up_to(LONGEST_INTERVAL_S, "seconds"),
    "cooldown_rows": _cooldown,
    "detector": _one_of(*get_args(Detector)),
    "recall": lambda value: None if isinstance(value, bool) else "expected true or false",
    "trial": lambda value: None if value is None else _one_of(*get_args(Mode))(value),
    "canary_share": _up_to(LARGEST_SHARE, "a share of jobs"),
    "trial_days": _up_to(LONGEST_TRIAL_DAYS, "days"),
}
