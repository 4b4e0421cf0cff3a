// node fbx_in_three.mjs FOLDER_WITH_NODE_MODULES file.fbx 0,7,20: joint positions at these frames as three.js has them.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [folder, path, frames, fps] = process.argv.slice(2);
const load = (file) => import(pathToFileURL(`${folder}/node_modules/three/${file}`));
const { AnimationMixer, Vector3 } = await load('build/three.module.js');
const { FBXLoader } = await load('examples/jsm/loaders/FBXLoader.js');

globalThis.window = globalThis;
const bytes = readFileSync(path);
const scene = new FBXLoader().parse(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length), '');
const mixer = new AnimationMixer(scene);
const action = mixer.clipAction(scene.animations[0]);
action.play();
const joints = [];
let skinned = 0;
scene.traverse((node) => {
  if (node.isBone) joints.push(node);
  if (node.isSkinnedMesh) skinned += 1;
});
const found = { takes: scene.animations.map((clip) => [clip.name, clip.duration]), skinned, frames: {} };
for (const frame of frames.split(',')) {
  mixer.setTime(Math.min(Number(frame) / Number(fps), scene.animations[0].duration - 1e-9));
  scene.updateMatrixWorld(true);
  found.frames[frame] = Object.fromEntries(
    joints.map((joint) => [joint.name, joint.getWorldPosition(new Vector3()).toArray()]));
}
console.log(JSON.stringify(found));
