"""What all dashboards share: variables, links between them, order of rows.

The uid is part of users' links and never changes. Dashboards are not editable, because the files are generated.
"""

from collections.abc import Iterable

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model
from msgspec import Struct

from tools.dashboards.panels import SOURCE, Section

TAG = "telnyx"
TIMEZONE = "utc"
"""Budgets' days and months begin in UTC unless the configuration says otherwise, so "today" does here as well."""
ALL = model.VariableOption(text="All", value="$__all", selected=True)


class Board(Struct, frozen=True):
    """One dashboard."""

    uid: str
    title: str
    description: str
    sections: tuple[Section, ...]
    since: str
    money: bool = True
    """Has a variable for the currency."""
    accounts: bool = True
    links_sessions: bool = False

    def build(self) -> model.Dashboard:
        """Return the dashboard as the SDK's type."""
        board = dashboard.Dashboard(self.title).uid(self.uid).description(self.description).tags([TAG]).readonly()
        board.timezone(TIMEZONE).time(self.since, "now").refresh("1m").tooltip(model.DashboardCursorSync.CROSSHAIR)
        board.link(
            dashboard.DashboardLink("Telnyx")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(False)
            .include_vars(True)
            .keep_time(True)
        )
        for variable in self._variables():
            board.with_variable(variable)
        for title, panels in self.sections:
            board.with_row(dashboard.Row(title))
            for each in panels:
                board.with_panel(each)
        built = board.build()
        for number, panel in enumerate(built.panels or [], start=1):
            panel.id_val = number  # stable as long as the order is: links to a panel name it
        return built

    def _variables(
        self,
    ) -> Iterable[dashboard.QueryVariable | dashboard.DatasourceVariable | dashboard.TextBoxVariable]:
        yield dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        yield _choice("job", "Job", "label_values(telnyx_exporter_build_info, job)", several=True)
        if self.accounts:
            yield _choice("account", "Account", 'label_values(telnyx_sessions{job=~"$job"}, account)', several=True)
        if self.money:
            query = 'label_values(telnyx_unsettled_cost{job=~"$job"}, currency)'
            yield _choice("currency", "Currency", query, several=False)
        if self.links_sessions:
            yield (
                dashboard.TextBoxVariable("exporter")
                .label("Exporter's URL")
                .description("Address of the exporter's pages in your browser; sessions link there.")
                .default_value("http://localhost:9464")
            )


def _choice(name: str, label: str, query: str, *, several: bool) -> dashboard.QueryVariable:
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": name, "qryType": 1})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_DESC if name == "currency" else model.VariableSort.ALPHABETICAL_ASC)
        .multi(several)
        .include_all(several)
    )
    return variable.all_value(".*").current(ALL) if several else variable
