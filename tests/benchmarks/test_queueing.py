"""The queueing model: what its formulas say, its simulation does."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.queueing import Service, waits


def test_an_arrival_that_finds_nobody_waits_for_a_batch_of_its_own() -> None:
    """a + b, exactly."""
    assert waits(Service(0.01, 0.001), [0.0, 1.0, 2.0]) == pytest.approx([0.011] * 3)


def test_what_comes_during_a_batch_is_the_next_one() -> None:
    """The first is served from 0 to 0.011; two come meanwhile and are served together until 0.023."""
    assert waits(Service(0.01, 0.001), [0.0, 0.001, 0.002]) == pytest.approx([0.011, 0.022, 0.021])


def test_random_arrivals_make_batches_as_large_as_the_formula_says() -> None:
    """The server is always busy at this rate, so that the mean wait is 1.5 batches of S = a / (1 - λ·b) seconds."""
    service, rate = Service(0.01, 0.0005), 1_500.0
    arrivals = np.cumsum(np.random.default_rng(1).exponential(1 / rate, 100_000)).tolist()
    batch_s = service.a / (1 - rate * service.b)
    assert np.mean(waits(service, arrivals)) == pytest.approx(1.5 * batch_s, rel=0.05)


def test_a_line_goes_through_both_measurements() -> None:
    """Calibration with one row and 64."""
    service = Service.through((1, 0.003), (64, 0.0345))
    assert (service(1), service(64)) == pytest.approx((0.003, 0.0345))
