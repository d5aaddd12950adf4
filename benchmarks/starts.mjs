// Which task started when: `starts.py` for contenders that run in node.

import fs from "node:fs";

const file = fs.openSync(process.env.BENCH_STARTS, "a");

/** The wall clock in seconds, finer than Date.now(). */
export function now() {
  return (performance.timeOrigin + performance.now()) / 1000;
}

/** What every task does, and all that it does; fireTime in Unix seconds, 0 where the contender does not tell it. */
export function record(number, fireTime = 0) {
  const record = Buffer.allocUnsafe(24);
  record.writeBigInt64LE(BigInt(number), 0);
  record.writeDoubleLE(fireTime, 8);
  record.writeDoubleLE(now(), 16);
  fs.writeSync(file, record);
}
