"""Low-dose CT from normal-dose CT: noise insertion into existing images, and its validation."""

from __future__ import annotations

from bioatt_training.simulate.insertion import Insertion, insert_noise
from bioatt_training.simulate.scanner import Scanner

__all__ = ["Insertion", "Scanner", "insert_noise"]
