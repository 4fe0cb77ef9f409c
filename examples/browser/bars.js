// Where bars are missing, found out from the bars that came, and why.

const UNIT_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Finds the spans that the bars of a range leave out, each from `start_time` until before `end_time`. */
export class HoleFinder {
  #startMs;
  #barEnd;
  #previousEndMs = null;

  /** @param {string} timeframe such as 5m */
  constructor(startMs, timeframe) {
    this.#startMs = startMs;
    this.#barEnd = barEnds(timeframe);
    /** What was found so far, in time order. */
    this.holes = [];
  }

  /** @param {BigInt64Array} times open times that follow those added before */
  add(times) {
    for (const time of times) {
      const openMs = Number(time);
      this.#foundUntil(openMs);
      this.#previousEndMs = this.#barEnd(openMs);
    }
  }

  /** Tell that no more bars come until *endMs*, exclusive. */
  finish(endMs) {
    this.#foundUntil(endMs);
  }

  #foundUntil(openMs) {
    // A range may begin between two bars: something is missing only where a whole bar has room.
    const isMissing = this.#previousEndMs === null ? this.#barEnd(this.#startMs) <= openMs : this.#previousEndMs < openMs;
    if (isMissing) this.holes.push({ start_time: this.#previousEndMs ?? this.#startMs, end_time: openMs });
  }
}

/**
 * Return every absence in an answer with the reason for it, in time order.
 *
 * The service tells what it could not get or never will. What is missing where it says `held` is genuine: the exchange
 * was asked, answered, and has no bar there.
 */
export function absencesOf(holes, coverage) {
  const told = coverage.filter(({ state }) => state !== "held");
  const overlaps = (hole) => told.some((span) => span.start_time < hole.end_time && hole.start_time < span.end_time);
  const genuine = holes.filter((hole) => !overlaps(hole)).map((hole) => ({ ...hole, state: "held" }));
  return [...told, ...genuine].sort((one, other) => one.start_time - other.start_time);
}

/** Return a function from the open time of a bar to its end, exclusive, both in milliseconds. */
function barEnds(timeframe) {
  const [, count, unit] = /^(\d+)(\w+)$/.exec(timeframe);
  if (unit in UNIT_MS) return (openMs) => openMs + count * UNIT_MS[unit];
  return (openMs) => new Date(openMs).setUTCMonth(new Date(openMs).getUTCMonth() + Number(count)); // M: months
}
