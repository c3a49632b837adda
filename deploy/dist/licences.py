"""Writes the licences of the crates that the programs are made of: each crate once, each text once."""

import hashlib
import json
import pathlib
import subprocess
import sys


def packages():
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-musl"]
    data = json.loads(subprocess.check_output(command))
    ours = {p["id"]: p["name"] for p in data["packages"] if p["id"] in data["workspace_members"]}
    normal = {node["id"]: [dep["pkg"] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
              for node in data["resolve"]["nodes"]}
    # what the tests alone need is not shipped
    seen, todo = set(), [package for package, name in ours.items() if name != "remuda-e2e"]
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.add(one)
            todo += normal[one]
    return sorted((p for p in data["packages"] if p["id"] in seen - set(ours)), key=lambda p: (p["name"], p["version"]))


def texts(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    names = ("licen", "copying", "notice", "unlicense")
    return [f.read_text(errors="replace").strip() for f in sorted(folder.iterdir())
            if f.is_file() and f.name.lower().startswith(names)]


def main():
    users = {}
    print("The programs contain these crates:\n")
    for package in packages():
        name = "%s %s" % (package["name"], package["version"])
        print("  %-40s %s" % (name, package["license"] or "see its text below"))
        for text in texts(package):
            users.setdefault(hashlib.sha256(text.encode()).digest(), (text, []))[1].append(name)
    print("  %-40s %s" % ("the Rust standard library", "MIT OR Apache-2.0"))
    print("  %-40s %s" % ("musl", "MIT"))
    for text, names in users.values():
        print("\n%s\n%s\n\n%s" % ("-" * 80, ", ".join(names), text))


if __name__ == "__main__":
    sys.exit(main())
