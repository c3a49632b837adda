"""What a case found, kept as JSON beside the peers, and the page made of all cases."""

import dataclasses
import datetime
import json


@dataclasses.dataclass
class Target:
    """A promise: `value` is at most (or at least) `limit`."""

    text: str
    value: float
    limit: float
    at_least: bool = False
    form: str = "{:.2f}"
    more: str = ""

    @property
    def passes(self):
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def row(self, judge=True):
        relation = "≥" if self.at_least else "≤"
        word = ("PASS" if self.passes else "**MISS**") if judge else "(not judged)"
        found = self.form.format(self.value) + (f" ({self.more})" if self.more else "")
        return [self.text, f"{relation} {self.form.format(self.limit)}", found, word]


@dataclasses.dataclass
class Report:
    """What a case found."""

    title: str
    how: str
    tables: list = dataclasses.field(default_factory=list)
    targets: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    noise: float = 0.0
    failed: str = ""
    when: str = ""
    commit: str = ""

    def add_series(self, series, subjects, unit="s", title=""):
        """A table of contenders; `subjects` are ours, the others are compared with the first of them."""
        ours = series[subjects[0]].median
        rows = []
        for name, one in series.items():
            ratio = f"{ours / one.median:.2f}" if name not in subjects and one.median else "–"
            rows.append([name, f"{one.median:.2f}", one.spread(), ratio, f"{max(one.noise):.2f}"])
            self.noise = max(self.noise, *one.noise)
        columns = ["", f"median {unit}", "min–max", f"{subjects[0]} ÷ it", "others' cores"]
        self.tables.append({"title": title, "columns": columns, "rows": rows})

    def add_table(self, title, columns, rows):
        self.tables.append({"title": title, "columns": columns, "rows": rows})

    def save(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1))

    @classmethod
    def load(cls, path):
        fields = json.loads(path.read_text())
        fields["targets"] = [Target(**target) for target in fields["targets"]]
        return cls(**fields)


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def table(columns, rows):
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    cell = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def page(reports, facts, quick, quiet):
    """The page: machine, targets, then each case. `reports` maps names to reports."""
    judge = not quick
    parts = ["# Bench results", ""]
    parts += ["Written by `make bench`; [README.md](README.md) says how it is measured and how to rerun it.", ""]
    if quick:
        parts += ["**Made with `--quick`: tiny sizes that show only that everything works. No target is judged.**", ""]
    parts += [table(["machine", ""], facts.items()), "", "## Targets", ""]
    rows = []
    for name, report in reports.items():
        rows += [[f"[{name}](#{name})", *target.row(judge)] for target in report.targets]
        if report.failed:
            rows.append([f"[{name}](#{name})", report.title, "–", "not measured", "**FAILED**"])
    parts += [table(["case", "target", "limit", "found", ""], rows)]
    for name, report in reports.items():
        parts += ["", f"## {name}", "", f"{report.title}. {report.how}".strip(), ""]
        if report.failed:
            parts += ["This case failed, so there are no figures:", "", "```text", report.failed, "```", ""]
            parts += [f"Tried {report.when}, commit {report.commit}."]
            continue
        for each in report.tables:
            parts += [f"{each['title']}\n" if each["title"] else "", table(each["columns"], each["rows"]), ""]
        parts += [f"- {note}" for note in report.notes]
        noise = f"others used up to {report.noise:.2f} cores"
        loud = f", more than the {quiet} that count as quiet: **noisy**" if report.noise > 2 * quiet else ""
        parts += ["", f"Measured {report.when}, commit {report.commit}; {noise}{loud}."]
    text = "\n".join(parts) + "\n"
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text
