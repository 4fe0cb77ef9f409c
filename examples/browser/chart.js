// Closing prices on a canvas: one stroke for each column of pixels, from the lowest to the highest price in it.

const PRICE_TICKS_ABOUT = 5;
const TIME_TICK_WIDTH_PX = 130;
const DAY_MS = 86_400_000;
const MARGIN_PX = { top: 12, right: 76, bottom: 26, left: 8 };

/**
 * Draw closing prices, as large as the canvas is on the page and as sharp as the screen is.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {object} prices
 * @param {number} prices.startMs where the time axis begins
 * @param {number} prices.endMs where it ends
 * @param {{times: BigInt64Array, closes: Float64Array}[]} prices.pieces the rows so far, in time order
 * @param {{start_time: number, end_time: number}[]} prices.absences where there are no rows, in time order; it stays blank
 */
export function drawCloses(canvas, { startMs, endMs, pieces, absences }) {
  const scale = window.devicePixelRatio;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const style = getComputedStyle(canvas);
  pen.font = `12px ${style.fontFamily}`;

  const right = width - MARGIN_PX.right;
  const bottom = height - MARGIN_PX.bottom;
  const xOf = (ms) => MARGIN_PX.left + ((ms - startMs) / (endMs - startMs)) * (right - MARGIN_PX.left);
  const columns = columnsOf(pieces, absences, xOf);
  const lowest = columns.reduce((low, column) => Math.min(low, column.low), Infinity);
  const highest = columns.reduce((high, column) => Math.max(high, column.high), -Infinity);
  const room = highest - lowest || Math.abs(highest) || 1;
  const yOf = (price) => bottom - ((price - lowest) / room) * (bottom - MARGIN_PX.top);

  pen.fillStyle = colour(canvas, "--absent");
  for (const { start_time: absentMs, end_time: presentMs } of absences) {
    const x = xOf(absentMs);
    pen.fillRect(x, MARGIN_PX.top, Math.max(xOf(presentMs) - x, 1), bottom - MARGIN_PX.top);
  }
  pen.fillStyle = colour(canvas, "--quiet");
  pen.strokeStyle = colour(canvas, "--line");
  drawTimes(pen, { startMs, endMs, xOf, right, y: height - 6 });
  if (columns.length === 0) return;
  drawPrices(pen, { lowest, highest, yOf, right });
  pen.strokeStyle = colour(canvas, "--accent");
  pen.lineWidth = 1.25;
  pen.lineJoin = "round";
  drawLine(pen, columns, yOf);
}

/** Return the prices of each column of pixels that has some, and whether the line is interrupted before it. */
function columnsOf(pieces, absences, xOf) {
  const columns = [];
  let [column, next, previousMs] = [null, 0, -Infinity];
  for (const { times, closes } of pieces) {
    for (let row = 0; row < times.length; row += 1) {
      const ms = Number(times[row]);
      while (next < absences.length && absences[next].start_time <= previousMs) next += 1;
      const isInterrupted = next < absences.length && absences[next].start_time < ms;
      previousMs = ms;
      const [x, close] = [Math.round(xOf(ms)), closes[row]];
      if (column === null || x !== column.x || isInterrupted) {
        column = { x, first: close, low: close, high: close, last: close, isInterrupted };
        columns.push(column);
      }
      column.low = Math.min(column.low, close);
      column.high = Math.max(column.high, close);
      column.last = close;
    }
  }
  return columns;
}

function drawLine(pen, columns, yOf) {
  pen.beginPath();
  columns.forEach(({ x, first, low, high, last, isInterrupted }, number) => {
    if (number === 0 || isInterrupted) pen.moveTo(x, yOf(first));
    else pen.lineTo(x, yOf(first));
    for (const price of [low, high, last]) pen.lineTo(x, yOf(price));
  });
  pen.stroke();
}

function drawPrices(pen, { lowest, highest, yOf, right }) {
  const step = roundStep(highest - lowest);
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  for (let tick = Math.ceil(lowest / step); tick * step <= highest; tick += 1) {
    const y = Math.round(yOf(tick * step)) + 0.5;
    pen.beginPath();
    pen.moveTo(MARGIN_PX.left, y);
    pen.lineTo(right, y);
    pen.stroke();
    pen.fillText((tick * step).toLocaleString("en", { maximumSignificantDigits: 6 }), right + 8, y);
  }
}

/** Return 1, 2 or 5 times a power of ten, of which a handful goes into *room*; for a flat line, anything. */
function roundStep(room) {
  if (room === 0) return 1;
  const rough = room / PRICE_TICKS_ABOUT;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((times) => times * power >= rough);
}

function drawTimes(pen, { startMs, endMs, xOf, right, y }) {
  const ticks = Math.max(Math.floor(right / TIME_TICK_WIDTH_PX), 1);
  const characters = endMs - startMs > ticks * DAY_MS ? "2024-01-01".length : "2024-01-01 00:00".length;
  pen.textBaseline = "alphabetic";
  pen.textAlign = "left";
  for (let tick = 0; tick < ticks; tick += 1) {
    const ms = startMs + ((endMs - startMs) * tick) / ticks;
    pen.fillText(new Date(ms).toISOString().replace("T", " ").slice(0, characters), xOf(ms), y);
  }
}

function colour(canvas, name) {
  // A canvas does not know light-dark(): the browser resolves it where it is used as a colour.
  canvas.style.color = `var(${name})`;
  const resolved = getComputedStyle(canvas).color;
  canvas.style.color = "";
  return resolved;
}
