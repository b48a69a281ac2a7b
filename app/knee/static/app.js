// The page of the knee site: upload a scan, follow its job, show the result. The address (?job=…) holds which job is shown.

import * as options from "./form.js";

const ASK_EVERY = 1000; // ms between two questions about a job
const part = (id) => document.getElementById(id);
const [form, file, drop, submit] = [part("upload"), part("file"), part("drop"), part("upload").querySelector("button")];
let shown = null; // id of the job that is being followed
let chosen = null; // the File to upload
let said = "";
let files = { suffixes: [".zip", ".dcm", ".nii.gz", ".nii", ".nrrd"], limit_bytes: 600 * 1024 * 1024 }; // until /models has answered
let source = null; // what the site pushes about the shown job

function show(element, visible) { element.hidden = !visible; }

function say(text) { // to screen readers, once per text
  if (text !== said) part("announce").textContent = said = text;
}

function state(title, detail, percent) {
  part("state").textContent = title;
  part("detail").textContent = detail;
  document.title = `${title} – Knee MRI analysis`;
  show(part("bar"), percent !== undefined);
  if (percent === null) part("bar").removeAttribute("value");
  else if (percent !== undefined) part("bar").value = percent;
}

function megabytes(bytes) { return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`; }

function limit() { return `${Math.floor(files.limit_bytes / 1024 ** 2)} MB`; }

function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

// ---- choosing and uploading ----------------------------------------------------------------------------------------

function problem(text) {
  part("problem").textContent = text;
  show(part("problem"), text !== "");
}

function choose(picked) {
  chosen = null;
  problem("");
  if (picked) {
    const known = files.suffixes.some((suffix) => picked.name.toLowerCase().endsWith(suffix));
    if (!known) problem(`“${picked.name}” is of no kind that this site reads: choose a file named ${files.suffixes.join(", ")}.`);
    else if (picked.size === 0) problem(`“${picked.name}” is empty.`);
    else if (picked.size > files.limit_bytes) problem(`“${picked.name}” has ${megabytes(picked.size)}; this site accepts up to ${limit()}.`);
    else chosen = picked;
  }
  part("chosen").textContent = chosen ? `${chosen.name} (${megabytes(chosen.size)})` : "";
  show(part("chosen"), chosen !== null);
  submit.disabled = chosen === null;
}

function start() { // the empty form
  shown = null;
  source?.close();
  form.reset();
  options.reset();
  choose(null);
  document.title = "Knee MRI analysis";
  show(part("job"), false);
  show(form, true);
}

function openJob(number) {
  show(form, false);
  show(part("job"), true);
  show(part("result"), false);
  show(part("again"), number !== "");
  show(part("keep"), number !== "");
  show(part("cancel"), false);
  part("job").classList.remove("failed");
  part("number").textContent = number && `Job ${number.slice(0, 8)}`;
}

function answerOf(request) {
  try { return JSON.parse(request.responseText); } catch { return {}; }
}

function upload() {
  const request = new XMLHttpRequest(); // fetch cannot tell how much has been sent
  const body = new FormData();
  for (const [name, value] of options.values(form)) body.append(name, value);
  body.append("file", chosen);
  openJob("");
  state("Uploading", `${chosen.name} (${megabytes(chosen.size)})`, 0);
  part("state").focus();
  request.upload.onprogress = (event) => {
    if (event.lengthComputable) part("bar").value = (100 * event.loaded) / event.total;
  };
  request.onload = () => {
    const answer = answerOf(request);
    if (request.status !== 201) return refuse(answer.detail || `The site answered with ${request.status}. Please try again later.`);
    history.pushState(null, "", `?job=${answer.job_id}`);
    follow(answer.job_id);
  };
  request.onerror = () => refuse("The upload was cut off. Check the connection and try again.");
  request.open("POST", "upload");
  request.send(body);
}

function refuse(text) {
  show(part("job"), false);
  show(form, true);
  document.title = "Knee MRI analysis";
  problem(text);
  submit.focus();
}

// ---- following a job -----------------------------------------------------------------------------------------------

const views = {
  queued(job) {
    show(part("cancel"), true);
    const place = job.queue_position === 1 ? "next in the queue" : `number ${job.queue_position} in the queue`;
    const why = job.message ? `The queue is ${job.message}.` : `Expected to be done in about ${duration(job.estimated_wait)}.`;
    state("Waiting", `Your scan is ${place}. ${why}`, null);
    say(`Waiting, ${place}.`);
  },
  processing(job) {
    show(part("cancel"), true);
    const left = job.progress_percent > 0 ? ` About ${duration(job.estimated_remaining)} left.` : "";
    state("Analysing", `Step ${job.current_step} of ${job.total_steps}: ${job.step_name}.${left}`, job.progress_percent);
    say(`Analysing, step ${job.current_step} of ${job.total_steps}.`);
  },
  complete(job) {
    show(part("cancel"), false);
    state("Done", `The analysis took ${duration(job.processing_time)}.`);
    part("volumes").replaceChildren(...Object.entries(job.summary.volumes_mm3 || {}).map(row));
    part("download").href = job.download_url.replace(/^\//, "");
    part("download").textContent = `Download the result (${megabytes(job.result_size_bytes)})`;
    show(part("result"), true);
    say("Done. The result is below.");
  },
  error(job) {
    show(part("cancel"), false);
    if (job.error_code === "CANCELLED") {
      state("Cancelled", "This job was cancelled; nothing of it is worked on any more.");
      return say("Cancelled.");
    }
    part("job").classList.add("failed");
    state("The analysis failed", `${job.error_message} (${job.error_code})`);
    say("The analysis failed.");
  },
};

function row([name, volume]) {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
  line.append(head);
  for (const [value, digits] of [[volume, 0], [volume / 1000, 2]]) {
    line.insertCell().textContent = value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }
  return line;
}

async function ask(id) { // true once there is nothing more to ask
  const answer = await fetch(`status/${encodeURIComponent(id)}`, { cache: "no-store" });
  if (shown !== id) return true;
  if (answer.status === 404) {
    views.error({ error_message: "There is no such job (any more).", error_code: "404" });
    return true;
  }
  if (!answer.ok) throw new Error(String(answer.status));
  const job = await answer.json();
  views[job.status](job);
  return job.status === "complete" || job.status === "error";
}

function push(id) { // shows each change as it comes; true once there is nothing more to hear, false when it was cut off
  return new Promise((done) => {
    const events = source = new EventSource(`status/${encodeURIComponent(id)}/events`);
    const end = (over) => { events.close(); done(over); };
    events.onerror = () => end(false);
    events.onmessage = (event) => {
      const job = JSON.parse(event.data);
      views[job.status](job);
      if (job.status === "complete" || job.status === "error") end(true);
    };
  });
}

async function follow(id) {
  source?.close();
  shown = id;
  openJob(id);
  state("Looking up the job", "", null);
  while (shown === id) {
    try {
      if (await push(id) || await ask(id)) return;
    } catch {
      if (shown === id) part("detail").textContent = "The site does not answer just now; your job is not lost. Trying again …";
    }
    await new Promise((done) => setTimeout(done, ASK_EVERY));
  }
}

async function cancel() {
  if (!confirm("Cancel this job? What was done so far is lost.")) return;
  try {
    const answer = await fetch(`cancel/${encodeURIComponent(shown)}`, { method: "POST" });
    const body = await answer.json();
    if (answer.ok) views[body.status](body);
    else part("detail").textContent = body.detail;
  } catch {
    part("detail").textContent = "The site does not answer just now, so the job was not cancelled. Please try again.";
  }
}

function route() {
  const id = new URLSearchParams(location.search).get("job");
  if (id) follow(id);
  else start();
}

file.addEventListener("change", () => choose(file.files[0]));
form.addEventListener("submit", (event) => { event.preventDefault(); if (chosen) upload(); });
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => { event.preventDefault(); choose(event.dataTransfer.files[0]); });
part("again").addEventListener("click", () => { history.pushState(null, "", location.pathname); start(); file.focus(); });
part("cancel").addEventListener("click", cancel);
addEventListener("popstate", route);
options.load().then((told) => {
  files = told;
  part("limit").textContent = limit();
  file.accept = [...files.suffixes, ".gz"].join(); // browsers know one dot only
}).catch(() => {}); // without options the form still sends a scan, with the defaults
route();
