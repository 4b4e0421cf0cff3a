"""A codec in use: motion to tokens, tokens to motion, tokens as text.

Tokens tell how the figure moves from frame to frame, so their errors add up on the way: a heading that is a little off
sends all that follows elsewhere. As the encoder and the decoder look back only, encoding can run the decoder alongside,
see at each step where its motion stands, and give the encoder velocities that lead from there to where it should be.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema.features import pose151, pose154
from kinema.features.pose151 import Pose151
from kinema.features.pose154 import Place
from kinema.models import registry
from kinema.models.codec.model import Codec, Past
from kinema.models.weights import read_weights
from kinema.motion import BODY, Motion

DEFAULT = "motionbook"
SETTLE = 0.15  # seconds in which encoding wants an error of place made good; below a third of it motion trembles
TOGETHER = 64  # motions encoded at once
MAX_TOKENS = 1_000_000  # of one motion
MAX_BYTES = 100_000_000  # of a text file of tokens
_BEGIN, _END = "<mot>", "</mot>"


class MotionCodec:
    """Motion on BODY <-> tokens (N, places), whole numbers from 0 to 2^bits - 1, a row for each `stride` frames.

    Attributes:
        sha256: of the weights: whose tokens these are.
    """

    def __init__(self, model: Codec, info: dict[str, Any], sha256: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.config = model.config
        self.info, self.sha256 = info, sha256

    @classmethod
    def load(cls, name: str | Path = DEFAULT) -> MotionCodec:
        """By a shipped name, a folder with model.safetensors and config.json, or a Hugging Face repository id.

        Raises:
            ValueError: there is none, or the files are damaged or belong to another model.
        """
        folder = registry.find(str(name))
        model, info = read_weights(folder, Codec)
        return cls(model, info, hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())

    def encode(self, motion: Motion) -> np.ndarray:
        """Tokens (N, places) of a motion on BODY at the codec's rate; frames after the last whole step are left out.

        Raises:
            ValueError: it is on another skeleton, at another rate, or shorter than one step.
        """
        return self.encode_many([motion])[0]

    def encode_many(self, motions: Sequence[Motion]) -> list[np.ndarray]:
        """What `encode` gives for each of some motions, sooner.

        Raises:
            ValueError: one is on another skeleton, at another rate, or shorter than one step.
        """
        clips = [self._frames(motion) for motion in motions]
        by_length = sorted(range(len(clips)), key=lambda k: len(clips[k]))
        tokens = {}
        for first in range(0, len(clips), TOGETHER):
            group = by_length[first : first + TOGETHER]
            # the last frame fills up the shorter ones; nothing looks ahead, so their tokens do not depend on it
            index = np.arange(len(clips[group[-1]]))
            padded = np.stack([clips[k][np.minimum(index, len(clips[k]) - 1)] for k in group])
            for k, ids in zip(group, self._follow(padded), strict=True):
                tokens[k] = ids[: len(clips[k]) // self.config.stride]
        return [tokens[k] for k in range(len(clips))]

    @torch.inference_mode()
    def _follow(self, frames: np.ndarray) -> np.ndarray:
        """Tokens (B, N, places) of frames (B, N * stride, 154), whose decoded motion keeps to the way of the frames."""
        fps, stride = self.config.fps, self.config.stride
        path = np.zeros((len(frames), 2))  # where the decoded motion stands, as seen from its start
        heading = np.zeros(len(frames))
        true_path, true_heading = pose154.ways(frames, fps, path, heading)
        velocity = pose154.turned(frames[..., pose154.PLANAR], true_heading[:, :-1])
        haste = 1 / max(SETTLE, stride / fps)  # an answer comes no sooner than with the next step
        heard: Past = {}
        told: Past = {}
        tokens = []
        for at in range(0, frames.shape[1], stride):
            step = slice(at, at + stride)
            given = frames[:, step].copy()
            given[..., pose154.YAW] += haste * (true_heading[:, at] - heading)[:, None, None]
            _, ahead = pose154.ways(given, fps, path, heading)
            wanted = velocity[:, step] + haste * (true_path[:, at] - path)[:, None]
            given[..., pose154.PLANAR] = pose154.turned(wanted, -ahead[:, :-1])
            tokens.append(self.model.encode(torch.from_numpy(given).float(), heard))
            paths, headings = pose154.ways(self.model.decode(tokens[-1], told).numpy(), fps, path, heading)
            path, heading = paths[:, -1], headings[:, -1]
        return torch.cat(tokens, 1).numpy()

    def _frames(self, motion: Motion) -> np.ndarray:
        """The frames (T, 154) of the whole steps of a motion."""
        config = self.config
        if motion.skeleton != BODY:
            raise ValueError("the motion must be on BODY to become tokens; retarget it first")
        if motion.fps != config.fps:
            raise ValueError(f"the motion is at {motion.fps:g} fps and the codec at {config.fps}; resample it first")
        count = len(motion) // config.stride
        if count < 1 or len(motion) < 2:
            raise ValueError(
                f"the motion has {len(motion)} frames; it takes {max(2, config.stride)} to make a token of it"
            )
        return pose154.encode(motion)[: count * config.stride]

    def decode(self, tokens: np.ndarray, start: Place | None = None) -> Motion:
        """The motion of tokens (N, places), beginning at `start`, by default the origin facing +Z.

        It is what `stream` makes of them one by one.

        Raises:
            ValueError: these are no tokens of this codec.
        """
        stream = self.stream(start)
        pieces = [stream.features(row) for row in self.checked(tokens)]
        # frames become motion each by itself, so they may do so all at once
        pose, path, heading = (
            np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("pose", "path", "heading")
        )
        return pose151.decode(Pose151(pose, path, heading, pieces[0].fps))

    def stream(self, start: Place | None = None) -> Stream:
        """Motion as tokens come."""
        return Stream(self, start or Place())

    def checked(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens as (N, places) int64.

        Raises:
            ValueError: these are no tokens of this codec.
        """
        tokens, config = np.asarray(tokens), self.config
        if tokens.ndim != 2 or tokens.shape[1] != config.places or not 1 <= len(tokens) <= MAX_TOKENS:
            raise ValueError(f"tokens of this codec come in rows of {config.places}, got an array {tokens.shape}")
        if not np.issubdtype(tokens.dtype, np.integer) or tokens.min() < 0 or tokens.max() >= 2**config.bits:
            raise ValueError(f"tokens of this codec are whole numbers from 0 to {2**config.bits - 1}")
        return tokens.astype(np.int64)


class Stream:
    """A motion that grows with its tokens."""

    def __init__(self, codec: MotionCodec, start: Place) -> None:
        self._codec, self._place = codec, start
        self._past: Past = {}

    @torch.inference_mode()
    def remember(self, tokens: np.ndarray) -> None:
        """Go on from tokens (N, places) as if their frames had been made; the place stays what it is."""
        self._codec.model.decode(torch.from_numpy(self._codec.checked(tokens))[None], self._past)

    def step(self, tokens: np.ndarray) -> Motion:
        """The next `stride` frames, from the next tokens (places,).

        Raises:
            ValueError: these are no tokens of this codec.
        """
        return pose151.decode(self.features(self._codec.checked(np.asarray(tokens)[None])[0]))

    @torch.inference_mode()
    def features(self, tokens: np.ndarray) -> Pose151:
        """The next `stride` frames as features, from the next tokens (places,)."""
        ids = torch.from_numpy(np.asarray(tokens, np.int64))[None, None]
        values = self._codec.model.decode(ids, self._past)[0].double().numpy()
        fps = float(self._codec.config.fps)
        path, heading, self._place = pose154.way(values, fps, self._place)
        return Pose151(values[:, : pose151.SIZE], path, heading, fps)


def to_text(tokens: np.ndarray) -> str:
    """Tokens (N, places) as text, steps between spaces and places between dots: "<mot> 3.14.15 92.6.5 </mot>"."""
    steps = [".".join(str(int(value)) for value in row) for row in tokens]
    return " ".join([_BEGIN, *steps, _END])


def from_text(text: str) -> np.ndarray:
    """Inverse of `to_text`, (N, places) int64.

    Raises:
        ValueError: the text is not of this form.
    """
    words = text.split()
    if len(words) < 3 or words[0] != _BEGIN or words[-1] != _END:
        raise ValueError(f"tokens as text begin with {_BEGIN}, end with {_END} and have a step between")
    steps = words[1:-1]
    if len(steps) > MAX_TOKENS:
        raise ValueError(f"at most {MAX_TOKENS} steps are read, got {len(steps)}")
    wrong = next((step for step in steps if not re.fullmatch(r"\d{1,6}(\.\d{1,6}){0,15}", step)), None)
    if wrong is not None:
        raise ValueError(f"{wrong[:40]!r} is no step of tokens such as 3.14.15")
    rows = [[int(value) for value in step.split(".")] for step in steps]
    if len({len(row) for row in rows}) > 1:
        raise ValueError("all steps must have as many tokens as the first")
    return np.array(rows, np.int64)


def write_text(codec: MotionCodec, tokens: np.ndarray) -> str:
    """A text file of tokens (N, places), which names the codec that made them."""
    rate = codec.config.fps / codec.config.stride
    return f"# kinema codec {codec.sha256}, {rate:g} steps a second\n{to_text(tokens)}\n"


def read_text(codec: MotionCodec, path: Path) -> Motion:
    """The motion of a text file of tokens.

    Raises:
        ValueError: it is no such file, or of another codec.
        OSError: it cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: is larger than the {MAX_BYTES} bytes that tokens are read from")
    try:
        head, _, text = path.read_text(encoding="utf-8").partition("\n")
        if made := re.match(r"# kinema codec (\w+)", head):
            if made[1] != codec.sha256:
                raise ValueError(
                    f"these tokens are of the codec {made[1][:8]}, not of {codec.sha256[:8]}; name theirs with --codec"
                )
        else:
            text = f"{head}\n{text}"
        return codec.decode(from_text(text))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
