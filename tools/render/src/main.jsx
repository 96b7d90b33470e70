// Draws one dashboard with Grafana's own components; the settings come from the page that holds it.
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import React, { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { createTheme, getFieldDisplayValues, ThemeContext } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { BarGauge, BigValue, GlobalStyles, PanelChrome, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { asked, filled } from './asking.js';
import { configOf, shown, unitFor } from './fields.js';
import { Heatmap } from './heatmap.jsx';

const WIDTH = 1568, GAP = 8, ROW = 30;
const theme = createTheme({ colors: { mode: 'dark' } });
const settings = window.settings;
window.drawn = [];

function Graph({ panel, frames, time, width, height, replace }) {
  const legend = { calcs: [], ...panel.options.legend };
  return (
    <TimeSeries frames={frames} structureRev={1} timeRange={time.range} timeZone="utc" width={width} height={height} legend={legend} options={panel.options} replaceVariables={replace}>
      {() => null}
    </TimeSeries>
  );
}

function Values({ panel, frames, width, height, replace }) {
  const isStat = panel.type === 'stat';
  const reduceOptions = { calcs: ['lastNotNull'], values: false };
  const get = () =>
    getFieldDisplayValues({
      fieldConfig: configOf(panel), reduceOptions, replaceVariables: replace, theme, data: frames, timeZone: 'utc',
      sparkline: isStat && panel.options.graphMode === 'area',
    });
  const stat = ({ value, width, height }) => (
    <BigValue value={value.display} sparkline={value.sparkline} width={width} height={height} theme={theme} colorMode={panel.options.colorMode} graphMode={panel.options.graphMode} textMode={panel.options.textMode} justifyMode="auto" disableWideLayout />
  );
  const bar = ({ value, width, height, alignmentFactors }) => (
    <BarGauge value={value.display} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex)} width={width} height={height} theme={theme} orientation="horizontal" displayMode={panel.options.displayMode} valueDisplayMode={panel.options.valueMode} namePlacement="auto" showUnfilled={panel.options.showUnfilled} text={panel.options.text} itemSpacing={8} alignmentFactors={alignmentFactors} isOverflow={false} />
  );
  return (
    <VizRepeater getValues={get} getAlignmentFactors={longest} renderValue={isStat ? stat : bar} width={width} height={height} source={frames} renderCounter={1} orientation={isStat ? 'auto' : 'horizontal'} itemSpacing={8} minVizHeight={isStat ? 0 : panel.options.minVizHeight} maxVizHeight={isStat ? undefined : panel.options.maxVizHeight} autoGrid={isStat} />
  );
}

/** So that the numbers of all bars have one size. */
function longest(values) {
  const texts = values.map((value) => value.display);
  const most = (part) => texts.reduce((found, each) => ((each[part] ?? '').length > found.length ? each[part] : found), '');
  return { title: most('title'), text: most('text') };
}

function Grid({ panel, frames, width, height }) {
  return <TableNG data={frames[0]} width={width} height={height} structureRev={1} initialSortBy={panel.options.sortBy} cellHeight={panel.options.cellHeight} noHeader={false} enableVirtualization={false} />;
}

function Buckets({ panel, frames, width, height }) {
  return <Heatmap frames={frames} unit={unitFor(panel, settings.variables.currency)} width={width} height={height} theme={theme} />;
}

const VIEWS = { timeseries: Graph, stat: Values, bargauge: Values, table: Grid, heatmap: Buckets };

class Guard extends React.Component {
  state = {};
  static getDerivedStateFromError(error) { return { error }; }
  componentDidCatch(error) { window.drawn.push({ title: this.props.title, state: 'broken', detail: String(error.stack) }); }
  render() { return this.state.error ? String(this.state.error) : this.props.children; }
}

const empty = (panel, frames) => frames.every((frame) => !(frame.length || frame.series)) && !panel.fieldConfig?.defaults?.noValue;

function Panel({ panel, board }) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    if (panel.type === 'row') return;
    asked(panel, board, settings).then(
      (answer) => {
        setFound(answer);
        window.drawn.push({ title: panel.title, state: empty(panel, answer.frames) ? 'empty' : 'ok' });
      },
      (error) => {
        setFound({ error: error.message, frames: [] });
        window.drawn.push({ title: panel.title, state: 'error', detail: error.message });
      }
    );
  }, []);
  const cell = (WIDTH - 23 * GAP) / 24, { x, y, w, h } = panel.gridPos;
  const width = w * cell + (w - 1) * GAP, height = h * ROW + (h - 1) * GAP;
  const style = { position: 'absolute', left: x * (cell + GAP), top: y * (ROW + GAP), width, height };
  if (panel.type === 'row') return <div style={{ ...style, fontSize: 16, fontWeight: 500, paddingTop: 4 }}>{panel.title}</div>;
  const View = VIEWS[panel.type];
  return (
    <div style={style}>
      <PanelChrome title={panel.title} description={panel.description} width={width} height={height} padding={panel.type === 'table' ? 'none' : 'md'} statusMessage={found?.error}>
        {(innerWidth, innerHeight) => {
          if (!found) return null;
          if (empty(panel, found.frames)) return <div style={{ textAlign: 'center', paddingTop: innerHeight / 2 - 10 }}>No data</div>;
          const replace = (text) => filled(text, found.values);
          const frames = panel.type === 'heatmap' ? found.frames : shown(panel, found.frames, theme, replace);
          return <Guard title={panel.title}><View panel={panel} frames={frames} time={found.time} width={innerWidth} height={innerHeight} replace={replace} /></Guard>;
        }}
      </PanelChrome>
    </div>
  );
}

const SHOWN = { datasource: 'Prometheus', job: 'All', account: 'All' };

function Board({ board }) {
  const lines = Math.max(...board.panels.map((panel) => panel.gridPos.y + panel.gridPos.h));
  const chip = { display: 'flex', border: `1px solid ${theme.colors.border.medium}`, borderRadius: 2, fontSize: 12 };
  return (
    <div style={{ background: theme.colors.background.canvas, color: theme.colors.text.primary, padding: 16, width: 1600, boxSizing: 'border-box' }}>
      <div style={{ fontSize: 20, fontWeight: 500 }}>{board.title}</div>
      <div style={{ display: 'flex', gap: 8, margin: '12px 0' }}>
        {(board.templating?.list ?? []).map((each) => (
          <div key={each.name} style={chip}>
            <span style={{ padding: '6px 8px', background: theme.colors.background.secondary, fontWeight: 500 }}>{each.label}</span>
            <span style={{ padding: '6px 8px' }}>{settings.variables[each.name] ?? SHOWN[each.name] ?? each.query}</span>
          </div>
        ))}
        <span style={{ flex: 1 }} />
        <div style={chip}><span style={{ padding: '6px 8px' }}>{`${board.time.from} to now, UTC`}</span></div>
      </div>
      <div style={{ position: 'relative', height: lines * (ROW + GAP) }}>
        {board.panels.map((panel) => <Panel key={panel.id} panel={panel} board={board} />)}
      </div>
    </div>
  );
}

await initPluginTranslations('render');
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}><GlobalStyles /><Board board={window.board} /></ThemeContext.Provider>
);
