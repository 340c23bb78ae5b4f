"""The chaos runs use the lab tests' fixtures and words."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lab"))

from lab_fixtures import lab, lab_up, machine, recovery_up

__all__ = ["lab", "lab_up", "machine", "recovery_up"]
