// What a panel asks: variables filled in, queries sent to Prometheus, answers made into Grafana's data frames.
import { dateTime, FieldType, toDataFrame } from '@grafana/data';

const SECONDS = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };
export const seconds = (text) => Number(text.slice(0, -1)) * SECONDS[text.at(-1)];

/** Seconds since the epoch at which a relative range such as now-24h, now/d or now/M begins. */
function begun(from, end) {
  const day = new Date(end * 1000);
  if (from === 'now/d') return Date.UTC(day.getUTCFullYear(), day.getUTCMonth(), day.getUTCDate()) / 1000;
  if (from === 'now/M') return Date.UTC(day.getUTCFullYear(), day.getUTCMonth(), 1) / 1000;
  return end - seconds(from.replace('now-', ''));
}

/** The time range of a panel, its step, and Grafana's variables that follow from both. */
export function timing(panel, board, settings) {
  const from = begun(panel.timeFrom ?? board.time.from, settings.end);
  const length = settings.end - from;
  const scraped = length > settings.dense ? settings.sparseStep : settings.step;
  const least = panel.interval ? seconds(panel.interval) : 15;
  const step = Math.max(least, Math.ceil(length / 300 / 60) * 60);
  const range = { from: dateTime(from * 1000), to: dateTime(settings.end * 1000), raw: { from: 'now', to: 'now' } };
  const values = {
    __range: `${length}s`,
    __interval: `${step}s`,
    __rate_interval: `${Math.max(step + scraped, 4 * scraped)}s`,
  };
  return { from, step, range, values };
}

export function variables(board, settings) {
  const values = {};
  for (const each of board.templating?.list ?? []) values[each.name] = each.type === 'textbox' ? each.query : '.*';
  return { ...values, ...settings.variables };
}

export const filled = (text, values) =>
  text.replace(/\$\{(\w+)(?::\w+)?\}|\$(\w+)/g, (all, braced, plain) => values[braced ?? plain] ?? all);

const named = (format, labels) => format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '');

async function answer(origin, endpoint, params) {
  const response = await fetch(`${origin}/api/v1/${endpoint}?${new URLSearchParams(params)}`);
  const body = await response.json();
  if (body.status !== 'success') throw new Error(body.error);
  return body.data;
}

/** A table out of the answers to all targets: rows with the same labels are one, columns as `organize` wants them. */
function asTable(panel, answers) {
  const rows = new Map();
  const labels = new Set();
  answers.forEach(({ target, result }) => {
    const value = answers.length > 1 ? `Value #${target.refId}` : 'Value';
    for (const row of result) {
      const key = JSON.stringify(Object.entries(row.metric).sort());
      Object.keys(row.metric).forEach((label) => labels.add(label));
      rows.set(key, { ...(rows.get(key) ?? row.metric), [value]: Number(row.value[1]) });
    }
  });
  const { indexByName, renameByName } = panel.transformations.find((each) => each.id === 'organize').options;
  const columns = Object.keys(renameByName).sort((a, b) => indexByName[a] - indexByName[b]);
  const field = (name) => ({
    name: renameByName[name],
    type: name.startsWith('Value') ? FieldType.number : FieldType.string,
    values: [...rows.values()].map((row) => row[name] ?? null),
    config: {},
  });
  const unnamed = [...labels].filter((label) => !(label in renameByName));
  if (unnamed.length) throw new Error(`labels without a column: ${unnamed}`);
  return rows.size ? [toDataFrame({ refId: 'A', fields: columns.map(field) })] : [];
}

/** Every step has a value or a gap, as Grafana makes it of a range query. */
function asSeries(target, row, time) {
  const found = new Map((row.values ?? [row.value]).map(([at, value]) => [Number(at), Number(value)]));
  const times = [];
  if (row.values) for (let at = time.first; at <= time.last; at += time.step) times.push(at);
  else times.push(...found.keys());
  const name = named(target.legendFormat ?? '', row.metric) || JSON.stringify(row.metric);
  return toDataFrame({
    refId: target.refId,
    name,
    fields: [
      { name: 'Time', type: FieldType.time, values: times.map((at) => at * 1000), config: { interval: time.step * 1000 } },
      { name: 'Value', type: FieldType.number, labels: row.metric, values: times.map((at) => found.get(at) ?? null), config: { displayNameFromDS: name } },
    ],
  });
}

/** All frames of a panel, transformed; a heatmap gets its rows as they are. */
export async function asked(panel, board, settings) {
  const time = timing(panel, board, settings);
  const values = { ...variables(board, settings), ...time.values };
  const frames = [];
  const answers = [];
  for (const target of panel.targets ?? []) {
    const query = filled(target.expr, values);
    const first = Math.ceil(time.from / time.step) * time.step;
    const last = Math.floor(settings.end / time.step) * time.step;
    const data = target.instant
      ? await answer(settings.prometheus, 'query', { query, time: settings.end })
      : await answer(settings.prometheus, 'query_range', { query, start: first, end: last, step: time.step });
    const span = { first, last, step: time.step };
    if (panel.type === 'heatmap') frames.push(...data.result.map((row) => ({ le: row.metric.le, series: asSeries(target, row, span) })));
    else if (target.format === 'table') answers.push({ target, result: data.result });
    else frames.push(...data.result.map((row) => asSeries(target, row, span)));
  }
  return { frames: answers.length ? asTable(panel, answers) : frames, time, values };
}
