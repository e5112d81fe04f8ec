// node: fs, streams, zlib, crypto, timers.
const fs = require("fs"), path = require("path"), zlib = require("zlib"), crypto = require("crypto");
const { pipeline } = require("stream/promises"), { Transform, Readable } = require("stream");

async function main() {
  fs.mkdirSync("a/b/c", { recursive: true });
  await fs.promises.writeFile("a/b/f", "hello ".repeat(50000));
  console.log((await fs.promises.stat("a/b/f")).size, fs.readdirSync("a/b").sort());
  fs.copyFileSync("a/b/f", "copy"); fs.renameSync("copy", "a/moved"); fs.symlinkSync("moved", "a/link");
  console.log(fs.readlinkSync("a/link"), fs.lstatSync("a/link").isSymbolicLink(), fs.realpathSync("a/link").endsWith("moved"));
  try { fs.readFileSync("missing"); } catch (error) { console.log(error.code, error.syscall); }
  const upper = new Transform({ transform(chunk, _, done) { done(null, chunk.toString().toUpperCase()); } });
  await pipeline(fs.createReadStream("a/moved"), upper, zlib.createGzip(), fs.createWriteStream("out.gz"));
  const text = zlib.gunzipSync(fs.readFileSync("out.gz")).toString();
  console.log(text.length, text.slice(0, 11), crypto.createHash("sha256").update(text).digest("hex"));
  const handle = await fs.promises.open("random", "w+");
  await handle.write("0123456789"); await handle.truncate(5);
  console.log((await handle.read(Buffer.alloc(10), 0, 10, 0)).bytesRead); await handle.close();
  await Promise.all(Array.from({ length: 100 }, (_, i) => fs.promises.writeFile(`a/n${i}`, `${i}`)));
  const all = await Promise.all(Array.from({ length: 100 }, (_, i) => fs.promises.readFile(`a/n${i}`, "utf8")));
  console.log(all.reduce((sum, text) => sum + Number(text), 0));
  let lines = 0; for await (const chunk of Readable.from(["a", "b", "c"])) lines += chunk.length; console.log(lines);
  fs.rmSync("a", { recursive: true }); console.log(fs.existsSync("a"), path.basename("/x/y.z"));
  await new Promise((done) => setTimeout(done, 10)); setImmediate(() => console.log("immediate"));
  process.nextTick(() => console.log("tick"));
}
main().catch((error) => { console.log(error); process.exitCode = 1; });
