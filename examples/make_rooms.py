"""Write a made-up stream for `rooms.toml`: is a room occupied? The building changes twice on the way.

At 40 % of the rows the lights begin to follow a timer, so that light no longer tells who is there; from 70 %
to 80 % a new ventilation spreads from room to room and keeps the air fresh however many people breathe it.

    python examples/make_rooms.py rooms.csv
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterator
from pathlib import Path

HEADER = ["minute", "room", "light", "co2", "temperature", "window_open", "occupied"]
TIMER, VENTILATION, ALL_VENTILATED = 0.4, 0.7, 0.8
WRONG = 0.02  # labels that somebody noted wrongly


def rows(count: int, seed: int) -> Iterator[list[object]]:
    """So many rows in the order of HEADER; light in lux, CO2 in ppm, temperature in °C; about 2 % of the CO2 cells are empty."""
    chance = random.Random(seed)  # noqa: S311 - made-up rows, no secret
    for minute in range(count):
        yield [minute, *_row(chance, minute / count)]


def _row(chance: random.Random, progress: float) -> list[object]:
    occupied = chance.random() < 0.4
    fresh = chance.random() < (progress - VENTILATION) / (ALL_VENTILATED - VENTILATION)
    timed = progress >= TIMER
    lit = chance.random() < 0.5 if timed else occupied
    light = chance.gauss(480.0 if lit else 90.0, 70.0)
    breath = 450.0 + (60.0 if fresh else 420.0) * occupied
    co2 = "" if chance.random() < 0.02 else round(chance.gauss(breath, 110.0 if not fresh else 25.0), 1)
    temperature = chance.gauss(22.4 if occupied else 20.6, 0.8)
    room = chance.choice(["office", "lab", "library"])
    told = occupied != (chance.random() < WRONG)
    return [room, round(light, 1), co2, round(temperature, 2), str(chance.random() < 0.2).lower(), int(told)]


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Write a made-up stream of rooms, with two changes on the way.")
    parser.add_argument("csv", type=Path)
    parser.add_argument("--rows", type=int, default=12_000, help="%(default)s")
    parser.add_argument("--seed", type=int, default=1, help="%(default)s")
    asked = parser.parse_args()
    with asked.csv.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows(asked.rows, asked.seed)])


if __name__ == "__main__":
    main()
