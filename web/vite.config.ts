import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

// The first view may ask for this much script, compressed; charts are loaded apart.
const FIRST_VIEW_LIMIT = 250 * 1024;

function weighFirstView(): Plugin {
  return {
    name: "weigh-first-view",
    generateBundle(_, bundle) {
      let bytes = 0;
      const seen = new Set<string>();
      const weigh = (name: string) => {
        const chunk = bundle[name];
        if (seen.has(name) || chunk?.type !== "chunk") return;
        seen.add(name);
        bytes += gzipSync(chunk.code).length;
        chunk.imports.forEach(weigh);
      };
      for (const [name, chunk] of Object.entries(bundle)) if (chunk.type === "chunk" && chunk.isEntry) weigh(name);
      this.info(`first view: ${(bytes / 1024).toFixed(0)} kB of script, compressed`);
      if (bytes > FIRST_VIEW_LIMIT) this.error(`the first view's script is over ${FIRST_VIEW_LIMIT / 1024} kB`);
    },
  };
}

/** Lays a compressed copy beside each file, so that the server has nothing to compress. */
function compressFiles(): Plugin {
  let folder = "";
  return {
    name: "compress-files",
    configResolved(config) { folder = join(config.root, config.build.outDir); },
    closeBundle() {
      for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !/\.(js|css|svg|html)$/.test(entry.name)) continue;
        const path = join(entry.parentPath, entry.name);
        const content = readFileSync(path);
        writeFileSync(`${path}.br`, brotliCompressSync(content));
        writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  plugins: [react(), weighFirstView(), compressFiles()],
  build: { outDir: "../src/nexus/entry/web", emptyOutDir: true, assetsInlineLimit: 0, chunkSizeWarningLimit: 900 },
  server: { proxy: { "/api": "http://127.0.0.1:8420", "/v1": "http://127.0.0.1:8420" } },
});
