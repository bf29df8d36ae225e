"""Says what takes the bytes of an image: report.py DESCRIPTION OUTPUT

DESCRIPTION is JSON: `name`, `compression` ("quick" or "small"), `iso`, `uki`, `kernel`, `initramfs`, `bios` (paths of files), `files` (what is under
/iso), `storePaths` (a file with the store's paths on the medium, or null) and `tree` (the initramfs unpacked).
OUTPUT becomes a folder with `report.txt` and `report.svg`. The parts add up to the size of the ISO.
"""

import html
import json
import os
import subprocess
import sys

# Of the initramfs, by the beginnings of paths; the first that fits counts.
GROUPS = [
    ("init", ["init"]),
    ("app", ["app/"]),
    ("kernel modules", ["lib/modules/"]),
    ("CA certificates", ["etc/ssl/"]),
    ("programs of the command", ["nix/"]),
    ("settings and the rest", [""]),
]
COLOURS = ["#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#76b7b2", "#e15759", "#9c755f", "#edc948", "#bab0ac", "#ff9da7"]


def files(tree: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name, _ in GROUPS}
    for directory, _, names in os.walk(tree):
        for name in names:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, tree)
            if not os.path.islink(path):
                group = next(group for group, starts in GROUPS if any(relative.startswith(start) for start in starts))
                found[group].append(path)
    return found


def under(path: str) -> int:
    """Bytes of a file, or of the files of a folder."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    return sum(os.path.getsize(file) for file in found if not os.path.islink(file))


# As mkInitramfs packs.
PACK = {
    "quick": ["zstd", "--ultra", "-22", "--zstd=wlog=23", "--single-thread", "--quiet", "--stdout"],
    "small": ["xz", "--check=crc32", "--x86", "--lzma2=preset=9e,dict=8MiB", "--threads=1", "--stdout"],
}


def compressed(paths: list[str], compression: str) -> int:
    data = b"".join(open(path, "rb").read() for path in sorted(paths))
    return len(subprocess.run(PACK[compression], input=data, stdout=subprocess.PIPE, check=True).stdout)


def shares(total: int, weights: dict[str, int]) -> dict[str, int]:
    """Divides a number of bytes in proportion; what rounding leaves goes to the largest."""
    parts = {name: total * weight // sum(weights.values()) for name, weight in weights.items()}
    parts[max(parts, key=lambda name: parts[name])] += total - sum(parts.values())
    return parts


def picture(name: str, total: int, parts: list[tuple[str, int]]) -> str:
    width, bar, row = 640, 40, 24
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 40}" height="{120 + row * len(parts)}" font-family="sans-serif" font-size="14">',
        f'<rect width="100%" height="100%" fill="white"/><text x="20" y="30" font-size="16">{html.escape(name)}: {total:,} bytes</text>',
    ]
    left = 20.0
    for (part, size), colour in zip(parts, COLOURS, strict=False):
        share = width * size / total
        label = f"{html.escape(part)}: {size:,} bytes"
        out.append(f'<rect x="{left:.1f}" y="45" width="{share:.1f}" height="{bar}" fill="{colour}" stroke="white"><title>{label}</title></rect>')
        left += share
    for number, ((part, size), colour) in enumerate(zip(parts, COLOURS, strict=False)):
        y = 110 + row * number
        out.append(f'<rect x="20" y="{y}" width="14" height="14" fill="{colour}"/>')
        out.append(f'<text x="44" y="{y + 12}">{html.escape(part)}</text>')
        out.append(f'<text x="420" y="{y + 12}" text-anchor="end">{size:,}</text>')
        out.append(f'<text x="500" y="{y + 12}" text-anchor="end">{100 * size / total:.1f} %</text>')
    return "\n".join([*out, "</svg>", ""])


def main() -> None:
    with open(sys.argv[1]) as file:
        given = json.load(file)
    size = {key: os.path.getsize(given[key]) for key in ("iso", "uki", "kernel", "initramfs", "bios")}
    groups = {name: paths for name, paths in files(given["tree"]).items() if paths}
    parts = {"Linux": size["kernel"]}
    parts |= shares(size["initramfs"], {name: compressed(paths, given["compression"]) for name, paths in groups.items()})
    parts["the UKI's stub"] = size["uki"] - size["kernel"] - size["initramfs"]
    parts["BIOS boot loader"] = size["bios"]
    content = sum(under(path) for path in given["files"])
    if content:
        parts["files under /iso"] = content
    if given["storePaths"]:
        with open(given["storePaths"]) as lines:
            parts["programs on the medium"] = sum(under(line.strip()) for line in lines)
    parts["file systems and partition tables"] = size["iso"] - sum(parts.values())
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    if sum(parts.values()) != size["iso"] or min(parts.values()) < 0:
        raise SystemExit(f"The parts {parts} of the image do not add up to its {size['iso']} bytes.")

    raw = {name: sum(os.path.getsize(path) for path in paths) for name, paths in groups.items()}
    lines = [f"{given['name']}: {size['iso']:,} bytes", ""]
    for name, count in ordered:
        unpacked = f"   ({raw[name]:,} unpacked)" if name in raw else ""
        lines.append(f"{count:>12,} {100 * count / size['iso']:5.1f} %  {name}{unpacked}")
    lines += [
        "",
        "The initramfs is one compressed stream. Its bytes are divided in proportion to what each part takes when it is",
        "compressed alone in the same way.",
        "",
    ]
    with open(f"{sys.argv[2]}/report.txt", "w") as text:
        text.write("\n".join(lines))
    with open(f"{sys.argv[2]}/report.svg", "w") as svg:
        svg.write(picture(given["name"], size["iso"], ordered))


main()
