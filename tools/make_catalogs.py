"""Write the shipped catalogs from tables of facts; see catalogs/README.md.

    python tools/make_catalogs.py FACTS [OUT]

FACTS, which is required and not in the repository, is a folder of two files: `robustbench_leaderboards.csv` (one
leaderboard row a line) and `matched_normal_models.csv` (the pairs of Gavrikov & Keuper, 2022). Which models can be
loaded, and how each is constructed, is read from the source of the installed robustbench, without importing it.
"""

from __future__ import annotations

import ast
import csv
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

ZENODO = "zenodo:7097538"
COLUMNS = (
    *("model_id", "source", "dataset", "threat_model", "eps", "architecture", "robust", "match", "match_rule"),
    *("clean_acc", "robust_acc", "paper"),
)
NORMAL = {"Standard", "Standard_R50", "AlexNet"}
TIMM = {  # ImageNet models of the same architecture, trained without robust regularisation; tags pin the weights
    "ResNet-18": "resnet18.tv_in1k",
    "ResNet-50": "resnet50.a1_in1k",
    "WideResNet-50-2": "wide_resnet50_2.racm_in1k",
    "ConvNeXt-B": "convnext_base.fb_in1k",
    "ConvNeXt-L": "convnext_large.fb_in1k",
    "Swin-B": "swin_base_patch4_window7_224.ms_in1k",
    "Swin-L": "swin_large_patch4_window7_224.ms_in22k_ft_in1k",
    "ViT-B": "vit_base_patch16_224.augreg_in1k",
    "XCiT-S12": "xcit_small_12_p16_224.fb_in1k",
    "DeiT Small": "deit_small_patch16_224.fb_in1k",
    "DeiT Base": "deit_base_patch16_224.fb_in1k",
}
Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """Rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def constructors() -> dict[tuple[str, str, str], str]:
    """Text of the constructor of every model of the installed robustbench, by (dataset, threat model, id)."""
    spec = find_spec("robustbench")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("robustbench is not installed")
    zoo = Path(spec.submodule_search_locations[0]) / "model_zoo"
    found = {}
    for dataset in ("cifar10", "cifar100", "imagenet"):
        tree = ast.parse((zoo / f"{dataset}.py").read_text("utf-8"))
        for node in tree.body:
            if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
                continue
            threat_model = {"linf": "Linf", "l2": "L2", "common_corruptions": "corruptions"}.get(node.targets[0].id)
            if threat_model is None or not isinstance(node.value, ast.Call):
                continue
            for pair in node.value.args[0].elts:  # type: ignore[attr-defined]  # OrderedDict([(id, {...}), ...])
                name, settings = ast.literal_eval(pair.elts[0]), pair.elts[1]
                texts = {k.value: ast.unparse(v) for k, v in zip(settings.keys, settings.values, strict=True)}
                found[dataset, threat_model, name] = texts["model"]
    return found


class Normals:
    """Chooses the matched normal model of a row, and remembers which were chosen."""

    def __init__(self, pairs: list[Row], built: dict[tuple[str, str, str], str]) -> None:
        self.exact = {(p["dataset"], p["threat_model"], p["robust_model"]): p for p in pairs}
        self.partners = Counter((p["dataset"], p["normal_model"]) for p in pairs)
        self.built = built

    def choose(self, fact: Row) -> tuple[str, str, str]:
        """Return (model_id, source, rule) of the normal model; empty where there is none."""
        dataset, threat_model, name = fact["dataset"], fact["threat_model"], fact["model_id"]
        if dataset == "imagenet":
            timm = TIMM.get(fact["architecture"], "")
            return (timm, f"timm:{timm}", "architecture") if timm else ("", "", "")
        exact = self.exact.get((dataset, threat_model, name))
        if exact is not None:
            return self._zenodo(dataset, exact["normal_model"], "exact")
        mine = self.built[dataset, threat_model, name]
        candidates = {
            p["normal_model"]
            for p in self.exact.values()
            if p["dataset"] == dataset and p["architecture"] == fact["architecture"]
        }
        ranked = sorted(
            candidates,
            key=lambda c: (self.built.get((dataset, "Linf", c)) != mine, -self.partners[dataset, c], c),
        )
        return self._zenodo(dataset, ranked[0], "architecture") if ranked else ("", "", "")

    @staticmethod
    def _zenodo(dataset: str, name: str, rule: str) -> tuple[str, str, str]:
        return f"{name}_normal", f"{ZENODO}/{dataset}/{name}", rule


def catalog(facts: list[Row], normals: Normals, *, prefix: bool = False) -> list[Row]:
    """Rows of one catalog: the models of the facts, then the normal models that they are matched with."""
    rows: list[Row] = []
    chosen: dict[str, Row] = {}
    for fact in facts:
        lead = f"{fact['dataset']}_" if prefix else ""
        corrupted = fact["threat_model"] == "corruptions"
        common = {
            "dataset": fact["dataset"],
            "threat_model": fact["threat_model"],
            "eps": "" if corrupted else fact["eps"],
            "architecture": fact["architecture"],
        }
        robust = fact["model_id"] not in NORMAL
        match, source, rule = normals.choose(fact) if robust else ("", "", "")
        rows.append(
            {
                "model_id": lead + fact["model_id"],
                "source": f"robustbench:{fact['dataset']}/{fact['threat_model']}/{fact['model_id']}",
                **common,
                "robust": str(robust).lower(),
                "match": match and lead + match,
                "match_rule": rule,
                "clean_acc": fact["clean_acc"],
                "robust_acc": fact["corruptions_acc"]
                if corrupted
                else fact["best_known_robust_acc"] or fact["autoattack_acc"],
                "paper": fact["paper"],
            }
        )
        if match:
            chosen[lead + match] = {"model_id": lead + match, "source": source, **common, "robust": "false"}
    return rows + [chosen[name] for name in sorted(chosen)]


def write(path: Path, rows: list[Row]) -> None:
    """Write one catalog."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(facts: Path, out: Path) -> None:
    """Write every shipped catalog that has leaderboard facts."""
    built = constructors()
    rows = [r for r in read(facts / "robustbench_leaderboards.csv") if _key(r) in built]
    pairs = read(facts / "matched_normal_models.csv")
    normals = Normals(pairs, built)
    for dataset, threat_model in dict.fromkeys((r["dataset"], r["threat_model"]) for r in rows):
        mine = [r for r in rows if (r["dataset"], r["threat_model"]) == (dataset, threat_model)]
        write(out / f"{dataset}-{threat_model.lower()}.csv", catalog(mine, normals))
    by_key = {_key(r): r for r in rows}
    paper = [by_key[p["dataset"], p["threat_model"], p["robust_model"]] for p in pairs]
    write(out / "gavrikov2022.csv", catalog(paper, normals, prefix=True))


def _key(row: Row) -> tuple[str, str, str]:
    return row["dataset"], row["threat_model"], row["model_id"]


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        sys.exit("name the folder of facts: python tools/make_catalogs.py FACTS [OUT]")
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "catalogs"))
