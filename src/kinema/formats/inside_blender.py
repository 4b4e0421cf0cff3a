"""What runs inside Blender: FBX to GLB and back. Kinema starts it as a program of its own and never imports it.

Called with the path of a job as the last argument, a JSON file:

    {"source": path, "target": path, "result": path, "fps": number, "materials": bool}

From .fbx to .glb the animation is sampled, frame k at k / 30 seconds whatever its rate, or, with `materials`, left out.
From .glb to .fbx it gets the rate `fps`. The result is a JSON file with {"fps": frames a second, "frames": count}, or
{"error": why not}.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

import bpy  # pyright: ignore[reportMissingImports]
from mathutils import Matrix  # pyright: ignore[reportMissingImports]

# Frames a second of a GLB in Blender. Its glTF add-on multiplies by fps_base where it should divide, so that only a
# whole number comes through.
GLB_FPS = 30
MAX_FRAMES = 2_000_000
# Every frame takes a millisecond or more, so that wrong times of a few keys must not make many of them
FEW_FRAMES, FRAMES_PER_KEY = 2_000, 100
# above what Blender has when it has started: at all, for a byte of the file, for the stack of a thread on each core
MEMORY_BYTES, MEMORY_PER_BYTE, MEMORY_PER_CORE = 10**9, 100, 20_000_000


def main() -> None:
    with open(sys.argv[-1], encoding="utf-8") as stream:
        job = json.load(stream)
    try:
        size, cores = os.path.getsize(job["source"]), os.cpu_count() or 1
        _limit_memory(MEMORY_BYTES + MEMORY_PER_BYTE * size + MEMORY_PER_CORE * cores)
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.context.preferences.filepaths.use_scripts_auto_execute = False
        result = fbx_to_glb(job) if job["target"].endswith(".glb") else glb_to_fbx(job)
    except Exception as error:
        result = {"error": _reason(error)}
    with open(job["result"], "w", encoding="utf-8") as stream:
        json.dump(result, stream)


def _reason(error: Exception) -> str:
    """What an operator says went wrong, without its traceback."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Location:")]
    line = (lines or [type(error).__name__])[-1].removeprefix("Error: ")
    told = re.fullmatch(r"Couldn't open file '.*' \((.*)\)", line)
    return line if not told else f"its reader says {told[1]!r}" if told[1] else "its reader gives no reason"


def _limit_memory(more: int) -> None:
    """Let a file that asks for more than any character needs fail here, not take the machine down."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as stream:
            now = int(stream.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))
    except (ImportError, ValueError, OSError):  # only Linux knows how much it is now
        pass


def _call(operator: Callable[..., Any], **options: Any) -> None:
    """Run an operator with those of the options that this version of Blender has."""
    known = operator.get_rna_type().properties.keys()  # type: ignore[attr-defined]
    operator(**{name: value for name, value in options.items() if name in known})


def fbx_to_glb(job: dict[str, Any]) -> dict[str, Any]:
    """The whole scene of an FBX with its first take; materials and images only where the job asks for them."""
    scene = bpy.context.scene
    _call(
        bpy.ops.import_scene.fbx,
        filepath=job["source"],
        anim_offset=0.0,
        # a file must not make this machine look for images elsewhere
        use_image_search=False,
        use_custom_props=False,
    )
    # the importer puts a key at its seconds times render.fps, which is the rate rounded to a whole number
    placed = scene.render.fps
    fps, frames = _lay_keys_on_frames(scene.render.fps / scene.render.fps_base, placed)
    scene.render.fps, scene.render.fps_base = GLB_FPS, 1.0
    scene.frame_start, scene.frame_end = 0, frames - 1
    _call(
        bpy.ops.export_scene.gltf,
        filepath=job["target"],
        export_format="GLB",
        export_materials="EXPORT" if job.get("materials") else "NONE",
        export_morph=bool(job.get("materials")),
        export_morph_animation=False,
        export_animations=not job.get("materials"),
        export_animation_mode="ACTIVE_ACTIONS",
        export_force_sampling=True,
        export_optimize_animation_size=False,
        export_optimize_animation_keep_anim_armature=True,
        export_rest_position_armature=True,
        export_all_influences=False,
        export_yup=True,
    )
    return {"fps": fps, "frames": frames}


def _lay_keys_on_frames(rate: float, placed: float) -> tuple[float, int]:
    """Move all keys so that the first is at frame 0 and each frame of the file is a frame of the scene.

    Keys that follow each other evenly and faster than the file's rate say the rate themselves.

    Args:
        rate: frames a second that the file states.
        placed: frames a second at which the keys lie.

    Returns:
        Frames a second and the number of frames.
    """
    curves = [curve for action in _active_actions() for curve in _curves(action)]
    times: set[float] = set()
    for curve in curves:
        count = len(curve.keyframe_points)
        values = [0.0] * (2 * count)
        curve.keyframe_points.foreach_get("co", values)
        times.update(round(value / placed, 7) for value in values[::2])
    if not times:
        return rate, 1
    ordered = sorted(times)
    first, seconds = ordered[0], ordered[-1] - ordered[0]
    if len(ordered) > 2:
        step = seconds / (len(ordered) - 1)
        uneven = max(abs(time - first - k * step) for k, time in enumerate(ordered))
        if uneven < 0.05 * step and step * rate < 0.95:
            rate = 1 / step
    frames = math.ceil(seconds * rate - 0.01) + 1
    if frames > min(MAX_FRAMES, FEW_FRAMES + FRAMES_PER_KEY * len(times)):
        raise ValueError(f"it has keys at {len(times)} times in {seconds:g} seconds, which cannot be meant")
    for curve in curves:
        _move_keys(curve, lambda frame: _near_whole((frame / placed - first) * rate))
    return rate, frames


def glb_to_fbx(job: dict[str, Any]) -> dict[str, Any]:
    """The scene of a GLB with one take, in centimetres, Y up, characters facing +Z, with transforms on no node."""
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = GLB_FPS, 1.0
    _call(
        bpy.ops.import_scene.gltf,
        filepath=job["source"],
        bone_heuristic="BLENDER",  # the axes of the joints stay as they are
        disable_bone_shape=True,
        import_shading="NORMALS",
    )
    _put_what_bones_carry_in_place()
    fps, frames = float(job["fps"]), 1
    for action in _active_actions():
        for curve in _curves(action):
            _move_keys(curve, lambda frame: round(frame / GLB_FPS * fps))
            if len(curve.keyframe_points):
                frames = max(frames, round(curve.keyframe_points[-1].co.x) + 1)
    _to_centimetres_and_y_up()
    scene.render.fps = max(1, round(fps))
    scene.render.fps_base = scene.render.fps / fps
    scene.frame_start, scene.frame_end = 0, frames - 1
    scene.name = "motion"  # which becomes the name of the take
    _call(
        bpy.ops.export_scene.fbx,
        filepath=job["target"],
        object_types={"ARMATURE", "MESH", "EMPTY"},
        apply_unit_scale=True,
        apply_scale_options="FBX_SCALE_NONE",
        axis_forward="-Z",
        axis_up="Y",
        add_leaf_bones=False,
        primary_bone_axis="Y",
        secondary_bone_axis="X",
        bake_anim=True,
        bake_anim_use_all_bones=True,
        bake_anim_use_nla_strips=False,
        bake_anim_use_all_actions=False,
        bake_anim_simplify_factor=0.0,
        mesh_smooth_type="OFF",
        path_mode="COPY",
        embed_textures=True,
    )
    return {"fps": fps, "frames": frames}


def _put_what_bones_carry_in_place() -> None:
    """Blender counts from the tail of a bone, and its glTF add-on forgets the armature's scale in the bone's length."""
    for item in bpy.context.scene.objects:
        if item.parent is not None and item.parent_type == "BONE":
            item.location.y += item.parent.data.bones[item.parent_bone].length * (max(item.parent.scale) - 1)
    bpy.context.view_layer.update()


def _to_centimetres_and_y_up() -> None:
    """Turn and scale the data themselves, so that FBX, which counts in centimetres and Y up, needs no node for it.

    Left to the exporter, the armature's node gets a rotation of -90 degrees and a scale of 100, which Unity shows and
    Unreal trips over. Armatures and what they deform end up with the identity; other objects keep their place.
    """
    scene = bpy.context.scene
    scene.unit_settings.system, scene.unit_settings.scale_length = "METRIC", 0.01
    objects = list(scene.objects)
    for armature in (item for item in objects if item.type == "ARMATURE"):
        armature.data.pose_position = "REST"
    bpy.context.view_layer.update()
    worlds = {item: item.matrix_world.copy() for item in objects}
    # where an object moves as a whole, its curves would have to be turned as well
    turned = not any(_moves_as_a_whole(item) for item in objects)
    turn = Matrix.Rotation(-math.pi / 2, 4, "X") if turned else Matrix()
    grow = Matrix.Scale(100, 4)

    folded: dict[Any, Matrix] = {}
    for item in objects:
        frame = item.find_armature() if item.type == "MESH" else item if item.type == "ARMATURE" else None
        if turned and frame is not None and _is_rigid(worlds[frame]):
            folded[item] = worlds[item]
    done = set()
    for item in objects:
        scale = 100.0
        if item.data is not None and item.data not in done and hasattr(item.data, "transform"):
            if item in folded and item.data.users > 1:
                item.data = item.data.copy()
            matrix = grow @ turn @ folded.get(item, Matrix())
            done.add(item.data)
            if item.type == "MESH":
                item.data.transform(matrix, shape_keys=True)
            elif item.type == "ARMATURE":
                item.data.transform(matrix)
        if item in folded and item.type == "ARMATURE":
            scale *= worlds[item].to_scale()[0]
        if item.type == "ARMATURE":
            for bone in item.pose.bones:
                bone.location *= scale
        for curve in _curves(item.animation_data.action) if _has_action(item) else ():
            if curve.data_path.endswith("location"):
                for point in curve.keyframe_points:
                    for part in (point.co, point.handle_left, point.handle_right):
                        part.y *= scale
    for item in sorted(objects, key=_depth):
        if item in folded and item.parent is not None and item.parent not in folded:
            item.parent = None
        world = Matrix() if item in folded else worlds[item].copy()
        world.translation *= 100
        item.matrix_world = world @ turn.inverted()
        bpy.context.view_layer.update()
    for item in objects:
        if item.type == "ARMATURE":
            item.data.pose_position = "POSE"
    bpy.context.view_layer.update()


def _depth(item: Any) -> int:
    count = 0
    while item.parent is not None:
        item, count = item.parent, count + 1
    return count


def _is_rigid(matrix: Any) -> bool:
    """Whether a matrix only turns, moves and scales evenly, without mirroring."""
    scale = matrix.to_scale()
    if min(scale) <= 1e-9 or max(scale) > 1.001 * min(scale):
        return False
    rebuilt = Matrix.LocRotScale(None, matrix.to_quaternion(), scale)
    return all(abs(matrix[i][j] - rebuilt[i][j]) < 1e-4 * max(scale) for i in range(3) for j in range(3))


def _has_action(item: Any) -> bool:
    return item.animation_data is not None and item.animation_data.action is not None


def _moves_as_a_whole(item: Any) -> bool:
    return _has_action(item) and any("pose.bones" not in c.data_path for c in _curves(item.animation_data.action))


def _active_actions() -> list[Any]:
    return list({item.animation_data.action for item in bpy.context.scene.objects if _has_action(item)})


def _curves(action: Any) -> Iterable[Any]:
    """The curves of an action, of all its slots; Blender before 4.4 keeps them in the action itself."""
    if not hasattr(action, "layers"):
        return list(action.fcurves)
    bags = [bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags]
    return [curve for bag in bags for curve in bag.fcurves]


def _move_keys(curve: Any, place: Callable[[float], float]) -> None:
    values = [0.0] * (2 * len(curve.keyframe_points))
    curve.keyframe_points.foreach_get("co", values)
    values[::2] = [place(value) for value in values[::2]]
    curve.keyframe_points.foreach_set("co", values)
    curve.update()


def _near_whole(frame: float) -> float:
    return round(frame) if abs(frame - round(frame)) < 0.02 else frame


main()
