"""Writes a software bill of materials in CycloneDX 1.5: sbom.py DESCRIPTION OUTPUT

DESCRIPTION is JSON: `name`, `version`, and `components`, each with `name`, `version`, `type`, `description` and, where they
are known, `licenses` (SPDX expressions) and `crates`, a folder with `crates` and `Cargo.lock`; and `storePaths`, a file with a
path of the Nix store on each line, or null.
"""

import json
import re
import sys
import tomllib
import uuid


def licence(expressions: list[str]) -> list[dict[str, str]]:
    # Cargo allowed a slash for "or" once.
    texts = [text.replace("/", " OR ") for text in expressions if text]
    if len(texts) > 1:
        texts = [" AND ".join(f"({text})" for text in texts)]
    return [{"expression": text} for text in texts]


def crates(folder: str) -> list[dict[str, object]]:
    """What is linked into a program, with the checksums of the registry. The program's own packages are among them."""
    with open(f"{folder}/Cargo.lock", "rb") as lock:
        sums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(lock)["package"]}
    found = []
    with open(f"{folder}/crates") as lines:
        for line in lines:
            package, terms, home = line.rstrip("\n").split("|")
            name, version = package.split(" ")[:2]
            version = version.removeprefix("v")
            component: dict[str, object] = {
                "type": "library",
                "bom-ref": f"pkg:cargo/{name}@{version}",
                "name": name,
                "version": version,
                "purl": f"pkg:cargo/{name}@{version}",
            }
            if terms:
                component["licenses"] = licence([terms])
            if sums[name, version]:
                component["hashes"] = [{"alg": "SHA-256", "content": sums[name, version]}]
            if home:
                component["externalReferences"] = [{"type": "vcs", "url": home}]
            found.append(component)
    return found


def store_paths(file: str) -> list[dict[str, object]]:
    """What comes along with a command: all that a path of the store says of itself is its name."""
    found = []
    with open(file) as lines:
        for line in lines:
            base = line.strip().rpartition("/")[2].partition("-")[2]
            match = re.fullmatch(r"(.+?)-(\d.*)", base)
            name, version = match.groups() if match else (base, "0")
            found.append({"type": "application", "name": name, "version": version, "description": line.strip()})
    return found


def main() -> None:
    with open(sys.argv[1]) as file:
        description = json.load(file)
    parts = description["components"]
    if description["storePaths"]:
        parts += store_paths(description["storePaths"])
    components: dict[str, dict[str, object]] = {}
    edges: dict[str, list[str]] = {}
    top = []
    for part in parts:
        reference = f"pkg:generic/{part['name']}@{part['version']}"
        top.append(reference)
        component = {"type": part["type"], "bom-ref": reference, "purl": reference}
        component |= {key: part[key] for key in ("name", "version", "description")}
        if part.get("licenses"):
            component["licenses"] = licence(part["licenses"])
        components[reference] = component
        edges[reference] = []
        if part.get("crates"):
            for crate in crates(part["crates"]):
                components[str(crate["bom-ref"])] = crate
                edges[reference].append(str(crate["bom-ref"]))

    root = f"pkg:generic/{description['name']}@{description['version']}"
    edges[root] = top
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "firmware",
                "bom-ref": root,
                "name": description["name"],
                "version": description["version"],
            }
        },
        "components": [components[reference] for reference in sorted(components)],
        "dependencies": [{"ref": ref, "dependsOn": sorted(set(edges[ref]) - {ref})} for ref in sorted(edges)],
    }
    # The same content has the same number.
    bom["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bom, sort_keys=True))}"
    with open(sys.argv[2], "w") as output:
        json.dump(bom, output, indent=2, sort_keys=True)
        output.write("\n")


main()
