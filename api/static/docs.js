"use strict";
// Reads openapi.json and shows it: routes by noun, their roles, parameters, schemas, and a form to try each.
// Everything shown goes through textContent; the token stays in its input.

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
};

const pretty = (text) => {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
};

const deref = (spec, schema) =>
  schema && schema.$ref ? spec.components.schemas[schema.$ref.split("/").pop()] : schema ?? {};

const typeOf = (schema) => {
  if (!schema || Object.keys(schema).length === 0) return "anything";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  return [].concat(schema.type ?? "object").join(" | ") + (schema.format ? ` (${schema.format})` : "");
};

const bounds = (schema) =>
  [["minimum", "≥"], ["maximum", "≤"], ["maxLength", "at most characters:"]]
    .filter(([name]) => schema[name] !== undefined)
    .map(([name, sign]) => `${sign} ${schema[name]}`)
    .concat(schema.default === undefined ? [] : [`default ${JSON.stringify(schema.default)}`])
    .join(", ");

const table = (rows) => make("table", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell)))));

const fields = (spec, schema) => {
  const whole = deref(spec, schema);
  const properties = Object.entries(whole.properties ?? {});
  if (!properties.length) return make("p", { class: "soft" }, whole.description ?? typeOf(schema));
  const required = new Set(whole.required ?? []);
  const rows = properties.map(([name, each]) => [
    make("code", {}, name + (required.has(name) ? " *" : "")),
    typeOf(each),
    [bounds(each), each.description ?? ""].filter(Boolean).join(" · "),
  ]);
  return make("div", {}, whole.description ? make("p", { class: "soft" }, whole.description) : null, table(rows));
};

const example = (spec, schema) => {
  const whole = deref(spec, schema);
  const entries = Object.entries(whole.properties ?? {});
  const value = (each) => each.default ?? (each.enum ?? [])[0] ?? { string: "", number: 0, integer: 0, array: [], object: {}, boolean: true }[each.type] ?? null;
  return JSON.stringify(Object.fromEntries(entries.map(([name, each]) => [name, value(each)])), null, 2);
};

async function send(method, path, inputs, media, body, out) {
  const query = new URLSearchParams();
  const headers = {};
  const token = document.getElementById("token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  let url = path;
  for (const { parameter, input } of inputs) {
    if (!input.value) continue;
    if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    if (parameter.in === "query") query.set(parameter.name, input.value);
    if (parameter.in === "header") headers[parameter.name] = input.value;
  }
  if (media && body.value) headers["Content-Type"] = media;
  out.textContent = "…";
  try {
    const answer = await fetch(url + (query.size ? `?${query}` : ""), { method, headers, body: media && body.value ? body.value : undefined });
    const text = (answer.headers.get("Content-Type") ?? "").match(/json|text/) ? pretty(await answer.text()) : "(binary)";
    out.textContent = `${answer.status} ${answer.statusText}\n${text}`;
  } catch (fault) {
    out.textContent = `No answer: ${fault.message}`;
  }
}

const form = (spec, method, path, operation) => {
  const inputs = (operation.parameters ?? []).map((parameter) => ({ parameter, input: make("input", { autocomplete: "off" }) }));
  const content = operation.requestBody?.content ?? {};
  const media = Object.keys(content).find((each) => each.match(/json|csv/));
  const body = make("textarea", { spellcheck: "false", "aria-label": "Body" });
  if (media === "application/json") body.value = example(spec, content[media].schema);
  const out = make("pre", { "aria-live": "polite" });
  const button = make("button", { type: "button" }, "Send");
  button.addEventListener("click", () => send(method, path, inputs, media, body, out));
  const labels = inputs.map(({ parameter, input }) => make("label", {}, `${parameter.name} (${parameter.in}) `, input));
  return make("div", {}, make("h4", {}, "Try it"), ...labels, media ? make("label", {}, `Body, ${media} `, body) : null, button, out);
};

const route = (spec, method, path, operation) => {
  const inside = make("div", { class: "inside" });
  const head = make("summary", {}, make("span", { class: "method" }, method), make("span", { class: "path" }, path),
    make("span", {}, operation.summary), make("span", { class: "role" }, operation["x-role"] ?? "anyone"));
  const details = make("details", {}, head, inside);
  details.addEventListener("toggle", () => {
    if (!details.open || inside.childElementCount) return;
    const rows = (operation.parameters ?? []).map((each) => [make("code", {}, each.name), `${each.in}, ${typeOf(each.schema)}`, [bounds(each.schema), each.description ?? ""].filter(Boolean).join(" · ")]);
    if (rows.length) inside.append(make("h4", {}, "Parameters"), table(rows));
    for (const [media, { schema }] of Object.entries(operation.requestBody?.content ?? {})) inside.append(make("h4", {}, `Body, ${media}`), fields(spec, schema));
    inside.append(make("h4", {}, "Answers"));
    for (const [status, answer] of Object.entries(operation.responses)) {
      const types = Object.entries(answer.content ?? {});
      inside.append(make("p", {}, make("code", {}, status), ` ${answer.description} `, make("span", { class: "soft" }, types.map(([media]) => media).join(", "))));
      if (status < 300 && types.length === 1) inside.append(fields(spec, types[0][1].schema));
    }
    inside.append(form(spec, method, path, operation));
  });
  return details;
};

async function show() {
  const spec = await (await fetch("/openapi.json")).json();
  document.getElementById("title").textContent = `${spec.info.title} ${spec.info.version}`;
  document.getElementById("about").textContent = spec.info.description;
  const nouns = new Map();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const noun = operation.tags[0];
      if (!nouns.has(noun)) nouns.set(noun, []);
      nouns.get(noun).push(route(spec, method.toUpperCase(), path, operation));
    }
  }
  for (const [noun, routes] of nouns) {
    document.getElementById("nouns").append(make("a", { href: `#${noun}` }, noun));
    document.getElementById("routes").append(make("section", { id: noun }, make("h2", {}, noun), ...routes));
  }
}

show().catch((fault) => { document.getElementById("about").textContent = `openapi.json could not be read: ${fault.message}`; });
