"""The sizes of a codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kinema.features import pose151
from kinema.motion import BODY

Kind = Literal["vq", "rq", "pq", "fsq", "lfq"]

PARTS = {  # what the second axis of the image is: joints of each part of the body, and its effectors
    "torso": (("spine1", "spine2", "spine3", "neck", "head"), ()),
    "left leg": (("left_hip", "left_knee", "left_ankle", "left_foot"), ("left_ankle", "left_foot")),
    "right leg": (("right_hip", "right_knee", "right_ankle", "right_foot"), ("right_ankle", "right_foot")),
    "left arm": (("left_collar", "left_shoulder", "left_elbow", "left_wrist"), ("left_wrist",)),
    "right arm": (("right_collar", "right_shoulder", "right_elbow", "right_wrist"), ("right_wrist",)),
}


def channels() -> list[list[int]]:
    """The channels of pose154 of the root (height, rotation, velocities) and then of each of PARTS."""
    found = [[*range(7), *range(151, 154)]]
    for joints, effectors in PARTS.values():
        rotations = [7 + 6 * (BODY.index(name) - 1) for name in joints]
        places = [133 + 3 * pose151.EFFECTORS.index(name) for name in effectors]
        found.append([first + k for first in rotations for k in range(6)])
        found[-1] += [first + k for first in places for k in range(3)]
    return found


@dataclass(frozen=True)
class CodecConfig:
    """Args:
    quantiser: how a step becomes tokens (quantisers.py).
    places: tokens of a step; of lfq these are the parts of the body, the root among them.
    bits: of a token; it is one of 2^bits.
    fps: frames a second.
    halvings: how often the rate is halved; a step has 2^halvings frames.
    width: channels of each part in the convolutions.
    depth: residual blocks at the rate of the steps, in the encoder and in the decoder.
    """

    quantiser: Kind = "lfq"
    places: int = 6
    bits: int = 10
    fps: int = 30
    halvings: int = 2
    width: int = 48
    depth: int = 3

    def __post_init__(self) -> None:
        if self.quantiser == "vq" and self.places != 1:
            raise ValueError(f"vq has one token a step, not {self.places}")
        if self.quantiser == "lfq" and self.places != 1 + len(PARTS):
            raise ValueError(f"lfq has a token for each of the {1 + len(PARTS)} parts, not {self.places}")
        if not (1 <= self.places <= 16 and 1 <= self.bits <= 18 and 0 <= self.halvings <= 4):
            raise ValueError("a codec has 1 to 16 tokens a step, 1 to 18 bits a token and 0 to 4 halvings of the rate")

    @property
    def stride(self) -> int:
        """Frames of a step."""
        return 2**self.halvings

    @property
    def bits_per_second(self) -> float:
        return self.fps / self.stride * self.places * self.bits
