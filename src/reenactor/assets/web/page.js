// The page's own scripts: faces that can be clicked, downloads, a recording of the visitor, and the Live tab, a client
// of the API's live protocol (docs/api.md): camera pictures out, pictures of the driven photo back.
(() => {
  "use strict";
  const SIDE = 480;        // longer side of what is sent; faces are found in less
  const IN_FLIGHT = 2;     // one being drawn, one on its way
  const REMEMBERED = 90;   // pictures over which speed and delay are measured
  const part = (id) => document.getElementById(id);
  let socket = null, stream = null, waiting = new Map(), sent = 0, next = null;
  let delays = [], shown = [], turning = 0, reported = 0;

  const say = (text, bad = false) => {
    const status = part("re-live-status");
    status.textContent = text;
    status.className = bad ? "re-problem" : "";
    status.setAttribute("role", bad ? "alert" : "none");   // numbers that change all the time are not read out
  };
  const keys = () => part("re-live").querySelectorAll("[data-do]");
  const key = (name) => part("re-live").querySelector(`[data-do="${name}"]`);
  const press = (name, on) => key(name).setAttribute("aria-pressed", String(on));
  const pressed = (name) => key(name).getAttribute("aria-pressed") === "true";
  const send = (message) => socket && socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));

  function end(text = "", bad = false) {
    if (socket) { socket.onclose = socket.onmessage = null; socket.close(); socket = null; }
    if (stream) { stream.getTracks().forEach((track) => track.stop()); stream = null; }
    cancelAnimationFrame(turning);
    keys().forEach((one) => { one.disabled = true; });
    press("record", false);
    part("re-live").dataset.state = "off";
    part("re-live-camera").srcObject = null;
    say(text, bad);
  }

  async function camera(width, height) {
    if (!navigator.mediaDevices) {
      throw new Error("The browser gives the camera only to pages of this computer (http://127.0.0.1) or over HTTPS; open the page that way.");
    }
    try {
      return await navigator.mediaDevices.getUserMedia({ video: { width, height, frameRate: 30, facingMode: "user" } });
    } catch (error) {
      const reasons = {
        NotAllowedError: "The browser may not use the camera; allow it in the address bar and try again.",
        NotFoundError: "There is no camera; connect one and try again.",
        NotReadableError: "Another program uses the camera; close it and try again.",
      };
      throw new Error(reasons[error.name] || "The camera does not start; check it and try again.");
    }
  }

  async function start(path) {
    if (!path) return;
    end("Waiting for the camera…");
    delays = []; shown = []; waiting.clear(); sent = 0; next = null;
    part("re-live-recording").hidden = true;
    const view = part("re-live-camera");
    try {
      stream = await camera(640, 480);
      view.srcObject = stream;
      await view.play();
    } catch (error) {
      end(error.message, true);
      return;
    }
    const address = new URL(path, document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (message) => (typeof message.data === "string" ? hear(JSON.parse(message.data)) : show(message.data));
    socket.onclose = (event) => end(closed(event), true);
    say("Getting ready…");
  }

  // Before a session is accepted the browser hides the server's answer: the slots are taken, or the photo is gone.
  function closed(event) {
    if (event.reason) return event.reason[0].toUpperCase() + event.reason.slice(1) + ".";
    if (part("re-live").dataset.state === "on") return "The connection ended; press Start again.";
    return "Others are driving live just now, or the photo is no longer here; press Start again.";
  }

  function hear(message) {
    if (message.type === "ready") {
      const result = part("re-live-result");
      result.width = message.width; result.height = message.height;
      keys().forEach((one) => { one.disabled = false; });
      part("re-live").dataset.state = "on";
      send({ type: "mirror", on: pressed("mirror") });
      capture();
    } else if (message.type === "frame") {
      next = message;   // its picture is the next message
    } else if (message.type === "recording") {
      press("record", true);
    } else if (message.type === "recorded") {
      press("record", false);
      const line = part("re-live-recording");
      line.querySelector("a").href = new URL(message.url.slice(1), document.baseURI);
      line.hidden = false;
    } else if (message.type === "error") {
      forget(message.number);
      const sentence = message.error[0].toUpperCase() + message.error.slice(1) + ".";
      if (part("re-live").dataset.state === "on" && socket.readyState === WebSocket.OPEN) say(sentence, true);
      else end(sentence, true);
    }
  }

  const paper = document.createElement("canvas");
  let busy = false, lastTime = -1;
  function capture() {
    turning = requestAnimationFrame(capture);
    const view = part("re-live-camera");
    if (busy || !socket || socket.readyState !== WebSocket.OPEN) return;
    if (waiting.size >= IN_FLIGHT || !view.videoWidth || view.currentTime === lastTime) return;
    lastTime = view.currentTime;
    const shrink = Math.min(1, SIDE / Math.max(view.videoWidth, view.videoHeight));
    paper.width = Math.round(view.videoWidth * shrink);
    paper.height = Math.round(view.videoHeight * shrink);
    const now = performance.now() / 1000;
    paper.getContext("2d").drawImage(view, 0, 0, paper.width, paper.height);
    busy = true;
    paper.toBlob((jpeg) => {
      busy = false;
      if (socket && socket.readyState === WebSocket.OPEN) { sent += 1; waiting.set(sent, now); socket.send(jpeg); }
    }, "image/jpeg", 0.8);
  }

  // The pictures up to a number are answered, or were dropped.
  function forget(number) {
    const time = waiting.get(number);
    [...waiting.keys()].filter((one) => one <= number).forEach((one) => waiting.delete(one));
    return time;
  }

  async function show(data) {
    const seen = next.face, taken = forget(next.number);
    const picture = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
    part("re-live-result").getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    const now = performance.now() / 1000;
    delays = [...delays.slice(1 - REMEMBERED), now - taken];
    shown = [...shown.slice(1 - REMEMBERED), now];
    const middle = [...delays].sort((a, b) => a - b)[Math.floor(delays.length / 2)];
    const speed = shown.length > 1 ? (shown.length - 1) / (now - shown[0]) : 0;
    const live = part("re-live");
    live.dataset.frames = Number(live.dataset.frames || 0) + 1;
    live.dataset.fps = speed.toFixed(1);
    live.dataset.delay = (1000 * middle).toFixed(0);
    if (live.dataset.state !== "on" || now - reported < 0.5) return;
    reported = now;
    const face = seen ? "" : " · no face before the camera: the last pose is held";
    const tape = pressed("record") ? " · recording" : "";
    say(`${speed.toFixed(1)} pictures a second · ${(1000 * middle).toFixed(0)} ms behind${face}${tape}`);
  }

  // What to do, and for how many seconds; with closed eyes nobody reads what comes next.
  const GUIDE = [
    ["Look straight ahead, with your lips closed", 2], ["Look left: turn your head slowly", 2],
    ["Look right: turn your head slowly", 2], ["Look ahead and open your mouth wide", 2], ["Close your eyes until it ends", 2],
  ];
  const KINDS = ["video/mp4;codecs=avc1.42E01F", "video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm", "video/mp4"];
  let recording = null;   // ends it

  // Shows the text with the seconds that are left of all; false if the visitor stopped.
  async function count(words, text, seconds, after) {
    for (let left = seconds; left > 0; left -= 1) {
      words.textContent = `${text} (${left + after} s)`;
      await new Promise((resolve) => setTimeout(resolve, 1000));
      if (!recording) return false;
    }
    return true;
  }

  async function record() {
    const box = part("re-record"), words = box.querySelector("p"), view = box.querySelector("video");
    if (recording) return;
    recording = true;
    words.className = "";
    words.textContent = "Waiting for the camera…";
    box.dataset.state = "on";
    let film = null;
    try {
      const kind = window.MediaRecorder && KINDS.find((one) => MediaRecorder.isTypeSupported(one));
      if (!kind) throw new Error("This browser cannot record; record a video with another program and drop it above.");
      film = await camera(1280, 720);
      view.srcObject = film;
      await view.play();
      if (!await count(words, "Get ready to look left and right, to open your mouth and to close your eyes", 4, 0)) return;
      const recorder = new MediaRecorder(film, { mimeType: kind, videoBitsPerSecond: 8e6 }), pieces = [];
      recorder.ondataavailable = (event) => pieces.push(event.data);
      const ended = new Promise((resolve) => { recorder.onstop = resolve; });
      recorder.start();
      let left = GUIDE.reduce((sum, one) => sum + one[1], 0);
      for (const [text, seconds] of GUIDE) {
        left -= seconds;
        if (!await count(words, text, seconds, left)) return;
      }
      recorder.stop();
      await ended;
      const name = `recording.${kind.startsWith("video/mp4") ? "mp4" : "webm"}`;
      const files = new DataTransfer(), input = document.querySelector("[data-testid='recording-upload-button']");
      files.items.add(new File(pieces, name, { type: kind }));
      input.files = files.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
      words.textContent = "";
      box.dataset.state = "off";
    } catch (error) {
      words.textContent = error.message;
      words.className = "re-problem";
      box.dataset.state = "failed";
    } finally {
      recording = null;
      if (film) film.getTracks().forEach((track) => track.stop());
      view.srcObject = null;
      if (box.dataset.state === "on") box.dataset.state = "off";   // stopped
    }
  }
  window.reenactorRecord = record;

  document.addEventListener("click", (event) => {
    if (event.target.closest && event.target.closest("#re-record [data-stop]")) recording = null;
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("#re-live [data-do]");
    if (!button) return;
    const what = button.dataset.do;
    if (what === "stop") end("Stopped.");
    else if (what === "neutral") send({ type: "set-neutral" });
    else if (what === "mirror") { press("mirror", !pressed("mirror")); send({ type: "mirror", on: pressed("mirror") }); }
    else if (what === "record") send({ type: "record", on: !pressed("record") });
  });
  document.addEventListener("click", (event) => {
    const face = event.target.closest && event.target.closest("#faces [data-face]");
    const choices = document.querySelectorAll("#face input[type=radio]");   // the first stands for the largest
    if (face && choices.length > 1) choices[Number(face.dataset.face)].click();
  });
  window.reenactorLive = { start };
  window.reenactorSave = (url, name) => {
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
  };
})();
