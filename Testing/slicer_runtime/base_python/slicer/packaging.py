"""Slicer's package installer, which installs nothing here: tests read `calls` and set `fail_with`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

calls: list[dict[str, Any]] = []
fail_with: Exception | None = None


def load_requirements(path: str | Path) -> list[str]:
    lines = [re.split(r"\s+#", line)[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def pip_ensure(requirements: Any, **options: Any) -> list[str] | None:
    calls.append({"requirements": [str(r) for r in requirements], **options})
    if fail_with is not None:
        raise fail_with
    return []
