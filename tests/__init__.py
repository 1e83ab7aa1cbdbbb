"""Tests, in the same rooms as the code; what several share is in support/, whole commands are in end_to_end/."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
