"use strict";
// Draws the OpenAPI document as a page: operations by tag, each with parameters, body and answers.
const make = (name, text, ...children) => {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
};

const resolve = (spec, schema) =>
  schema && schema.$ref ? resolve(spec, schema.$ref.split("/").slice(1).reduce((at, key) => at[key], spec)) : schema;

const typeOf = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const any = schema.oneOf || schema.anyOf;
  if (any) return any.map(typeOf).join(" | ");
  if (schema.type === "array") return `${typeOf(schema.items)}[]`;
  return [].concat(schema.type || "any").join(" | ") + (schema.format ? ` (${schema.format})` : "");
};

const fields = (spec, schema) => {
  let body = resolve(spec, schema);
  if (body && body.type === "array") body = resolve(spec, body.items);
  if (!body || !body.properties) return make("p", typeOf(schema));
  const table = make("table");
  for (const [name, field] of Object.entries(body.properties)) {
    const required = (body.required || []).includes(name) ? " *" : "";
    table.append(
      make("tr", "", make("td", "", make("code", name + required)), make("td", typeOf(field)), make("td", field.description || "")),
    );
  }
  return table;
};

const draw = (spec, words) => {
  const groups = new Map();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      if (!operation.responses) continue;
      const text = `${method} ${path} ${operation.summary || ""} ${operation.description || ""}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) continue;
      const tag = (operation.tags || ["other"])[0];
      const box = make("details", "", make("summary", "", make("b", method.toUpperCase()), make("code", path), " ", make("small", operation.summary || "")));
      if (operation.description) box.append(make("p", operation.description));
      if ((operation.parameters || []).length) {
        const table = make("table", "", make("tr", "", make("th", "Parameter"), make("th", "In"), make("th", "Type"), make("th", "")));
        for (const item of operation.parameters) {
          table.append(make("tr", "", make("td", "", make("code", item.name + (item.required ? " *" : ""))), make("td", item.in), make("td", typeOf(item.schema)), make("td", item.description || "")));
        }
        box.append(table);
      }
      for (const [type, content] of Object.entries((operation.requestBody || {}).content || {})) {
        box.append(make("h3", `Body, ${type}`), fields(spec, content.schema));
      }
      for (const [status, answer] of Object.entries(operation.responses)) {
        if (!status.startsWith("2")) continue;
        box.append(make("h3", `Answer ${status}`), make("p", answer.description || ""));
        for (const content of Object.values(answer.content || {})) box.append(fields(spec, content.schema));
      }
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(box);
    }
  }
  const main = document.getElementById("operations");
  main.replaceChildren(...[...groups].flatMap(([tag, boxes]) => [make("h2", tag), ...boxes]));
  if (!groups.size) main.textContent = "Nothing fits these words.";
};

fetch("/openapi.json")
  .then((answer) => answer.json())
  .then((spec) => {
    const filter = document.getElementById("filter");
    const redraw = () => draw(spec, filter.value.toLowerCase().split(/\s+/).filter(Boolean));
    filter.addEventListener("input", redraw);
    redraw();
  })
  .catch(() => {
    document.getElementById("operations").textContent = "The description could not be loaded: reload the page.";
  });
