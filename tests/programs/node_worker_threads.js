// node: worker_threads, shared memory, Atomics, message channels.
const { Worker, isMainThread, parentPort, workerData, MessageChannel } = require("worker_threads");

if (!isMainThread) {
  const shared = new Int32Array(workerData.buffer);
  for (let i = 0; i < 10000; i++) Atomics.add(shared, 0, 1);
  Atomics.add(shared, 1, 1); Atomics.notify(shared, 1);
  parentPort.postMessage(workerData.number ** 2); parentPort.close();
} else {
  const buffer = new SharedArrayBuffer(8);
  const workers = Array.from({ length: 6 }, (_, number) => new Worker(__filename, { workerData: { buffer, number } }));
  Promise.all(workers.map((worker) => new Promise((done) => worker.on("message", done)))).then(async (squares) => {
    console.log(squares, new Int32Array(buffer)[0], new Int32Array(buffer)[1]);
    await Promise.all(workers.map((worker) => worker.terminate()));
    // One after the other: two event sources have no order between them.
    const failing = new Worker("throw new Error('in the worker')", { eval: true });
    console.log(await new Promise((done) => failing.on("error", (error) => done(error.message))));
    const { port1, port2 } = new MessageChannel();
    const received = new Promise((done) => port1.on("message", done));
    port2.postMessage({ a: [1, 2] }); console.log(await received); port1.close();
    const waiting = new Int32Array(new SharedArrayBuffer(4)); console.log(Atomics.wait(waiting, 0, 0, 20));
  });
}
