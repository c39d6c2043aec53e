"""What the documentation takes from the code and from the repository, so that nothing is copied by hand.

- `<!-- command -->` becomes the help of every command; `<!-- schedule-schema -->` and `<!-- profile-schema -->` become
  tables of every key; `<!-- errors -->` a table of all errors; `<!-- api PACKAGE -->` every public name of a package.
- Files that lie outside `docs/` (results, changelog, benchmarks) are pages at the place that they have in the
  repository, so that links between them hold.
- Notebooks are pages as well, with the outputs that are kept in them.
- Where lines may break in names, and how columns are set, is put right in the HTML: Markdown cannot say it.
"""

from __future__ import annotations

import ast
import base64
import enum
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
KINDS = {".html", ".ipynb", ".json", ".md", ".png", ".svg"}  # not what a campaign that runs keeps beside its result
OUTSIDE = (
    "CHANGELOG.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "campaigns/README.md",
    "notebooks/*.ipynb",
    "reports/results/**/*",
    "probe/deepcadence/probe/bundled/model/*.md",
)


def on_files(files: Files, *, config: Any) -> Files:
    """Add what lies outside `docs/`."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            if path.suffix in KINDS:
                name = path.relative_to(ROOT).as_posix()
                files.append(File.generated(config, name, abs_src_path=str(path)))
                if path.suffix == ".ipynb":
                    for made, content in notebook(path).items():
                        files.append(File.generated(config, f"notebooks/{made}", content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in what is generated."""
    makers = {
        "command": command_reference,
        "schedule-schema": schedule_schema,
        "profile-schema": profile_schema,
        "errors": error_table,
    }
    for name, make in makers.items():
        mark = f"<!-- {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    return re.sub(r"<!-- api ([\w.]+) -->", lambda match: api(match[1]), markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Set attributes that share a description as the names that they are; set tables, and names in the text."""
    shared = r"<b><code>(?:<[^>]*>)*(\w+),(?:<[^>]*>)*</code></b>\s*\(<code>(.*?)</code>\)"
    content = re.sub(
        shared, lambda match: _names(match[1], *re.findall(r"\w+", re.sub("<[^>]*>", "", match[2]))), content
    )
    content = re.sub(r"<table>.*?</table>", lambda match: _table(match[0]), content, flags=re.DOTALL)
    parts = re.split(r"(<pre.*?</pre>)", content, flags=re.DOTALL)
    return "".join(part if part.startswith("<pre") else CODE.sub(_code, part) for part in parts)


def _names(*names: str) -> str:
    """`cut, interval: ...`: in what mkdocstrings makes of it the first is a name with a comma, the others its type."""
    return ", ".join(f"<b><code>{name}</code></b>" for name in names)


# ---- how lines break, and columns are set

CODE = re.compile(r"([(\[]?)(<a [^>]*>)?<code>([^<]+)</code>(</a>)?([)\].,:;]*)")
ROW = re.compile(r"<tr>.*?</tr>", re.DOTALL)
CELL = re.compile(r"<t[hd][ >].*?</t[hd]>", re.DOTALL)
SHORT = 22


def _code(match: re.Match[str]) -> str:
    """Code in the text: a short name stays in one piece with the signs about it, a long one breaks between its parts.

    A browser would split `--batch-size` behind each hyphen, and a long path anywhere.
    """
    before, link, text, end, after = (group or "" for group in match.groups())
    words = text.split(" ")
    if len(words) == 1 and len(text) <= SHORT:
        whole = f"{before}{link}<code>{text}</code>{end}{after}"
        return _whole(whole) if before or after or "-" in text else whole
    parts = " ".join(map(_word, words))
    return f"{before}{link}<code>{parts}</code>{end}{after}"


def _word(word: str) -> str:
    if len(word) > SHORT:
        return re.sub(r"(::|[_/])(?=\w)", r"\1<wbr>", word)
    return _whole(word) if "-" in word else word


def _whole(text: str) -> str:
    return f'<span class="whole">{text}</span>'


def _table(table: str) -> str:
    """A column that holds words begins at the left, whatever its file says; an interval stays on one line."""
    words = {
        column
        for row in ROW.findall(table)
        for column, cell in enumerate(CELL.findall(row))
        if cell.startswith("<td") and re.search("[a-z]{4}", re.sub(r"<[^>]*>|&\w+;", "", cell))
    }

    def set_row(row: re.Match[str]) -> str:
        column = itertools.count()
        return CELL.sub(lambda cell: _cell(cell[0], next(column) in words), row[0])

    return ROW.sub(set_row, table)


def _cell(cell: str, words: bool) -> str:
    if words:
        return cell.replace(' style="text-align: right;"', "")
    return re.sub(r"\[[^\]<]*\]", lambda interval: _whole(interval[0]), cell)


# ---- the notebooks


def notebook(path: Path) -> dict[str, str | bytes]:
    """A notebook as a page, and the pictures of it."""
    parts, made = [], {}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(_notebook_prose(source))
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = {kind: "".join(lines) for kind, lines in output.get("data", {}).items()}
            if "image/png" in data:
                name = f"{path.stem}-{number}.png"
                made[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the cell above draws]({name})")
            elif "text/html" in data:
                rows = re.sub(r"<(table|tr)\b[^>]*>", r"<\1>", data["text/html"])
                rows = re.sub(r"<th>(.*?)</th>(?=\s*<td>)", r"<td>\1</td>", rows)
                parts.append(rows[rows.index("<table") : rows.index("</table>")] + "</table>")
            else:
                parts.append(f"```{{ .text .output }}\n{''.join(output['text']).rstrip()}\n```")
    title, first, *others = parts[0].split("\n\n", 2) + parts[1:]
    here = f"*This is [{path.name}]({path.name}), with the outputs of its last execution.*"
    return {f"{path.stem}.md": "\n\n".join([title, here, first, *others]) + "\n", **made}


def _notebook_prose(text: str) -> str:
    """Links between notebooks lead to their pages, and those within one to the names that headings have there."""
    text = re.sub(r"\((\w+)\.ipynb\)", r"(\1.md)", text)
    return re.sub(r"\(#([^)]*)\)", lambda link: f"(#{re.sub('[^a-z-]', '', link[1].lower())})", text)


# ---- the command


def command_reference() -> str:
    """A section for each command: what it does, its arguments and options."""
    from typer.main import get_command

    from deepcadence.cli._app import app

    return "\n\n".join(_command_section(path, command) for path, command in _commands("deepcadence", get_command(app)))


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    for name, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from _commands(f"{path} {name}", child)
        else:
            yield f"{path} {name}", child


def _command_section(path: str, command: Any) -> str:
    rows = [f"| {names} | {words} |" for names, words in map(_parameter, command.params) if names]
    table = "\n".join(["| argument or option | meaning |", "| --- | --- |", *rows])
    return f"## {path}\n\n{_dedented(command.help)}\n\n{table}"


def _dedented(text: str) -> str:
    """Without the marks that click puts into help texts, and with examples as code."""
    plain = (text or "").replace("\b", "").strip()
    plain = re.sub(r"^((?:[A-Z][\w -]*: +)?)((?:deepcadence|torchrun) .*)$", r"\1`\2`", plain, flags=re.MULTILINE)
    return _options(plain)


def _options(text: str) -> str:
    """With options as code, where they are not yet."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"(?<![\w-])--[a-z][\w-]*", r"`\g<0>`", part) for part in parts[::2]]
    return "`".join(parts)


def _parameter(parameter: Any) -> tuple[str, str]:
    words = _options(" ".join((getattr(parameter, "help", None) or "").split()).replace("|", r"\|"))
    if isinstance(parameter.default, enum.Enum):
        words += f" One of {', '.join(f'`{choice.value}`' for choice in type(parameter.default))}."
    if not parameter.opts[0].startswith("-"):
        return f"`{parameter.metavar or parameter.name.upper()}`", words
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    if parameter.default is not None and not callable(parameter.default) and not parameter.is_flag:
        words += f" Default: `{_text(parameter.default)}`."
    return names, words.replace("[default:", "[Default:")


def _text(value: Any) -> str:
    return str(value.value if isinstance(value, enum.Enum) else value)


# ---- JSON Schemas


def schedule_schema() -> str:
    """The tables of the schedule's schema, from the file that is shipped."""
    path = ROOT / "schedules/deepcadence/schedules/schedule.schema.json"
    return _schema_tables(json.loads(path.read_text(encoding="utf-8")), "the file")


def profile_schema() -> str:
    """The tables of what a profile says about itself."""
    from deepcadence.probe import ProfileInfo

    return _schema_tables(ProfileInfo.model_json_schema(by_alias=True), "`deepcadence`")


def _schema_tables(schema: dict[str, Any], top: str) -> str:
    parts = schema.get("$defs", {})
    sections = [(top, schema), *((f"`{name}`", part) for name, part in parts.items())]
    return "\n\n".join(_schema_table(name, part, parts) for name, part in sections)


def _schema_table(name: str, schema: dict[str, Any], parts: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        [f"`{key}`", _kind(entry), "yes" if key in required else "", _meaning(entry, parts)]
        for key, entry in schema.get("properties", {}).items()
    ]
    columns = 4 if any(row[3] for row in rows) else 3
    table = [["key", "value", "needed", "meaning"], ["---"] * 4, *rows]
    lines = [f"| {' | '.join(row[:columns])} |" for row in table]
    words = " ".join(schema.get("description", "").split("\n\n")[0].split())
    return "\n".join([f"### {name[:1].upper()}{name[1:]}", "", words, "", *lines])


def _meaning(entry: dict[str, Any], parts: dict[str, Any]) -> str:
    """The description of a key; that of its object where the schema does not say it twice."""
    part = parts.get(entry.get("$ref", "").rsplit("/", 1)[-1], {})
    words = entry.get("description") or part.get("description", "").split("\n\n")[0]
    return " ".join(words.split()).replace("|", r"\|")


def _kind(entry: dict[str, Any]) -> str:
    """A value's type in words."""
    if "$ref" in entry:
        return f"an object, see `{entry['$ref'].rsplit('/', 1)[-1]}`"
    if "const" in entry:
        return f"`{json.dumps(entry['const'])}`"
    if "enum" in entry:
        return " or ".join(f"`{json.dumps(value)}`" for value in entry["enum"])
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(_kind(option) for option in entry["anyOf"] if option.get("type") != "null"))
    if entry.get("type") == "array":
        items = entry.get("items") or {"anyOf": entry.get("prefixItems", [])}
        return f"a list of: {_kind(items)}" if isinstance(items, dict) and items else "a list"
    if entry.get("type") == "object":
        values = entry.get("additionalProperties") or next(iter(entry.get("patternProperties", {}).values()), None)
        return f"an object of: {_kind(values)}" if isinstance(values, dict) else "an object"
    named = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
    return named.get(entry.get("type", ""), "anything") + _bounds(entry)


def _bounds(entry: dict[str, Any]) -> str:
    if "exclusiveMinimum" in entry:
        return f" above {entry['exclusiveMinimum']}"
    low, high = entry.get("minimum"), entry.get("maximum")
    if low is not None and high is not None and high < 10**9:
        return f" from {low} to {high}"
    return f" from {low}" if low is not None else ""


# ---- the library, read without importing it


def api(package: str) -> str:
    """A directive of mkdocstrings for every public name of a package: functions first, constants last."""
    source = _source(package)
    tree = ast.parse(source.read_text(encoding="utf-8"))
    (names,) = [node.value for node in tree.body if isinstance(node, ast.Assign) and _target(node) == "__all__"]
    ordered = sorted(ast.literal_eval(names), key=lambda name: (name.isupper(), name[0].isupper()))
    return "\n\n".join(_directive(package, name, source.with_name(f"{name}.py").exists()) for name in ordered)


def _directive(package: str, name: str, in_its_own_module: bool) -> str:
    """A function in a module of its own name gets its whole path, or mkdocstrings would take the module for it."""
    place = f"{package}.{name}"
    return f"[](){{#{place}}}\n\n::: {place}.{name}" if in_its_own_module else f"::: {place}"


def error_table() -> str:
    """A table for each package: every error, what else it is, and what it means."""
    parts = []
    for path in sorted(ROOT.glob("*/deepcadence/*/errors.py"), key=lambda path: "schedules" not in path.parts):
        package = f"deepcadence.{path.parent.name}"
        rows = [f"## From {package}", "", "| error | is also a | meaning |", "| --- | --- | --- |"]
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                bases = [ast.unparse(base) for base in node.bases]
                others = ", ".join(f"`{base}`" for base in bases if base != "DeepcadenceError")
                meaning = " ".join((ast.get_docstring(node) or "").split())
                rows.append(f"| [`{node.name}`][{package}.{node.name}] | {others} | {meaning} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _source(package: str) -> Path:
    (path,) = ROOT.glob(f"*/{package.replace('.', '/')}/__init__.py")
    return path


def _target(node: ast.Assign) -> str:
    return ast.unparse(node.targets[0])
