"use strict";

/* Quantities as people read them: the same words as in all other pictures of a run (the crate's quantity.rs).
 *
 * A duration gets the unit in which it has one to three digits before the point. Times are in nanoseconds. */

const MICROSECOND = 1e3;
const MILLISECOND = 1e6;
const SECOND = 1e9;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
/* From here on minutes say more than hundreds of seconds. */
const MINUTES_FROM = 2 * MINUTE;

/** With two significant digits, where it is compared at a glance: `1.0 s`, `52 ms`, `80 ns`. */
function short(duration) {
  return significant(duration, 2);
}

/** With three significant digits, where it is the finding: `1.00 s`, `52.3 ms`. */
function precise(duration) {
  return significant(duration, 3);
}

/** A point in time of a recording that lasted for `duration`. */
function moment(time, duration) {
  return duration < SECOND ? precise(time) : `${decimal(time, SECOND, 3)} s`;
}

/** A share of one: `80 %`. */
function percent(share) {
  const percent = share * 100;
  if (percent > 0 && percent < 0.05) return "< 0.1 %";
  return `${percent.toFixed(percent < 9.95 && percent !== 0 ? 1 : 0)} %`;
}

/** A number of things: `1 task`, `12,345 tasks`. */
function count(number, thing) {
  return `${grouped(number)} ${thing}${number === 1 ? "" : "s"}`;
}

/** A number with its thousands apart. */
function grouped(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A multiple of `step`, with the digits that tell it from its neighbours. */
function tick(time, step) {
  if (step >= MINUTE) return minutes(time);
  const [unit, symbol] =
    step < 100 ? [1, "ns"] : step < 1e5 ? [MICROSECOND, "µs"] : step < 1e8 ? [MILLISECOND, "ms"] : [SECOND, "s"];
  const decimals = [0, 1, 2].find((decimals) => (step * 10 ** decimals) % unit === 0) ?? 3;
  if (time === 0) return `0 ${symbol}`;
  const [whole, rest] = decimal(time, unit, decimals).split(".");
  return `${grouped(whole)}${rest ? `.${rest}` : ""} ${symbol}`;
}

/** Round times between two, at most `most` of them, in which people count. */
function ticks(from, to, most) {
  const step = tickSteps().find((step) => (to - from) / step < most);
  const times = [];
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) times.push(time);
  return { step, times };
}

function tickSteps() {
  const steps = [];
  for (let power = 1; power <= 1e10; power *= 10) steps.push(power, 2 * power, 5 * power);
  const minutes = [0.5, 1, 2, 5, 10, 20, 30].map((minutes) => minutes * MINUTE);
  const hours = Array.from({ length: 32 }, (_, power) => 2 ** power * HOUR);
  return [...steps.filter((step) => step < 30 * SECOND), ...minutes, ...hours];
}

function significant(duration, digits) {
  if (duration === 0) return "0 s";
  if (duration >= MINUTES_FROM - SECOND / 2) return minutes(duration + SECOND / 2);
  const units = [[1, "ns"], [MICROSECOND, "µs"], [MILLISECOND, "ms"], [SECOND, "s"]];
  for (const [unit, symbol] of units) {
    for (let decimals = digits - 1; decimals >= 0; decimals -= 1) {
      /* Rounding may carry into one more digit, as in 9.96 s and 999.6 ms: then fewer decimals, or the next unit. */
      const limit = decimals === 0 && unit !== SECOND ? 1000 : 10 ** (digits - decimals);
      const fits = Math.floor(duration / unit * 10 ** decimals + 0.5) < limit * 10 ** decimals;
      if (fits && (unit > 1 || decimals === 0)) return `${decimal(duration, unit, decimals)} ${symbol}`;
    }
  }
  return `${decimal(duration, SECOND, 0)} s`;
}

function minutes(duration) {
  const hours = Math.floor(duration / HOUR);
  const minutes = Math.floor((duration % HOUR) / MINUTE);
  const seconds = Math.floor((duration % MINUTE) / SECOND);
  if (hours === 0) return seconds === 0 ? `${minutes} min` : `${minutes} min ${seconds} s`;
  return minutes === 0 ? `${grouped(hours)} h` : `${grouped(hours)} h ${minutes} min`;
}

function decimal(duration, unit, decimals) {
  return (Math.floor(duration / unit * 10 ** decimals + 0.5) / 10 ** decimals).toFixed(decimals);
}

