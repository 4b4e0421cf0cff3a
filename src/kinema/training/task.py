"""What a model hands to the trainer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn


class Task(Protocol):
    """A model, its data and its judge. The trainer owns the rest: steps, seeds, checkpoints, time.

    Exact resume rests on three promises: `batch` draws only from the generator that it is given, the model draws only
    from torch's global generator, and `validate` is deterministic.
    """

    name: str
    """What is trained, for messages and files."""

    settings: Mapping[str, Any]
    """JSON values that the run depends on (sizes, corpora); a run folder made with others is not resumed."""

    def build(self) -> nn.Module:
        """A fresh model. The trainer seeds torch's global generator before the call.

        `model(batch)` returns a dict of scalar losses; the one named "loss" is minimised, the others are logged. It
        is called as a module so that the hooks of distributed training see every parameter.
        """
        ...

    def batch(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """One process's batch for one step, drawn from `rng` alone."""
        ...

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Measures on the validation split, the moving-average weights in evaluation mode and without gradients.

        Must hold "score", by which the best weights are chosen: lower is better.
        """
        ...

    def export(self, model: nn.Module, folder: Path, report: dict[str, Any]) -> None:
        """Write what is shipped (safetensors and config.json) into `folder`, from the best weights.

        `report` holds JSON values: steps, seconds, settings, the best step and its measures.
        """
        ...
