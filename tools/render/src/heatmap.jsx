// A heatmap of a Prometheus histogram. Grafana's own is no part of its published packages, so this one is ours.
import React from 'react';
import { getValueFormat } from '@grafana/data';

const COLORS = ['#3a2414', '#5c3211', '#8a4510', '#b85c12', '#e0761a', '#ff9830', '#ffb968', '#ffdcb0'];
const LEFT = 66, BOTTOM = 22, LEGEND = 26, TOP = 4;

/** Counts per bucket out of cumulative rows; buckets at either end that stay empty are left out. */
function buckets(frames) {
  const rows = [...frames].sort((a, b) => Number(a.le.replace('+Inf', 'Infinity')) - Number(b.le.replace('+Inf', 'Infinity')));
  const cumulative = rows.map((row) => row.series.fields[1].values);
  const times = rows[0].series.fields[0].values;
  const counts = cumulative.map((values, row) =>
    values.map((value, at) => Math.max(0, (value ?? 0) - (row ? cumulative[row - 1][at] ?? 0 : 0)))
  );
  const used = counts.map((row) => row.some((count) => count > 0.01));
  const first = used.indexOf(true), last = used.lastIndexOf(true);
  return { times, rows: rows.slice(first, last + 1).map((row, at) => ({ le: row.le, counts: counts[first + at] })) };
}

export function Heatmap({ frames, unit, width, height, theme }) {
  const { times, rows } = buckets(frames);
  const most = Math.max(...rows.flatMap((row) => row.counts));
  const w = (width - LEFT) / times.length, h = (height - BOTTOM - LEGEND - TOP) / rows.length;
  const text = { fill: theme.colors.text.secondary, fontSize: 11, fontFamily: theme.typography.fontFamily };
  const format = getValueFormat(unit);
  const label = (le) => {
    if (le === '+Inf') return 'more';
    const { prefix = '', text: number, suffix = '' } = format(Number(le), unit.startsWith('currency') && Number(le) < 1 ? 3 : undefined);
    return `${prefix}${number}${suffix}`;
  };
  const color = (count) => COLORS[Math.min(COLORS.length - 1, Math.floor(Math.sqrt(count / most) * COLORS.length))];
  const every = Math.ceil(times.length / (width / 110));
  const stepY = Math.ceil(18 / h);
  const day = (at) => new Date(at).toISOString().slice(5, 16).replace('T', ' ');
  const bottom = TOP + rows.length * h;
  return (
    <svg width={width} height={height}>
      {rows.map((row, y) =>
        row.counts.map((count, x) =>
          count > 0.01 ? (
            <rect key={`${x} ${y}`} x={LEFT + x * w} y={TOP + (rows.length - 1 - y) * h} width={Math.max(1, w - 1)} height={Math.max(1, h - 1)} fill={color(count)} />
          ) : null
        )
      )}
      {rows.map((row, y) =>
        y % stepY === 0 ? (
          <text key={row.le} x={LEFT - 8} y={TOP + (rows.length - 1 - y) * h + h / 2 + 4} textAnchor="end" {...text}>{label(row.le)}</text>
        ) : null
      )}
      {times.map((at, x) =>
        x % every === 0 && LEFT + x * w < width - 70 ? <text key={at} x={LEFT + x * w} y={bottom + 15} {...text}>{day(at)}</text> : null
      )}
      <text x={LEFT} y={height - 8} {...text}>0</text>
      {COLORS.map((fill, place) => <rect key={fill} x={LEFT + 14 + place * 22} y={height - 17} width={22} height={9} fill={fill} />)}
      <text x={LEFT + 20 + COLORS.length * 22} y={height - 8} {...text}>{`${Math.round(most)} sessions`}</text>
    </svg>
  );
}
