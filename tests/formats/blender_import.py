"""python blender_import.py file.glb out.json (with bpy), or blender -b -P blender_import.py -- file.glb out.json.

Imports a .glb into an empty scene and writes down what Blender makes of it.
"""

import json
import sys

import bpy

source, target = sys.argv[-2:]
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
with open(source, "rb") as stream:
    document = json.loads(stream.read()[20:].split(b"BIN\0")[0][:-4])
fps = document["asset"]["extras"]["fps"]
scene.render.fps, scene.render.fps_base = round(fps), round(fps) / fps
bpy.ops.import_scene.gltf(filepath=source)
armature = next(item for item in bpy.data.objects if item.type == "ARMATURE")
meshes = [item for item in bpy.data.objects if item.type == "MESH" and item.find_armature() == armature]
action = armature.animation_data.action
heads, vertices = {}, {}
for frame in (0, 7, 20):
    scene.frame_set(frame)
    matrix = armature.matrix_world
    heads[frame] = {bone.name: list(matrix @ bone.head) for bone in armature.pose.bones}
    graph = bpy.context.evaluated_depsgraph_get()
    shape = meshes[0].evaluated_get(graph)
    vertices[frame] = [list(shape.matrix_world @ vertex.co) for vertex in shape.data.vertices]
with open(target, "w") as stream:
    json.dump(
        {
            "bones": [bone.name for bone in armature.data.bones],
            "frames": list(action.frame_range),
            "materials": [slot.material.name for slot in meshes[0].material_slots],
            "heads": heads,
            "vertices": vertices,
        },
        stream,
    )
