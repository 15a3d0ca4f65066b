"""Graphs from files: stations and connections (CSV), such as the London Underground, and relation triples."""

import csv
import os
from collections.abc import Collection, Iterator
from math import cos, isfinite, radians
from pathlib import Path
from typing import Any

from .given import Builder, Graph, graph_of

STATIONS_FROM = "https://commons.wikimedia.org/wiki/London_Underground_geographic_maps/CSV"
TRIPLES_FROM = "https://github.com/fanyangxyz/Neural-LP (datasets/family/facts.txt)"


def load_graph(graph: Any) -> Graph:
    """A graph from whatever users have at hand.

    Args:
        graph: "underground", "underground-zone-1" or "family", which are looked up in the folder that the environment
            variable MEMRL_DATA names; a path, which is a folder for `load_stations` or a file for `load_triples`;
            what `graph_of` takes; or a `Graph`.

    Raises:
        ValueError: none of these, or what is wrong in it.
        FileNotFoundError: a file is missing; says where to get it.
    """
    if isinstance(graph, Graph):
        return graph
    if not isinstance(graph, str | Path):
        return graph_of(graph)
    if graph in ("underground", "underground-zone-1"):
        return load_stations(_data_folder(str(graph)) / "underground", None if graph == "underground" else {1.0})
    if graph == "family":
        return load_triples(_data_folder("family") / "family" / "facts.txt")
    path = Path(graph)
    if not path.exists():
        raise FileNotFoundError(
            f"graph: {str(graph)!r} is no file or folder, nor 'underground', 'underground-zone-1' or 'family'; "
            f"stations are to be had from {STATIONS_FROM}, relations from {TRIPLES_FROM}"
        )
    return load_stations(path) if path.is_dir() else load_triples(path)


def load_stations(folder: str | Path, zones: Collection[float] | None = None) -> Graph:
    """Stations and the connections between them, which lead both ways; a line is a kind of edge, a time its weight.

    Reads `stations.csv` with the columns id, name and, where there are any, latitude, longitude and zone; and
    `connections.csv` with station1, station2 and, where there are any, line and time; and, if it exists, `lines.csv`
    with line and name. Stations without connections are left out.

    Args:
        folder: in which the files are.
        zones: only stations in these, and the connections between them. A station between two zones has half a zone.
            The DNC paper takes zone 1 of the London Underground.

    Raises:
        ValueError: a line that cannot be read, by its number, or no connections.
        FileNotFoundError: a file is missing; says where to get it.

    >>> load_stations("data/underground", zones={1}).names[:2]  # doctest: +SKIP
    ('Baker Street', "Regent's Park")
    """
    folder = Path(folder)
    names, points = dict[str, str](), dict[str, tuple[float, float]]()
    inside = set[str]()
    for place, row in _rows(folder / "stations.csv", ("id", "name")):
        if row["id"] in names:
            raise ValueError(f"{place}: station {row['id']!r} is there already")
        names[row["id"]] = row["name"]
        if "latitude" in row and "longitude" in row:
            north, east = _number(place, "latitude", row), _number(place, "longitude", row)
            points[row["id"]] = (east * cos(radians(north)), north)
        if zones is None or _number(place, "zone", row) in zones:
            inside.add(row["id"])
    lines = dict[str, str]()
    if (folder / "lines.csv").exists():
        lines = {row["line"]: row["name"] for _, row in _rows(folder / "lines.csv", ("line", "name"))}
    build = Builder(names)
    for place, row in _rows(folder / "connections.csv", ("station1", "station2")):
        ends = row["station1"], row["station2"]
        for end in ends:
            if end not in names:
                raise ValueError(f"{place}: station {end!r} is not in stations.csv")
        if inside.issuperset(ends):
            line = row.get("line")
            for way in (ends, ends[::-1]):
                build.add(place, *way, None if line is None else lines.get(line, line), row.get("time"))
    return build.graph(str(folder), points or None)


def load_triples(path: str | Path) -> Graph:
    """Relations, one in a line: head, tab, relation, tab, tail; an edge leads from the head to the tail.

    Raises:
        ValueError: a line that cannot be read, by its number, or no lines.
        FileNotFoundError: the file is missing; says where to get one.
    """
    path = Path(path)
    build = Builder()
    for number, line in enumerate(_text(path, TRIPLES_FROM).splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) != 3 or not all(parts):
            raise ValueError(f"{place}: {line!r} given, head, relation and tail with tabs between them needed")
        head, relation, tail = parts
        build.add(place, head, tail, relation)
    return build.graph(str(path))


def _data_folder(name: str) -> Path:
    folder = os.environ.get("MEMRL_DATA")
    if not folder:
        where = TRIPLES_FROM if name == "family" else STATIONS_FROM
        raise FileNotFoundError(
            f"graph: {name!r} is looked up in the folder that the environment variable MEMRL_DATA names, which is not "
            f"set; set it, or give the path of the data itself, which is to be had from {where}"
        )
    return Path(folder)


def _text(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path}: not a text in UTF-8 ({problem.reason} at byte {problem.start})") from None
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise FileNotFoundError(f"{path}: no such file; it is to be had from {where}") from None


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """The lines of a CSV file by the names in its first line, each with its place for messages."""
    reader = csv.reader(_text(path, STATIONS_FROM).splitlines(keepends=True), strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if not row:
                continue
            if header is None:
                header = [name.strip() for name in row]
                if missing := [name for name in needed if name not in header]:
                    raise ValueError(f"{place}: no column {missing[0]!r}, only {', '.join(header)}")
            elif len(row) != len(header):
                raise ValueError(f"{place}: {len(row)} columns, but {len(header)} in the first line")
            else:
                yield place, {name: value.strip() for name, value in zip(header, row, strict=True)}
    except csv.Error as problem:
        raise ValueError(f"{path}, line {reader.line_num}: {problem}") from None


def _number(place: str, column: str, row: dict[str, str]) -> float:
    try:
        value = float(row[column])
    except (KeyError, ValueError):
        value = float("nan")
    if not isfinite(value):
        raise ValueError(f"{place}: {column} {row.get(column)!r}, a number needed")
    return value
