// Type-aware, so that a forgotten `await` is found; style is left to whoever writes.
import js from "@eslint/js";
import reactHooks from "eslint-plugin-react-hooks";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig({
  files: ["src/**/*.{ts,tsx}"],
  extends: [js.configs.recommended, tseslint.configs.recommendedTypeChecked, reactHooks.configs.flat["recommended-latest"]],
  languageOptions: { parserOptions: { projectService: true } },
  linterOptions: { reportUnusedDisableDirectives: "error" },
});
