// Writes src/frames.generated.ts from the repository's docs/frames.schema.json; with --check says whether it is stale.

import { readFile, writeFile } from "node:fs/promises";

import { compile } from "json-schema-to-typescript";

const schemaFile = new URL("../../../docs/frames.schema.json", import.meta.url);
const typesFile = new URL("../src/frames.generated.ts", import.meta.url);

const schema = JSON.parse(await readFile(schemaFile, "utf8"));
const types = await compile({ ...schema, title: "Frame" }, "Frame", {
  additionalProperties: false,
  bannerComment: "/* Generated from docs/frames.schema.json by `npm run generate`. */",
  style: { printWidth: 120 },
});

if (!process.argv.includes("--check")) {
  await writeFile(typesFile, types);
} else if ((await readFile(typesFile, "utf8").catch(() => "")) !== types) {
  console.error("src/frames.generated.ts is stale: npm run generate");
  process.exitCode = 1;
}
