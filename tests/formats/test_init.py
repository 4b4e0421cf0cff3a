"""Files by their ending."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest

from kinema.formats import READERS, WRITERS, ending, load, save


@pytest.mark.parametrize("name", ["x.bvh", "x.npz", "X.BVH", "deep/er/x.npz"])
def test_saved_motion_is_loaded_back(tmp_path, walk, name):
    save(walk, tmp_path / name)
    back = load(tmp_path / name)
    order = [back.skeleton.index(joint) for joint in walk.skeleton.names]
    np.testing.assert_allclose(back.joint_positions()[:, order], walk.joint_positions(), atol=1e-6)
    assert len(list((tmp_path / name).parent.iterdir())) == 1


@pytest.mark.parametrize("name", ["x.glb", "x.png", "x.html"])
def test_other_outputs_are_written(tmp_path, walk, name):
    walk.save(tmp_path / name)
    assert (tmp_path / name).stat().st_size > 1000


def test_options_reach_the_reader(tmp_path, walk):
    save(walk, tmp_path / "x.bvh")
    assert load(tmp_path / "x.bvh", unit=0.02).root_position[0, 1] == pytest.approx(2 * walk.root_position[0, 1])


def test_unknown_endings_name_the_known_ones(tmp_path, walk):
    (tmp_path / "x.obj").write_bytes(b"")
    for name in ("x.obj", "x", "x.png"):
        with pytest.raises(ValueError, match=r"cannot read .*\.bvh \.amc \.glb .*\.csv$"):
            load(tmp_path / name)
    with pytest.raises(ValueError, match=r"cannot write \.obj; known are \.bvh \.glb .*\.html$"):
        save(walk, tmp_path / "y.obj")
    assert not (tmp_path / "y.obj").exists()


@pytest.mark.parametrize(
    "name, of_readers, of_writers",
    [
        ("walk.bvh", ".bvh", ".bvh"),
        ("WALK.BVH", ".bvh", ".bvh"),
        ("take.2.fast.glb", ".glb", ".glb"),
        ("a.b/walk", "", ""),
        ("x.smplh.npz", ".npz", ".smplh.npz"),
        ("x.Qpos.NPZ", ".npz", ".qpos.npz"),
        ("x.joints.npy", ".npy", ".joints.npy"),
        ("x.new.npz", ".npz", ".npz"),
        ("x.npz.joints.npy", ".npy", ".joints.npy"),
        (".bvh", "", ""),
    ],
)
def test_the_longest_known_ending_counts(name, of_readers, of_writers):
    assert (ending(name, READERS), ending(name, WRITERS)) == (of_readers, of_writers)


@pytest.mark.parametrize("table", [READERS, WRITERS], ids=["readers", "writers"])
def test_every_ending_has_its_function(table):
    for module, function in table.values():
        assert callable(getattr(importlib.import_module(f"kinema.formats.{module}"), function))


@pytest.mark.parametrize("ending", [".bvh", ".npz", ".glb", ".png", ".html"])
def test_one_frame_and_names_that_are_no_text_can_be_written(tmp_path, walk, ending):
    metadata = {"text": "\udcff walks", "source": "caf\udce9.bvh"}  # as Python reads names of other encodings
    one = walk.replace(root_position=walk.root_position[:1], rotations=walk.rotations[:1], metadata=metadata)
    path = tmp_path / "a b ü" / f"歩く{ending}"
    save(one, path)
    if ending in (".bvh", ".npz"):
        assert len(load(path)) == 1
    else:
        assert path.stat().st_size > 1000


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"walk\.bvh: there is no such file"):
        load(tmp_path / "walk.bvh")
    (tmp_path / "folder.bvh").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load(tmp_path / "folder.bvh")


def test_formats_need_none_of_the_heavy_libraries():
    code = (
        "import sys, importlib, kinema.formats as formats;"
        "[importlib.import_module(f'kinema.formats.{module}') for module, _ in formats.READERS.values()];"
        "[importlib.import_module(f'kinema.formats.{module}') for module, _ in formats.WRITERS.values()];"
        "heavy = ('torch', 'scipy', 'matplotlib', 'transformers', 'PIL', 'mujoco', 'imageio_ffmpeg', 'rich');"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
