"""check.py BOM CRATES…: validates the bill of materials, and compares its crates with cargo's lists."""

import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def listed(bom: dict) -> set[str]:
    return {part["purl"] for part in bom["components"] if part["purl"].startswith("pkg:cargo/")}


def main() -> None:
    with open(sys.argv[1]) as file:
        text = file.read()
    validator = JsonStrictValidator(SchemaVersion.V1_5)
    error = validator.validate_str(text)
    if error:
        raise SystemExit(f"The bill of materials is not valid: {error}")
    bom = json.loads(text)
    # The validator does find faults.
    if not validator.validate_str(json.dumps(bom | {"components": [{"type": "nonsense"}]})):
        raise SystemExit("The validator takes anything.")

    linked = set()
    for path in sys.argv[2:]:
        with open(path) as lines:
            for line in lines:
                name, version = line.split("|")[0].split(" ")[:2]
                linked.add(f"pkg:cargo/{name}@{version.removeprefix('v')}")
    if listed(bom) != linked:
        raise SystemExit(f"The bill of materials and cargo differ in {sorted(listed(bom) ^ linked)}.")
    without = [part for part in bom["components"] if part["type"] == "library" and not part.get("licenses")]
    if without:
        raise SystemExit(f"There are crates without a licence: {[part['name'] for part in without]}.")
    print(f"{len(linked)} crates, {len(bom['components'])} components")


main()
