// pg-boss: batches, woken by NOTIFY, and polling as often as it allows for what becomes due.

import { setTimeout } from "node:timers/promises";

import { PgBoss } from "pg-boss";

import { now, record } from "./starts.mjs";

const QUEUE = "start";
const BATCH = 500;
const POLL_S = 0.5;

const boss = new PgBoss({ connectionString: process.env.BENCH_URL, useListenNotify: true });
boss.on("error", console.error);

async function insert(count, options = {}) {
  const jobs = Array.from({ length: count }, (_, number) => ({ data: { number }, ...options }));
  await boss.insert(QUEUE, jobs);
}

const commands = {
  async setup() {
    await boss.createQueue(QUEUE, { notify: true });
  },
  async work() {
    const options = {
      batchSize: BATCH,
      perJobResults: true,
      burstWhenBatchFull: true,
      pollingIntervalSeconds: POLL_S,
      notifyPollingIntervalSeconds: POLL_S,
    };
    await boss.work(QUEUE, options, async (jobs) =>
      jobs.map(({ id, data }) => {
        record(data.number);
        return { id, status: "completed" };
      }),
    );
    const stopped = new Promise((resolve) => process.once("SIGTERM", resolve));
    console.log("ready");
    await stopped;
  },
  async enqueue(count) {
    await insert(Number(count));
  },
  async pickup(count) {
    for (let number = 0; number < Number(count); number++) {
      await boss.send(QUEUE, { number });
      console.log(now());
      await setTimeout(50);
    }
  },
  async at(moment, count) {
    await insert(Number(count), { startAfter: new Date(Number(moment) * 1000) });
  },
};

const [command, ...given] = process.argv.slice(2);
await boss.start();
await commands[command](...given);
await boss.stop();
