"""What the baselines share: a request in and motions out, and the trainer's view of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.data import FPS, LONGEST, Clips
from kinema.conditions.request import Request
from kinema.conditions.text import TextEncoder
from kinema.corpora import Corpus
from kinema.features import pose154
from kinema.models import weights
from kinema.models.fracmogen.pipeline import DEFAULT_SECONDS
from kinema.motion import Motion
from kinema.motion.contacts import clean_feet


class Network(weights.Network):
    """A network of a baseline with the normaliser of its frames; `network(batch)` gives the losses of a batch of Clips.

    Attributes:
        mean, scale: (154,) buffers.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.register_buffer("mean", torch.zeros(Clips.SIZE))
        self.register_buffer("scale", torch.ones(Clips.SIZE))


class Task:
    """A baseline as the trainer sees it (kinema/training/task.py).

    Args:
        network: the class of the network.
        config: its sizes.
        corpora: folders.
        batch: windows a step.
        multiple: frames of a batch are a multiple of it.
    """

    def __init__(
        self, network: type[Network], config: Any, corpora: Sequence[str | Path], *, batch: int = 64, multiple: int = 1
    ) -> None:
        self.network, self.config, self.samples, self.multiple = network, config, batch, multiple
        self.name = network.name
        self.corpora = [Corpus.open(folder) for folder in corpora]
        self.settings: Mapping[str, Any] = {
            "config": asdict(config),
            "corpora": [corpus.info["sha256"] for corpus in self.corpora],
            "batch": batch,
        }
        self.clips = Clips(self.corpora)

    def build(self) -> nn.Module:
        model = self.network(self.config)
        model.mean.copy_(torch.from_numpy(self.clips.mean))
        model.scale.copy_(torch.from_numpy(self.clips.scale))
        return model

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        return self.clips.batch(rng, self.samples, LONGEST, "train", self.multiple)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean losses over fixed batches of the validation split."""
        rng = np.random.default_rng(0)
        totals: dict[str, list[float]] = {}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for _ in range(8):
                batch = self.clips.batch(rng, self.samples, LONGEST, self.clips.validation, self.multiple)
                for name, value in model(batch).items():
                    totals.setdefault(name, []).append(float(value))
        means = {name: float(np.mean(values)) for name, values in totals.items()}
        return {"score": means["loss"], **means}

    def export(self, model: nn.Module, folder: Path, report: dict[str, Any]) -> None:
        assert isinstance(model, Network)
        licences = sorted({corpus.licence for corpus in self.corpora})
        sources = sorted({corpus.source for corpus in self.corpora})
        about = {"validated_on": self.clips.validation, "licence": "; ".join(licences), "sources": sources}
        weights.write_weights(model, folder, {**report, **about})


class Baseline:
    """p(motion | text, seconds), at most 10 s at once, on BODY at 30 fps.

    Args:
        model: the network.
        info: content of its config.json.
    """

    honours = frozenset({"text", "seconds", "seed", "samples"})
    batch = 64  # motions computed at once by generate_many

    def __init__(self, model: Network, info: dict[str, Any]) -> None:
        self.model = model.eval().requires_grad_(False)
        self.info = info
        self.name = model.name

    def sample(self, text: Tensor, count: Tensor, seeds: Sequence[tuple[int, ...]]) -> Tensor:
        """Normalised frames (B, T, 154), T at least count.max(), for texts (B, 768) and lengths (B,) in frames.

        Row b may draw only from `np.random.default_rng(seeds[b])`, so that it does not depend on the others.
        """
        raise NotImplementedError

    def reset(self, request: Request) -> None:
        """Begin a motion.

        Raises:
            ValueError: the request asks for what this model cannot do.
        """
        self._frames(request)
        self._request, self._made = request, False

    def step(self) -> list[Motion] | None:
        """The whole motion of each sample, feet as generated, then None: this model makes all frames at once."""
        if self._made:
            return None
        self._made = True
        request = self._request
        seeds = [(request.seed, sample) for sample in range(request.samples)]
        return self._run([request] * request.samples, seeds)

    def generate(self, request: Request, progress: Callable[[int, int], None] | None = None) -> list[Motion]:
        """All samples of a request, their feet cleaned as those of the shipped model are.

        Raises:
            ValueError: the request asks for what this model cannot do.
        """
        self.reset(request)
        motions = self.step()
        assert motions is not None
        if progress is not None:
            progress(1, 1)
        return [clean_feet(motion) for motion in motions]

    def generate_many(self, requests: Sequence[Request]) -> list[Motion]:
        """One motion for each of many requests, those of like length computed together; feet as generated.

        Raises:
            ValueError: a request asks for what this model cannot do.
        """
        order = sorted(range(len(requests)), key=lambda k: self._frames(requests[k]))
        motions: dict[int, Motion] = {}
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            made = self._run([requests[k] for k in rows], [(requests[k].seed, 0) for k in rows])
            motions.update(zip(rows, made, strict=True))
        return [motions[k] for k in range(len(requests))]

    def _frames(self, request: Request) -> int:
        """How many frames a request asks for."""
        request.refuse_all_but(set(self.honours), self.name)
        if len(request.prompts) > 1:
            raise ValueError(f"{self.name} follows one sentence at a time, got {len(request.prompts)}")
        seconds = request.seconds[0] if isinstance(request.seconds, tuple) else DEFAULT_SECONDS
        if round(seconds * FPS) > LONGEST:
            raise ValueError(f"{self.name} makes at most {LONGEST / FPS:g} s at once, got {seconds:g}")
        return max(round(seconds * FPS), 2)

    @torch.inference_mode()
    def _run(self, requests: Sequence[Request], seeds: Sequence[tuple[int, ...]]) -> list[Motion]:
        text = torch.from_numpy(TextEncoder.load().encode_sided([request.prompts[0] for request in requests]))
        count = torch.tensor([self._frames(request) for request in requests])
        frames = self.sample(text, count, seeds) * self.model.scale + self.model.mean
        return [
            self._motion(row[:length].double().numpy(), request)
            for row, length, request in zip(frames, count.tolist(), requests, strict=True)
        ]

    def _motion(self, frames: np.ndarray, request: Request) -> Motion:
        """Frames (T, 154), not normalised, as a motion."""
        if not np.isfinite(frames).all():
            raise ValueError(f"{self.name} gave numbers that are not finite for {request.prompts[0]!r}; train it again")
        metadata = {
            "text": request.prompts[0],
            "source": f"generated by Kinema, {self.name}",
            "licence": self.info.get("licence", ""),
        }
        return pose154.decode(frames, FPS).replace(metadata=metadata)
