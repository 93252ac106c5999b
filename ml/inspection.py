"""`python -m ml.inspection`: says of a declared problem on stdin what is wrong with its estimator.

The API does not import scikit-learn; it starts this as a child process, under a time limit. In:
`{"name": …, "declared": {…}}`; out: `{"errors": [{"loc": […], "msg": …}]}`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from problems.declaration import InvalidProblem, Loc, parse_problem


def inspect(name: str, declared: object) -> list[tuple[Loc, str]]:
    """Every fault of the declaration, else those of its estimator: (loc, msg) each."""
    try:
        problem = parse_problem(name, declared)
    except InvalidProblem as wrong:
        return wrong.errors
    from ml.probe import faults  # a broken declaration does not pay for importing scikit-learn

    return faults(problem)


def main() -> int:
    """Read one question from stdin, print one answer; exit status 0 whatever the answer is."""
    asked: dict[str, Any] = json.load(sys.stdin)
    found = inspect(str(asked["name"]), asked["declared"])
    print(json.dumps({"errors": [{"loc": list(loc), "msg": msg} for loc, msg in found]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
