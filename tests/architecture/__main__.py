"""`python -m tests.architecture > docs/architecture.md`."""

import sys

from tests.architecture.law import as_markdown

sys.stdout.write(as_markdown())
