"""The look of each kind of panel: stat, graph, bars, heat map, table.

Green, amber and red mean good, soon bad, bad; values without a judgement are blue. A unit in Grafana can't be a
variable, so the currency sign follows from the currency in a series' name.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as ui
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Panel = Builder[model.Panel]
Queries = Mapping[str, str]
"""Expressions by the legend of their series."""
Steps = tuple[tuple[float | None, str], ...]
"""Colours by the value from which they apply; the first has no value."""

P = TypeVar("P", bargauge.Panel, heatmap.Panel, stat.Panel, table.Panel, timeseries.Panel)

EXACT = " Exact: booked now less booked then, nothing extrapolated."
"""The end of the description of each panel that reads counters without a rate."""

MONEY, NUMBER = "money", "short"
"""Units. Money is a number; its sign follows from the currency in the name of its series."""
SIGNS = {
    "USD": "currencyUSD",
    "EUR": "currencyEUR",
    "GBP": "currencyGBP",
    "JPY": "currencyJPY",
    "CHF": "currencyCHF",
    "BRL": "currencyBRL",
    "INR": "currencyINR",
}

SMALL = {MONEY: 0.01, NUMBER: 1.0, "percentunit": 0.1}
"""The least maximum of a graph's axis, so that a line at 0 doesn't get an axis up to 100."""
DECIMALS = {"locale": 0}
"""Units of columns that aren't money."""
COARSE = {"1h", "2h", "6h"}
"""Steps without a value that a line still spans, because nothing happened in them."""

PLAIN: Steps = ((None, "blue"),)
HIGH_IS_BAD: Steps = ((None, "green"), (0.8, "orange"), (1.0, "red"))
NONE_IS_WELL: Steps = ((None, "green"), (1.0, "red"))
MUST_BE_ONE: Steps = ((None, "red"), (1.0, "green"))

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
SESSION_URL = "${exporter:raw}/sessions/by-id/${__value.raw}"


def stats(
    title: str,
    description: str,
    queries: Queries,
    unit: str,
    *,
    width: int,
    steps: Steps = PLAIN,
    height: int = 4,
    decimals: int | None = None,
    since: str | None = None,
    trend: bool = False,
    names: bool = False,
    empty: str | None = None,
    texts: Mapping[str, str] | None = None,
) -> Panel:
    """Return a panel of one or a few numbers, each with its trend if asked for."""
    panel = _common(stat.Panel(), title, description, unit, width=width, height=height, decimals=decimals)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    panel.color_mode(ui.BigValueColorMode.VALUE).wide_layout(False)
    panel.graph_mode(ui.BigValueGraphMode.AREA if trend else ui.BigValueGraphMode.NONE)
    panel.text_mode(ui.BigValueTextMode.VALUE_AND_NAME if names else ui.BigValueTextMode.VALUE)
    panel.thresholds(_thresholds(steps)).color_scheme(_color(model.FieldColorModeId.THRESHOLDS))
    if since is not None:
        panel.time_from(since)
    if empty is not None:
        panel.no_value(empty)
    if texts:
        options = {value: model.ValueMappingResult(text=text) for value, text in texts.items()}
        panel.mappings([model.ValueMap(options=options)])
    return _asking(panel, queries, instant=not trend)


def graph(
    title: str,
    description: str,
    queries: Queries,
    unit: str,
    *,
    width: int,
    height: int = 8,
    stacked: bool = False,
    bars: bool = False,
    interval: str | None = None,
    steps: Steps | None = None,
    most: float | None = None,
    exemplars: bool = False,
    colors: Mapping[str, str] | None = None,
    beside: bool = False,
) -> Panel:
    """Return a graph; `steps` draws lines at thresholds, `beside` puts a long legend at the right."""
    panel = _common(timeseries.Panel(), title, description, unit, width=width, height=height)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(ui.LegendDisplayMode.LIST)
        .placement(ui.LegendPlacement.RIGHT if beside else ui.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
    panel.tooltip(common.VizTooltipOptions().mode(ui.TooltipDisplayMode.MULTI).sort(ui.SortOrder.DESCENDING))
    panel.draw_style(ui.GraphDrawStyle.BARS if bars else ui.GraphDrawStyle.LINE)
    panel.line_width(1 if bars or stacked else 2).fill_opacity(60 if bars else 30 if stacked else 8)
    panel.show_points(ui.VisibilityMode.AUTO).axis_soft_min(0).span_nulls(interval in COARSE or 7_200_000)
    if unit in SMALL:
        panel.axis_soft_max(SMALL[unit])
    panel.stacking(common.StackingConfig().mode(ui.StackingMode.NORMAL if stacked else ui.StackingMode.NONE).group("A"))
    panel.color_scheme(_color(model.FieldColorModeId.PALETTE_CLASSIC))
    if interval is not None:
        panel.interval(interval)
    if most is not None:
        panel.max(most)
    if steps is not None:
        panel.thresholds(_thresholds(steps))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(ui.GraphThresholdsStyleMode.DASHED))
    for name, color in (colors or {}).items():
        panel.override_by_regexp(f"/{name}/", [_value("color", {"mode": "fixed", "fixedColor": color})])
    return _asking(panel, queries, instant=False, exemplars=exemplars)


def shares(
    title: str,
    description: str,
    queries: Queries,
    unit: str,
    *,
    width: int,
    height: int = 8,
    steps: Steps = PLAIN,
    most: float | None = None,
    since: str | None = None,
    colors: Mapping[str, str] | None = None,
) -> Panel:
    """Return a bar gauge, the longest bar first."""
    panel = _common(bargauge.Panel(), title, description, unit, width=width, height=height)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    panel.orientation(ui.VizOrientation.HORIZONTAL).display_mode(ui.BarGaugeDisplayMode.BASIC)
    panel.value_mode(ui.BarGaugeValueMode.COLOR).show_unfilled(True).min(0)
    panel.sizing(ui.BarGaugeSizing.MANUAL).min_viz_height(16).max_viz_height(44)
    panel.text(common.VizTextDisplayOptions().title_size(13).value_size(15))
    panel.thresholds(_thresholds(steps)).color_scheme(_color(model.FieldColorModeId.THRESHOLDS))
    if most is not None:
        panel.max(most)
    if since is not None:
        panel.time_from(since)
    for name, color in (colors or {}).items():
        panel.override_by_regexp(f"/{name}/", [_value("color", {"mode": "fixed", "fixedColor": color})])
    return _asking(panel, queries, instant=True)


def heat_map(
    title: str, description: str, query: str, unit: str, *, width: int, height: int = 9, interval: str
) -> Panel:
    """Return a heat map of a histogram; diamonds are exemplars."""
    panel = _common(heatmap.Panel(), title, description, unit, width=width, height=height)
    panel.calculate(False).cell_gap(1).interval(interval)
    panel.scale_distribution(common.ScaleDistributionConfig().type(ui.ScaleDistribution.LINEAR))
    panel.color(
        heatmap.HeatmapColorOptions()
        .mode(heat.HeatmapColorMode.SCHEME)
        .scheme("Oranges")
        .fill("dark-orange")
        .scale(heat.HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .steps(64)
        .reverse(False)
    )
    panel.y_axis(heatmap.YAxisConfig().unit(NUMBER if unit == MONEY else unit).axis_placement(ui.AxisPlacement.LEFT))
    panel.filter_values(heatmap.FilterValueRange().le(1e-9)).exemplars_color("rgba(80,160,255,0.9)")
    panel.mode(ui.TooltipDisplayMode.SINGLE).show_legend()
    target = _target("A", query, "{{le}}", instant=False, exemplars=True).format(PromQueryFormat.HEATMAP)
    return panel.with_target(target)


def rows(
    title: str,
    description: str,
    queries: Queries,
    unit: str,
    *,
    width: int,
    height: int = 9,
    names: Mapping[str, str],
    sort: str,
    units: Mapping[str, str] | None = None,
    judged: Mapping[str, Steps] | None = None,
    linked: str | None = None,
    decimals: int | None = None,
    since: str | None = None,
    widths: Mapping[str, int] | None = None,
) -> Panel:
    """Return a table; `names` maps labels to columns, `queries` maps column titles to expressions."""
    panel = _common(table.Panel(), title, description, unit, width=width, height=height, decimals=decimals)
    panel.show_header(True).cell_height(ui.TableCellHeight.SM).align(ui.FieldTextAlignment.AUTO).inspect(False)
    panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
    if since is not None:
        panel.time_from(since)
    titles = list(queries)
    values = [f"Value #{_ref(place)}" for place in range(len(titles))] if len(titles) > 1 else ["Value"]
    renamed = {**names, **dict(zip(values, titles, strict=True))}
    panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        model.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: place for place, name in enumerate(renamed)},
                "renameByName": renamed,
            },
        )
    )
    for column, its_unit in (units or {}).items():
        panel.override_by_name(column, [_value("unit", its_unit), _value("decimals", DECIMALS.get(its_unit, 1))])
    for column, pixels in (widths or {}).items():
        panel.override_by_name(column, [_value("custom.width", pixels)])
    for column, steps in (judged or {}).items():
        cell = {"type": "color-text"}
        thresholds = {"mode": "absolute", "steps": [{"value": at, "color": color} for at, color in steps]}
        panel.override_by_name(
            column,
            [
                _value("custom.cellOptions", cell),
                _value("thresholds", thresholds),
                _value("color", {"mode": "thresholds"}),
            ],
        )
    if linked is not None:
        link = {"title": "The session's page", "url": SESSION_URL, "targetBlank": True}
        panel.override_by_name(linked, [_value("links", [link])])
    for place, query in enumerate(queries.values()):
        panel.with_target(_target(_ref(place), query, "", instant=True).format(PromQueryFormat.TABLE))
    return panel


def _common(
    panel: P, title: str, description: str, unit: str, *, width: int, height: int, decimals: int | None = None
) -> P:
    panel.title(title).description(description).unit(NUMBER if unit == MONEY else unit).span(width).height(
        height
    ).datasource(SOURCE)
    if decimals is not None:
        panel.decimals(decimals)
    if unit == MONEY:
        for currency, sign in SIGNS.items():
            panel.override_by_regexp(rf"/\b{currency}\b/", [_value("unit", sign)])
    return panel


def _asking(panel: P, queries: Queries, *, instant: bool, exemplars: bool = False) -> P:
    for place, (legend, query) in enumerate(queries.items()):
        panel.with_target(_target(_ref(place), query, legend, instant=instant, exemplars=exemplars))
    return panel


def _target(ref: str, query: str, legend: str, *, instant: bool, exemplars: bool = False) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query).ref_id(ref).datasource(SOURCE).legend_format(legend)
    if exemplars:
        target.exemplar(True)
    return target.instant() if instant else target.range()


def _ref(place: int) -> str:
    return "ABCDEFGHIJ"[place]


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    levels = [model.Threshold(value=at, color=color) for at, color in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(levels)


def _color(mode: model.FieldColorModeId) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(mode)


def _value(name: str, value: object) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val=name, value=value)


Section = tuple[str, Iterable[Panel]]
"""A row's title and its panels; their widths add up to a multiple of 24."""
