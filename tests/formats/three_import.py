"""What three.js makes of .glb files, in a headless browser: an oracle for tests and benchmarks.

    with three_page() as page:                        # one browser for many files
        positions_in_three(page, "walk.glb", [0, 10])  # (2, J, 3)

Needs chromium and playwright, and three from npm in the folder KINEMA_THREE (default: .venv/three).
"""

from __future__ import annotations

import base64
import functools
import http.server
import json
import os
import shutil
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(os.environ.get("KINEMA_THREE", Path(__file__).parents[2] / ".venv" / "three"))
_FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]

_PAGE = """<!doctype html><html><body style="margin:0"><script type="importmap">
{"imports": {"three": "/build/three.module.js", "three/addons/": "/examples/jsm/"}}
</script><script type="module">
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

async function load(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const gltf = await new GLTFLoader().parseAsync(bytes.buffer, "");
  const mixer = new THREE.AnimationMixer(gltf.scene);
  const action = gltf.animations.length ? mixer.clipAction(gltf.animations[0]) : null;
  const pose = (time) => {
    if (action) {
      action.reset();
      action.setLoop(THREE.LoopOnce);
      action.clampWhenFinished = true;
      action.play();
      mixer.setTime(time);
    }
    gltf.scene.updateMatrixWorld(true);
  };
  return { gltf, pose };
}

window.measure = async (text, times, nodes, step) => {
  const { gltf, pose } = await load(text);
  const bones = await Promise.all(nodes.map((node) => gltf.parser.getDependency("node", node)));
  const meshes = [];
  gltf.scene.traverse((item) => { if (item.isSkinnedMesh) meshes.push(item); });
  const point = new THREE.Vector3();
  const positions = [], vertices = [];
  for (const time of times) {
    pose(time);
    positions.push(bones.map((bone) => bone.getWorldPosition(point).toArray()));
    const row = [];
    if (step) for (const mesh of meshes) {
      mesh.skeleton.update();
      for (let i = 0; i < mesh.geometry.attributes.position.count; i += step)
        row.push(mesh.localToWorld(mesh.getVertexPosition(i, point)).toArray());
    }
    vertices.push(row);
  }
  return { positions, vertices };
};

window.draw = async (text, times) => {
  const { gltf, pose } = await load(text);
  const renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
  renderer.setSize(320 * times.length, 400);
  document.body.replaceChildren(renderer.domElement);
  const scene = new THREE.Scene();
  scene.background = new THREE.Color(0xf4f4f4);
  scene.add(gltf.scene, new THREE.HemisphereLight(0xffffff, 0x888888, 3));
  const sun = new THREE.DirectionalLight(0xffffff, 2);
  sun.position.set(2, 4, 3);
  scene.add(sun, new THREE.GridHelper(20, 40, 0x888888, 0xcccccc));
  gltf.scene.traverse((item) => { item.frustumCulled = false; });
  renderer.setScissorTest(true);
  const centre = new THREE.Vector3();
  for (const [i, time] of times.entries()) {
    pose(time);
    let hips = null;
    gltf.scene.traverse((item) => { if (item.isBone && !hips) hips = item; });
    if (hips) hips.getWorldPosition(centre);
    const camera = new THREE.PerspectiveCamera(30, 0.8, 0.01, 100);
    camera.position.set(centre.x + 1.6, 1.6, centre.z + 4);
    camera.lookAt(centre.x, 0.85, centre.z);
    renderer.setViewport(320 * i, 0, 320, 400);
    renderer.setScissor(320 * i, 0, 320, 400);
    renderer.render(scene, camera);
  }
};
window.ready = true;
</script></body></html>"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    """The page, and the files of three.js; nothing else."""

    def do_GET(self) -> None:
        if self.path != "/":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(_PAGE.encode())

    def log_message(self, *_: Any) -> None:
        pass


def missing() -> str | None:
    """Why three.js cannot be asked here; None where it can."""
    if _browser() is None:
        return "needs chromium on PATH"
    if not (FOLDER / "node_modules" / "three").is_dir():
        return f"needs three from npm in {FOLDER}; set KINEMA_THREE"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "needs playwright"
    return None


def _browser() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def three_page() -> Iterator[Any]:
    """A page of a headless browser with three.js loaded, for many calls."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_browser(), args=_FLAGS)
        with three_in(browser) as page:
            yield page
        browser.close()


@contextmanager
def three_in(browser: Any) -> Iterator[Any]:
    """The same in a browser that runs already."""
    handler = functools.partial(_Handler, directory=str(FOLDER / "node_modules" / "three"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page(viewport={"width": 1600, "height": 400})
    try:
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_function("window.ready")
        yield page
    finally:
        page.close()
        server.shutdown()
        server.server_close()


def positions_in_three(page: Any, glb_path: str | os.PathLike[str], frames: Sequence[int]) -> np.ndarray:
    """World positions (len(frames), J, 3), metres, of the joints of the file's first skin at frames of its first
    animation, whose rate is that in its extras, 30 without.

    Args:
        page: what `three_page` yields, or None, which starts a browser for this one file.
        glb_path: a .glb or .vrm file.
        frames: numbers of frames.
    """
    document = _document(glb_path)
    return measure_in_three(page, glb_path, frames, document["skins"][0]["joints"])[0]


def measure_in_three(
    page: Any, glb_path: str | os.PathLike[str], frames: Sequence[int], nodes: Sequence[int], step: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """World positions (F, N, 3) of nodes, and (F, V, 3) of every `step`-th vertex of the skinned meshes (0: none)."""
    if page is None:
        with three_page() as own:
            return measure_in_three(own, glb_path, frames, nodes, step)
    times = [frame / _fps(_document(glb_path)) for frame in frames]
    found = page.evaluate("(a) => window.measure(...a)", [_text(glb_path), times, [int(n) for n in nodes], step])
    return np.array(found["positions"]), np.array(found["vertices"])


def draw_in_three(page: Any, glb_path: str | os.PathLike[str], frames: Sequence[int], picture: Path) -> None:
    """A PNG of the figure at up to five frames, side by side."""
    times = [frame / _fps(_document(glb_path)) for frame in frames]
    page.evaluate("(a) => window.draw(...a)", [_text(glb_path), times])
    page.locator("canvas").screenshot(path=str(picture))


def _text(path: str | os.PathLike[str]) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()


def _document(path: str | os.PathLike[str]) -> dict[str, Any]:
    with open(path, "rb") as file:
        return json.loads(file.read(struct.unpack("<I", file.read(20)[12:16])[0]))


def _fps(document: dict[str, Any]) -> float:
    for holder in (*document.get("animations", [])[:1], document["asset"]):
        if "fps" in holder.get("extras", {}):
            return holder["extras"]["fps"]
    return 30.0
