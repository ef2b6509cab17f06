"""Write the shipped catalogs from tables of facts; see catalogs/README.md.

    python tools/make_catalogs.py FACTS [OUT]

FACTS, which is required and not in the repository, is a folder of three files: `robustbench_leaderboards.csv` (one
leaderboard row a line), `matched_normal_models.csv` (the pairs of Gavrikov & Keuper, 2022) and `timm_results.csv` (one
line a timm model and image size, with its accuracies on ImageNet and its other test sets). Which models of RobustBench
can be loaded, and how each is constructed, is read from the source of the installed robustbench, without importing it;
timm's own record of each of its weights gives normalisation, image size and licence.
"""

from __future__ import annotations

import ast
import csv
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import timm
from timm.models import get_pretrained_cfg

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
TIMM_COLUMNS = (
    *("model_id", "source", "dataset", "architecture", "robust", "match", "match_rule", "differs", "mean", "std"),
    *("clean_acc", "real_acc", "v2_acc", "a_acc", "r_acc", "sketch_acc", "params_million", "input_size", "licence"),
)
TIMM_ACCURACIES = {
    "clean_acc": "imagenet_top1",
    "real_acc": "imagenet_real_top1",
    "v2_acc": "imagenet_v2_top1",
    "a_acc": "imagenet_a_top1",
    "r_acc": "imagenet_r_top1",
    "sketch_acc": "sketch_top1",
}
SPDX = {"mit": "MIT", "apache-2.0": "Apache-2.0", "bsd-3-clause": "BSD-3-Clause", "cc-by-nc-4.0": "CC-BY-NC-4.0"}
Row = dict[str, str]


@dataclass(frozen=True)
class Twin:
    """Two of timm's tags that say of one architecture that it was trained in two ways, and what makes the difference.

    Parameters
    ----------
    tag
        Of the weights that were given something more.
    plain
        Tags of their twin, the first that the architecture has.
    differs
        What the first training has that the second has not.
    robust
        Whether that are adversarial examples.
    """

    tag: str
    plain: tuple[str, ...]
    differs: str
    robust: bool = False


IN21K, IN22K, TEACHER = "pre-training on ImageNet-21k", "pre-training on ImageNet-22k", "distillation from a teacher"
TWINS = (
    Twin("tf_adv_in1k", ("tf_in1k",), "adversarial examples (Kurakin et al. 2017)", robust=True),
    Twin("tf_ens_adv_in1k", ("tf_in1k",), "adversarial examples of several models (Tramèr et al. 2018)", robust=True),
    Twin("ap_in1k", ("aa_in1k", "ra_in1k"), "AdvProp: adversarial examples, their BatchNorm apart", robust=True),
    Twin("ns_jft_in1k", ("aa_in1k", "ra_in1k"), "Noisy Student: unlabelled images of JFT-300M"),
    Twin("sam_in1k", ("augreg_in1k",), "sharpness-aware minimisation in place of strong augmentation"),
    Twin("fb_ssl_yfcc100m_ft_in1k", ("tv_in1k",), "semi-supervised pre-training on YFCC-100M"),
    Twin("fb_swsl_ig1b_ft_in1k", ("tv_in1k",), "semi-weakly supervised pre-training on 940 million tagged images"),
    Twin("augreg_in21k_ft_in1k", ("augreg_in1k",), IN21K),
    Twin("in21k_ft_in1k", ("in1k",), IN21K),
    Twin("fb_in22k_ft_in1k", ("fb_in1k",), IN22K),
    Twin("ms_in22k_ft_in1k", ("ms_in1k",), IN22K),
    Twin("sail_in22k_ft_in1k", ("sail_in1k",), IN22K),
    Twin("sail_in22k_ft_in1k_384", ("sail_in1k_384",), IN22K),
    Twin("cvnets_in22k_ft_in1k", ("cvnets_in1k",), IN22K),
    Twin("fcmae_ft_in22k_in1k", ("fcmae_ft_in1k",), "ImageNet-22k between self-supervision and fine-tuning"),
    Twin("fb_dist_in1k", ("fb_in1k",), TEACHER),
    Twin("fb_distilled_in1k", ("fb_in1k",), TEACHER),
    Twin("apple_dist_in1k", ("apple_in1k",), TEACHER),
)


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


def timm_catalog(facts: list[Row]) -> list[Row]:
    """Rows of every pretrained tag of the installed timm that there are results of, at the size that it takes."""
    known = set(timm.list_pretrained())
    results = {(row["model"], row["img_size"]): row for row in facts}
    rows: dict[str, Row] = {}
    for name in sorted({row["model"] for row in facts if row["model"] in known}):
        cfg = get_pretrained_cfg(name).to_dict()
        size = str(cfg["input_size"][1])
        found = results.get((name, size))
        if found is None:
            continue  # its results are of another size than what is scored here
        rows[name] = {
            "model_id": name,
            "source": f"timm:{name}",
            "dataset": "imagenet",
            "architecture": name.partition(".")[0],
            "robust": "false",
            "mean": " ".join(map(repr, cfg["mean"])),
            "std": " ".join(map(repr, cfg["std"])),
            **{column: found[fact] for column, fact in TIMM_ACCURACIES.items()},
            "params_million": found["params_million"].replace(",", ""),
            "input_size": size,
            "licence": SPDX.get(cfg.get("license") or "", ""),
        }
    return [row | _twin(row["architecture"], name, rows) for name, row in rows.items()]


def _twin(architecture: str, name: str, rows: dict[str, Row]) -> Row:
    """Match of a model: the same architecture and image size, trained without what its tag names."""
    twin = next((twin for twin in TWINS if name == f"{architecture}.{twin.tag}"), None)
    plain = [f"{architecture}.{tag}" for tag in twin.plain] if twin else []
    match = next((other for other in plain if other in rows), "")
    robust = str(bool(twin and twin.robust)).lower()
    if twin is None or not match:
        return {"robust": robust}
    return {"robust": robust, "match": match, "match_rule": "architecture", "differs": twin.differs}


def write(path: Path, rows: list[Row], columns: Sequence[str] = COLUMNS) -> None:
    """Write one catalog."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
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
    write(out / "timm-imagenet.csv", timm_catalog(read(facts / "timm_results.csv")), TIMM_COLUMNS)


def _key(row: Row) -> tuple[str, str, str]:
    return row["dataset"], row["threat_model"], row["model_id"]


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        sys.exit("name the folder of facts: python tools/make_catalogs.py FACTS [OUT]")
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "catalogs"))
