"""Finds headless clauses ("What init does …") at the start of headings, table cells, paragraphs and comments, and dead links."""

import os
import re
import sys

# Files and folders whose openings are not clean yet. Take an entry out when it is.
NOT_YET_CLEAN = (
    "examples/",
    "nix/debian/",
    "runtime/",
    "templates/",
    "vm-tests/",
)

HEADLESS = re.compile(r"\W*(What|Who|Whether|How|Whatever|Whoever)\b")
HEADLESS_CELL = re.compile(r"\W*(what|who|whether|how|whatever|whoever)\b", re.IGNORECASE)
COMMENT = re.compile(r"\s*(?://[/!]?|#|/\*)\s+(.*)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def outside_code(lines):
    """The lines of a Markdown text that are in no code block, with their numbers."""
    code = False
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            code = not code
        elif not code:
            yield number, line


def markdown_openings(lines):
    """Each heading, table cell, list item and first line of a paragraph, with the expression that it must not match."""
    before = ""
    for number, line in outside_code(lines):
        if line.startswith("|"):
            for cell in re.split(r"(?<!\\)\|", line)[1:-1]:
                yield number, cell.strip(), HEADLESS_CELL
        elif line.startswith(("#", "- ")) or not before.strip():
            # A list of guides may be called "How-to".
            yield number, line.strip().replace("How-to", ""), HEADLESS
        before = line


def comment_openings(lines):
    """The first line of each comment."""
    before = None
    for number, line in enumerate(lines, 1):
        comment = COMMENT.match(line)
        if comment and not before:
            yield number, comment[1], HEADLESS
        before = comment


def anchors(lines):
    """The names under which GitHub links a page's headings."""
    found = set()
    for _, line in outside_code(lines):
        if line.startswith("#"):
            heading = line.lstrip("#").strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-"))
    return found


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().splitlines()


def dead_links(root, path, lines):
    for number, line in outside_code(lines):
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = os.path.normpath(os.path.join(root, os.path.dirname(path), name)) if name else os.path.join(root, path)
            if not os.path.exists(file):
                yield f"{path}:{number}: The link \"{target}\" leads nowhere."
            elif anchor and file.endswith(".md") and anchor not in anchors(read(file)):
                yield f"{path}:{number}: The link \"{target}\" names a heading that does not exist."


def complaints(root):
    for folder, folders, files in os.walk(root):
        folders.sort()
        for file in sorted(files):
            full = os.path.join(folder, file)
            path = os.path.relpath(full, root)
            is_markdown = file.endswith(".md")
            if not is_markdown and not file.endswith((".nix", ".py", ".sh", ".c", ".rs")) and not path.startswith(".ci/"):
                continue
            lines = read(full)
            if is_markdown:
                yield from dead_links(root, path, lines)
            if path.startswith(NOT_YET_CLEAN):
                continue
            for number, text, pattern in (markdown_openings if is_markdown else comment_openings)(lines):
                if pattern.match(text):
                    yield f"{path}:{number}: \"{text[:80]}\" begins with a headless clause: begin with the thing that acts."


def main():
    found = list(complaints(sys.argv[1]))
    print("\n".join(found), file=sys.stderr)
    sys.exit(1 if found else 0)


main()
