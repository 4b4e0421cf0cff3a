"""What Blender makes of motion files: the oracle of tests and benchmarks. It imports nothing of Kinema.

One file: `python blender_import.py file.glb out.json`, in a Python that has bpy. Frames 0, 7 and 20 in Blender's own
world (Z up): names of bones, their heads, and the vertices of the skinned mesh.

Many files in one process: `python blender_import.py jobs.json out.json`. jobs.json is a list of

    {"source": "walk.fbx", "positions": "walk.npz", "frames": [0, 7], "scale": 0.01, "fps": 30, "vertices": true}

where all but `source` may be left out. `frames` count from the first frame of the motion; all, if not given. `scale` is
the metres of a unit of a .bvh (0.01 if not given), `fps` the rate of the keys of a .glb (asset.extras.fps if not
given). out.json is a list of what was found, in the same order:

    {"bones", "parents", "fps", "frames", "seconds": [first, last], "meshes": [{"name", "vertices", "skinned"}],
     "materials"}  or  {"error"}

`positions` becomes an .npz with `heads` (frames, bones, 3) and, if asked for, `vertices` (frames, V, 3) of the first
skinned mesh, in metres and with Y up.

With an installed Blender: `blender -b --factory-startup -P blender_import.py -- file.glb out.json`.
"""

import json
import math
import sys

import bpy
import numpy as np

TO_Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def load(job):
    """Import a file into an empty scene; frames a second, and the frame of Blender on which the motion begins."""
    source = job["source"]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    if source.endswith(".bvh"):
        bpy.ops.import_anim.bvh(filepath=source, global_scale=job.get("scale", 0.01), update_scene_fps=True)
        return scene.render.fps / scene.render.fps_base, 1.0, 1.0
    if source.endswith(".fbx"):
        # the importer puts keys at seconds x render.fps, which is the rate rounded to a whole number
        bpy.ops.import_scene.fbx(filepath=source, anim_offset=0.0)
        fps = scene.render.fps / scene.render.fps_base
        return fps, 0.0, scene.render.fps / fps
    fps = job.get("fps") or extras(source)["fps"]
    # the importer puts keys at seconds x fps x fps_base
    scene.render.fps, scene.render.fps_base = max(1, round(fps)), fps / max(1, round(fps))
    bpy.ops.import_scene.gltf(filepath=source, disable_bone_shape=True)
    return fps, 0.0, 1.0


def extras(source):
    with open(source, "rb") as stream:
        return json.loads(stream.read()[20:].split(b"BIN\0")[0][:-4])["asset"]["extras"]


def look(job):
    """What is in a file."""
    fps, start, step = load(job)
    armature = next(item for item in bpy.data.objects if item.type == "ARMATURE")
    meshes = [item for item in bpy.data.objects if item.type == "MESH" and item.users_scene]
    skinned = [mesh for mesh in meshes if mesh.find_armature() == armature]
    found = {
        "bones": [bone.name for bone in armature.data.bones],
        "parents": [bone.parent.name if bone.parent else None for bone in armature.data.bones],
        "fps": fps,
        "meshes": [{"name": m.name, "vertices": len(m.data.vertices), "skinned": m in skinned} for m in meshes],
        "materials": [slot.material.name for mesh in skinned for slot in mesh.material_slots if slot.material],
    }
    moving = armature.animation_data and armature.animation_data.action
    first, last = ((frame - start) / step for frame in moving.frame_range) if moving else (0.0, 0.0)
    found |= {"frames": round(last) + 1, "seconds": [first / fps, last / fps]}
    if not job.get("positions"):
        return found
    if not job.get("vertices"):
        for mesh in meshes:  # posing them takes time
            bpy.data.objects.remove(mesh)
    scene, heads, vertices = bpy.context.scene, [], []
    for frame in job.get("frames", range(found["frames"])):
        at = start + frame * step
        scene.frame_set(math.floor(at), subframe=at - math.floor(at))
        matrix = np.array(armature.matrix_world)
        local = np.array([bone.head for bone in armature.pose.bones])
        heads.append((local @ matrix[:3, :3].T + matrix[:3, 3]) @ TO_Y_UP.T)
        if job.get("vertices"):
            shape = skinned[0].evaluated_get(bpy.context.evaluated_depsgraph_get())
            matrix = np.array(shape.matrix_world)
            local = np.empty(3 * len(shape.data.vertices))
            shape.data.vertices.foreach_get("co", local)
            vertices.append((local.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]) @ TO_Y_UP.T)
    arrays = {"heads": np.array(heads), **({"vertices": np.array(vertices)} if vertices else {})}
    np.savez(job["positions"], **arrays)
    return found


def look_at_one(source):
    load({"source": source})
    scene = bpy.context.scene
    armature = next(item for item in bpy.data.objects if item.type == "ARMATURE")
    meshes = [item for item in bpy.data.objects if item.type == "MESH" and item.find_armature() == armature]
    heads, vertices = {}, {}
    for frame in (0, 7, 20):
        scene.frame_set(frame)
        matrix = armature.matrix_world
        heads[frame] = {bone.name: list(matrix @ bone.head) for bone in armature.pose.bones}
        shape = meshes[0].evaluated_get(bpy.context.evaluated_depsgraph_get())
        vertices[frame] = [list(shape.matrix_world @ vertex.co) for vertex in shape.data.vertices]
    return {
        "bones": [bone.name for bone in armature.data.bones],
        "frames": list(armature.animation_data.action.frame_range),
        "materials": [slot.material.name for slot in meshes[0].material_slots],
        "heads": heads,
        "vertices": vertices,
    }


def look_at_many(jobs):
    for job in jobs:
        try:
            yield look(job)
        except Exception as error:
            yield {"error": f"{job['source']}: {error}"}


def main():
    source, target = sys.argv[-2:]
    if source.endswith(".json"):
        with open(source, encoding="utf-8") as stream:
            found = list(look_at_many(json.load(stream)))
    else:
        found = look_at_one(source)
    with open(target, "w", encoding="utf-8") as stream:
        json.dump(found, stream)


main()
