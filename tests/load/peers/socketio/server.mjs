// A peer for `make bench-chat`: plain broadcast by Socket.IO. Usage: node server.mjs PORT
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false });
io.on("connection", (socket) => {
  socket.on("message", (text) => io.emit("message", text));
});
http.listen(Number(process.argv[2]), "127.0.0.1");
