"""One stream through the real stack, as a user plays it: `examples/stream.py` in step with the loop, over HTTP."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.learning.ours import US
from benchmarks.learning.played import Played
from benchmarks.learning.streams import Stream
from benchmarks.stack import Stack
from examples.stack import Stack as Client
from examples.story import Measure
from examples.stream import Player, Progress, Source
from examples.stream import play as play_rows
from problems.declaration import Problem, declared

OVER_HTTP = f"{US}, over HTTP"
DAY_S = "86400"  # the client asks for every check: beat takes no label before it


def play(stream: Stream, problem: Problem, folder: Path, warm: int, chunk: int) -> Played:
    """The stream through API, queue, workers and registry.

    Raises:
        RuntimeError: a job failed.
    """
    stack = Stack(folder, CHECK_INTERVAL_SECONDS=DAY_S)
    try:
        stack.start(champion=False)
        with stack.client(timeout_s=90.0) as http:
            client = Client(http)
            model = client.ask("PUT", f"/models/{problem.name}", json=declared(problem))
            player = Player(client, Source(stream.csv), problem.name)
            play_rows(player, warm, chunk, None, Progress(Measure.of(model), len(stream) - warm))
    finally:
        stack.remove()
    story = player.story
    if story.failures:
        raise RuntimeError(f"{stream.name}: {'; '.join(story.failures)}")
    return Played(
        OVER_HTTP,
        problem.estimator.rpartition(".")[2],
        [np.array(story.scores)],
        story.count("retraining"),
        story.count("alarm"),
        events=story.events,
    )
