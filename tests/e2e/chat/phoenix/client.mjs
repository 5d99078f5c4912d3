// The official Phoenix client, driven over standard input and output, one JSON object a line.
//
// In:  {"id": 1, "do": "connect", "url": "...", "params": {...}, "authToken": "..."}
//      {"id": 2, "do": "join", "topic": "chat:...", "payload": {...}, "presence": true}
//      {"id": 3, "do": "push", "topic": "...", "event": "...", "payload": {...}}
//      {"id": 4, "do": "push_bytes", "topic": "...", "event": "...", "bytes": [1, 2]}
//      {"id": 5, "do": "leave", "topic": "..."} and {"id": 6, "do": "disconnect"}
// Out: {"id": 1, "status": "ok" | "error" | "timeout", "response": {...}} for each of these,
//      {"topic": "...", "event": "...", "payload": {...}} for everything the server pushes, and, with
//      `presence`, {"topic": "...", "event": "sync", "payload": {<user>: <devices>}} for each onSync
//      of the class Presence. {"frame": "opening" | "sent" | "received", "text": "..."} for each
//      text frame of the socket, as it is on the wire; binary pushes are sent as text without payload.

import { createInterface } from "node:readline";
import { Presence, Socket } from "phoenix";
import { WebSocket } from "ws";

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// The socket that the client is given, with all that passes through it.
class Observed extends WebSocket {
  constructor(...options) {
    super(...options);
    say({ frame: "opening", text: "" });
    this.on("message", (data) => say({ frame: "received", text: data.toString() }));
  }

  send(data) {
    if (typeof data === "string") say({ frame: "sent", text: data });
    else say({ frame: "sent", text: JSON.stringify(headOf(Buffer.from(data))) });
    super.send(data);
  }
}

// join_ref, ref, topic and event of a binary push (Phoenix' serializer 2), and null for its payload.
const headOf = (push) => {
  let start = 5;
  const fields = [...push.subarray(1, 5)].map((length) => {
    start += length;
    return push.toString("utf8", start - length, start);
  });
  return [...fields, null];
};

let socket;
const channels = new Map();

const settle = (id, push) =>
  push
    .receive("ok", (response) => say({ id, status: "ok", response }))
    .receive("error", (response) => say({ id, status: "error", response }))
    .receive("timeout", () => say({ id, status: "timeout", response: {} }));

const commands = {
  connect({ id, url, params, authToken }) {
    socket = new Socket(url, { params, authToken, transport: Observed, vsn: "2.0.0" });
    let told = false;
    const tell = (status, response) => {
      if (!told) say({ id, status, response });
      told = true;
    };
    socket.onOpen(() => tell("ok", {}));
    socket.onError((error) => {
      tell("error", { reason: String(error?.message ?? error) });
      // The client would try again for ever; the tests want to know of the first time.
      if (!socket.isConnected()) socket.disconnect();
    });
    socket.connect();
  },
  join({ id, topic, payload, presence }) {
    const channel = socket.channel(topic, payload ?? {});
    // What the client hands on of every message, replies and its own events apart.
    channel.onMessage = (event, data) => {
      if (!event.startsWith("phx_") && !event.startsWith("chan_reply_")) {
        say({ topic, event, payload: data });
      }
      return data;
    };
    if (presence) {
      const known = new Presence(channel);
      known.onSync(() => {
        const devices = known.list((user, { metas }) => [user, metas.length]);
        say({ topic, event: "sync", payload: Object.fromEntries(devices) });
      });
    }
    channels.set(topic, channel);
    settle(id, channel.join());
  },
  push({ id, topic, event, payload }) {
    settle(id, channels.get(topic).push(event, payload ?? {}));
  },
  push_bytes({ id, topic, event, bytes }) {
    settle(id, channels.get(topic).push(event, new Uint8Array(bytes).buffer));
  },
  leave({ id, topic }) {
    settle(id, channels.get(topic).leave());
    channels.delete(topic);
  },
  disconnect({ id }) {
    socket.disconnect(() => say({ id, status: "ok", response: {} }));
  },
};

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
lines.on("close", () => process.exit(0));
