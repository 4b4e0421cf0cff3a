"""Requests: what they take, and the one sentence with which they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kinema.conditions.request import JointTarget, PathTarget, PoseTarget, Request, pose_target, read_targets
from kinema.motion import Motion


def test_one_length_serves_all_prompts() -> None:
    request = Request(("a person walks", "a person waves"), 3)
    assert request.prompts == ("a person walks", "a person waves")
    assert request.seconds == (3.0, 3.0)
    assert Request(["x", "y"], np.array([1, 2])).seconds == (1.0, 2.0)
    assert Request("x", np.float32(2)).seconds == (2.0,)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"text": "   "}, "empty"),
        ({"text": "a" * 10_000}, "10000 characters"),
        ({"text": ()}, "prompts"),
        ({"text": "walks \udcff"}, "UTF-8"),
        ({"text": "x", "seconds": 0}, "at least 0.5"),
        ({"text": "x", "seconds": 1000}, "at most 300"),
        ({"text": "x", "seconds": float("nan")}, "at least"),
        ({"text": ("x", "y", "z"), "seconds": (1, 2)}, "3 prompts need 1 or 3 lengths"),
        ({"text": "x", "samples": 0}, "samples"),
        ({"text": "x", "seed": -1}, "seed"),
        ({"text": "x", "targets": (JointTarget(1.0, "tail", (0, 0, 0)),)}, "no joint 'tail'"),
        ({"text": "x", "seconds": 2, "targets": (PathTarget(2.5, (0, 0)),)}, "time"),
        ({"text": "x", "targets": (PathTarget(1.0, (float("inf"), 0)),)}, "within 1000 m"),
        ({"text": "x", "targets": (PoseTarget(1.0, np.zeros((3, 4)), np.zeros(3)),)}, "22, 4"),
    ],
)
def test_bad_requests_get_one_sentence(fields: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        Request(**fields)
    assert "\n" not in str(caught.value)


def test_refusing_names_the_field(walk: Motion) -> None:
    Request("x", seconds=2).refuse_all_but({"text", "seconds"}, "it")
    with pytest.raises(ValueError, match="it cannot follow 'past'"):
        Request("x", past=walk).refuse_all_but({"text", "seconds"}, "it")


def test_targets_from_a_file(tmp_path: Path, walk: Motion) -> None:
    walk.save(tmp_path / "pose.bvh")
    content = {
        "path": [[0, 0, 0], [2, 0.5, 1.5]],
        "joints": [{"time": 1.0, "joint": "left_wrist", "position": [0.3, 1.2, 0.4]}],
        "poses": [{"time": 1.5, "file": "pose.bvh", "frame": 7}],
    }
    (tmp_path / "targets.json").write_text(json.dumps(content))
    path_a, path_b, joint, pose = read_targets(tmp_path / "targets.json")
    assert (path_a, path_b) == (PathTarget(0.0, (0.0, 0.0)), PathTarget(2.0, (0.5, 1.5)))
    assert joint == JointTarget(1.0, "left_wrist", (0.3, 1.2, 0.4))
    assert isinstance(pose, PoseTarget)
    np.testing.assert_allclose(np.abs(np.sum(pose.rotations * pose_target(0, walk, 7).rotations, -1)), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("not json", "not JSON"),
        ("[]", "must be an object"),
        ('{"paths": []}', "must be an object"),
        ('{"path": [[1, 2]]}', "entry 0"),
        ('{"joints": [{"time": 1, "joint": "tail", "position": [0, 0, 0]}]}', "no joint 'tail'"),
        ('{"poses": [{"time": 1, "file": "../secret.bvh"}]}', "beside"),
    ],
)
def test_bad_target_files_get_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "targets.json").write_text(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        read_targets(tmp_path / "targets.json")
    assert "\n" not in str(caught.value)
