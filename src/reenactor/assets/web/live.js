// The Live tab: camera pictures out, pictures of the driven photo back. The server says how (serve/web/live.py).
(() => {
  "use strict";
  const SIDE = 480;        // longer side of what is sent; faces are found in less
  const IN_FLIGHT = 2;     // one being drawn, one on its way
  const REMEMBERED = 90;   // pictures over which speed and delay are told
  const part = (id) => document.getElementById(id);
  let socket = null, stream = null, waiting = [], delays = [], shown = [], clock = 0, turning = 0, told = 0;

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

  async function camera() {
    if (!navigator.mediaDevices) {
      throw new Error("The browser gives the camera only to pages of this computer (http://127.0.0.1) or over HTTPS; open the page that way.");
    }
    try {
      return await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, frameRate: 30, facingMode: "user" } });
    } catch (error) {
      const reasons = {
        NotAllowedError: "The browser may not use the camera; allow it in the address bar and press Start again.",
        NotFoundError: "There is no camera; connect one and press Start again.",
        NotReadableError: "Another program uses the camera; close it and press Start again.",
      };
      throw new Error(reasons[error.name] || "The camera does not start; check it and press Start again.");
    }
  }

  async function start(ticket) {
    if (!ticket) return;
    end("Waiting for the camera…");
    delays = []; shown = []; waiting = []; clock = 0;
    part("re-live-recording").hidden = true;
    const view = part("re-live-camera");
    try {
      stream = await camera();
      view.srcObject = stream;
      await view.play();
    } catch (error) {
      end(error.message, true);
      return;
    }
    const address = new URL(`live/${ticket}`, document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (message) => (typeof message.data === "string" ? hear(JSON.parse(message.data)) : show(message.data));
    socket.onclose = () => end("The connection ended; press Start again.", true);
    say("Getting ready…");
  }

  function hear(message) {
    if (message.type === "ready") {
      const result = part("re-live-result");
      result.width = message.width; result.height = message.height;
      keys().forEach((one) => { one.disabled = false; });
      part("re-live").dataset.state = "on";
      send({ type: "mirror", on: pressed("mirror") });
      capture();
    } else if (message.type === "statistics") {
      part("re-live").dataset.server = JSON.stringify(message);
    } else if (message.type === "recording") {
      press("record", true);
    } else if (message.type === "recorded") {
      press("record", false);
      const line = part("re-live-recording");
      line.querySelector("a").href = message.url;
      line.hidden = false;
    } else if (message.type === "error") {
      if (part("re-live").dataset.state === "on" && socket.readyState === WebSocket.OPEN) say(message.error, true);
      else end(message.error, true);
    }
  }

  const paper = document.createElement("canvas");
  let busy = false, lastTime = -1;
  function capture() {
    turning = requestAnimationFrame(capture);
    const view = part("re-live-camera");
    if (busy || !socket || socket.readyState !== WebSocket.OPEN) return;
    if (waiting.length >= IN_FLIGHT || !view.videoWidth || view.currentTime === lastTime) return;
    lastTime = view.currentTime;
    const shrink = Math.min(1, SIDE / Math.max(view.videoWidth, view.videoHeight));
    paper.width = Math.round(view.videoWidth * shrink);
    paper.height = Math.round(view.videoHeight * shrink);
    const now = Math.max(performance.now() / 1000, clock + 1e-6);
    clock = now;
    paper.getContext("2d").drawImage(view, 0, 0, paper.width, paper.height);
    busy = true;
    paper.toBlob(async (jpeg) => {
      const header = new DataView(new ArrayBuffer(8));
      header.setFloat64(0, now, true);
      const message = await new Blob([header, jpeg]).arrayBuffer();
      busy = false;
      if (socket && socket.readyState === WebSocket.OPEN) { waiting.push(now); socket.send(message); }
    }, "image/jpeg", 0.8);
  }

  async function show(data) {
    const view = new DataView(data);
    const sent = view.getFloat64(0, true), seen = view.getUint8(8) === 1;
    waiting = waiting.filter((one) => one > sent);   // those before it were dropped
    const picture = await createImageBitmap(new Blob([new Uint8Array(data, 9)], { type: "image/jpeg" }));
    part("re-live-result").getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    const now = performance.now() / 1000;
    delays = [...delays.slice(1 - REMEMBERED), now - sent];
    shown = [...shown.slice(1 - REMEMBERED), now];
    const middle = [...delays].sort((a, b) => a - b)[Math.floor(delays.length / 2)];
    const speed = shown.length > 1 ? (shown.length - 1) / (now - shown[0]) : 0;
    const live = part("re-live");
    live.dataset.frames = Number(live.dataset.frames || 0) + 1;
    live.dataset.fps = speed.toFixed(1);
    live.dataset.delay = (1000 * middle).toFixed(0);
    if (live.dataset.state !== "on" || now - told < 0.5) return;
    told = now;
    const face = seen ? "" : " · no face before the camera: the last pose is held";
    const tape = pressed("record") ? " · recording" : "";
    say(`${speed.toFixed(1)} pictures a second · ${(1000 * middle).toFixed(0)} ms behind${face}${tape}`);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("#re-live [data-do]");
    if (!button) return;
    const what = button.dataset.do;
    if (what === "stop") end("Stopped.");
    else if (what === "neutral") send({ type: "neutral" });
    else if (what === "mirror") { press("mirror", !pressed("mirror")); send({ type: "mirror", on: pressed("mirror") }); }
    else if (what === "record") send({ type: "record", on: !pressed("record") });
  });
  window.reenactorLive = { start };
})();
