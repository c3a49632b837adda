"""What the user asked of xdist and of pytest that Remuda carries out in their stead.

xdist's options are understood whether xdist is installed or not, and taken away before anything acts
on them: the plugin stays loaded (its hooks and fixtures belong to the user's suite) but never starts.
"""

from . import replay

XDIST_DEFAULTS = {
    "numprocesses": None,
    "maxprocesses": None,
    "dist": "no",
    "distload": False,
    "tx": [],
    "looponfail": False,
}
GROUP_BY = {"loadscope": "class", "loadfile": "file", "loadgroup": "group"}


XDIST_WITH_VALUE = (
    "--numprocesses --maxprocesses --max-worker-restart --dist --tx --testrunuid --maxschedchunk".split()
)


def take_from_arguments(arguments, asked):
    """The arguments without xdist's options, for a Python that has no xdist to declare them.

    pytest guesses its start folders from a first parse that knows only declared options: the value of
    an undeclared `-n 4` would pass for a path.
    """
    kept, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            return kept + [word] + rest
        if word == "-d":
            asked["dist"] = "load"
        elif name in XDIST_WITH_VALUE:
            _remember(asked, name, value if equals else (rest.pop(0) if rest else ""))
        elif word.startswith("-n") and not word.startswith("--"):
            _remember(asked, "--numprocesses", word[2:].lstrip("=") or (rest.pop(0) if rest else ""))
        else:
            kept.append(word)
    return kept


def _remember(asked, name, value):
    if name == "--tx":
        asked.setdefault("tx", []).append(value)
    elif name in ("--numprocesses", "--maxprocesses"):
        asked[name[2:]] = _processes(value)
    else:
        asked[name[2:]] = value


def add_missing(parser):
    """Declare the options of xdist and pytest-timeout that neither plugin nor conftest has declared."""
    known = {name for group in _groups(parser) for option in group.options for name in option.names()}
    group = parser.getgroup("remuda", "parallel runs")

    def add(*names, **attributes):
        if not known.intersection(names):
            group._addoption(*names, **attributes)

    add("-n", "--numprocesses", dest="numprocesses", type=_processes, default=None)
    add("--maxprocesses", dest="maxprocesses", type=int, default=None)
    add("--max-worker-restart", dest="maxworkerrestart", default=None)
    add("--dist", dest="dist", default="no")
    add("-d", dest="distload", action="store_true", default=False)
    add("--tx", dest="tx", action="append", default=[])
    add("--testrunuid", dest="testrunuid", default=None)
    add("--maxschedchunk", dest="maxschedchunk", type=int, default=None)
    if "--timeout" not in known:
        group.addoption("--timeout", dest="remuda_timeout", type=float, default=None)


def _groups(parser):
    return [parser._anonymous] + list(parser._groups)


def _processes(text):
    return text if text in ("auto", "logical") else int(text)


def neutralise(namespace, asked):
    """Take xdist's options out of `namespace` into `asked`."""
    for name, default in XDIST_DEFAULTS.items():
        value = getattr(namespace, name, default)
        if value != default:
            asked[name] = value
        if hasattr(namespace, name):
            setattr(namespace, name, list(default) if isinstance(default, list) else default)


def wanted(config, items, asked, replay):
    """The `options` of `manifest_done`."""
    option = config.option
    found = {
        "maxfail": option.maxfail or None,
        "durations": getattr(option, "durations", None),
        "durations_min": getattr(option, "durations_min", None),
        "verbosity": getattr(option, "verbose", 0),
        "report_chars": getattr(option, "reportchars", None),
        "capture": getattr(option, "capture", None),
        "tb": getattr(option, "tbstyle", None),
        "color": getattr(option, "color", None),
        "replay": replay,
        "timeout": getattr(option, "remuda_timeout", None),
        "slots": _slots(config, asked),
        "group_by": GROUP_BY.get(asked.get("dist")),
    }
    if getattr(option, "stepwise", False):
        # Stepwise takes for granted that everything before the failure has passed.
        found.update(slots=1, ordered=True, maxfail=found["maxfail"] or 1)
    failed_before = _failed_first(config, items)
    if failed_before:
        found["first"] = failed_before
    if found["capture"] in ("no", "tee-sys") or getattr(option, "setupshow", False):
        found["live"] = True
    if getattr(option, "usepdb", False) or getattr(option, "trace", False):
        found["debugger"] = True
    return {name: value for name, value in found.items() if value is not None}


def _failed_first(config, items):
    """With --ff: how many tests at the head of the manifest failed before."""
    if not getattr(config.option, "failedfirst", False):
        return 0
    before = replay.failed_before(config)
    return sum(1 for item in items if item.nodeid in before)


def _slots(config, asked):
    number = asked.get("numprocesses")
    if number is None and asked.get("tx"):
        number = sum(_multiplied(spec) for spec in asked["tx"])
    if number in ("auto", "logical"):
        number = _auto(config)
    if isinstance(number, int):
        number = max(1, number)
        if asked.get("maxprocesses"):
            number = min(number, asked["maxprocesses"])
    return number


def _multiplied(spec):
    """xdist writes `3*popen` for three of a kind."""
    head = spec.partition("*")[0]
    return int(head) if head.isdigit() else 1


def _auto(config):
    """`auto`, unless the user's own conftest knows the number."""
    hook = getattr(config.hook, "pytest_xdist_auto_num_workers", None)
    for implementation in hook.get_hookimpls() if hook else []:
        if getattr(implementation.plugin, "__name__", "") != "xdist.plugin":
            return hook(config=config) or "auto"
    return "auto"
