// node: http server and client over the loopback of the sandbox, kept-alive connections, many at once; dgram.
const http = require("http"), dgram = require("dgram"), net = require("net");

const large = Buffer.alloc(1 << 20, "0123456789");
const server = http.createServer((request, response) => {
  if (request.url === "/large") return response.end(large);
  let body = ""; request.on("data", (data) => (body += data)).on("end", () => response.end(request.method + request.url + body));
});

function fetched(port, path, options = {}, body) {
  return new Promise((done, failed) => {
    const request = http.request({ host: "127.0.0.1", port, path, ...options }, (response) => {
      const parts = []; response.on("data", (data) => parts.push(data)).on("end", () => done(Buffer.concat(parts)));
    });
    request.on("error", (error) => failed(error.code)); request.end(body);
  });
}

async function main() {
  await new Promise((done) => server.listen(0, done));
  const port = server.address().port, agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
  console.log(String(await fetched(port, "/a")), String(await fetched(port, "/b", { host: "::1", method: "POST" }, "body")));
  console.log((await fetched(port, "/large")).equals(large));
  const all = await Promise.all(Array.from({ length: 200 }, (_, i) => fetched(port, `/${i}`, { agent })));
  console.log(all.map(String).join("").length); agent.destroy();
  server.closeAllConnections(); await new Promise((done) => server.close(done));
  console.log(await fetched(port, "/").catch((code) => code));
  const echo = net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  await new Promise((done) => echo.listen(0, "127.0.0.1", done));
  const client = net.connect(echo.address().port, "127.0.0.1"); let count = 0;
  client.on("data", (data) => (count += data.length)); for (let i = 0; i < 50; i++) client.write(large); client.end();
  await new Promise((done) => client.on("close", done)); console.log(count); echo.close();
  const one = dgram.createSocket("udp4"), two = dgram.createSocket("udp4");
  await new Promise((done) => one.bind(0, "127.0.0.1", done));
  two.send("datagram", one.address().port, "127.0.0.1");
  const [data, source] = await new Promise((done) => one.on("message", (data, source) => done([data, source])));
  console.log(String(data), source.address, source.family); one.close(); two.close();
}
main();
