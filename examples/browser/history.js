// A small client of cb-trade's data service, for browsers: one question, one connection, one answer in batches.
// The protocol, for clients in any language, is in docs/topics/protocol.md.

import { RecordBatchReader } from "apache-arrow";

const PROTOCOL = "cb-trade.v1";
// The API of browsers can set no header, so the token travels as a second subprotocol.
const BEARER_PROTOCOL = "cb-trade.bearer.";
// With these close codes the service refuses a token, now or later; the reason is the error's code.
const TOKEN_REFUSED = new Set([4401, 4403]);
const NOTHING_MORE_YET = new Uint8Array(0);

/** Why there is no answer, or not all of it. Match on `code`: the service's own, or one of those below. */
export class HistoryError extends Error {
  /**
   * @param {string} code the service's, or `invalid_value`, `service_unreachable`, `connection_lost`, `protocol_violation`
   * @param {string} message a sentence for people
   */
  constructor(code, message, { retryable = false, retryAfterMs = null, details = {} } = {}) {
    super(message);
    this.name = "HistoryError";
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
    this.details = details;
  }
}

/**
 * Ask for bars, trades or funding rates; the promise is kept as soon as the service has said what the answer will be.
 *
 * @param {object} wanted
 * @param {string} wanted.url where the service is, such as ws://127.0.0.1:8700/ws/data
 * @param {string} wanted.token a JWT
 * @param {string} wanted.exchange such as binance
 * @param {string} wanted.symbol such as BTC/USDT
 * @param {string} [wanted.timeframe] of bars, such as 1m
 * @param {string} [wanted.kind] `ohlcv` for bars, `trades` or `funding_rate`
 * @param {Date} wanted.start inclusive
 * @param {Date} wanted.end exclusive
 * @param {AbortSignal} [wanted.signal] ends the connection, and with it the request; its reason is thrown
 * @returns {Promise<History>}
 * @throws {HistoryError} if the service does not answer, or refuses the token or the request
 */
export async function requestHistory(wanted) {
  const { url, token, exchange, symbol, timeframe, kind = "ohlcv", start, end, signal } = wanted;
  signal?.throwIfAborted();
  const socket = connect(url, token);
  const inbox = new Inbox(socket, signal);
  try {
    await inbox.opened;
    const span = { start_time: start.getTime(), end_time: end.getTime() };
    // A timeframe that is undefined is left out.
    const request = { type: "request_historical", exchange, symbol, kind, timeframe, ...span, format: "arrow" };
    socket.send(JSON.stringify(request));
    return new History(await inbox.nextMessage("historical_data_start"), inbox);
  } catch (error) {
    socket.close();
    throw error;
  }
}

/**
 * An answer under way. Iterate over it, once, for its batches, in time order. Each has a `timestamp` (milliseconds in
 * UTC); bars have `open`, `high`, `low`, `close`, `volume`, trades `id`, `side`, `price`, `amount`, funding rates `rate`,
 * `mark_price`.
 *
 * The iteration throws a HistoryError where the answer breaks off; the batches before that are good. It ends only when
 * as many rows and chunks came as the receipt tells. Leaving the loop early ends the request.
 */
export class History {
  #inbox;

  constructor(started, inbox) {
    /** What the service said at the beginning: `start_time`, `end_time`, `estimated_rows` and more. */
    this.started = started;
    /** How many rows have come, in how many chunks of how many bytes. */
    this.rows = 0;
    this.chunks = 0;
    this.bytes = 0;
    /** The service's last word: `rows`, `chunks`, `digest`, `coverage`, `gaps` and more; null until all has come. */
    this.receipt = null;
    this.#inbox = inbox;
  }

  async *[Symbol.asyncIterator]() {
    try {
      // All binary messages together are one Arrow stream; the reader gives out a batch as soon as its bytes are there.
      for await (const batch of await RecordBatchReader.from(this.#frames())) {
        this.rows += batch.numRows;
        yield batch;
      }
      const { rows, chunks } = this.receipt;
      if (rows !== this.rows || chunks !== this.chunks) {
        const came = `${this.rows} rows in ${this.chunks} chunks came`;
        throw new HistoryError("protocol_violation", `${came}, but the receipt tells of ${rows} in ${chunks}`);
      }
    } finally {
      this.#inbox.close();
    }
  }

  /** The binary messages: each belongs to the text message right before it. */
  async *#frames() {
    for (;;) {
      const message = await this.#inbox.nextMessage("historical_data_chunk", "historical_data_complete");
      if (message.type === "historical_data_complete") {
        this.receipt = message;
        return;
      }
      const frame = await this.#inbox.next();
      if (message.sequence !== this.chunks || frame.byteLength !== message.bytes) {
        throw new HistoryError("protocol_violation", `chunk ${message.sequence} is not what was to come`);
      }
      this.chunks += 1;
      this.bytes += frame.byteLength;
      yield new Uint8Array(frame);
      // The reader asks for more before it gives out the last batch of what it has; without this, it would wait for the
      // next frame, and lose that batch if none comes. https://github.com/apache/arrow-js, src/io/adapters.ts
      yield NOTHING_MORE_YET;
    }
  }
}

/**
 * What a socket receives, in order, for one reader.
 *
 * A browser's WebSocket reads as fast as it can, however slow its page is: what nobody took yet waits here.
 */
class Inbox {
  #socket;
  #waiting = [];
  #end = null;
  #wake = () => {};

  constructor(socket, signal) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    this.opened = new Promise((resolve, reject) => {
      let isOpen = false;
      socket.onopen = () => {
        isOpen = true;
        resolve();
      };
      socket.onclose = (event) => {
        this.#endWith(ended(event, isOpen));
        reject(this.#end);
      };
      signal?.addEventListener("abort", () => {
        this.#waiting.length = 0;
        this.#endWith(signal.reason);
        reject(this.#end);
        socket.close();
      });
    });
    socket.onmessage = ({ data }) => {
      this.#waiting.push(data);
      this.#wake();
    };
  }

  /** Return the next message, a string or an ArrayBuffer; when there will be none any more, throw why. */
  async next() {
    while (this.#waiting.length === 0) {
      if (this.#end !== null) throw this.#end;
      await new Promise((resolve) => (this.#wake = resolve));
    }
    return this.#waiting.shift();
  }

  /** Return the next message, an object of one of these types; throw what the service has against the request. */
  async nextMessage(...types) {
    const message = JSON.parse(await this.next());
    if (message.type === "error_response") {
      const { code, retryable, retry_after_ms: retryAfterMs, details } = message;
      throw new HistoryError(code, message.message, { retryable, retryAfterMs, details });
    }
    if (!types.includes(message.type)) {
      throw new HistoryError("protocol_violation", `${message.type} came instead of ${types.join(" or ")}`);
    }
    return message;
  }

  close() {
    this.#socket.close();
  }

  #endWith(error) {
    this.#end ??= error;
    this.#wake();
  }
}

function connect(url, token) {
  try {
    return new WebSocket(url, [PROTOCOL, BEARER_PROTOCOL + token]);
  } catch (error) {
    // No address of a WebSocket, or characters that no token has.
    throw new HistoryError("invalid_value", error.message);
  }
}

/** Return what the end of a connection means. The status of a refused handshake stays hidden from a page. */
function ended({ code, reason }, wasOpen) {
  if (TOKEN_REFUSED.has(code)) {
    return new HistoryError(reason, "the service refuses the token");
  }
  if (!wasOpen) {
    return new HistoryError("service_unreachable", "there is no connection to the service", { retryable: true });
  }
  return new HistoryError("connection_lost", `the connection ended early: ${code} ${reason}`, { retryable: true });
}
