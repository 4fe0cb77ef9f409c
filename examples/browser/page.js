// The page: takes the request from the form, shows the rows as they come, and what the service says of them at the end.

import { absencesOf, HoleFinder } from "./bars.js";
import { drawCloses } from "./chart.js";
import { AnswerDigest } from "./digest.js";
import { HistoryError, requestHistory } from "./history.js";

const element = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");
const counted = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
const instant = (ms) => new Date(ms).toISOString().replace("T", " ").replace(/(:00)?\.000Z$/, "");

const LONGEST_LIST = 20;
const WHY = {
  held: "the exchange has no candle here",
  empty: "the exchange was asked and has nothing so far",
  unlisted: "before the first candle",
  delisted: "after the last candle",
  unavailable: "the exchange does not serve it any more",
  failed: "it could not be fetched",
};

let shown = null; // what the chart shows, to draw it again when the window changes

element("request").addEventListener("submit", async (event) => {
  event.preventDefault();
  const cancelling = new AbortController();
  const cancel = () => cancelling.abort();
  element("cancel").addEventListener("click", cancel);
  setBusy(true);
  element("result").hidden = true;
  element("progress").value = 0;
  shown = null;
  draw();
  try {
    await show(new FormData(event.target), cancelling.signal);
  } catch (error) {
    tell("failed", explained(error));
  } finally {
    element("cancel").removeEventListener("click", cancel);
    setBusy(false);
  }
});

new ResizeObserver(draw).observe(element("chart"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

async function show(form, signal) {
  const { url, token, exchange, symbol, timeframe, start, end } = Object.fromEntries(
    Array.from(form, ([name, value]) => [name, value.trim()]),
  );
  tell("busy", "Asking …");
  const asked = performance.now();
  const span = { start: new Date(`${start}T00:00Z`), end: new Date(`${end}T00:00Z`) };
  const history = await requestHistory({ url, token, exchange, symbol, timeframe, ...span, signal });
  const { start_time: startMs, end_time: endMs, estimated_rows: estimated } = history.started;
  // Elsewhere browsers offer no SHA-256.
  const digest = isSecureContext ? new AnswerDigest(history.started.timeframe) : null;
  const finder = new HoleFinder(startMs, history.started.timeframe);
  shown = { startMs, endMs, pieces: [], absences: finder.holes };
  element("progress").max = Math.max(estimated, 1);
  for await (const batch of history) {
    const times = batch.getChild("timestamp").toArray();
    shown.pieces.push({ times, closes: batch.getChild("close").toArray() });
    finder.add(times);
    digest?.add(batch);
    element("progress").value = history.rows;
    tell("busy", `${number(history.rows)} of about ${number(estimated)} rows`);
    requestAnimationFrame(draw);
  }
  const secs = (performance.now() - asked) / 1000;
  finder.finish(endMs);
  shown.absences = absencesOf(finder.holes, history.receipt.coverage);
  draw();
  if (digest !== null && (await digest.text()) !== history.receipt.digest) {
    throw new HistoryError("digest_mismatch", "the rows that arrived are not those that the service sent");
  }
  element("progress").value = element("progress").max;
  element("chart").ariaLabel = `Closing prices of ${symbol}: ${described(shown)}`;
  tellResult(history, shown.absences, secs);
  tell("done", `${counted(history.rows, "row")} in ${secs.toFixed(2)} s`);
}

function tellResult({ receipt, rows, chunks, bytes }, absences, secs) {
  const facts = {
    rows: number(rows),
    "rows per second": number(Math.round(rows / secs)),
    "MB of Arrow": (bytes / 1e6).toFixed(2),
    "from storage": number(receipt.rows_from_storage),
    "from the exchange": number(receipt.rows_from_exchange),
    "exchange calls": number(receipt.exchange_calls),
  };
  const entries = Object.entries(facts).map(([name, value]) => {
    const entry = document.createElement("div");
    entry.append(textElement("dt", name), textElement("dd", value));
    return entry;
  });
  element("facts").replaceChildren(...entries);
  const listed = absences.slice(0, LONGEST_LIST).map(explainedAbsence);
  if (absences.length > LONGEST_LIST) listed.push(`and ${number(absences.length - LONGEST_LIST)} more`);
  list("absences", listed.length > 0 ? listed : ["Nothing."]);
  list("checks", [
    `As many rows came as the receipt tells of: ${number(rows)}.`,
    `They came in ${counted(chunks, "chunk")}, in sequence, each as long as announced.`,
    isSecureContext
      ? `Every value is the one the service sent: ${receipt.digest}`
      : `That every value is right was not computed on this page, for it is not secure: ${receipt.digest}`,
  ]);
  element("result").hidden = false;
}

function explainedAbsence({ start_time: startMs, end_time: endMs, state, reason }) {
  return `${instant(startMs)} to ${instant(endMs)}: ${WHY[state] ?? state}${reason ? ` (${reason})` : ""}`;
}

function described({ pieces, absences }) {
  if (pieces.length === 0) return "none";
  const [first, last] = [pieces[0].closes.at(0), pieces.at(-1).closes.at(-1)];
  return `from ${number(first)} to ${number(last)}, with ${counted(absences.length, "absence")}`;
}

function explained(error) {
  if (error.name === "AbortError") return "Cancelled.";
  return error instanceof HistoryError ? `${error.message} [${error.code}]` : String(error);
}

function draw() {
  const chart = element("chart");
  if (shown !== null) drawCloses(chart, shown);
  else chart.getContext("2d").clearRect(0, 0, chart.width, chart.height);
}

function tell(state, text) {
  element("status").dataset.state = state;
  element("status").textContent = text;
}

function setBusy(isBusy) {
  element("request").querySelector("[type=submit]").disabled = isBusy;
  element("cancel").disabled = !isBusy;
}

function list(id, texts) {
  element(id).replaceChildren(...texts.map((text) => textElement("li", text)));
}

function textElement(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
