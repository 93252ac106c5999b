"""The made-up world of the demo: rows, and the rule that labels them, in plain Python.

It is the built-in model's own world (`POST /generate` draws from the same): x1 and x2 are standard
normal, the label is 1 where the row lies on the positive side of a line through the origin, and a
small share of the labels is flipped. A concept drift of strength s turns that line by s·90°.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from pathlib import Path

from embedded.home import write_private

NOISE = 0.03


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as (x1, x2), and the label, 0 or 1, that the world will give each of them."""

    instances: list[tuple[float, float]]
    labels: list[int]


@dataclass(slots=True)
class World:
    """A line through the origin that can be turned; remembers its angle in a file, as the models do theirs.

    Attributes:
        angle: degrees by which the rule is turned against the one without drift.
    """

    memory: Path
    angle: float = 0.0
    chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        if self.memory.exists():
            self.angle = float(self.memory.read_text())

    def turn(self, strength: float) -> None:
        """Change the rule: a concept drift of this strength, 0 to 1."""
        self.angle += strength * 90.0
        write_private(self.memory, f"{self.angle}\n")

    def draw(self, count: int) -> Rows:
        """Fresh rows under the present rule."""
        gauss = self.chance.gauss
        instances = [(gauss(0.0, 1.0), gauss(0.0, 1.0)) for _ in range(count)]
        return Rows(instances, [self._label(row) for row in instances])

    def _label(self, row: tuple[float, float]) -> int:
        radians = math.radians(45.0 + self.angle)
        positive = row[0] * math.cos(radians) + row[1] * math.sin(radians) > 0
        flipped = self.chance.random() < NOISE
        return int(positive != flipped)
