"""glTF 2.0 in (.glb, .vrm, .gltf with its buffers inside): any skinned or animated skeleton, and its motion.

glTF is Y up, right-handed, metres and seconds, as `Motion` is; what remains to be done is that its joints have rest
rotations, scales and transform nodes above them (`gltf_rig`), and that every track has key times of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kinema.formats.gltf_file import MAX_ITEMS, Document
from kinema.formats.gltf_rig import Nodes, Rig, read_nodes, read_rig
from kinema.motion import rotations as rot
from kinema.motion.motion import MAX_FPS, MAX_FRAMES, MIN_FPS, Motion
from kinema.motion.skeleton import Skeleton

_RATES = (30, 24, 60, 25, 50, 120, 100, 29.97, 23.976)  # tried in this order where keys are few
_WIDTHS = {"translation": 3, "rotation": 4, "scale": 3}
_STEADY = 0.002  # of the size of the body, or of a scale: what is no movement


@dataclass
class _Track:
    """One animated property: K keys."""

    times: np.ndarray  # (K,) seconds
    clock: int  # the accessor of the times
    values: np.ndarray  # (K, width); (K, 3, width) for CUBICSPLINE: tangent in, value, tangent out
    interpolation: str


def read_glb(path: str | os.PathLike[str], animation: str | int | None = None) -> Motion:
    """Read the character of a glTF file as a motion: its skeleton in the bind pose, and one of its animations.

    - The root is the hips; nodes above them that carry the character about (Armature, root motion) are folded into it,
      and joints beside them are left out. Names are those of the nodes; in a VRM whose names are not known, those of
      the VRM standard (`leftUpperLeg`).
    - All tracks are sampled on one clock, that of `extras.fps` if Kinema wrote the file, else of the rate that the keys
      have, else 30 fps. The first frame is at the first key.
    - A joint of a `Motion` keeps its distance from its parent: where a joint is moved, its offset is the mean, and
      `metadata["lost_translation"]` names it if it really moved. `metadata["lost_scale"]` names the nodes whose scale
      is animated or not the same in all directions.
    - `metadata["animations"]` holds the names of all animations if there are several, `metadata["animation"]` which
      one this is.

    Args:
        path: a .glb, .vrm or .gltf file with everything inside.
        animation: name or number (from 0) of the animation; None takes the first that moves the skeleton, or, in a file
            without any, one frame in the bind pose at 30 fps.

    Raises:
        ValueError: the file is damaged, has no skeleton, or no such animation; the sentence names the file and place.
        OSError: the file cannot be read.
    """
    document = Document(path)
    nodes = read_nodes(document)
    names = animation_names(document)
    chosen = range(len(names)) if animation is None else [_choose(document, names, animation)]
    targets = {number: _targets(document, number, len(nodes.parents)) for number in chosen}
    moved = {node for channels in targets.values() for node, path in channels if path != "scale"}
    with np.errstate(all="ignore"):
        rig = read_rig(document, nodes, moved)
        body = {*rig.nodes, *rig.above}
        moving = [
            number
            for number, channels in targets.items()
            if any(node in body and path != "scale" for node, path in channels)
        ]
        if not moving and animation is not None:
            document.fail(f"animation {names[chosen[0]]!r} moves no joint; the animations are {', '.join(names)}")
        clocks: dict[int, np.ndarray] = {}
        tracks = {
            target: _read_track(document, moving[0], target[1], sampler, clocks)
            for target, sampler in (targets[moving[0]].items() if moving else ())
            if target[0] in body
        }
        scale, lost = _steady_scales(nodes, rig, tracks)
        if np.abs(scale - nodes.scale).max() > 1e-6:
            nodes = replace(nodes, scale=scale)
            rig = read_rig(document, nodes, moved)
        motion = _motion(document, nodes, rig, tracks, _rate(document, moving[0] if moving else None, tracks))
    metadata = read_facts(document, moving[0] if moving else None)
    if len(names) > 1:
        metadata["animations"] = ", ".join(names)
        if moving:
            metadata["animation"] = names[moving[0]]
    if lost:
        metadata["lost_scale"] = ", ".join(lost)
    return motion.replace(metadata={**metadata, **motion.metadata})


def moved_nodes(document: Document) -> set[int]:
    """The nodes that any animation of a document moves or turns."""
    count = len(document.items("nodes"))
    channels = [_targets(document, number, count) for number in range(len(document.items("animations")))]
    return {node for targets in channels for node, path in targets if path != "scale"}


def animation_names(document: Document) -> list[str]:
    """Names of the animations in a document; a number for one that has none."""
    names = (animation.get("name") for animation in document.items("animations"))
    return [name[:200] if isinstance(name, str) and name else str(number) for number, name in enumerate(names)]


def read_facts(document: Document, animation: int | None) -> dict[str, str | int | float | bool | None]:
    """What a document says of itself in its extras, its copyright and the licence of a VRM, and its name."""
    asset = document.object(document.content, "asset", "the file")
    facts: dict[str, str | int | float | bool | None] = {}
    holders = [asset] if animation is None else [asset, document.items("animations")[animation]]
    for holder in holders:
        extras = holder.get("extras")
        for key, value in extras.items() if isinstance(extras, dict) else ():
            if (value is None or isinstance(value, str | int | float)) and len(facts) < 100:
                facts[key[:100]] = value[:10_000] if isinstance(value, str) else value
    for key in ("fps", "frames", "units"):
        facts.pop(key, None)
    extensions = document.object(document.content, "extensions", "the file")
    licences = [facts.get("license"), asset.get("copyright")]
    for key, name in (("VRMC_vrm", "licenseUrl"), ("VRM", "licenseName")):
        licences.append(document.object(document.object(extensions, key, "extensions"), "meta", key).get(name))
    licence = next((text[:1000] for text in licences if isinstance(text, str) and text), None)
    if licence is not None:
        facts.setdefault("licence", licence)
    facts.setdefault("source", document.path.name)
    return facts


def _choose(document: Document, names: list[str], animation: str | int) -> int:
    if isinstance(animation, str) and animation in names:
        return names.index(animation)
    if str(animation).isdecimal() and int(animation) < len(names):
        return int(animation)
    there = f"the animations are {', '.join(names)}" if names else "it has none"
    document.fail(f"there is no animation {animation!r}; {there}"[:1000])


def _targets(document: Document, number: int, count: int) -> dict[tuple[int, str], dict[str, Any]]:
    """The samplers of an animation by the node and property that they move."""
    where, animation = f"animation {number}", document.items("animations")[number]
    samplers = document.objects(animation, "samplers", where)
    found = {}
    for channel in document.objects(animation, "channels", where):
        target = document.object(channel, "target", where)
        path = str(target.get("path"))
        if path in _WIDTHS and "node" in target:
            sampler = samplers[document.integer(channel, "sampler", where, max(len(samplers), 1))] if samplers else {}
            found[document.integer(target, "node", where, count), path] = sampler
    return found


def _read_track(
    document: Document, number: int, path: str, sampler: dict[str, Any], clocks: dict[int, np.ndarray]
) -> _Track:
    """One sampler of an animation; `clocks` remembers the times of others."""
    where = f"animation {number}"
    clock = document.integer(sampler, "input", where, MAX_ITEMS)
    if clock not in clocks:
        clocks[clock] = document.accessor(clock, 1, f"{where}, times")[:, 0]
    times = clocks[clock]
    if (np.diff(times) < 0).any():
        document.fail(f"{where}: its times do not increase; export the file again")
    index = document.integer(sampler, "output", where, MAX_ITEMS)
    values = document.accessor(index, _WIDTHS[path], f"{where}, {path}")
    interpolation = sampler.get("interpolation", "LINEAR")
    if interpolation not in ("LINEAR", "STEP", "CUBICSPLINE"):
        document.fail(f"{where}: interpolation must be LINEAR, STEP or CUBICSPLINE; export the file again")
    if interpolation == "CUBICSPLINE":
        if len(values) % 3:
            document.fail(f"{where}: a CUBICSPLINE needs three values a key; export the file again")
        values = values.reshape(len(values) // 3, 3, -1)
    if len(values) < len(times):
        document.fail(f"{where}: {len(times)} times have only {len(values)} values; export the file again")
    values = values[: len(times)]
    if path == "rotation":
        values = values[..., [3, 0, 1, 2]]
        keys = values[:, 1] if values.ndim == 3 else values
        length = np.linalg.norm(keys, axis=-1, keepdims=True)
        if not (length.min() > 0.5 and length.max() < 2):
            document.fail(f"{where}: holds rotations that are not unit quaternions; export the file again")
        if values.ndim == 2:
            values = values / length
    return _Track(times, clock, values, interpolation)


def _steady_scales(nodes: Nodes, rig: Rig, tracks: dict[tuple[int, str], _Track]) -> tuple[np.ndarray, list[str]]:
    """Scales (N, 3) of the nodes with those that are animated at their mean, and the nodes where this is not exact."""
    scale, lost = np.array(nodes.scale), []
    leaves = {node for joint, node in enumerate(rig.nodes) if not rig.skeleton.children[joint]}
    for node in [*rig.above, *rig.nodes]:
        track = tracks.pop((node, "scale"), None)
        changing = False
        if track is not None:
            values = track.values[:, 1] if track.values.ndim == 3 else track.values
            scale[node] = values.mean(0)
            changing = np.ptp(values, axis=0).max() > _STEADY * np.abs(values).max()
        uneven = np.ptp(scale[node]) > _STEADY * np.abs(scale[node]).max() or node in nodes.sheared
        if (changing or uneven) and node not in leaves:
            lost.append(nodes.names[node] or f"node_{node}")
    return scale, lost


def _rate(document: Document, animation: int | None, tracks: dict[tuple[int, str], _Track]) -> float:
    """Frames per second: those in the extras, or the rate on which all keys lie, or 30."""
    if animation is None:
        return 30.0
    holders = [document.items("animations")[animation], document.object(document.content, "asset", "the file")]
    for holder in holders:
        extras = holder.get("extras")
        fps = extras.get("fps") if isinstance(extras, dict) else None
        if isinstance(fps, int | float) and not isinstance(fps, bool) and MIN_FPS <= fps <= MAX_FPS:
            return float(fps)
    clocks = {track.clock: track.times for track in tracks.values()}
    start = min(times[0] for times in clocks.values())
    keys = np.unique(np.concatenate(list(clocks.values()))) - start
    gaps = np.diff(keys)
    gaps = gaps[gaps > 1e-4]
    if not len(gaps):
        return 30.0
    dense = 1 / gaps.min()
    # many keys tell more exactly than one gap how long a frame is
    dense = round(keys[-1] * dense) / keys[-1] if dense <= 1000 else dense
    candidates = [rate for rate in (round(dense), 29.97, 23.976, 59.94) if rate >= 10 and abs(rate / dense - 1) < 2e-3]
    for rate in [*sorted(candidates, key=lambda rate: abs(rate - dense)), *_RATES]:
        rate = {29.97: 30000 / 1001, 23.976: 24000 / 1001, 59.94: 60000 / 1001}.get(rate, float(rate))
        if np.abs(keys * rate - np.round(keys * rate)).max() < _slack(keys[-1] + start, rate):
            return rate
    return 30.0


def _slack(seconds: float, fps: float) -> float:
    """How far from a frame, in frames, a key on it may lie: times are 32-bit floats, which grow coarse."""
    return min(0.01 + 2e-7 * abs(seconds) * fps, 0.3)


def _motion(document: Document, nodes: Nodes, rig: Rig, tracks: dict[tuple[int, str], _Track], fps: float) -> Motion:
    """The tracks sampled at one rate and turned into rotations against the bind pose."""
    skeleton, count = rig.skeleton, 1
    start = min((track.times[0] for track in tracks.values()), default=0.0)
    if tracks:
        end = max(track.times[-1] for track in tracks.values())
        frames = (end - start) * fps
        count = int(frames + _slack(end, fps)) + 1
        joints = len(rig.nodes) + len({node for node, _ in tracks}.intersection(rig.above))
        # a small file that lasts for days is a mistake or an attack
        if count > MAX_FRAMES or count * joints > max(1_000_000, document.size / 8):
            document.fail(f"its motion lasts {end - start:.0f} s, too long for what the file holds; cut it into parts")
    clock = _Clock(start, fps, count)

    def sampled(node: int, path: str, default: np.ndarray) -> np.ndarray:
        track = tracks.get((node, path))
        return default if track is None else clock.sample(track, path == "rotation")

    rotations = np.empty((count, len(skeleton), 4))
    offsets, lost = np.array(skeleton.offsets), []
    tolerance = _STEADY * max(float(np.ptp(skeleton.rest_positions, axis=0).max()), 1e-6)
    for joint, node in enumerate(rig.nodes):
        parent = skeleton.parents[joint]
        local = sampled(node, "rotation", nodes.rotation[node])
        if parent >= 0:
            local = rot.multiply(rig.rest[parent], local)
            if (node, "translation") in tracks:
                bones = clock.sample(tracks[node, "translation"], False) @ rig.spans[parent].T
                offsets[joint] = bones.mean(0)
                if np.abs(bones - offsets[joint]).max() > tolerance:
                    lost.append(skeleton.names[joint])
        rotations[:, joint] = rot.multiply(local, rot.inverse(rig.rest[joint]))
    root = sampled(rig.nodes[0], "translation", nodes.translation[rig.nodes[0]])
    turn = rotations[:, 0]
    for node in reversed(rig.above):
        turned = sampled(node, "rotation", nodes.rotation[node])
        root = sampled(node, "translation", nodes.translation[node]) + rot.rotate(turned, root * nodes.scale[node])
        turn = rot.multiply(turned, turn)
    rotations[:, 0] = turn
    if not tracks:
        root, rotations = rig.rest_world[0, :3, 3], np.broadcast_to(rot.IDENTITY, rotations.shape)
    metadata = {"lost_translation": ", ".join(lost)} if lost else {}
    try:
        skeleton = Skeleton(skeleton.names, skeleton.parents, offsets, skeleton.tips)
        return Motion(skeleton, fps, np.broadcast_to(root, (count, 3)), rotations, metadata=metadata)
    except ValueError as error:
        document.fail(f"its motion cannot be used: {error}")


class _Clock:
    """Samples tracks at `count` frames from `start` seconds on."""

    def __init__(self, start: float, fps: float, count: int) -> None:
        self._start, self._fps, self._frames = start, fps, np.arange(count)
        self._places: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = {}

    def _place(self, track: _Track) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Key before (T,), key after, how far between them from 0 to 1, and the seconds from one to the other."""
        if track.clock not in self._places:
            keys = (track.times - self._start) * self._fps
            nearest = np.round(keys)
            slack = _slack(track.times[-1], self._fps)
            keys = np.where(np.abs(keys - nearest) < slack, nearest, keys)
            before = np.clip(np.searchsorted(keys, self._frames, side="right") - 1, 0, len(keys) - 1)
            after = np.minimum(before + 1, len(keys) - 1)
            gap = keys[after] - keys[before]
            between = np.clip((self._frames - keys[before]) / np.where(gap > 0, gap, 1), 0, 1)
            self._places = {track.clock: (before, after, between, gap / self._fps)}
        return self._places[track.clock]

    def sample(self, track: _Track, turning: bool) -> np.ndarray:
        """(T, width) values of a track; rotations as unit quaternions, on the shorter way between two keys."""
        before, after, t, seconds = self._place(track)
        if track.interpolation == "CUBICSPLINE":
            t, seconds = t[:, None], seconds[:, None]
            a, b = track.values[before], track.values[after]
            values = (2 * t**3 - 3 * t**2 + 1) * a[:, 1] + (3 * t**2 - 2 * t**3) * b[:, 1]
            values = values + seconds * ((t**3 - 2 * t**2 + t) * a[:, 2] + (t**3 - t**2) * b[:, 0])
            return rot.normalize(values) if turning else values
        if track.interpolation == "STEP" or not t.any():
            return track.values[before]
        if turning:
            return rot.slerp(track.values[before], track.values[after], t)
        return track.values[before] + t[:, None] * (track.values[after] - track.values[before])
