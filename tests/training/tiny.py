"""A task small enough to test the trainer with. As a script it trains, and can kill itself: see main()."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn


class TinyModel(nn.Module):
    def __init__(self, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(dropout))
        self.blocks = nn.ModuleList([nn.Linear(8, 8)])
        self.head = nn.Linear(8, 1)
        self.unused = nn.Linear(2, 2)
        self.register_buffer("seen", torch.zeros(()))

    def answer(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks[0](self.layers(x)).tanh())

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.seen += len(batch["x"])
        error = (self.answer(batch["x"]) - batch["y"]).square().mean()
        return {"error": error, "loss": error + 0.01 * self.layers[0].weight.square().mean()}


class TinyTask:
    """Learn a sum of three numbers. `on_batch(step)` is called before every batch."""

    name = "tiny"

    def __init__(self, dropout: float = 0.2, on_batch=lambda step: None):
        self.settings = {"dropout": dropout}
        self.on_batch = on_batch
        self.step = 0

    def build(self) -> nn.Module:
        return TinyModel(self.settings["dropout"])

    def batch(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        self.on_batch(self.step)
        self.step += 1
        x = torch.from_numpy(rng.standard_normal((16, 3), dtype=np.float32))
        return {"x": x, "y": x.sum(1, keepdim=True)}

    def validate(self, model: nn.Module) -> dict[str, float]:
        x = torch.linspace(-1, 1, 60).reshape(20, 3)
        return {"score": float((model.answer(x) - x.sum(1, keepdim=True)).square().mean())}

    def export(self, model: nn.Module, folder: Path, report: dict) -> None:
        save_file(model.state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(report))


def main() -> None:
    """tiny.py OUT HOW: "batch 37" dies by SIGKILL at the 38th batch, "checkpoint 3" while writing the 4th checkpoint,
    "interrupt 20" gets SIGINT at the 21st batch, "two" trains in float32 without dropout."""
    from kinema.training import Trainer
    from kinema.training.log import Log

    Log.draw = lambda self: None  # slow, and nothing here looks at it
    out, how, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    task = TinyTask(dropout=0.0 if how == "two" else 0.2)

    def die(step: int) -> None:
        if step == number:
            os.kill(os.getpid(), signal.SIGINT if how == "interrupt" else signal.SIGKILL)

    if how in ("batch", "interrupt"):
        task.on_batch = die
    if how == "checkpoint":
        rename, count = os.replace, iter(range(1_000_000))

        def replace(source, target) -> None:
            if Path(target).parent.name == "checkpoints":
                die(next(count))
            rename(source, target)

        os.replace = replace
    precision = "fp32" if how == "two" else "bf16"
    steps = number if how == "two" else 80
    trainer = Trainer(
        task, Path(out), steps=steps, warmup=10, validate_every=20, checkpoint_every=0, precision=precision, threads=1
    )
    trainer.run()
    if how == "two":
        rank = os.environ["RANK"]
        # every process shows its own copy of the weights
        (Path(out) / f"rank{rank}.json").write_text(json.dumps(FINAL[-1]))


FINAL: list[list[float]] = []

if __name__ == "__main__":
    from kinema.training import trainer as module

    step = module._Run._step

    def remembering(self, rate):
        losses = step(self, rate)
        FINAL.append(torch.cat([value.detach().flatten() for value in self.model.parameters()]).tolist())
        return losses

    module._Run._step = remembering
    main()
