// graphile-worker: one pool of workers with the batching that its page on performance recommends.

import { setTimeout } from "node:timers/promises";

import { Logger, makeWorkerUtils, run, runMigrations } from "graphile-worker";

import { now, record } from "./starts.mjs";

const preset = {
  worker: {
    connectionString: process.env.BENCH_URL,
    concurrentJobs: 24,
    maxPoolSize: 25,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
    pollInterval: 100,
    logger: new Logger(() => () => {}),
  },
};

async function withUtils(use) {
  const utils = await makeWorkerUtils({ preset });
  await use(utils);
  await utils.release();
}

function specs(count, options = {}) {
  return Array.from({ length: count }, (_, number) => ({
    identifier: "start",
    payload: { number },
    ...options,
  }));
}

const commands = {
  async setup() {
    await runMigrations({ preset });
  },
  async work() {
    const runner = await run({ preset, taskList: { start: ({ number }) => record(number) } });
    console.log("ready");
    await runner.promise;
  },
  async enqueue(count) {
    await withUtils((utils) => utils.addJobs(specs(Number(count))));
  },
  async pickup(count) {
    await withUtils(async (utils) => {
      for (let number = 0; number < Number(count); number++) {
        await utils.addJob("start", { number });
        console.log(now());
        await setTimeout(50);
      }
    });
  },
  async at(moment, count) {
    const runAt = new Date(Number(moment) * 1000);
    await withUtils((utils) => utils.addJobs(specs(Number(count), { runAt })));
  },
};

const [command, ...given] = process.argv.slice(2);
await commands[command](...given);
