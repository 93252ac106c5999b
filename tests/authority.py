"""A certificate authority that nobody trusts but who is told to."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A CA of the test's own."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "ca.pem"

    def make(self) -> None:
        self._openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ours -keyout ca.key -out ca.pem"
        )

    def certify(self, name: str, host: str) -> None:
        """`name`.key and `name`.pem, good for this host."""
        self._openssl(
            f"req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={host} -keyout {name}.key -out {name}.csr"
        )
        (self.folder / "ext").write_text(f"subjectAltName=IP:{host}" if host[0].isdigit() else f"subjectAltName=DNS:{host}")
        self._openssl(f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out {name}.pem")

    def _openssl(self, arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], cwd=self.folder, check=True, capture_output=True)
