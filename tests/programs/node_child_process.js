// node: child_process with pipes, signals, exec, fork and its messages; UNIX sockets.
// usk-test: status=7
const { spawn, spawnSync, execSync, exec, fork } = require("child_process"), net = require("net");

if (process.argv[2] === "child") {
  process.on("message", (message) => { process.send({ doubled: message * 2 }); if (message === 3) process.disconnect(); });
} else main();

function ended(child) { return new Promise((done) => child.on("close", (code, signal) => done([code, signal]))); }

async function main() {
  console.log(execSync("echo sync").toString(), spawnSync("sh", ["-c", "exit 3"]).status);
  const cat = spawn("cat"); let text = ""; cat.stdout.on("data", (data) => (text += data));
  for (let i = 0; i < 1000; i++) cat.stdin.write("x".repeat(100)); cat.stdin.end();
  console.log(await ended(cat), text.length);
  const sleeper = spawn("sleep", ["100"]); sleeper.kill("SIGTERM"); console.log(await ended(sleeper));
  console.log(await new Promise((done) => spawn("/missing").on("error", (error) => done(error.code))));
  console.log(await new Promise((done) => exec("echo out; echo err >&2; exit 5", (error, out, err) => done([error.code, out, err]))));
  const child = fork(__filename, ["child"]); const answers = [];
  child.on("message", (message) => answers.push(message)); [1, 2, 3].forEach((n) => child.send(n));
  console.log((await ended(child))[0], answers);
  console.log(await Promise.all(Array.from({ length: 10 }, (_, i) => ended(spawn("sh", ["-c", `exit ${i}`])))));
  const server = net.createServer((socket) => socket.on("data", (data) => socket.end(data.toString().toUpperCase())));
  await new Promise((done) => server.listen("socket", done));
  const client = net.connect("socket"); client.write("shout");
  console.log(await new Promise((done) => client.on("data", (data) => done(data.toString())))); server.close();
  process.on("SIGUSR2", () => console.log("signal")); process.kill(process.pid, "SIGUSR2");
  await new Promise((done) => setTimeout(done, 50)); process.removeAllListeners("SIGUSR2"); process.exitCode = 7;
}
