"""Codecs: what tokens are, that they stream, and that quantisers do what their papers say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kinema.features import pose151, pose154
from kinema.models.codec.config import CodecConfig, channels
from kinema.models.codec.data import CodecTask, Windows, usage
from kinema.models.codec.model import Codec, Past, joint_positions
from kinema.models.codec.pipeline import MotionCodec, from_text, to_text
from kinema.models.codec.quantisers import QUANTISERS, BitQuantiser, Codebook, ResidualQuantiser, ScalarQuantiser
from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot
from kinema.motion.editing import crop
from kinema.training import Trainer

KINDS = {"vq": 1, "rq": 6, "pq": 6, "fsq": 6, "lfq": 6}


def config(kind: str, **more) -> CodecConfig:
    return CodecConfig(kind, places=KINDS[kind], bits=5, width=8, **more)  # type: ignore[arg-type]


def codec(kind: str, **more) -> Codec:
    """An untrained codec whose codebooks have seen some latents."""
    torch.manual_seed(0)
    model = Codec(config(kind, **more))
    for _ in range(3):
        model({"raw": torch.randn(8, 32, 154), "count": torch.full((8,), 32)})
    return model.eval()


def moved(motion: Motion, angle: float, by: tuple[float, float, float]) -> Motion:
    turn = rot.about_y(np.array(angle))
    rotations = np.array(motion.rotations)
    rotations[:, 0] = rot.multiply(turn, rotations[:, 0])
    return motion.replace(root_position=rot.rotate(turn, motion.root_position) + by, rotations=rotations)


# --- the features -----------------------------------------------------------------------------------------------------


def test_pose154_inverts_wherever_the_motion_is(walk: Motion) -> None:
    elsewhere = moved(walk, 2.2, (3.0, 0.0, -7.0))
    values = pose154.encode(elsewhere)
    np.testing.assert_allclose(values, pose154.encode(walk), atol=1e-9)
    x, _, z = elsewhere.root_position[0]
    back = pose154.decode(values, elsewhere.fps, pose154.Place(x, z, pose151.encode(elsewhere).heading[0]))
    assert np.abs(back.joint_positions() - elsewhere.joint_positions()).max() < 2e-3


def test_velocities_are_metres_and_radians_a_second(walk: Motion) -> None:
    values = pose154.encode(walk)
    np.testing.assert_allclose(values[:, 152], 1.2, atol=0.02)  # the walk goes ahead at 1.2 m/s
    np.testing.assert_allclose(values[:, [151, 153]], 0, atol=0.02)


def test_a_way_goes_on_where_it_stopped(walk: Motion) -> None:
    values = np.random.default_rng(0).normal(size=(20, 154))
    whole_path, whole_heading, end = pose154.way(values, 30.0, pose154.Place(1, 2, 3))
    path, heading, between = pose154.way(values[:12], 30.0, pose154.Place(1, 2, 3))
    more_path, more_heading, last = pose154.way(values[12:], 30.0, between)
    np.testing.assert_allclose(np.concatenate([path, more_path]), whole_path, atol=1e-12)
    np.testing.assert_allclose(np.concatenate([heading, more_heading]), whole_heading, atol=1e-12)
    assert (last.x, last.z, last.heading) == pytest.approx((end.x, end.z, end.heading))


def test_joint_positions_agree_with_forward_kinematics(walk: Motion) -> None:
    features = pose151.encode(walk)
    world = walk.joint_positions() - walk.root_position[:, None] * (1, 0, 1)
    ahead = rot.rotate(rot.about_y(-features.heading)[:, None], world)
    found = joint_positions(torch.from_numpy(pose154.encode(walk)))
    np.testing.assert_allclose(found.numpy(), ahead, atol=1e-9)


def test_every_channel_belongs_to_one_part() -> None:
    assert sorted(channel for own in channels() for channel in own) == list(range(154))


# --- quantisers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_ids_give_the_quantised_latents_back_and_gradients_pass(kind: str) -> None:
    torch.manual_seed(0)
    quantiser = QUANTISERS[kind](KINDS[kind], 5)
    for _ in range(5):
        quantiser(torch.randn(200, quantiser.size))
    quantiser.eval()
    latents = torch.randn(50, quantiser.size, requires_grad=True)
    quantised, ids, losses = quantiser(latents)
    assert ids.shape == (50, KINDS[kind])
    assert 0 <= ids.min() <= ids.max() < 32
    torch.testing.assert_close(quantiser.codes(ids), quantised.detach())
    (quantised * torch.arange(1.0, 1 + quantiser.size)).sum().backward()
    assert (latents.grad != 0).all()
    assert all(torch.isfinite(loss) for loss in losses.values())


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_bits_are_signs_in_order(bits: int, seed: int) -> None:
    latents = torch.randn(7, 3 * bits, generator=torch.Generator().manual_seed(seed))
    _, ids, _ = BitQuantiser(3, bits).eval()(latents)
    for row, found in zip(latents.tolist(), ids.tolist(), strict=True):
        for place in range(3):
            own = row[place * bits : (place + 1) * bits]
            assert found[place] == sum(2**k for k, value in enumerate(own) if value > 0)


def test_entropy_asks_for_sure_bits_of_which_both_values_are_used() -> None:
    quantiser = BitQuantiser(1, 4).eval()
    half = torch.cat([torch.ones(50, 4), -torch.ones(50, 4)])
    sure_and_even, sure, unsure = (quantiser(z)[2]["entropy"] for z in (3 * half, torch.full((100, 4), 3.0), 0 * half))
    assert sure_and_even < sure
    assert sure_and_even < unsure
    assert sure_and_even == pytest.approx(-0.1 * np.log(2), rel=1e-3)


def test_bits_that_are_quite_sure_have_finite_slopes() -> None:
    latents = torch.tensor([[60.0, -60.0, 0.0, 1.0]], requires_grad=True)
    BitQuantiser(1, 4).eval()(latents)[2]["entropy"].backward()
    assert latents.grad is not None
    assert torch.isfinite(latents.grad).all()


@pytest.mark.parametrize("bits", range(1, 19))
def test_scalars_take_all_codes(bits: int) -> None:
    quantiser = ScalarQuantiser(1, bits).eval()
    ids = torch.arange(2**bits)[:, None]
    codes = quantiser.codes(ids)
    assert codes.abs().max() == 1
    assert torch.equal(quantiser(torch.atanh(codes.clamp(-0.999, 0.999)))[1], ids)


def test_codes_are_the_means_of_what_they_stand_for() -> None:
    torch.manual_seed(0)
    book, centres = Codebook(2, 3), 10 * torch.randn(4, 3)
    for _ in range(600):
        latents = centres[torch.randint(4, (64,))] + 0.1 * torch.randn(64, 3)
        book.learn(latents, book.nearest(latents))
    ids = book.nearest(centres)
    assert sorted(ids.tolist()) == [0, 1, 2, 3]  # dead codes found a centre of their own
    torch.testing.assert_close(book.codes[ids], centres, atol=0.1, rtol=0)
    assert torch.equal(ids, torch.cdist(centres, book.codes).argmin(1))


def test_each_place_of_residuals_brings_the_code_nearer() -> None:
    torch.manual_seed(0)
    quantiser = ResidualQuantiser(4, 5)
    latents = torch.randn(4000, quantiser.size) * torch.logspace(0, -3, quantiser.size)
    for _ in range(60):
        quantiser(latents[torch.randint(4000, (500,))])
    quantiser.eval()
    ids = quantiser(latents)[1]
    gaps = [float((quantiser.codes(ids[:, :count]) - latents).norm(dim=1).mean()) for count in (1, 2, 3, 4)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.8 * gaps[0]


def test_usage_by_hand() -> None:
    found = usage(torch.tensor([[0, 1], [0, 2], [3, 0], [3, 3]]), bits=2)
    assert found == {
        "used": [0.5, 1.0],
        "entropy": pytest.approx([1.0, 2.0]),
        "perplexity": pytest.approx([2.0, 4.0]),
    }


# --- the codec --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("halvings", [0, 2])
def test_frames_come_as_tokens_come(kind: str, halvings: int) -> None:
    model = codec(kind, halvings=halvings)
    frames = torch.randn(3, 48, 154)
    ids = model.encode(frames)
    assert ids.shape == (3, 48 // 2**halvings, KINDS[kind])
    past: Past = {}
    piecewise = torch.cat([model.decode(ids[:, at, None], past) for at in range(ids.shape[1])], 1)
    torch.testing.assert_close(piecewise, model.decode(ids), atol=1e-5, rtol=0)
    past, latents = {}, model.encoder(frames)
    pieces = [model.encoder(piece, past) for piece in frames.split(2**halvings, 1)]
    torch.testing.assert_close(torch.cat(pieces, 1), latents, atol=1e-5, rtol=0)
    # nothing looks ahead: neither tokens nor frames depend on what comes later
    later = torch.cat([frames[:, :24], torch.randn(3, 24, 154)], 1)
    assert torch.equal(model.encode(later)[:, : 24 // 2**halvings], ids[:, : 24 // 2**halvings])


def test_a_part_has_its_own_token() -> None:
    """Of lookup-free bits, each place is the token of a part: its last layer sees no channel of another's."""
    model = codec("lfq")
    assert model.encoder.leave.groups == 6
    weight = model.encoder.leave.weight
    assert weight.shape[1] * 6 == 6 * model.config.width


@pytest.mark.parametrize("kind, halvings", [("lfq", 2), ("vq", 0)])
def test_offline_is_streaming_bit_for_bit(walk: Motion, kind: str, halvings: int) -> None:
    used = MotionCodec(codec(kind, halvings=halvings), {}, "")
    tokens = used.encode(walk)
    assert tokens.shape == (len(walk) // 2**halvings, KINDS[kind])
    start = pose154.Place(1.0, 2.0, 0.5)
    whole, stream = used.decode(tokens, start), used.stream(start)
    pieces = [stream.step(row) for row in tokens]
    assert np.array_equal(np.concatenate([piece.rotations for piece in pieces]), whole.rotations)
    assert np.array_equal(np.concatenate([piece.root_position for piece in pieces]), whole.root_position)
    np.testing.assert_allclose(whole.root_position[0, [0, 2]], [1.0, 2.0])


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_depend_neither_on_place_nor_on_other_clips(walk: Motion, kind: str) -> None:
    used = MotionCodec(codec(kind), {}, "")
    clips = [crop(walk, 0, 1.4), moved(walk, 2.2, (3.0, 0.0, -7.0)), crop(walk, 0.7), crop(walk, 0.2, 0.35)]
    together = used.encode_many(clips)
    assert [len(tokens) for tokens in together] == [len(clip) // 4 for clip in clips]
    for clip, tokens in zip(clips, together, strict=True):
        assert np.array_equal(tokens, used.encode(clip))
    assert np.array_equal(together[1], used.encode(walk))
    assert used.encode_many([]) == []


class Veering(nn.Module):
    """A codec of the velocities alone, each a place rounded to 1/100, that turns too far to the left by 0.3 rad/s."""

    config = CodecConfig("rq", places=3, bits=12)

    def __init__(self, pose: np.ndarray) -> None:
        super().__init__()
        self.pose = torch.from_numpy(pose).float()

    def encode(self, frames: torch.Tensor, past: Past) -> torch.Tensor:
        rates = frames[..., 151:].unflatten(1, (-1, 4)).mean(2)
        return (100 * rates).round().long().clamp(-2048, 2047) + 2048

    def decode(self, ids: torch.Tensor, past: Past) -> torch.Tensor:
        rates = (ids - 2048) / 100 + torch.tensor([0.0, 0.0, 0.3])
        rates = rates.repeat_interleave(4, 1)
        return torch.cat([self.pose.expand(*rates.shape[:2], 151), rates], -1)


def test_encoding_makes_good_where_decoding_goes_astray(walk: Motion) -> None:
    values = pose154.encode(walk)
    model = Veering(values[0, :151])
    used = MotionCodec(model, {}, "")  # type: ignore[arg-type]
    values = values[: len(walk) // 4 * 4]
    _, _, there = pose154.way(values, 30.0, pose154.Place())
    blind = model.encode(torch.from_numpy(values)[None], {})[0].numpy()

    def astray(tokens: np.ndarray) -> tuple[float, float]:
        """Metres and radians from where the walk ends."""
        made = model.decode(torch.from_numpy(tokens)[None], {})[0].numpy()
        _, _, place = pose154.way(made, 30.0, pose154.Place())
        return float(np.hypot(place.x - there.x, place.z - there.z)), abs(place.heading - there.heading)

    assert min(astray(blind)) > 0.4
    assert max(astray(used.encode(walk))) < 0.06
    path = used.decode(used.encode(walk)).root_position
    assert np.hypot(path[-1, 0] - there.x, path[-1, 2] - there.z) < 0.1  # it is one frame earlier


def test_what_is_no_token_is_refused(walk: Motion) -> None:
    used = MotionCodec(codec("lfq"), {}, "")
    with pytest.raises(ValueError, match="3 frames; it takes 4"):
        used.encode(Motion(BODY, 30.0, walk.root_position[:3], walk.rotations[:3]))
    with pytest.raises(ValueError, match="60 fps"):
        used.encode(Motion(BODY, 60.0, walk.root_position, walk.rotations))
    for wrong in (
        np.zeros((3, 5), int),
        np.zeros((0, 6), int),
        np.full((3, 6), 32),
        np.full((3, 6), -1),
        np.zeros((3, 6)),
    ):
        with pytest.raises(ValueError, match="tokens of this codec"):
            used.decode(wrong)
    with pytest.raises(ValueError, match="0 to 31"):
        used.stream().step(np.full(6, 32))


@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_tokens_are_text_and_back(steps: int, places: int, seed: int) -> None:
    tokens = np.random.default_rng(seed).integers(0, 2**18, (steps, places))
    assert np.array_equal(from_text(to_text(tokens)), tokens)


@pytest.mark.parametrize(
    "text",
    ["", "<mot> </mot>", "<mot> 1.2 3 </mot>", "<mot> 1.x </mot>", "1.2", "<mot> 9999999 </mot>", "<mot> -1 </mot>"],
)
def test_text_that_is_no_tokens_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"token|step"):
        from_text(text)


@pytest.mark.parametrize("kind", KINDS)
def test_a_codec_learns_and_is_read_again(kind: str, walks_corpus: Path, walk: Motion, tmp_path: Path) -> None:
    task = CodecTask(config(kind), [walks_corpus], batch=8)
    report = Trainer(task, tmp_path / kind, steps=40, validate_every=20, warmup=5, threads=1).run()
    rows = (tmp_path / kind / "log.jsonl").read_text().splitlines()
    scores = [row["validation"]["score"] for row in map(json.loads, rows) if "validation" in row]
    assert scores[-1] < scores[0]
    assert report["best"]["validation"]["used"] > 0
    used = MotionCodec.load(tmp_path / kind / "export")
    assert used.config == task.config
    assert len(used.decode(used.encode(walk))) == len(walk) // 4 * 4


def test_smaller_shares_are_part_of_larger_ones(walks_corpus: Path) -> None:
    from kinema.corpora import Corpus

    corpora = [Corpus.open(walks_corpus)]
    half, all_of_it = (Windows(corpora, ("train",), 4, share) for share in (0.5, 1.0))
    rows = {tuple(all_of_it.frames[first]) for first, _ in all_of_it.clips["train"]}
    assert 0 < len(half.clips["train"]) < len(all_of_it.clips["train"])
    assert all(tuple(half.frames[first]) in rows for first, _ in half.clips["train"])
