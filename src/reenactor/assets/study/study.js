"use strict";

const KEY = "reenactor-study-token";
const at = (id) => document.getElementById(id);
const SECTIONS = ["welcome", "trial", "thanks"];

let asked = null; // the question on the page
let late = false; // its pictures are hidden again
let open = false; // it can be answered
let clock = 0; // the timer that hides the pictures

async function call(path, content) {
  const reply = await fetch(path, { method: "POST", body: JSON.stringify(content) });
  if (!reply.ok) throw Object.assign(new Error(reply.statusText), { status: reply.status });
  return reply.json();
}

/* Whatever goes wrong on the way is tried again with the page as it is; a token that nobody knows is forgotten. */
async function attempt(work) {
  try {
    await work();
    at("trouble").hidden = true;
  } catch (error) {
    if (error.status === 403) {
      localStorage.removeItem(KEY);
      return present("welcome");
    }
    if (error.status === 409) return attempt(next);
    at("trouble").textContent = "The server does not answer; trying again.";
    at("trouble").hidden = false;
    setTimeout(() => attempt(work), 2000);
  }
}

function present(section) {
  for (const name of SECTIONS) at(name).hidden = name !== section;
}

async function picture(name) {
  const image = new Image();
  image.alt = "";
  image.draggable = false;
  image.src = `/pictures/${name}`;
  await image.decode();
  return image;
}

async function next() {
  await ask(await call("/api/next", { token: localStorage.getItem(KEY) }));
}

async function ask(question) {
  clearTimeout(clock);
  open = false;
  const [person, driver, options] = await Promise.all(
    [question.person ?? [], question.driver ? [question.driver] : [], question.pictures ?? []].map((names) =>
      Promise.all(names.map(picture)),
    ),
  );
  document.title = at("title").textContent = question.title;
  at("progress").hidden = false;
  at("progress").max = question.total;
  at("progress").value = question.step;
  at("count").textContent = `${Math.min(question.step + 1, question.total)} / ${question.total}`;
  if (question.done) return present("thanks");
  asked = question;
  late = false;
  at("context").hidden = person.length === 0;
  at("person").lastElementChild.replaceChildren(...person);
  at("driver").lastElementChild.replaceChildren(...driver);
  at("question").textContent = question.question;
  at("options").replaceChildren(...options.map(option));
  at("keys").textContent = `Keys: ${options.map((_, i) => i + 1).join(", ")}${options.length === 2 ? " or ← →" : ""}`;
  present("trial");
  const timed = question.left_ms !== null;
  const begun = timed && question.left_ms < 3000;
  reveal(!timed);
  at("timer").hidden = true;
  at("show").hidden = !timed || begun;
  if (!timed) return ready();
  if (begun) return show();
  at("show").focus({ preventScroll: true });
}

function option(image, index) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "option";
  button.disabled = true;
  button.setAttribute("aria-label", `Picture ${index + 1}`);
  const frame = document.createElement("span");
  frame.className = "frame";
  frame.append(image);
  const number = document.createElement("span");
  number.className = "number";
  number.textContent = index + 1;
  button.append(frame, number);
  button.addEventListener("click", () => answer(index));
  return button;
}

function reveal(visible) {
  for (const image of at("options").querySelectorAll("img")) image.hidden = !visible;
}

function ready() {
  open = true;
  for (const button of at("options").children) button.disabled = false;
}

/* The time begins on the server, so that a reload gains none. */
async function show() {
  at("show").hidden = true;
  const { left_ms } = await call("/api/show", { token: localStorage.getItem(KEY), step: asked.step });
  ready();
  if (left_ms <= 0) return hide();
  reveal(true);
  at("timer").hidden = false;
  at("timer").firstElementChild.animate([{ transform: "scaleX(1)" }, { transform: "scaleX(0)" }], { duration: left_ms });
  clock = setTimeout(hide, left_ms);
}

function hide() {
  late = true;
  reveal(false);
  at("timer").hidden = true;
  at("question").textContent = "Which one was it?";
}

function answer(index) {
  if (!open || index >= asked.pictures.length) return;
  open = false;
  clearTimeout(clock);
  at("options").children[index].classList.add("chosen");
  for (const button of at("options").children) button.disabled = true;
  const content = {
    token: localStorage.getItem(KEY),
    step: asked.step,
    chosen: index,
    late,
  };
  attempt(async () => ask(await call("/api/answer", content)));
}

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || at("trial").hidden || !asked) return;
  const two = asked.pictures.length === 2;
  const index = two && event.key === "ArrowLeft" ? 0 : two && event.key === "ArrowRight" ? 1 : "123".indexOf(event.key);
  if (index >= 0 && event.key !== "") answer(index);
});
at("show").addEventListener("click", () => attempt(show));
at("begin").addEventListener("click", () =>
  attempt(async () => {
    localStorage.setItem(KEY, (await call("/api/join", {})).token);
    await next();
  }),
);

if (localStorage.getItem(KEY)) attempt(next);
else present("welcome");
