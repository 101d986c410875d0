"""The hook of hatchling that ends a build on a Python that is too old with one sentence.

An old pip checks `requires-python` last: for '.[test]' it first tries, for minutes, other versions of all requirements.
"""

import re
import sys
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class CheckPython(MetadataHookInterface):
    """Adds nothing to the metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Exit unless this Python is at least the oldest one that the package requires."""
        oldest = tuple(int(part) for part in re.findall(r"\d+", metadata["requires-python"]))
        if sys.version_info < oldest:
            sys.exit(f"{metadata['name']} requires Python {metadata['requires-python']}, not {sys.version.split()[0]}")
