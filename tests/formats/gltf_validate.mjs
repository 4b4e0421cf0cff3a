// node gltf_validate.mjs FOLDER_OF_PACKAGE file.glb: the report of the Khronos validator as JSON on stdout
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [folder, file] = process.argv.slice(2);
const validator = createRequire(resolve(folder, "package.json"))("gltf-validator");
const report = await validator.validateBytes(new Uint8Array(readFileSync(file)), { maxIssues: 100 });
process.stdout.write(JSON.stringify(report));
