// Shows a study of an Orthanc in OHIF, in a headless Chromium, and prints as JSON what a reader sees there.
//
// usage: node ohif.mjs REQUEST
// REQUEST is JSON: see `Visit` in tests/src/ohif.rs. OHIF and Orthanc's DICOMweb are served from one origin of the
// loopback address.
//
// What is an overlay is told by two pictures of the screen, with the segment shown and hidden: where they differ.
// Where that is in the image is told by OHIF's own way from screen to patient (canvasToWorld) and the plane of the
// image's own header. Places in an image are column and row, from 0 at the centre of the first pixel.

import { createServer, request as ask } from "node:http";
import { readFile, writeFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";

const peers = JSON.parse(process.argv[2]);
const wanted = peers.visit;
const { chromium } = await import(peers.playwright);

const TYPES = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

const CONFIGURATION = {
  routerBasename: "/",
  extensions: [],
  modes: [],
  customizationService: {},
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  investigationalUseDialog: { option: "never" },
  defaultDataSourceName: "orthanc",
  dataSources: [
    {
      namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
      sourceName: "orthanc",
      configuration: {
        friendlyName: "Orthanc",
        name: "orthanc",
        qidoRoot: "/dicom-web",
        wadoRoot: "/dicom-web",
        imageRendering: "wadors",
        thumbnailRendering: "wadors",
        enableStudyLazyLoad: true,
        supportsWildcard: true,
        omitQuotationForMultipartRequest: true,
        bulkDataURI: { enabled: true },
      },
    },
  ],
};

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-gl=angle",
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
];

/** What went wrong on the way; printed where the visit fails. */
const log = [];

/** One origin for the viewer, its configuration and Orthanc's DICOMweb. */
async function serve() {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    if (pathname.startsWith("/dicom-web")) {
      const onward = ask(peers.orthanc + request.url, { method: request.method, headers: request.headers }, answer => {
        if (answer.statusCode >= 400) log.push(`${request.method} ${request.url}: ${answer.statusCode}`);
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      onward.on("error", error => {
        log.push(`${request.method} ${request.url}: ${error}`);
        response.destroy();
      });
      request.pipe(onward);
      return;
    }
    const send = (type, body) => response.writeHead(200, { "content-type": type }).end(body);
    if (pathname === "/app-config.js") {
      send(TYPES[".js"], `window.config = ${JSON.stringify(CONFIGURATION)};`);
      return;
    }
    try {
      send(TYPES[extname(pathname)] ?? "application/octet-stream", await readFile(join(peers.viewer, normalize(pathname))));
    } catch {
      // A page of the viewer has no file of its own.
      if (extname(pathname)) response.writeHead(404).end();
      else send(TYPES[".html"], await readFile(join(peers.viewer, "index.html")));
    }
  });
  await new Promise(done => server.listen(0, "127.0.0.1", done));
  return server;
}

/** Calls `look` until it gives something; the viewer may not yet be there to be asked. */
async function until(what, look, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await look().catch(error => {
      if (Date.now() > end) throw error;
    });
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what} did not come within ${seconds} s`);
    await new Promise(done => setTimeout(done, 50));
  }
}

/** A picture of the image in the active viewport once it does not change any more, as base64. */
async function picture(page) {
  let last = "";
  await until("a still image", async () => {
    const next = await page.evaluate(async () => {
      // A change is drawn some frames after it is made.
      for (let frame = 0; frame < 4; frame++) await new Promise(requestAnimationFrame);
      return sulcus.viewport().getCanvas().toDataURL();
    });
    const still = next === last;
    last = next;
    return still;
  });
  const clip = await page.evaluate(() => sulcus.clip());
  return (await page.screenshot({ clip })).toString("base64");
}

/** What runs in the page: OHIF's services, and the way from screen to image. */
function inPage() {
  const service = name => window.services[name];
  const viewport = () => {
    const { activeViewportId } = service("viewportGridService").getState();
    return service("cornerstoneViewportService").getCornerstoneViewport(activeViewportId);
  };
  const told = [];
  new MutationObserver(() => {
    for (const notice of document.querySelectorAll("[data-sonner-toast]")) {
      const text = notice.innerText.replace(/\s+/g, " ").trim();
      if (text && !told.includes(text)) told.push(text);
    }
  }).observe(document, { childList: true, subtree: true });

  /** The plane of the image that is shown, as its own header has it. */
  const plane = () => {
    const image = window.cornerstone.metaData.get("imagePlaneModule", viewport().getCurrentImageId());
    const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    return {
      size: [image.columns, image.rows],
      distance: world => {
        const [a, b] = [image.rowCosines, image.columnCosines];
        const normal = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
        return Math.abs(dot(normal, world.map((x, i) => x - image.imagePositionPatient[i])));
      },
      thickness: image.sliceThickness,
      index: world => {
        const offset = world.map((x, i) => x - image.imagePositionPatient[i]);
        return [
          dot(offset, image.rowCosines) / image.columnPixelSpacing,
          dot(offset, image.columnCosines) / image.rowPixelSpacing,
        ];
      },
      world: (column, row) =>
        [0, 1, 2].map(
          i =>
            image.imagePositionPatient[i] +
            column * image.columnPixelSpacing * image.rowCosines[i] +
            row * image.rowPixelSpacing * image.columnCosines[i]
        ),
    };
  };

  /** Where the image lies on the page, without the viewport's edges, on which its tools lie. */
  const clip = () => {
    const box = viewport().element.getBoundingClientRect();
    const { size, world } = plane();
    const corner = (column, row) => viewport().worldToCanvas(world(column, row));
    const [first, last] = [corner(-0.5, -0.5), corner(size[0] - 0.5, size[1] - 0.5)];
    const edge = 32;
    const low = i => Math.ceil(Math.max(Math.min(first[i], last[i]), edge) + [box.x, box.y][i]);
    const high = i =>
      Math.floor(Math.min(Math.max(first[i], last[i]), [box.width, box.height][i] - edge) + [box.x, box.y][i]);
    return { x: low(0), y: low(1), width: high(0) - low(0), height: high(1) - low(1) };
  };

  /** The samples of a PNG. */
  const decode = async png => {
    const image = new Image();
    image.src = `data:image/png;base64,${png}`;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, image.width, image.height);
  };

  /** Centre, first and last place of some places. */
  const extent = places => {
    const axis = i => places.map(place => place[i]);
    const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;
    return {
      pixels: places.length,
      centre: [0, 1].map(i => mean(axis(i))),
      first: [0, 1].map(i => axis(i).reduce((a, b) => Math.min(a, b), Infinity)),
      last: [0, 1].map(i => axis(i).reduce((a, b) => Math.max(a, b), -Infinity)),
    };
  };

  window.sulcus = {
    told,
    service,
    viewport,
    clip,
    image: () => {
      const [, uid, frame] = /\/instances\/([^/]+)\/frames\/(\d+)/.exec(viewport().getCurrentImageId());
      return { sop_instance_uid: uid, frame: Number(frame) };
    },

    /** Whether a point lies in the slice that is shown. */
    holds: point => plane().distance(point) <= 0.501 * plane().thickness,

    /** Goes to an image of the series that is open. */
    show: async ({ sop_instance_uid: uid, frame }) => {
      const index = viewport().getImageIds().findIndex(id => id.endsWith(`/instances/${uid}/frames/${frame}`));
      if (index < 0) throw new Error(`the viewport has no image ${uid}, frame ${frame}`);
      await viewport().setImageIdIndex(index);
    },

    /** Shows one segment alone, for 0 none, without a number all. */
    onlySegment: (id, number) => {
      const segmentations = service("segmentationService");
      const { activeViewportId } = service("viewportGridService").getState();
      for (const segment of Object.values(segmentations.getSegmentation(id).segments)) {
        const visible = number === undefined || segment.segmentIndex === number;
        segmentations.setSegmentVisibility(activeViewportId, id, segment.segmentIndex, visible, "Labelmap");
      }
    },

    /** Where two pictures differ, in the image; and for each of its pixels its grey, and whether they differ there. */
    compare: async (shownPng, hiddenPng) => {
      const [shown, hidden] = [await decode(shownPng), await decode(hiddenPng)];
      const { width, height } = hidden;
      const differs = at => [0, 1, 2].reduce((sum, i) => sum + Math.abs(shown.data[at + i] - hidden.data[at + i]), 0) > 30;
      const box = viewport().element.getBoundingClientRect();
      const [left, top] = [clip().x - box.x, clip().y - box.y];
      const image = plane();
      const places = [];
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          if (differs(4 * (y * width + x))) {
            places.push(image.index(viewport().canvasToWorld([x + left + 0.5, y + top + 0.5])));
          }
        }
      }
      const [grey, covered] = [[], []];
      for (let row = 0; row < image.size[1]; row++) {
        for (let column = 0; column < image.size[0]; column++) {
          const [x, y] = viewport().worldToCanvas(image.world(column, row));
          const [px, py] = [Math.floor(x - left), Math.floor(y - top)];
          const at = 4 * (py * width + px);
          const inside = px >= 0 && py >= 0 && px < width && py < height;
          grey.push(inside ? hidden.data[at + 1] : 0);
          covered.push(inside && differs(at) ? 1 : 0);
        }
      }
      return { overlay: extent(places), size: image.size, grey, covered };
    },

    /** Where a picture has colour, in its own pixels. */
    coloured: async png => {
      const { data, width, height } = await decode(png);
      const places = [];
      for (let at = 0; at < width * height; at++) {
        const colour = [data[4 * at], data[4 * at + 1], data[4 * at + 2]];
        if (Math.max(...colour) - Math.min(...colour) > 100) places.push([at % width, Math.floor(at / width)]);
      }
      return { size: [width, height], ...extent(places) };
    },
  };
}

/** Opens a series by its thumbnail, as a reader does. */
async function open(page, seriesUid) {
  const id = await until("the series in the study browser", () =>
    page.evaluate(uid => {
      const sets = window.services?.displaySetService?.getActiveDisplaySets() ?? [];
      return sets.find(set => set.SeriesInstanceUID === uid)?.displaySetInstanceUID;
    }, seriesUid)
  );
  await page.locator(`[id="thumbnail-${id}"]`).dblclick();
  return id;
}

/** Opens the mode of the viewer, and waits for the first image. */
async function enter(page, origin, mode) {
  await page.goto(`${origin}/${mode}?StudyInstanceUIDs=${wanted.study}`);
  await until("the first image", () => page.evaluate(() => Boolean(window.services && sulcus.viewport()?.getCurrentImageId?.())));
  // Notices are read, and do not lie over the image; the tour for newcomers does not lie over the viewer.
  const style = "[data-sonner-toaster] { opacity: 0 !important; } [class^=shepherd] { display: none !important; }";
  await page.addStyleTag({ content: style });
}

/** The segments, each looked at where the caller says. */
async function segmentation(page, origin) {
  await enter(page, origin, "segmentation");
  const id = await open(page, wanted.segmentation);
  await page.getByText("Yes", { exact: true }).first().click();
  await until("the segmentation over the image", () =>
    page.evaluate(
      id => Boolean(sulcus.service("segmentationService").getSegmentation(id) && sulcus.viewport()),
      id
    )
  );
  const rows = page.locator('[data-cy="data-row"]');
  await rows.first().waitFor();
  const seen = { listed: await rows.locator('[data-cy="data-row-title"]').allInnerTexts(), segments: [] };
  await page.evaluate(upper => sulcus.viewport().setProperties({ voiRange: { lower: 0, upper } }), wanted.brightest);
  for (const [index, place] of wanted.segments.entries()) {
    const number = index + 1;
    const segment = { number };
    // The list leads to the segment.
    await page.evaluate(() => sulcus.viewport().setImageIdIndex(0));
    await rows.nth(index).locator('[data-cy="data-row-title"]').click();
    segment.jumped = await until("the image that the list leads to", () =>
      page.evaluate(() => sulcus.viewport().getCurrentImageIdIndex() > 0 && sulcus.image())
    );
    await page.evaluate(place => sulcus.show(place), place);
    await page.evaluate(([id, number]) => sulcus.onlySegment(id, number), [id, number]);
    const shown = await picture(page);
    await page.evaluate(id => sulcus.onlySegment(id, 0), id);
    const hidden = await picture(page);
    Object.assign(segment, await page.evaluate(pngs => sulcus.compare(...pngs), [shown, hidden]));
    segment.screenshot = await screenshot(page, `${wanted.name}-${number}`, shown);
    seen.segments.push(segment);
  }
  await page.evaluate(id => sulcus.onlySegment(id), id);
  await picture(page);
  await page.screenshot({ path: join(wanted.screenshots, `${wanted.name}-page.png`) });
  seen.told = await page.evaluate(() => sulcus.told);
  return seen;
}

/** What the viewer lists of a structured report, where its points lie (LPS, mm), and to which image each leads. */
async function report(page, origin) {
  await enter(page, origin, "viewer");
  await open(page, wanted.report);
  await page.locator('[data-cy="yes-hydrate-btn"]').click();
  await page.locator('[data-cy="side-panel-header-right"]').click();
  await page.locator('[data-cy="trackedMeasurements-btn"]').click();
  const rows = page.locator('[data-cy="trackedMeasurements-panel"] [data-cy="data-row"]');
  await rows.first().waitFor();
  const seen = { listed: await rows.locator('[data-cy="data-row-title"]').allInnerTexts() };
  seen.points = await page.evaluate(() => sulcus.service("measurementService").getMeasurements().map(one => one.points[0]));
  seen.leads = [];
  for (const [index, point] of seen.points.entries()) {
    await rows.nth(index).locator('[data-cy="data-row-title"]').click();
    await until(`the image of measurement ${index + 1}`, () => page.evaluate(point => sulcus.holds(point), point));
    seen.leads.push(await page.evaluate(() => sulcus.image()));
  }
  await picture(page);
  await page.screenshot({ path: join(wanted.screenshots, `${wanted.name}-report.png`) });
  return seen;
}

/** Writes a picture, and tells where it has colour, and where the one that was kept has. */
async function screenshot(page, name, png) {
  const coloured = base64 => page.evaluate(png => sulcus.coloured(png), base64);
  await writeFile(join(wanted.screenshots, `${name}.png`), Buffer.from(png, "base64"));
  const kept = await readFile(join(wanted.kept, `${name}.png`)).catch(() => null);
  return { now: await coloured(png), kept: kept && (await coloured(kept.toString("base64"))) };
}

const server = await serve();
const origin = `http://127.0.0.1:${server.address().port}`;
const browser = await chromium.launch({ executablePath: peers.chromium, headless: true, args: FLAGS });
try {
  const page = await browser.newPage({ viewport: { width: 1000, height: 640 } });
  page.setDefaultTimeout(60_000);
  page.on("console", message => message.type() === "error" && log.push(message.text()));
  page.on("pageerror", error => log.push(String(error)));
  await page.addInitScript(inPage);
  const seen = await segmentation(page, origin);
  if (wanted.report) seen.report = await report(page, origin);
  process.stdout.write(JSON.stringify(seen));
} catch (error) {
  console.error(error, log.slice(0, 40).join("\n"));
  process.exitCode = 1;
} finally {
  await browser.close();
  server.close();
  server.closeAllConnections();
}
