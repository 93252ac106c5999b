"""GET /status: a page for anyone."""

from __future__ import annotations

from flask.testing import FlaskClient

from tests.api.conftest import KEY, Ask


def test_anyone_sees_how_parts_and_models_are(client: FlaskClient, ask: Ask) -> None:
    """No token is asked for: the champion's version and a model without one stand there, what is down is named first."""
    page = client.get("/status")
    text = page.get_data(as_text=True)
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "broker, workers, registry, beat: not working." in text and "✗ down" in text
    assert "version 1, " in text and "waits for its first training" in text
    assert KEY not in text and "http-equiv" in text


def test_the_page_runs_no_script_and_loads_nothing_from_elsewhere(client: FlaskClient) -> None:
    """Its one other file is a style sheet of ours, and its policy allows no more."""
    page = client.get("/status")
    assert "script" not in page.get_data(as_text=True)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert client.get("/docs/docs.css").status_code == 200


def test_metrics_tell_of_checks_and_intervals(client: FlaskClient) -> None:
    """What alert rules compare with is there for a model that was never checked, too."""
    text = client.get("/metrics").get_data(as_text=True)
    assert 'continual_check_interval_seconds{model="empty"} 30.0' in text
    assert 'continual_component_up{component="beat"} 0.0' in text
    assert "continual_disk_free_bytes" in text
