"""What the compose file must not hold, told without a Docker daemon."""

from __future__ import annotations

from typing import Any

import yaml

from tests.architecture.law import ROOT


def test_every_volume_has_a_name_so_that_down_leaves_none_that_nobody_finds() -> None:
    """A path alone is a volume of no name: each `down` and `up` without `-v` would add one."""
    whole: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    mounts = [mount for service in whole["services"].values() for mount in service.get("volumes", [])]
    sources = {mount.partition(":")[0] for mount in mounts}
    assert len(mounts) > 5 and all(":" in mount for mount in mounts)
    assert {source for source in sources if not source.startswith(("./", "${"))} == set(whole["volumes"])
