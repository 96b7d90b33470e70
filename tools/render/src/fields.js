// How fields are shown: defaults and overrides of a panel, by Grafana's own processors.
import {
  applyFieldOverrides, displayNameOverrideProcessor, FieldConfigOptionsRegistry, FieldMatcherID, fieldMatchers,
  identityOverrideProcessor, numberOverrideProcessor, thresholdsOverrideProcessor, unitOverrideProcessor,
  valueMappingsOverrideProcessor,
} from '@grafana/data';

const PROCESSORS = {
  displayName: displayNameOverrideProcessor,
  unit: unitOverrideProcessor,
  min: numberOverrideProcessor,
  max: numberOverrideProcessor,
  decimals: numberOverrideProcessor,
  thresholds: thresholdsOverrideProcessor,
  mappings: valueMappingsOverrideProcessor,
  noValue: identityOverrideProcessor,
  color: identityOverrideProcessor,
  links: identityOverrideProcessor,
};

// What Grafana's plugins take where a dashboard says nothing.
const CUSTOM = {
  align: 'auto', axisBorderShow: false, axisCenteredZero: false, axisColorMode: 'text', axisLabel: '',
  axisPlacement: 'auto', axisSoftMin: undefined, axisSoftMax: undefined, barAlignment: 0, barWidthFactor: 0.6,
  cellOptions: { type: 'auto' }, drawStyle: 'line', fillOpacity: 0, gradientMode: 'none',
  hideFrom: { tooltip: false, viz: false, legend: false }, insertNulls: false, inspect: false,
  lineInterpolation: 'linear', lineStyle: { fill: 'solid' }, lineWidth: 1, pointSize: 5,
  scaleDistribution: { type: 'linear' }, showPoints: 'auto', spanNulls: false, stacking: { mode: 'none', group: 'A' },
  thresholdsStyle: { mode: 'off' }, width: undefined, hidden: false,
};

const GREEN_TO_RED = { mode: 'absolute', steps: [{ value: -Infinity, color: 'green' }, { value: 80, color: 'red' }] };

const item = (id, process, defaultValue, isCustom) => ({
  id: isCustom ? `custom.${id}` : id, path: id, name: id, description: '', category: [], isCustom, process, defaultValue,
  editor: () => null, override: () => null, shouldApply: () => true,
});

const registry = new FieldConfigOptionsRegistry(() => [
  ...Object.entries(PROCESSORS).map(([id, process]) => item(id, process, undefined, false)),
  ...Object.entries(CUSTOM).map(([id, value]) => item(id, identityOverrideProcessor, value, true)),
]);

/** JSON can't say minus infinity, so the first step of thresholds says null. */
const endless = (thresholds) => ({
  ...thresholds,
  steps: thresholds.steps.map((step, place) => (place ? step : { ...step, value: -Infinity })),
});

export function configOf(panel) {
  const { defaults = {}, overrides = [] } = panel.fieldConfig ?? {};
  return {
    defaults: {
      mappings: [],
      color: { mode: panel.type === 'timeseries' ? 'palette-classic' : 'thresholds' },
      ...defaults,
      thresholds: defaults.thresholds ? endless(defaults.thresholds) : GREEN_TO_RED,
      custom: { ...CUSTOM, ...defaults.custom },
    },
    overrides: overrides.map((each) => ({
      ...each,
      properties: each.properties.map((property) =>
        property.id === 'thresholds' ? { ...property, value: endless(property.value) } : property
      ),
    })),
  };
}

export function shown(panel, frames, theme, replaceVariables) {
  const fieldConfig = configOf(panel);
  return applyFieldOverrides({ data: frames, fieldConfig, replaceVariables, theme, timeZone: 'utc', fieldConfigRegistry: registry });
}

/** Grafana's display of a bare number in the panel's unit, with the overrides for a series of this name. */
export function unitFor(panel, name) {
  let unit = panel.fieldConfig?.defaults?.unit;
  for (const each of panel.fieldConfig?.overrides ?? []) {
    if (each.matcher.id !== FieldMatcherID.byRegexp) continue;
    const matches = fieldMatchers.get(each.matcher.id).get(each.matcher.options);
    const field = { name, config: {}, values: [], type: 'number' };
    if (matches(field, { fields: [field], length: 0 }, [])) {
      unit = each.properties.find((property) => property.id === 'unit')?.value ?? unit;
    }
  }
  return unit;
}
