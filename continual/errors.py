"""What is raised when the API says no, or says nothing."""

from __future__ import annotations

import httpx
import msgspec

MOST_TEXT = 200  # characters of an answer that is none of the API's


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with the input: where, and what was expected."""

    loc: tuple[str | int, ...]
    msg: str


class Problem(msgspec.Struct, frozen=True):
    """A refusal (RFC 9457). `status` is 0 where no answer came at all."""

    status: int
    title: str
    detail: str = ""
    request_id: str = ""
    errors: tuple[Fault, ...] = ()
    type: str = "about:blank"


class ApiError(Exception):
    """The API refused a request, or did not answer it.

    Attributes:
        problem: the problem document.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem

    @property
    def status(self) -> int:
        """The HTTP status; 0 where no answer came."""
        return self.problem.status

    @property
    def unanswered(self) -> bool:
        """Whether no answer came: whatever was asked for may or may not have been done."""
        return self.problem.status == 0


def refusal(answer: httpx.Response) -> ApiError:
    """An answer of 400 and above, read already, as what is raised."""
    try:
        return ApiError(msgspec.json.decode(answer.content, type=Problem))
    except msgspec.DecodeError:  # a proxy's page, or another program's
        said = " ".join(answer.text.split())[:MOST_TEXT]
        return ApiError(Problem(answer.status_code, answer.reason_phrase, f"{answer.status_code} {said}".strip()))


def silence(fault: httpx.TransportError, url: httpx.URL) -> ApiError:
    """No answer, as what is raised."""
    where = f"{url.scheme}://{url.netloc.decode()}"
    nobody = isinstance(fault, httpx.ConnectError | httpx.ConnectTimeout)
    said = f"No stack answers at {where}" if nobody else f"{where} did not answer in time, or broke off"
    return ApiError(Problem(0, "No answer", f"{said} ({type(fault).__name__})."))


def gibberish(answer: httpx.Response) -> ApiError:
    """An answer that is none of the API's."""
    url, media = answer.request.url, answer.headers.get("Content-Type", "no media type")
    said = f"{url.scheme}://{url.netloc.decode()}{url.path} answers {answer.status_code} with {media}: this is not the API"
    return ApiError(Problem(answer.status_code, "Not the API", f"{said}."))
