"""A ModelRegistry that lives and dies with its process."""

from __future__ import annotations

from pathlib import Path

from registry.port import RegistryDown, UnknownVersion, Upload


class MemoryRegistry:
    """Keeps uploads and their files' bytes in memory.

    Attributes:
        down: set it to let every method raise RegistryDown, as a registry that cannot be reached.
        challengers: by model, the version that the alias `challenger` names.
        uploads: by model, the uploads in order; version "1" is the first.
    """

    def __init__(self) -> None:
        self.down = False
        self.challengers: dict[str, str] = {}
        self.uploads: dict[str, list[Upload]] = {}
        self._files: dict[tuple[str, str], bytes] = {}
        self._champions: dict[str, str] = {}

    def prepare(self) -> None:
        """See `ModelRegistry.prepare`: there is nothing to open."""
        self.ping()

    def ping(self) -> None:
        """See `ModelRegistry.ping`."""
        if self.down:
            raise RegistryDown("the in-memory registry was told to be down")

    def register(self, upload: Upload) -> str:
        """See `ModelRegistry.register`."""
        self.ping()
        versions = self.uploads.setdefault(upload.model, [])
        job = upload.tags.get("job_id")
        for number, made in enumerate(versions, start=1):
            if job is not None and made.tags.get("job_id") == job and (upload.model, str(number)) in self._files:
                return str(number)
        versions.append(upload)
        version = str(len(versions))
        self._files[upload.model, version] = upload.file.read_bytes()
        return version

    def champion(self, model: str) -> str | None:
        """See `ModelRegistry.champion`."""
        self.ping()
        return self._champions.get(model)

    def set_champion(self, model: str, version: str) -> None:
        """See `ModelRegistry.set_champion`."""
        self._file(model, version)
        self._champions[model] = version

    def set_challenger(self, model: str, version: str | None) -> None:
        """See `ModelRegistry.set_challenger`."""
        self.ping()
        self.challengers.pop(model, None)
        if version is not None:
            self._file(model, version)
            self.challengers[model] = version

    def forget(self, model: str, version: str) -> None:
        """See `ModelRegistry.forget`."""
        self.ping()
        self._files.pop((model, version), None)
        for aliases in (self._champions, self.challengers):
            if aliases.get(model) == version:
                del aliases[model]

    def forget_job(self, model: str, job_id: str) -> None:
        """See `ModelRegistry.forget_job`."""
        self.ping()
        for number, made in enumerate(self.uploads.get(model, []), start=1):
            if made.tags.get("job_id") == job_id:
                self.forget(model, str(number))

    def fetch(self, model: str, version: str, to: Path) -> None:
        """See `ModelRegistry.fetch`."""
        to.write_bytes(self._file(model, version))

    def _file(self, model: str, version: str) -> bytes:
        self.ping()
        try:
            return self._files[model, version]
        except KeyError:
            raise UnknownVersion(f"model {model!r} has no version {version!r}") from None
