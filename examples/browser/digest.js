// The digest of what was delivered, computed here: that the service tells the same proves that every value arrived.
//
// Version 1: SHA-256 over the digests of its units in time order. A unit is a UTC day where bars last less than an hour,
// else a UTC year; one without rows has no digest. The digest of a unit is the SHA-256 of its rows, column by column in
// the order of the schema, times as little-endian int64, numbers as little-endian float64, which is how Arrow has them.

const DAY_MS = 86_400_000n;

/** Takes in the rows of an answer as they arrive, in time order; holds on to those of one unit at most. */
export class AnswerDigest {
  #unitOf;
  #digests = [];
  #open = [];
  #openUnit = null;

  /** @param {string} timeframe such as 5m */
  constructor(timeframe) {
    const isBelowAnHour = /^\d+[sm]$/.test(timeframe);
    this.#unitOf = isBelowAnHour ? (time) => time / DAY_MS : (time) => new Date(Number(time)).getUTCFullYear();
  }

  /** Add the rows of a batch, which follow those added before. */
  add(batch) {
    const columns = batch.schema.names.map((name) => batch.getChild(name).toArray());
    const times = columns[0];
    for (let first = 0; first < times.length; ) {
      const unit = this.#unitOf(times[first]);
      const last = firstAfter(times, first, (time) => this.#unitOf(time) !== unit);
      if (unit !== this.#openUnit) this.#close();
      this.#openUnit = unit;
      this.#open.push(columns.map((column) => canonical(column.subarray(first, last))));
      first = last;
    }
  }

  /** Return the digest of all that was added; nothing can be added afterwards. */
  async text() {
    this.#close();
    const units = await new Blob(await Promise.all(this.#digests)).arrayBuffer();
    const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", units));
    return `v1:${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }

  #close() {
    if (this.#open.length === 0) return;
    const pieces = this.#open[0].flatMap((_, column) => this.#open.map((columns) => columns[column]));
    this.#digests.push(sha256(pieces));
    this.#open = [];
  }
}

async function sha256(pieces) {
  return crypto.subtle.digest("SHA-256", await new Blob(pieces).arrayBuffer());
}

/** Return the index of the first time from *first* on that `isAfter`, or how many there are. Times ascend. */
function firstAfter(times, first, isAfter) {
  let [low, high] = [first, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isAfter(times[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** One NaN for all, and 0.0 for -0.0. */
function canonical(column) {
  if (column instanceof BigInt64Array) return column;
  return column.map((number) => (Number.isNaN(number) ? NaN : number + 0));
}
