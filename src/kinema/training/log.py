"""The log of a run: one JSON line a step, and a picture of the losses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from kinema.formats.files import atomic_write


class Log:
    """`log.jsonl` and `loss.png` in the folder of a run.

    A line is {"step", "loss", other loss parts, "lr", "seconds"}, or {"step", "validation": {...}, "seconds"}.
    """

    def __init__(self, folder: Path, step: int):
        """Go on at `step`: lines of later steps, which a killed run wrote after its last checkpoint, are dropped."""
        self.path = folder / "log.jsonl"
        self.picture = folder / "loss.png"
        self.losses: list[tuple[int, float]] = []
        self.scores: list[tuple[int, float]] = []
        kept = []
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                try:
                    row = json.loads(line)
                except ValueError:  # the line that was being written when the run was killed
                    continue
                # a validation at step k judges the weights before step k, so it belongs to the checkpoint of step k
                if row["step"] < step or (row["step"] == step and "validation" in row):
                    kept.append(line + "\n")
                    self._remember(row)
        with atomic_write(self.path) as temporary:
            temporary.write_text("".join(kept))
        # unbuffered: on a full disk, closing must not fail once more
        self._file = self.path.open("ab", buffering=0)

    def _remember(self, row: dict[str, Any]) -> None:
        if "validation" in row:
            self.scores.append((row["step"], row["validation"]["score"]))
        else:
            self.losses.append((row["step"], row["loss"]))

    def add(self, row: dict[str, Any]) -> None:
        """Append a line."""
        self._remember(row)
        rest = memoryview(json.dumps(row).encode() + b"\n")
        while rest:  # a disk that fills up takes the first part of a line without a word, and refuses the rest
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        self._file.close()

    def draw(self) -> None:
        """Draw the losses (every step, and their running mean) and the validation scores."""
        from matplotlib.figure import Figure  # 0.3 s to import

        if not self.losses:
            return
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.add_subplot(xlabel="step", ylabel="loss")
        steps, losses = np.array(self.losses).T
        stride = max(1, len(steps) // 4000)
        axes.plot(steps[::stride], losses[::stride], color="#9bbcd8", linewidth=0.5)
        width = max(1, len(steps) // 50)
        smooth = np.convolve(losses, np.full(width, 1 / width), "valid")
        axes.plot(steps[width - 1 :][::stride], smooth[::stride], color="#1f5f99", label=f"loss, mean of {width}")
        axes.set_ylim(*_limits(losses))
        if self.scores:
            right = axes.twinx()
            right.set_ylabel("validation score")
            right.plot(*zip(*self.scores, strict=True), color="#c0571d", marker="o", markersize=3, label="validation")
            right.legend(loc="upper center")
        axes.legend(loc="upper right")
        with atomic_write(self.picture) as temporary:
            figure.savefig(temporary, dpi=100)


def _limits(losses: np.ndarray) -> tuple[float, float]:
    """Without the first spikes: they would flatten everything that follows."""
    low, high = np.quantile(losses, [0, 0.98])
    margin = 0.05 * (high - low) + 1e-9
    return low - margin, high + margin
