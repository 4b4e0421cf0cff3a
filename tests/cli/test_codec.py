"""kinema encode, kinema decode."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kinema import load
from kinema.models.codec.config import CodecConfig
from kinema.models.codec.model import Codec
from kinema.models.codec.pipeline import MotionCodec
from kinema.models.weights import write_weights


@pytest.fixture
def codec(place: Path) -> Path:
    for seed, name in enumerate(("codec", "other")):
        torch.manual_seed(seed)
        write_weights(Codec(CodecConfig("lfq", bits=4, width=8, depth=1)), place / name, {"licence": "test"})
    return place / "codec"


def test_a_file_becomes_tokens_and_the_tokens_a_file(kinema, codec: Path) -> None:
    printed = kinema("encode", "walk.bvh", "--codec", codec)
    assert printed.status == 0, printed.err
    assert kinema("encode", "walk.bvh", "--codec", codec, "-o", "walk.txt").status == 0
    assert Path("walk.txt").read_text() == printed.out
    assert printed.out.startswith(f"# kinema codec {MotionCodec.load(codec).sha256}, 7.5 steps a second\n<mot> ")
    outcome = kinema("decode", "walk.txt", "--codec", codec, "-o", "x.npz")
    assert outcome.status == 0, outcome.err
    assert len(load("x.npz")) == len(load("walk.bvh")) // 4 * 4
    Path("bare.txt").write_text(printed.out.partition("\n")[2])
    assert kinema("decode", "bare.txt", "--codec", codec, "-o", "y.npz").status == 0


@pytest.mark.parametrize(
    "content, codec_name, said",
    [
        (None, "other", "are of the codec"),
        ("<mot> 1.2 </mot>", "codec", "rows of 6"),
        ("<mot> 1.2.3.4.5.16 </mot>", "codec", "0 to 15"),
        ("walk", "codec", "begin with <mot>"),
    ],
)
def test_what_is_no_text_of_this_codec_is_refused(
    kinema, codec: Path, content: str | None, codec_name: str, said: str
) -> None:
    assert kinema("encode", "walk.bvh", "--codec", codec, "-o", "walk.txt").status == 0
    if content is not None:
        Path("walk.txt").write_text(content)
    outcome = kinema("decode", "walk.txt", "--codec", codec_name, "-o", "x.npz")
    assert outcome.status == 2
    assert "walk.txt: " in outcome.err
    assert said in outcome.err
    assert not Path("x.npz").exists()
