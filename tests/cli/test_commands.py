"""What each command does for a user."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kinema import load
from kinema.cli import COMMANDS
from kinema.formats import READERS, WRITERS
from kinema.formats.bvh import write_bvh
from kinema.models.registry import MODELS
from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot


def numbers(motion: Motion) -> np.ndarray:
    return np.concatenate([motion.root_position.ravel(), motion.rotations.ravel()])


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command(ask, kinema):
    outcome = kinema(*ask)
    assert outcome.status == 0
    assert all(f"  {name} " in outcome.out for name in COMMANDS)


@pytest.mark.parametrize(
    "command, options",
    [
        (
            "generate",
            ["--seconds", "--path", "--past", "--seed", "-n", "--samples", "-o", "--out", "--model", "--chain"],
        ),
        ("generate", ["--guidance", "--steps", "--no-foot-lock", "--character"]),
        (
            "convert",
            ["IN", "OUT", "--to", "--fps", "--body", "--character", "--unit", "--up", "--input-fps", "--robot"],
        ),
        ("retarget", ["IN", "CHARACTER", "OUT", "--joints", "--character-joints", "--no-keep-contacts", "--animation"]),
        ("edit", ["resample", "crop", "mirror", "join", "loop", "smooth", "lock-feet", "ground", "place", "path"]),
        ("edit path", ["IN", "--points", "-o"]),
        ("edit resample", ["IN", "--fps", "-o"]),
        ("edit crop", ["IN", "--start", "--end", "-o"]),
        ("edit join", ["IN [IN ...]", "--blend", "-o"]),
        ("edit place", ["IN", "--position", "--heading", "-o"]),
        ("describe", ["IN", "--model"]),
        ("continue", ["IN", "--seconds", "--text", "--seed", "--model", "-o"]),
        ("fill", ["BEFORE AFTER", "--seconds", "--text", "--seed", "--model", "-o"]),
        ("encode", ["IN", "--codec", "-o"]),
        ("decode", ["TOKENS", "--codec", "-o"]),
        ("info", ["FILE|MODEL"]),
        ("show", ["FILE", "-o", "--out"]),
        ("corpus", ["build", "stats", "caption"]),
        ("corpus build", ["--captions", "--licence", "--source", "--hold-out", "-o"]),
        ("corpus stats", ["CORPUS", "-o"]),
        ("corpus caption", ["FOLDER|FILE", "-o"]),
        ("train", ["fracmogen", "codec", "language", "evaluator"]),
        ("train language", ["--corpus", "--stage", "--codec", "--start", "--backbone", "--width", "--lora", "-o"]),
        ("train codec", ["--corpus", "--quantiser", "--places", "--bits", "--halvings", "--share", "-o"]),
        ("train fracmogen", ["--corpus", "--minutes", "--steps", "--seed", "--batch", "-o"]),
        ("train evaluator", ["--corpus", "--minutes", "--steps", "--seed", "--batch", "-o"]),
        ("evaluate", ["MODEL", "--corpus", "--split", "--repeats", "-o"]),
        ("bench", ["scaling"]),
        ("bench scaling", ["--corpus", "--codec", "--shares", "--sizes", "--seeds", "--steps", "--minutes", "--batch"]),
        ("systems", []),
    ],
)
def test_every_command_has_help(command, options, kinema):
    outcome = kinema(*command.split(), "--help")
    assert outcome.status == 0
    assert f"usage: kinema {command}" in outcome.out
    assert [option for option in options if option not in outcome.out] == []


def test_the_help_of_convert_names_every_format(kinema):
    words = kinema("convert", "--help").out.split()
    assert {ending for ending in {**READERS, **WRITERS} if ending not in words and f"{ending}." not in words} == set()


def test_version(kinema):
    from kinema import __version__

    assert kinema("--version").out == f"{__version__}\n"


def test_small_commands_do_not_load_what_is_slow(place):
    slow = (
        "{'torch', 'scipy', 'matplotlib', 'transformers', 'pyarrow', 'PIL', 'accelerate', 'mujoco', 'imageio_ffmpeg'}"
    )
    script = (
        "import sys; from kinema.cli import main\n"
        "main(['--help']); assert not {'tyro', 'rich', 'numpy'} & set(sys.modules)\n"
        "for line in (['convert', 'walk.bvh', 'x.glb'], ['convert', 'x.glb', 'y.bvh'], ['info', 'x.glb'],\n"
        "             ['retarget', 'walk.bvh', 'x.glb', 'y.glb'], ['edit', 'loop', 'walk.bvh', '-o', 'y.npz'],\n"
        "             ['joints', 'walk.bvh'], ['edit', '--help'], ['convert', 'walk.bvh', 'y.smplh.npz'],\n"
        "             ['systems'], ['generate', ''], ['generate', 'x', '--path', 'none.json']):\n"
        f"    main(line); assert not {slow} & set(sys.modules), line\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ending",
    [
        ".bvh",
        ".npz",
        ".glb",
        ".png",
        ".html",
        ".GLB",
        ".smplh.npz",
        ".smplx.npz",
        ".npy",
        ".joints.npy",
        ".gif",
        ".mp4",
    ],
)
def test_convert_writes_every_format(ending, kinema, place):
    outcome = kinema("convert", "walk.bvh", f"deep/er/walk{ending}")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == f"deep/er/walk{ending}: 3.00 s, 90 frames at 30 fps, 22 joints\n"
    assert (place / f"deep/er/walk{ending}").stat().st_size > 1000


def test_convert_keeps_the_motion(kinema, place, walk):
    kinema("convert", "walk.bvh", "walk.npz")
    kinema("convert", "walk.npz", "again.bvh")
    again = load(place / "again.bvh")
    order = [again.skeleton.index(name) for name in walk.skeleton.names]
    np.testing.assert_allclose(again.joint_positions()[:, order], walk.joint_positions(), atol=1e-4)


def test_convert_resamples_retargets_and_takes_a_unit(kinema, place, walk):
    kinema("convert", "walk.bvh", "a.npz", "--fps", "60", "--body")
    motion = load(place / "a.npz")
    assert (motion.fps, motion.skeleton) == (60, BODY)
    kinema("convert", "walk.bvh", "b.npz", "--unit", "in")
    kinema("convert", "walk.bvh", "c.npz", "--unit", "0.0254")
    np.testing.assert_allclose(load(place / "b.npz").root_position, walk.root_position * 2.54, atol=1e-5)
    np.testing.assert_array_equal(load(place / "c.npz").root_position, load(place / "b.npz").root_position)


def test_info_tells_what_a_file_holds(kinema, place, walk):
    out = kinema("info", "walk.bvh").out
    height = np.median(np.ptp(walk.joint_positions()[..., 1], axis=1))
    for fact in (
        "3.00 s, 90 frames at 30 fps",
        "pelvis, left_hip",
        "22 of 22 body joints",
        "0.01 m (guessed)",
        f"{height:.2f} m from",
    ):
        assert fact in out
    walk.replace(metadata={"licence": "CC-BY-4.0", "source": "the studio"}).save(place / "x.glb")
    out = kinema("info", "x.glb").out
    assert "CC-BY-4.0" in out
    assert "the studio" in out


def test_show_makes_a_page_or_a_picture(kinema, place):
    from PIL import Image

    outcome = kinema("show", "walk.bvh")
    assert outcome.out == "out/walk.html\n"
    assert "walk.bvh" in (place / "out/walk.html").read_text()
    assert kinema("show", "walk.bvh", "walk.bvh", "-o", "two.png", "--frames", "3").status == 0
    assert kinema("show", "walk.bvh", "-o", "one.png", "--frames", "3").status == 0
    with Image.open(place / "two.png") as two, Image.open(place / "one.png") as one:
        assert two.height == 2 * one.height


def test_info_without_a_name_lists_the_licences(kinema):
    out = kinema("info").out
    assert "judge\nlicence  CC BY-NC 4.0\nsource   a studio\n" in out
    assert "Apache-2.0" in out
    assert "CC0-1.0" in out
    assert "none, untrained" in out


def test_info_of_a_model(kinema, weights):
    for name in ("fracmogen", weights / "fracmogen"):
        out = kinema("info", name).out
        assert "CC0-1.0" in out
        assert "32" in out  # width
        assert "MB" in out


def test_systems_gives_the_command_of_those_that_work(kinema):
    lines = kinema("systems").out.splitlines()
    assert len(lines) == 19
    assert sum("kinema generate" in line for line in lines) == len(MODELS)
    commands = [line.partition(" kinema ")[2].split() for line in lines]
    assert {words[0] for words in commands if words} <= set(COMMANDS)
    assert all(words or line.endswith("planned") for words, line in zip(commands, lines, strict=True))


# --- generate ---------------------------------------------------------------------------------------------------------


def test_generate_writes_samples_that_differ_and_repeats_them_by_seed(kinema, place):
    outcome = kinema("generate", "a person walks", "-n", "2", "--seconds", "2", "-o", "new/x.npz")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[:2] == ["new/x-1.npz", "new/x-2.npz"]
    assert lines[2].startswith("2.0 s of motion")
    first, second = (load(place / line) for line in lines[:2])
    assert first.skeleton == BODY
    assert first.seconds == pytest.approx(2.0)
    assert first.metadata["text"] == "a person walks"
    assert first.metadata["licence"] == "CC0-1.0"
    assert np.abs(numbers(first) - numbers(second)).max() > 0.01
    kinema("generate", "a person walks", "--seconds", "2", "-o", "same.npz")
    np.testing.assert_allclose(numbers(load(place / "same.npz")), numbers(first), atol=1e-5)
    kinema("generate", "a person walks", "--seconds", "2", "--seed", "1", "-o", "other.npz")
    assert np.abs(numbers(load(place / "other.npz")) - numbers(first)).max() > 0.01


def test_generate_names_the_file_after_the_prompt(kinema, place):
    assert kinema("generate", "A person: walks/../backwards!").out.startswith("out/a-person-walks-backwards.glb\n")
    assert kinema("generate", "歩く").out.startswith("out/motion.glb\n")
    assert (place / "out" / "motion.glb").exists()


def test_generate_dresses_the_motion_in_a_character(kinema, place):
    kinema("convert", "walk.bvh", "hero.glb")
    outcome = kinema("generate", "x", "--seconds", "1", "-n", "2", "--character", "hero.glb", "-o", "out/x.glb")
    assert outcome.out.startswith("out/x-1.glb\nout/x-2.glb\n")
    assert sorted(path.name for path in (place / "out").iterdir()) == ["x-1.glb", "x-2.glb"]
    assert "x, 0.97 s" in kinema("info", "out/x-1.glb").out  # beside the animation that hero.glb has
    motion = load(place / "out/x-2.glb")
    assert (len(motion), motion.skeleton.names) == (30, load(place / "hero.glb").skeleton.names)


def test_samples_in_double_endings_are_numbered_before_them(kinema, place):
    kinema("generate", "x", "--seconds", "1", "-n", "2", "-o", "x.smplh.npz")
    assert (place / "x-2.smplh.npz").exists()


def test_generate_takes_a_timeline_targets_and_a_past(kinema, place):
    targets = {
        "path": [[0, 0, 0], [4, 1, 2]],
        "joints": [{"time": 2, "joint": "left_wrist", "position": [0.5, 1.2, 1.0]}],
        "poses": [{"time": 3, "file": "walk.bvh", "frame": 10}],
    }
    (place / "t.json").write_text(json.dumps(targets))
    outcome = kinema("generate", "x", "y", "--seconds", "2", "3", "--path", "t.json", "-o", "x.npz")
    assert outcome.status == 0
    motion = load(place / "x.npz")
    assert motion.seconds == pytest.approx(5.0)
    wrist = motion.joint_positions()[60, BODY.index("left_wrist")]
    assert np.linalg.norm(wrist - targets["joints"][0]["position"]) < 0.03

    assert kinema("generate", "x", "--past", "walk.bvh", "--seconds", "2", "-o", "y.npz").status == 0
    last = load(place / "walk.bvh").root_position[-1]
    assert np.linalg.norm(load(place / "y.npz").root_position[0] - last) < 0.2


def test_generate_obeys_its_settings(kinema, place):
    def made(*options: str) -> np.ndarray:
        assert kinema("generate", "x", "--seconds", "2", "-o", "x.npz", *options).status == 0
        return numbers(load(place / "x.npz"))

    usual = made()
    np.testing.assert_array_equal(usual, made("--chain", "3-2-1-0"))
    for options in (["--chain", "3-0"], ["--guidance", "1"], ["--steps", "2"]):
        assert np.abs(usual - made(*options)).max() > 1e-4, options


# --- corpora and training ---------------------------------------------------------------------------------------------


@pytest.fixture
def mocap(place: Path, walk: Motion) -> Path:
    """Sixty walks that differ, one of them broken, with captions."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(60):
        rotations = walk.rotations.copy()
        for name in ("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "spine1"):
            joint = BODY.index(name)
            turn = rot.from_axis_angle(rot.normalize(rng.normal(size=3)), rng.normal(0, 0.5))
            rotations[:, joint] = rot.multiply(rotations[:, joint], turn)
        write_bvh(walk.replace(rotations=rotations), place / "mocap" / f"walk_{number:03}.bvh")
        rows.append({"motion": f"walk_{number:03}.bvh", "text": f"a person walks in manner {number}."})
    (place / "mocap" / "walk_000.bvh").write_text("broken")
    (place / "mocap" / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place / "mocap"


def test_a_corpus_from_files_to_a_trained_model(mocap, kinema, place):
    terms = ["--licence", "CC0-1.0", "--source", "made by a test"]
    outcome = kinema("corpus", "build", "mocap", *terms, "--hold-out", "walk_00[12]", "-o", "corpora/walks")
    assert outcome.status == 0
    assert "corpora/walks: 59 clips, 0.05 h, 59 captions" in outcome.out
    assert "compositional 2" in outcome.out
    assert "rejected: 1 motions (unreadable 1)" in outcome.out

    outcome = kinema("corpus", "stats", "corpora/walks", "-o", "walks.png")
    assert outcome.status == 0
    assert "59 clips" in outcome.out
    assert (place / "walks.png").read_bytes().startswith(b"\x89PNG")
    assert "CC0-1.0" in kinema("info", "corpora/walks").out

    train = ["train", "fracmogen", "--corpus", "corpora/walks", "--steps", "1", "--batch", "4", "-o", "runs/x"]
    outcome = kinema(*train)
    assert outcome.status == 0
    assert outcome.out.startswith("runs/x/export: 1 steps")
    assert "CC0-1.0" in kinema("info", "runs/x/export").out
    assert kinema("generate", "walk", "--seconds", "1", "--model", "runs/x/export", "-o", "x.npz").status == 0
    assert len(load(place / "x.npz")) == 30
    assert "other settings" in kinema(*train[:-1], "runs/x", "--seed", "7").err
