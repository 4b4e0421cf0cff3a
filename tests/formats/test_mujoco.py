"""MJCF robots and qpos files, against MuJoCo itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kinema
from kinema.formats.mjcf import read_robot
from kinema.formats.mujoco import read_qpos, write_qpos
from kinema.motion import Motion
from kinema.motion.robot import hinge_angles

mujoco: Any = pytest.importorskip("mujoco", reason="MuJoCo is not installed; pip install 'kinema[robots]'")

# a torso with everything that MJCF offers to place a body: Euler angles in degrees, classes, hinges off the origin,
# several of them to a body, one with a reference angle, a link without a joint, simple geoms and such from files
FIGURE = """
<mujoco model="figure">
  <compiler angle="degree" eulerseq="zyx" meshdir="nowhere"/>
  <option timestep="0.001"/>
  <default>
    <joint limited="true" damping="1"/>
    <geom material="skin"/>
    <default class="visual"><geom type="mesh" contype="0" conaffinity="0"/></default>
    <default class="hinge"><joint type="hinge" axis="0 2 0" range="-90 90"/></default>
  </default>
  <asset><mesh name="torso" file="torso.stl"/><material name="skin"/><texture name="t" file="/etc/passwd"/></asset>
  <worldbody>
    <light pos="0 0 3"/>
    <geom type="plane" size="1 1 1"/>
    <body name="torso" pos="0 0 1.2" quat="0.9 0.1 0.2 0.3">
      <freejoint name="root"/>
      <geom class="visual" mesh="torso"/>
      <geom type="capsule" fromto="0 0 0 0 0 0.2" size="0.1"/>
      <site name="imu"/>
      <body name="head" pos="0 0 0.5"><geom size="0.1"/></body>
      <body name="left_arm" pos="0 0.2 0.4" euler="30 20 -40">
        <joint name="arm_x" pos="0.01 0.02 0.03" axis="2 1 1" range="-80 60"/>
        <joint name="arm_z" pos="0.05 0 0.03" axis="0 -1 1" range="-80 60"/>
        <geom type="box" size="0.1 0.2 0.3" pos="0.1 0 0" euler="10 20 30"/>
        <body name="left_hand" pos="0 0 -0.3" axisangle="1 0 0 30">
          <joint name="bend" class="hinge" ref="20" range="-100 140"/>
          <joint class="hinge" axis="1 0 0" limited="false"/>
        </body>
      </body>
      <body pos="0 -0.2 0.4"><joint name="other" class="hinge"/><geom type="cylinder" size="0.1 0.2"/></body>
    </body>
  </worldbody>
  <actuator><motor joint="bend"/></actuator>
  <keyframe><key qpos="1 2 3"/></keyframe>
</mujoco>
"""


@pytest.fixture
def figure(tmp_path: Path) -> Path:
    path = tmp_path / "figure.xml"
    path.write_text(FIGURE)
    return path


def oracle_model(text: str) -> Any:
    """The figure as MuJoCo reads it by itself; what needs files or masses is taken out by hand."""
    text = re.sub(r"<asset>.*?</asset>|<geom class=\"visual\"[^>]*/>|<keyframe>.*?</keyframe>", "", text, flags=re.S)
    for old, new in (
        ('material="skin"', ""),
        (' type="mesh"', ""),
        ("<compiler", '<compiler boundmass="1" boundinertia="1"'),
    ):
        text = text.replace(old, new)
    return mujoco.MjModel.from_xml_string(text)


def random_rows(model: Any, frames: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(frames, model.nq))
    rows[:, 3:7] /= np.linalg.norm(rows[:, 3:7], axis=1, keepdims=True)
    for joint in range(1, model.njnt):
        low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-1.5, 1.5)
        rows[:, model.jnt_qposadr[joint]] = rng.uniform(low, high, frames)
    return rows


def save_csv(path: Path, rows: np.ndarray, before: str = "") -> Path:
    path.write_text(before + "".join(",".join(repr(float(value)) for value in row) + "\n" for row in rows))
    return path


def largest_deviation(model: Any, rows: np.ndarray, motion: Motion) -> float:
    """Metres between the places of hinges and links in MuJoCo and in the motion, (x, y, z) here being (y, z, x)."""
    data, positions, worst = mujoco.MjData(model), motion.joint_positions(), 0.0
    for row, ours in zip(rows, positions, strict=True):
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        theirs, body = [], 0
        for body in range(1, model.nbody):
            first, count = model.body_jntadr[body], model.body_jntnum[body]
            hinges = [joint for joint in range(first, first + count) if model.jnt_type[joint] == 3]
            theirs += [data.xanchor[joint] for joint in hinges] or [data.xpos[body]]
        worst = max(worst, float(np.abs(np.array(theirs)[:, [1, 2, 0]] - ours).max()))
    return worst


def test_poses_are_those_of_mujoco(figure: Path, tmp_path: Path) -> None:
    model = oracle_model(FIGURE)
    rows = random_rows(model, 50)
    motion = read_qpos(save_csv(tmp_path / "a.csv", rows), robot=figure, fps=50)
    assert motion.fps == 50
    assert largest_deviation(model, rows, motion) < 1e-9


def test_what_a_robot_is(figure: Path) -> None:
    robot = read_robot(figure)
    assert robot.name == "figure"
    assert robot.skeleton.names == ("torso", "head", "arm_x", "left_arm", "bend", "left_hand", "body5")
    assert robot.skeleton.parents == (-1, 0, 0, 2, 3, 4, 0)
    assert [hinge.name for hinge in robot.hinges] == ["arm_x", "arm_z", "bend", "left_hand_2", "other"]
    assert np.allclose(np.degrees(robot.limits[0]), (-80, 60))
    assert np.allclose(robot.limits[3], (-np.inf, np.inf))
    assert np.degrees(robot.hinges[2].default) == pytest.approx(20)
    assert robot.height == pytest.approx(1.2)
    assert len(robot.contact_joints) == 2 + 1 + 8 + 16  # capsule, sphere, box, cylinder; not what is drawn from files


def test_contact_spheres_are_where_the_geoms_end(tmp_path: Path) -> None:
    path = tmp_path / "r.xml"
    path.write_text(
        '<mujoco><worldbody><body pos="0 0 1"><freejoint/><body name="foot" pos="0 0 -0.9"><joint axis="0 1 0"/>'
        '<geom type="capsule" fromto="-0.1 0.02 -0.05 0.2 0.02 -0.05" size="0.03"/></body></body></worldbody></mujoco>'
    )
    robot = read_robot(path)
    assert np.allclose(robot.contact_points, [[0.02, -0.05, 0.2], [0.02, -0.05, -0.1]])
    assert robot.name == "r"
    assert np.allclose(robot.contact_radii, 0.03)
    assert robot.hinges[0].axis == pytest.approx((1, 0, 0))


def test_the_unitree_g1_alone_and_with_its_meshes(data_dir: Path, tmp_path: Path) -> None:
    original = data_dir / "robots" / "unitree_g1" / "g1_29dof.xml"
    alone = tmp_path / "g1.xml"
    alone.write_bytes(original.read_bytes())
    model = mujoco.MjModel.from_xml_path(str(original))
    robot = read_robot(alone)
    assert [hinge.name for hinge in robot.hinges] == [model.joint(joint).name for joint in range(1, model.njnt)]
    assert np.allclose(robot.limits, model.jnt_range[1:])
    rows = random_rows(model, 100)
    motion = read_qpos(save_csv(tmp_path / "a.csv", rows), robot=robot, fps=30)
    assert largest_deviation(model, rows, motion) < 1e-9


def test_hinges_that_only_fill_qpos_keep_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "r.xml"
    stray = '<body pos="0 0 20"><joint name="filler" axis="1 0 0"/><geom size="1"/></body>'
    text = mjcf(f'<body name="base"><freejoint/><geom size="1"/>{ARM}</body>{stray}').replace(
        "<joint", '<joint armature="1"'
    )
    path.write_text(text)
    model = mujoco.MjModel.from_xml_string(
        text.replace("<mujoco>", '<mujoco><compiler boundmass="1" boundinertia="1"/>')
    )
    rows = random_rows(model, 5)
    robot = read_robot(path)
    motion = read_qpos(save_csv(tmp_path / "a.csv", rows), robot=robot, fps=30)
    assert robot.skeleton.names == ("base", "a", "body3")
    assert np.allclose(motion.joint_positions()[:, 0, [2, 0, 1]], rows[:, :3])
    assert np.allclose(hinge_angles(robot, motion), rows[:, 7:])


@pytest.mark.parametrize("name", ["a.csv", "a.qpos.npz"])
def test_round_trip(figure: Path, tmp_path: Path, name: str) -> None:
    model = oracle_model(FIGURE)
    rows = random_rows(model, 40)
    motion = read_qpos(save_csv(tmp_path / "in.csv", rows), robot=figure, fps=29.97)
    kinema.formats.save(motion, tmp_path / name, robot=figure)
    again = kinema.formats.load(tmp_path / name, robot=figure)
    assert again.fps == pytest.approx(29.97)
    assert np.abs(again.joint_positions() - motion.joint_positions()).max() < 1e-7
    robot = read_robot(figure)
    assert np.abs(hinge_angles(robot, again) - rows[:, 7:]).max() < 1e-8


def test_written_csv_is_read_by_numpy_and_names_its_columns(figure: Path, tmp_path: Path) -> None:
    rows = random_rows(oracle_model(FIGURE), 5)
    motion = read_qpos(save_csv(tmp_path / "in.csv", rows), robot=figure, fps=30)
    write_qpos(motion, tmp_path / "out.csv", robot=figure)
    found = np.loadtxt(tmp_path / "out.csv", delimiter=",")
    assert np.allclose(found[:, :3], rows[:, :3])
    assert np.allclose(np.abs(np.sum(found[:, 3:7] * rows[:, 3:7], -1)), 1)
    assert np.allclose(found[:, 7:], rows[:, 7:])
    rate, columns, *_ = (tmp_path / "out.csv").read_text().splitlines()
    assert rate == "# fps 30, quaternion wxyz"
    assert columns == "# root_x,root_y,root_z,root_qw,root_qx,root_qy,root_qz,arm_x,arm_z,bend,left_hand_2,other"


def test_quaternions_in_the_order_of_other_tools(figure: Path, tmp_path: Path) -> None:
    rows = random_rows(oracle_model(FIGURE), 5)
    moved = np.concatenate([rows[:, :3], rows[:, [4, 5, 6, 3]], rows[:, 7:]], 1)
    usual = read_qpos(save_csv(tmp_path / "a.csv", rows), robot=figure, fps=30)
    other = read_qpos(save_csv(tmp_path / "b.csv", moved), robot=figure, fps=30, quaternion="xyzw")
    assert np.allclose(usual.joint_positions(), other.joint_positions())
    write_qpos(usual, tmp_path / "c.csv", robot=figure, quaternion="xyzw")
    assert np.allclose(np.abs(np.loadtxt(tmp_path / "c.csv", delimiter=",")[:, 3:7]), np.abs(moved[:, 3:7]))
    # the file says its order
    assert np.allclose(read_qpos(tmp_path / "c.csv", robot=figure).joint_positions(), usual.joint_positions())
    with pytest.raises(ValueError, match="wxyz or xyzw"):
        write_qpos(usual, tmp_path / "d.csv", robot=figure, quaternion="xwyz")


def test_a_header_that_names_the_hinges_puts_them_in_order(figure: Path, tmp_path: Path) -> None:
    rows = random_rows(oracle_model(FIGURE), 5)
    names = [hinge.name for hinge in read_robot(figure).hinges]
    header = ",".join(["x", "y", "z", "qw", "qx", "qy", "qz", *reversed(names)]) + "\n"
    swapped = np.concatenate([rows[:, :7], rows[:, :6:-1]], 1)
    motion = read_qpos(save_csv(tmp_path / "a.csv", swapped, header), robot=figure, fps=30)
    usual = read_qpos(save_csv(tmp_path / "b.csv", rows, "t,u\r\n# fps: 30\n\n"), robot=figure)
    assert usual.fps == 30
    assert np.allclose(motion.joint_positions(), usual.joint_positions())


@pytest.mark.parametrize("key", ["fps", "frequency"])
def test_npz_of_other_tools(figure: Path, tmp_path: Path, key: str) -> None:
    rows = random_rows(oracle_model(FIGURE), 5)
    np.savez(tmp_path / "a.npz", qpos=rows.astype(np.float32), **{key: np.array([40])})  # type: ignore[arg-type]
    motion = kinema.formats.load(tmp_path / "a.npz", robot=figure)
    assert motion.fps == 40
    assert read_qpos(tmp_path / "a.npz", robot=figure, fps=20).fps == 20


def test_a_persons_motion_goes_onto_the_robot_as_it_is_written(data_dir: Path, walk: Motion, tmp_path: Path) -> None:
    path = data_dir / "robots" / "unitree_g1" / "g1_29dof.xml"
    walk.save(tmp_path / "walk.csv", robot=path)
    model = mujoco.MjModel.from_xml_path(str(path))
    rows = np.loadtxt(tmp_path / "walk.csv", delimiter=",")
    assert rows.shape == (len(walk), model.nq)
    assert (rows[:, 7:] >= model.jnt_range[1:, 0]).all()
    assert (rows[:, 7:] <= model.jnt_range[1:, 1]).all()
    assert rows[-1, 0] - rows[0, 0] > 1.5  # along MuJoCo's +X
    data = mujoco.MjData(model)
    soles = [geom for geom in range(model.ngeom) if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_SPHERE]
    lowest = []
    for row in rows:
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        lowest.append(min(data.geom_xpos[geom][2] - model.geom_size[geom][0] for geom in soles))
    assert min(lowest) > -1e-6
    assert max(lowest) < 0.02


def mjcf(inside: str) -> str:
    return f"<mujoco><worldbody>{inside}</worldbody></mujoco>"


ARM = '<body name="a"><joint name="j" axis="0 1 0"/></body>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not XML"),
        ("<mujoco><worldbody>", "not XML"),
        ("\x00\x01", "not XML"),
        ("<robot name='urdf'/>", "begins with <robot>"),
        ("<?xml version='1.0' encoding='klingon'?><mujoco/>", "not XML"),
        ('<!DOCTYPE x [<!ENTITY a "aaaa">]><mujoco>&a;</mujoco>', "DOCTYPE"),
        ('<mujoco><include file="/etc/passwd"/></mujoco>', "<include> is not followed"),
        (mjcf('<replicate count="1000000000"><body/></replicate>'), "<replicate> is not followed"),
        (mjcf("<body>" * 10_000 + "</body>" * 10_000), "more than 200 nested"),
        (mjcf("<body/>" * 30_000), "5000 elements"),
        (mjcf(ARM), "no body with a free joint"),
        (mjcf(f"<body><freejoint/>{ARM}</body><body><freejoint/></body>"), "2 bodies with a free joint"),
        (mjcf("<body><freejoint/></body>"), "0 hinges"),
        (mjcf(f'<body><freejoint/><body><joint name="b" type="ball"/></body>{ARM}</body>'), "'b' is a ball or slide"),
        (mjcf(f'<body><freejoint/><body><joint type="slide"/></body>{ARM}</body>'), "ball or slide"),
        (
            mjcf(ARM.replace('"j"', '"k"').replace('"a"', '"b"') + f"<body><freejoint/>{ARM}</body>"),
            "'k' stands before",
        ),
        (mjcf(f'<body><freejoint/><joint name="k"/>{ARM}</body>'), "MuJoCo refuses it"),
        (mjcf(f'<body pos="nan 0 0"><freejoint/>{ARM}</body>'), "refuses|not those of a robot"),
        (mjcf(f'<body pos="1e308 0 0"><freejoint/>{ARM}</body>'), "not those of a robot"),
        (mjcf(f'<body pos="x"><freejoint/>{ARM}</body>'), "MuJoCo refuses it"),
        (mjcf('<body><freejoint/><body><joint axis="0 0 0"/></body></body>'), "MuJoCo refuses it"),
        (mjcf(f'<body childclass="none"><freejoint/>{ARM}</body>'), "MuJoCo refuses it"),
    ],
)
def test_what_is_no_robot_is_refused_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "robot.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_robot(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "robot.xml"
    with open(path, "wb") as file:
        file.truncate(10_000_000)
    with pytest.raises(ValueError, match="larger than 4 MB"):
        read_robot(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no rows"),
        ("# fps 30\n", "holds no rows"),
        ("1,2,3\n", "line 1 has 3 numbers; the robot needs 12"),
        ("0,0,0,1,0,0,0,0,0,0,0,0\n0,0\n", "line 2 has 2"),
        ("a,b\n0,0,0,1,0,0,0,0,0,0,0,0\nx,y\n", "line 3 is not a row of numbers"),
        ("a,b\nc,d\n", "line 2 is not a row"),
        ("0;0;0;1;0;0;0;0;0;0;0;0\n" * 2, "line 2 is not a row of numbers between commas"),
        ("0,0,0,1,0,0,0,nan,0,0,0,0\n", "line 1 holds a number that is not finite"),
        ("0,0,0,1,0,0,0,1e999,0,0,0,0\n", "line 1 holds a number that is not finite"),
        ("0,0,1e308,1,0,0,0,0,0,0,0,0\n", "frame 0 holds numbers"),
        ("0,0,0,0,0,0,0,0,0,0,0,0\n", "frame 0: columns 4 to 7 must be a unit quaternion"),
        ("\x00\xff\n", "holds no rows"),
        ("1" * 100_000, "line 1 h"),
    ],
)
def test_damaged_csv_is_refused_in_a_sentence(figure: Path, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=message) as error:
        read_qpos(path, robot=figure, fps=30)
    assert str(error.value).startswith(str(path))


def test_what_must_be_given_is_asked_for(figure: Path, tmp_path: Path, walk: Motion) -> None:
    rows = random_rows(oracle_model(FIGURE), 3)
    path = save_csv(tmp_path / "a.csv", rows)
    with pytest.raises(ValueError, match="name the robot's MJCF file as robot"):
        read_qpos(path, fps=30)
    with pytest.raises(ValueError, match="frame rate; give it as fps"):
        read_qpos(path, robot=figure)
    with pytest.raises(ValueError, match="fps must be"):
        read_qpos(path, robot=figure, fps=-1)
    with pytest.raises(ValueError, match="name the robot's MJCF file as robot"):
        write_qpos(walk, tmp_path / "b.csv")
    with pytest.raises(ValueError, match="cannot tell which links"):
        write_qpos(walk, tmp_path / "b.csv", robot=figure)
    assert not (tmp_path / "b.csv").exists()
    np.savez(tmp_path / "a.npz", qpos=rows[:, :-1], fps=30)
    with pytest.raises(ValueError, match=r"shape \(3, 11\); figure needs \(frames, 12\)"):
        read_qpos(tmp_path / "a.npz", robot=figure)


def test_without_mujoco_a_sentence_says_what_to_install(figure: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mujoco", None)
    with pytest.raises(ValueError, match=r"pip install 'kinema\[robots\]'"):
        read_robot(figure)


def test_mutated_files_give_a_sentence_or_a_robot(
    figure: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    good = FIGURE.encode()
    path = tmp_path / "m.xml"
    read, refusals = 0, []
    for _ in range(300):
        path.write_bytes(mutated(good, rng))
        try:
            read_robot(path)
            read += 1
        except ValueError as error:
            refusals.append(str(error))
    assert read > 0
    assert refusals
    assert not [sentence for sentence in refusals if "\n" in sentence]
    assert not (tmp_path / "MUJOCO_LOG.TXT").exists()


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with up to three places changed, cut out, doubled or replaced by what parsers fear."""
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(0, len(data)))
        length = int(rng.integers(1, 30))
        words = [
            b"nan",
            b"1e999",
            b"-1e308",
            b"<body>",
            b"</body>",
            b'"',
            b"&amp;",
            b"\x00",
            b"\xff",
            b",,",
            b"0" * 300,
        ]
        data = [
            data[:place] + words[rng.integers(len(words))] + data[place:],
            data[:place] + data[place + length :],
            data[:place] + data[place : place + length] + data[place:],
            data[:place] + bytes([rng.integers(256)]) + data[place + 1 :],
        ][rng.integers(4)] or b" "
    return data


def gym_like() -> str:
    """A figure as the classic simulated humanoids are: the torso is the root, hinges share bodies, no hands turn."""
    limbs = ""
    for side, sign in (("left", 1), ("right", -1)):
        limbs += f"""
        <body name="{side}_upper_arm" pos="0 {0.17 * sign} 0.06">
          <joint name="{side}_shoulder1" axis="2 {sign} {sign}" range="-150 150"/>
          <joint name="{side}_shoulder2" axis="0 -1 {sign}" range="-150 150"/>
          <geom type="capsule" fromto="0 0 0 0.16 {0.16 * sign} -0.16" size="0.04"/>
          <body name="{side}_lower_arm" pos="0.18 {0.18 * sign} -0.18">
            <joint name="{side}_elbow" axis="0 -1 {sign}" range="-90 50"/>
            <geom type="capsule" fromto="0.01 {-0.01 * sign} 0.01 0.17 {-0.17 * sign} 0.17" size="0.03"/>
            <body name="{side}_hand" pos="0.18 {-0.18 * sign} 0.18"><geom size="0.04"/></body>
          </body>
        </body>"""
    legs = ""
    for side, sign in (("left", 1), ("right", -1)):
        out = "-5 25" if sign < 0 else "-25 5"
        legs += f"""
          <body name="{side}_thigh" pos="0 {0.1 * sign} -0.04">
            <joint name="{side}_hip_x" axis="1 0 0" range="{out}"/>
            <joint name="{side}_hip_z" axis="0 0 1" range="-60 35"/>
            <joint name="{side}_hip_y" axis="0 1 0" range="-120 40"/>
            <geom type="capsule" fromto="0 0 0 0 0 -0.34" size="0.06"/>
            <body name="{side}_shin" pos="0 0 -0.4">
              <joint name="{side}_knee" axis="0 1 0" range="0 160"/>
              <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.05"/>
              <body name="{side}_foot" pos="0 0 -0.4">
                <joint name="{side}_ankle_y" pos="0 0 0.02" axis="0 1 0" range="-50 50"/>
                <joint name="{side}_ankle_x" pos="0 0 0.01" axis="1 0 0.5" range="-50 50"/>
                <geom type="capsule" fromto="-0.07 -0.02 -0.04 0.14 -0.04 -0.04" size="0.027"/>
                <geom type="capsule" fromto="-0.07 0.02 -0.04 0.14 0.04 -0.04" size="0.027"/>
              </body>
            </body>
          </body>"""
    return f"""
<mujoco model="classic">
  <compiler angle="degree"/>
  <default><joint armature="1" damping="1" limited="true"/></default>
  <worldbody>
    <body name="torso" pos="0 0 1.3">
      <joint name="root" type="free" limited="false"/>
      <geom type="capsule" fromto="0 -0.07 0 0 0.07 0" size="0.07"/>
      <body name="lwaist" pos="-0.01 0 -0.26" quat="1 0 -0.002 0">
        <geom size="0.06"/>
        <joint name="abdomen_z" pos="0 0 0.065" axis="0 0 1" range="-45 45"/>
        <joint name="abdomen_y" pos="0 0 0.065" axis="0 1 0" range="-75 30"/>
        <body name="pelvis" pos="0 0 -0.165" quat="1 0 -0.002 0">
          <geom size="0.09"/>
          <joint name="abdomen_x" pos="0 0 0.1" axis="1 0 0" range="-35 35"/>
          {legs}
        </body>
      </body>
      {limbs}
    </body>
  </worldbody>
</mujoco>"""


def test_a_classic_simulated_humanoid(tmp_path: Path, walk: Motion) -> None:
    path = tmp_path / "classic.xml"
    path.write_text(gym_like())
    robot = read_robot(path)
    assert len(robot.hinges) == 3 + 2 * (3 + 6)
    model = mujoco.MjModel.from_xml_string(gym_like())
    rows = random_rows(model, 20)
    motion = read_qpos(save_csv(tmp_path / "a.csv", rows), robot=robot, fps=30)
    assert largest_deviation(model, rows, motion) < 1e-9

    write_qpos(walk, tmp_path / "walk.csv", robot=robot)
    found = read_qpos(tmp_path / "walk.csv", robot=robot)
    angles = hinge_angles(robot, found)
    low, high = robot.limits.T
    assert (angles >= low).all()
    assert (angles <= high).all()
    ours, theirs = found.joint_positions(), walk.joint_positions()
    for side in ("left", "right"):
        thigh = [side + name for name in ("_thigh", "_shin")]
        bone = np.subtract(*(ours[:, robot.skeleton.index(name)] for name in thigh))
        like = np.subtract(*(theirs[:, walk.skeleton.index(side + name)] for name in ("_hip", "_knee")))
        cosine = np.sum(bone * like, -1) / np.linalg.norm(bone, axis=-1) / np.linalg.norm(like, axis=-1)
        assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 6
