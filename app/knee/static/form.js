// The options of an upload: made from what the site says in /models, so that the stack file is the only place that
// knows them.

const MODEL = "segmentation_model";
const part = (id) => document.getElementById(id);
let offered = null; // the answer of /models

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function choice(name, option) {
  const entries = option.choices.map((value) => element("option", { value }, option.titles?.[value] || value.replaceAll("_", " ")));
  const made = element("select", { id: `option-${name}`, name }, ...entries);
  made.value = option.default;
  return made;
}

function number(name, option) {
  const step = option.type === "integer" ? 1 : "any";
  return element("input", {
    id: `option-${name}`, name, type: "number", step, min: option.minimum, max: option.maximum, value: option.default,
    required: true,
  });
}

function field(name, option) {
  const title = option.title || name.replaceAll("_", " ");
  if (option.type === "boolean") {
    const box = element("input", { id: `option-${name}`, name, type: "checkbox", checked: option.default });
    return element("label", { className: "check" }, box, ` ${title}`);
  }
  const bounds = "minimum" in option ? element("small", {}, ` ${option.minimum} to ${option.maximum}`) : "";
  const control = option.type === "choice" ? choice(name, option) : number(name, option);
  return element("label", { className: "field" }, element("span", {}, title, bounds), control);
}

function fill(pipeline) { // the options of one pipeline; what it only records is for other clients
  const own = Object.entries(pipeline.options).filter(([name, option]) => name !== MODEL && !option.recorded);
  part("options").replaceChildren(...own.map(([name, option]) => field(name, option)));
  part("more").hidden = own.length === 0;
}

function pipelineOf(model) {
  const has = (each) => each.options[MODEL]?.choices.includes(model);
  return offered.pipelines.find(has) || offered.pipelines[0];
}

function draw() {
  const choices = offered.segmentation_models;
  const option = { type: "choice", choices, titles: offered.model_labels, title: "Segmentation model", default: offered.defaults[MODEL] };
  part("models").replaceChildren(...(choices.length ? [field(MODEL, option)] : []));
  part("models").querySelector("select")?.addEventListener("change", (event) => fill(pipelineOf(event.target.value)));
  fill(pipelineOf(offered.defaults[MODEL]));
}

export async function load() { // gives what files may be sent: {suffixes, limit_bytes}
  const answer = await fetch("models", { cache: "no-store" });
  if (!answer.ok) throw new Error(String(answer.status));
  offered = await answer.json();
  draw();
  return offered.files;
}

export function reset() { // the form's own reset does not know the defaults
  if (offered) draw();
}

export function values(form) { // every field but the file: [name, text]
  const controls = [...form.elements].filter((each) => each.name && each.type !== "file");
  return controls.map((each) => [each.name, each.type === "checkbox" ? String(each.checked) : each.value]);
}
