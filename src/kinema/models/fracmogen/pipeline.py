"""FracMoGen in use: a Request in, Motions out.

Windows of up to 10.7 s follow one another; each after the first begins with the last key frames of the one before,
given as known, so prompts of a timeline, a past motion and long requests are the same mechanism. Within a window:
sample the key frames of the chain's first scale (overwriting what is known and steering towards the targets at every
step), refine scale by scale, then meet the targets exactly by kinematics.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.conditions.request import Request, Target
from kinema.conditions.text import TextEncoder
from kinema.features import pose151
from kinema.models.fracmogen import scales, targets
from kinema.models.fracmogen.config import COARSEST, TOP
from kinema.models.fracmogen.data import REFINED_PAIRS, corrected, see
from kinema.models.fracmogen.model import FracMoGen, known_channels
from kinema.models.fracmogen.scales import Keys
from kinema.models.weights import read_weights
from kinema.motion import BODY, Motion
from kinema.motion.contacts import clean_feet

DEFAULT_SECONDS = 5.0
OVERLAP = 3  # key frames of the past that a window sees
TURNOVER = 6  # key frames after a past over which the text takes hold; before, the motion goes on as it was going
EARLY = 4.0  # how much more densely the sampler's steps lie at the start of the flow than if evenly spaced
SLIP = 1.2  # m/s: a foot that moves faster than this is not standing, whatever was sampled


@dataclass(frozen=True)
class Sampling:
    """How to walk down the scales.

    Args:
        chain: levels from the one that is sampled to 0, falling; level l has every 2^l-th frame.
        steps: Euler steps of the sampler.
        guidance: how far to go beyond the prediction without text; 1 is none.
        foot_lock: at the end take floating away, hold planted feet in place, lift swinging ones clear (`clean_feet`).

    Raises:
        ValueError: no such chain.
    """

    chain: tuple[int, ...] = (3, 2, 1, 0)
    steps: int = 8
    guidance: float = 2.5
    foot_lock: bool = True

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip(self.chain, self.chain[1:], strict=False))
        if not self.chain or self.chain[-1] != 0 or not falling or not TOP <= self.chain[0] <= COARSEST:
            raise ValueError(
                f"a chain falls from {COARSEST}, 4 or {TOP} to 0, such as 3-1-0; got {'-'.join(map(str, self.chain))}"
            )
        if not 1 <= self.steps <= 1000 or not 0 <= self.guidance <= 20:
            raise ValueError("steps must be 1 to 1000 and guidance 0 to 20")

    def __str__(self) -> str:
        return f"chain {'-'.join(map(str, self.chain))}, {self.steps} steps, guidance {self.guidance:g}"


@dataclass
class Window:
    """One window of one motion: what to sample it from. Frames count from the window's first key frame."""

    text: np.ndarray  # (768,)
    frames: int
    seed: tuple[int, ...]
    past: Keys | None  # the frames of the past from one key frame to another (stride 1); None at a motion's start
    targets: tuple[Target, ...]  # times in seconds from the window's first frame


class FracMoGenGenerator:
    """p(motion | text, seconds, targets, past) by FracMoGen, on BODY at the model's frame rate.

    `reset` and `step` stream a motion window by window; `generate` is built on them.
    """

    honours = frozenset({"text", "seconds", "targets", "past", "seed", "samples"})
    Settings = Sampling  # what `registry.load` can set

    def __init__(self, model: FracMoGen, info: dict[str, Any], sampling: Sampling | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.config = model.config
        self.sampling = sampling or Sampling()
        self.info = info | {"sampling": str(self.sampling)}
        self._mean, self._scale = model.state_mean.numpy(), model.state_scale.numpy()
        self._windows: list[tuple[str, int]] = []

    @classmethod
    def load(cls, folder: str | Path, sampling: Sampling | None = None) -> FracMoGenGenerator:
        """From a folder with model.safetensors and config.json.

        Raises:
            ValueError: the files are damaged or belong to another model.
        """
        model, info = read_weights(folder, FracMoGen)
        TextEncoder.load()  # else at the first sentence, where it would pass for slow generation
        return cls(model, info, sampling)

    def reset(self, request: Request) -> None:
        """Begin a motion; `step` then yields it piece by piece.

        Raises:
            ValueError: the request asks for what this model cannot do.
        """
        request.refuse_all_but(set(self.honours), "fracmogen")
        fps = self.config.fps
        seconds = request.seconds if isinstance(request.seconds, tuple) else (DEFAULT_SECONDS,) * len(request.prompts)
        self._windows = []
        for prompt, length in zip(request.prompts, seconds, strict=True):
            frames = max(round(length * fps), 2)
            first = not self._windows and request.past is None
            longest = self.config.max_frames - (0 if first else OVERLAP * 2**TOP)
            count = -(-frames // longest)
            self._windows += [(prompt, frames * (k + 1) // count - frames * k // count) for k in range(count)]
        total = sum(frames for _, frames in self._windows)
        if any(round(target.time * fps) > total for target in request.targets):
            raise ValueError(f"a target lies after the end of the motion ({total / fps:g} s); ask for more seconds")
        self._request = request
        self._at = 0  # frames made so far
        self._number = 0
        past = None if request.past is None else targets.past_keys(request.past, fps)
        self._past: list[Keys | None] = [past] * request.samples

    def step(self) -> list[Motion] | None:
        """The next piece of each sample, or None at the end. Feet are not cleaned, targets met only nearly."""
        if self._number == len(self._windows):
            return None
        request, fps = self._request, self.config.fps
        prompt, frames = self._windows[self._number]
        text = TextEncoder.load().encode_sided([prompt])[0]
        stride = 2 ** self.sampling.chain[0]
        windows = []
        for sample, past in enumerate(self._past):
            seen = 0
            if past is not None:
                keys = min(OVERLAP - 1, (len(past.state) - 1) // stride)
                past, seen = past[-(keys * stride + 1) :], keys * stride + 1
            ahead = tuple(
                targets.shifted(target, (seen - self._at) / fps)
                for target in request.targets
                if self._at <= round(target.time * fps) <= self._at + frames
            )
            windows.append(Window(text, frames + seen, (request.seed, sample, self._number), past, ahead))
        motions = []
        for sample, (window, (curve, stands)) in enumerate(zip(windows, self._run(windows), strict=True)):
            self._past[sample] = curve
            new = slice(0 if window.past is None else len(window.past.state), None)
            motions.append(self._motion(curve.state[new], stands[new], prompt))
        self._at += frames
        self._number += 1
        return motions

    def generate(self, request: Request, progress: Callable[[int, int], None] | None = None) -> list[Motion]:
        """All samples of a request, each on BODY at the model's frame rate.

        `progress` is told after each window how many of how many are done.

        Raises:
            ValueError: the request asks for what this model cannot do.
        """
        self.reset(request)
        pieces: list[list[Motion]] = []
        while (piece := self.step()) is not None:
            pieces.append(piece)
            if progress is not None:
                progress(self._number, len(self._windows))
        return [self._finish(targets.joined(parts, request.prompts)) for parts in zip(*pieces, strict=True)]

    def generate_many(self, requests: Sequence[Request]) -> list[Motion]:
        """One motion for each of many plain requests (one prompt, no past, no targets), computed together.

        Feet are not cleaned.

        Raises:
            ValueError: a request is not plain, or longer than one window.
        """
        fps = self.config.fps
        texts = TextEncoder.load().encode_sided([request.prompts[0] for request in requests])
        windows = []
        for request, text in zip(requests, texts, strict=True):
            length = request.seconds[0] if isinstance(request.seconds, tuple) else DEFAULT_SECONDS
            frames = max(round(length * fps), 2)
            conditions = request.past or request.future or request.targets
            if len(request.prompts) > 1 or conditions or frames > self.config.max_frames:
                raise ValueError("generate_many takes requests of one prompt and one window, without past or targets")
            windows.append(Window(text, frames, (request.seed, 0, 0), None, ()))
        order = sorted(range(len(windows)), key=lambda k: windows[k].frames)
        motions: dict[int, Motion] = {}
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            for k, (curve, stands) in zip(chosen, self._run([windows[k] for k in chosen]), strict=True):
                motions[k] = self._motion(curve.state, stands, requests[k].prompts[0])
        return [motions[k] for k in range(len(windows))]

    def _motion(self, state: np.ndarray, stands: np.ndarray, prompt: str) -> Motion:
        """A state curve (T, 154), and how likely each foot stands (T, 4), as a motion with contacts."""
        metadata = {
            "text": prompt,
            "source": f"generated by Kinema, {self.info.get('name', 'fracmogen')}",
            "licence": self.info.get("licence", ""),
        }
        speed = np.linalg.norm(scales.velocity_of(scales.feet_world(state)), axis=-1) * self.config.fps
        contacts = np.zeros((len(state), len(BODY)), dtype=bool)
        contacts[:, [BODY.index(name) for name in pose151.FEET]] = (stands > 0.5) & (speed < SLIP)
        return scales.motion_of(state, self.config.fps).replace(contacts=contacts, metadata=metadata)

    def _finish(self, motion: Motion) -> Motion:
        """What needs the whole motion: feet held, targets met exactly."""
        if self.sampling.foot_lock:
            motion = clean_feet(motion)
        if self._request.targets:
            motion = targets.enforce(motion, self._request.targets)
        return motion

    @torch.inference_mode()
    def _run(self, windows: list[Window]) -> list[tuple[Keys, np.ndarray]]:
        """Several windows at once: for each its frames as a curve (stride 1) and how likely each foot stands (T, 4)."""
        chain = self.sampling.chain
        sampled = self.sample(windows, chain[0])
        keys = self.refine(windows, [found for found, _ in sampled], chain)
        results = []
        for window, curve, (_, stands) in zip(windows, keys, sampled, strict=True):
            state = curve.state
            if window.past is not None:  # exactly what was
                state[: len(window.past.state)] = window.past.state
            velocity = scales.velocity_of(state)  # before the end is cut off, so that the last frame's is central
            at = np.arange(window.frames) / 2 ** chain[0]
            contacts = np.stack([np.interp(at, np.arange(len(stands)), row) for row in stands.T], 1)
            results.append((Keys(state[: window.frames], velocity[: window.frames], 1), contacts))
        return results

    @torch.inference_mode()
    def refine(self, windows: list[Window], keys: list[Keys], chain: tuple[int, ...]) -> list[Keys]:
        """Key frames of level `chain[0]` -> the frames of `chain[-1]`, scale by scale."""
        for source, target in itertools.pairwise(chain):
            while (target, source) not in REFINED_PAIRS:  # a leap that was not trained is made by way of the next level
                keys = self._refine(windows, keys, source - 1, source)
                source -= 1
            keys = self._refine(windows, keys, target, source)
        return keys

    @torch.inference_mode()
    def sample(self, windows: list[Window], level: int) -> list[tuple[Keys, np.ndarray]]:
        """Key frames of `level`, and whether feet stand in them (K, 4), by Euler steps of the flow from noise."""
        stride = 2**level
        count = np.array([-(-(window.frames - 1) // stride) + 1 for window in windows])
        size = (len(windows), int(count.max()), scales.TOKEN)
        x = torch.zeros(size)
        flags = torch.zeros(*size[:2], 2)
        known = torch.zeros(size)
        mean, scale = self.model.token_mean[level], self.model.token_scale[level]
        starts = []
        for row, window in enumerate(windows):
            noise = np.random.default_rng(window.seed).standard_normal((count[row], scales.TOKEN), dtype=np.float32)
            x[row, : count[row]] = torch.from_numpy(noise)
            starts.append(np.zeros(3) if window.past is None else window.past.state[0, 151:154])
            if window.past is not None:
                token = torch.from_numpy(targets.past_tokens(window.past, stride).astype(np.float32))
                # the step from the last known key frame is not known yet
                known[row, : len(token)] = (token - mean) / scale
                flags[row, : len(token) - 1, 0] = 1
        fps = self.config.fps
        steer = [
            targets.Steering(window.targets, level, fps, start, window.past is None) if window.targets else None
            for window, start in zip(windows, starts, strict=True)
        ]
        for row, steering in enumerate(steer):
            if steering is not None and steering.path_is_known(count[row]):
                flags[row, : count[row], 1] = 1
        text = torch.from_numpy(np.stack([window.text for window in windows]))
        counts = torch.from_numpy(count)
        ahead = torch.arange(size[1])[None, :, None] - flags[..., :1].sum(1, keepdim=True)  # key frames after the past
        rising = (ahead / (TURNOVER * 2**TOP / stride)).clamp(0, 1)
        continued = torch.tensor([window.past is not None for window in windows])[:, None, None]
        guidance = self.sampling.guidance * torch.where(continued, rising, 1.0)  # (B, K, 1)
        times = np.linspace(0, 1, self.sampling.steps + 1)
        times = times / (times + EARLY * (1 - times))
        whole = flags[..., :1] > 0.5
        clean = x
        trajectory = torch.zeros(size)
        for now, then in itertools.pairwise(times):
            x = torch.where(whole, known, x)
            x = torch.where(known_channels(flags) & ~whole, trajectory, x)
            clean = self._guided(x, level, float(now), text, counts, flags, guidance)
            clean = torch.where(whole, known, clean)
            for row, window in enumerate(windows):
                if window.past is not None:  # the last known key frame: all but its step
                    last = int(flags[row, :, 0].sum())
                    clean[row, last] = _all_but_step(known[row, last], clean[row, last])
                steering = steer[row]
                if steering is not None:
                    raw = (clean[row, : count[row]] * scale + mean).double().numpy()
                    raw, starts[row] = steering(raw)
                    clean[row, : count[row]] = ((torch.from_numpy(raw).float()) - mean) / scale
            trajectory = clean
            x = x + (clean - x) * float((then - now) / (1 - now))
        raw = (clean * scale + mean).double().numpy()
        result = []
        for row, (window, start) in enumerate(zip(windows, starts, strict=True)):
            token, steering = raw[row, : count[row]], steer[row]
            keys = scales.keys_of(token, stride, start)
            keys = keys if steering is None else steering.settle(keys)
            keys = keys if window.past is None else targets.with_past(keys, window.past)
            result.append((keys, token[:, scales.T_CONTACT]))
        return result

    def _guided(
        self, x: Tensor, level: int, time: float, text: Tensor, count: Tensor, flags: Tensor, guidance: Tensor
    ) -> Tensor:
        """Clean estimate with classifier-free guidance (B, K, 1): both predictions in one batch."""
        batch = len(x)
        moment = torch.full((batch,), time)
        yes, no = torch.ones(batch, dtype=torch.bool), torch.zeros(batch, dtype=torch.bool)
        if bool((guidance == 1).all()):
            return self.model.clean(x, level, moment, text, yes, count, flags)
        both = self.model.clean(
            x.repeat(2, 1, 1),
            level,
            moment.repeat(2),
            text.repeat(2, 1),
            torch.cat([yes, no]),
            count.repeat(2),
            flags.repeat(2, 1, 1),
        )
        return both[batch:] + guidance * (both[:batch] - both[batch:])

    def _refine(self, windows: list[Window], keys: list[Keys], target: int, source: int) -> list[Keys]:
        """Key frames of level `source` -> of the finer level `target`."""
        phases = 2 ** (source - target)
        bases = [scales.base(rows, 2**target) for rows in keys]
        longest = max(len(rows.state) for rows in bases)
        seen = np.zeros((len(windows), longest, 156), np.float32)
        for row, curve in enumerate(bases):
            known = np.zeros(len(curve.state))
            known[::phases] = 1
            seen[row, : len(known)] = see(curve, known, phases, self._mean, self._scale)
        text = torch.from_numpy(np.stack([window.text for window in windows]))
        frames = torch.tensor([len(rows.state) for rows in bases])
        mixing, yes = torch.zeros(len(windows)), torch.ones(len(windows), dtype=torch.bool)
        out = self.model.correction(torch.from_numpy(seen), target, source, mixing, text, yes, frames)
        out = (out * self.model.spread[target, source]).double().numpy()
        result = []
        for row, curve in enumerate(bases):
            change = out[row, : len(curve.state)]
            change[::phases] = 0
            result.append(corrected(curve, change))
        return result


def _all_but_step(known: Tensor, clean: Tensor) -> Tensor:
    """A key frame (328,) that is known but for where it goes next."""
    result = known.clone()
    for part in (scales.T_STEP, scales.T_TURN, scales.T_FOOT_STEP):
        result[part] = clean[part]
    return result
