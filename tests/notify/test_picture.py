"""The picture in a message."""

import struct

import pytest

from notify.picture import Course, draw

POINTS = [(1_795_000_000.0 + 30 * n, 0.9 + 0.001 * (n % 7)) for n in range(50)]


def test_a_course_becomes_a_small_png_of_the_promised_size() -> None:
    """Every kind of event is on it, and it stays small enough for any webhook."""
    events = [(POINTS[9][0], "alarm"), (POINTS[10][0], "training"), (POINTS[12][0], "promotion"), (POINTS[40][0], "rollback")]
    made = draw(Course("accuracy", 0.8, POINTS, events))  # type: ignore[arg-type]
    assert made[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", made[16:24]) == (640, 280)
    assert len(made) < 100_000


def test_an_event_changes_the_picture() -> None:
    """What happened is drawn, not only listed."""
    assert draw(Course("accuracy", 0.8, POINTS, [])) != draw(Course("accuracy", 0.8, POINTS, [(POINTS[9][0], "alarm")]))


def test_one_point_is_no_course() -> None:
    """There is nothing to join."""
    with pytest.raises(ValueError, match="fewer than two"):
        draw(Course("mae", 40.0, POINTS[:1], []))
