"""The notifiers that need no network."""

from dataclasses import replace

from notify.message import Message
from notify.port import Notifier
from notify.recording import LogNotifier, RecordingNotifier

OPENED = Message("drift", "Drift in default", ("alarm",), (("Accuracy", "0.55"),), "default", 1.0, (("look", "http://x/12"),))
RESOLVED = replace(OPENED, kind="success", lines=("alarm", "v1 → v2"), at=2.0)


def test_a_recording_notifier_shows_what_a_reader_would_see() -> None:
    """Sent, then edited: one message, in its last form, and both calls in order."""
    recording = RecordingNotifier()
    notifier: Notifier = recording
    first = notifier.send(OPENED)
    assert first == "1"
    assert notifier.edit(first, RESOLVED) == "1"
    assert recording.messages == {"1": RESOLVED}
    assert recording.calls == [("send", "1", OPENED), ("edit", "1", RESOLVED)]


def test_editing_what_was_never_sent_sends_it() -> None:
    """As Discord's adapter does for a message that was deleted."""
    recording = RecordingNotifier()
    assert recording.edit("99", OPENED) == "1"
    assert recording.calls == [("send", "1", OPENED)]


def test_without_a_webhook_a_message_is_one_log_line() -> None:
    """The first line tells all, an edit tells what is new; a line break in a name makes no second line."""
    lines: list[str] = []
    notifier: Notifier = LogNotifier(lines.append)
    assert notifier.send(replace(OPENED, title="Drift in\ndefault")) is None
    assert notifier.edit("1", RESOLVED) == "1"
    assert lines == [
        "notification [drift] Drift in default · alarm · Accuracy: 0.55 · http://x/12",
        "notification [success] Drift in default · v1 → v2 · Accuracy: 0.55 · http://x/12",
    ]
