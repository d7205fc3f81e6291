// Writes queues as the portal does, with BullMQ itself: `node queue.cjs bullmq5|bullmq6 PORT`.
//
// Each line of standard input is an order in JSON, `{"do": "add", "queue": …}`; each is answered with `{}` or
// `{"error": …}`. It ends at end of file. NODE_PATH says where the packages are.
"use strict";

const { createInterface } = require("node:readline");
const { Queue, Worker } = require(process.argv[2]);

const connection = { host: "127.0.0.1", port: Number(process.argv[3]), maxRetriesPerRequest: null };
const queues = new Map();
const workers = new Map();

const WORK = {
  completes: async () => null,
  fails: async () => {
    throw new Error("Authentication Failed");
  },
  hangs: () => new Promise(() => {}),
};

function queue({ queue: name, prefix = "bull" }) {
  const key = `${prefix}:${name}`;
  if (!queues.has(key)) queues.set(key, new Queue(name, { connection, prefix }));
  return queues.get(key);
}

const DO = {
  make: async (order) => {
    while (!(await queue(order).getVersion())); // written some time after waitUntilReady()
  },
  add: (order) =>
    queue(order).addBulk(Array.from({ length: order.count ?? 1 }, () => ({ name: "job", data: {}, opts: order.opts }))),
  pause: (order) => queue(order).pause(),
  resume: (order) => queue(order).resume(),
  work: async ({ queue: name, prefix, how, options }) => {
    const worker = new Worker(name, WORK[how], { connection, prefix, drainDelay: 1, ...options });
    worker.on("error", () => {});
    workers.set(name, worker);
    await worker.waitUntilReady();
  },
  rest: async ({ queue: name }) => {
    await workers.get(name).close();
    workers.delete(name);
  },
  forget: async () => {
    await Promise.all([...workers.values()].map((worker) => worker.close(true)));
    await Promise.all([...queues.values()].map((one) => one.close()));
    workers.clear();
    queues.clear();
  },
};

async function main() {
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    let answer = {};
    try {
      await DO[order.do](order);
    } catch (error) {
      answer = { error: String(error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit(0);
}

main();
