"""Write `published.h5`: a small data set in the layout of the published one, by the operations of its authors' code.

Run with the libraries of its time: `pip install pandas==1.5.3 'numpy<2' 'tables<3.11' h5py`, then
`python make_published.py published.h5`. Three models: a robust one, its normal match, and one that nobody annotated.
"""

import sys

import h5py
import numpy as np
import pandas as pd

# model: (layers as (conv_depth, layer_id, in, out), Robust, annotated)
MODELS = {
    "Wang2020_cifar10_linf_13": [(0, 3, 3, 4), (1, 9, 4, 6), (1, 5, 4, 6), (2, 1, 6, 2)],
    "hso_Wang2020_normal_13": [(0, 0, 3, 4), (1, 1, 4, 6), (1, 2, 4, 6), (2, 3, 6, 2)],
    "Überzeugt_cifar100_13": [(0, 7, 3, 5)],
}


def main(path: str) -> None:
    random = np.random.default_rng(0)
    start, rows, kernels = 0, [], []
    for model_id, (model, layers) in enumerate(MODELS.items()):
        deepest = max(depth for depth, *_ in layers) or 1
        for depth, layer_id, inputs, outputs in layers:
            n = inputs * outputs
            values = random.normal(size=(n, 3, 3)).astype(np.float32)
            if model_id == 1:
                values[: n // 4] *= 1e-4
            kernels.append(values)
            rows.append(
                {
                    "model_id": model_id,
                    "conv_depth": depth,
                    "conv_depth_norm": depth / deepest,
                    "layer_id": layer_id,
                    "layer_depth": np.int32(3 * depth),
                    "in_channels": inputs,
                    "out_channels": outputs,
                    "filter_ids": f"{start}:{start + n - 1}",
                    "model": model,
                    "path": f"/zoo/{model}.onnx",
                    "producer": "pytorch 1.11",
                    "op_set": 13,
                    "Conv": len(layers),
                    "Relu": 2 if model_id < 2 else np.nan,
                    "(3, 3) filters": sum(i * o for _, _, i, o in layers),
                    "(1, 1) filters": 8 if model_id else np.nan,
                    "depth": deepest + 1,
                }
            )
            start += n
    frame = pd.DataFrame(rows).astype({"layer_depth": "int32"})
    notes = pd.DataFrame(
        [
            {
                "Name": "Wang2020_cifar10_linf_13",
                "Paper": "https://example.org/wang",
                "Tracer Warning": "no",
                "Selection": "robustbench",
                "Hide": np.nan,
                "Robust": True,
                "Clean Accuracy": 87.5,
                "Robust Accuracy": 56.29,
                "Network": "WRN-28-10",
                "Backbone": "WRN",
                "Framework": "pytorch",
                "Pretraining-Dataset": False,
                "Training-Dataset": "cifar10",
                "Visual Category": "natural",
                "Task": "Classification",
            },
            {
                "Name": "hso_Wang2020_normal_13",
                "Paper": np.nan,
                "Tracer Warning": np.nan,
                "Selection": "hso_normal_training",
                "Hide": np.nan,
                "Robust": False,
                "Clean Accuracy": 95.0,
                "Robust Accuracy": 0.0,
                "Network": "WRN-28-10",
                "Backbone": "WRN",
                "Framework": "pytorch",
                "Pretraining-Dataset": np.nan,
                "Training-Dataset": "cifar10",
                "Visual Category": "natural",
                "Task": "Classification",
            },
        ]
    )
    meta = frame.merge(notes, how="left", left_on="model", right_on="Name")
    meta["total_filters"] = meta["(3, 3) filters"].astype(float)
    meta["3x3_filter_share"] = 1.0
    meta = meta.set_index(["model_id", "conv_depth", "conv_depth_norm", "layer_id"])
    filters = np.concatenate(kernels).astype(np.float64)
    with h5py.File(path, "w") as file:
        file["filters"] = filters
    meta.to_hdf(path, key="meta")

    sparsity, sparse = [], []
    for ids in meta["filter_ids"]:
        first, last = map(int, ids.split(":"))
        layer = np.abs(filters[first : last + 1].reshape(-1, 9)).max(axis=1)
        found = np.flatnonzero(layer <= layer.max() / 100)
        sparse += list(first + found)
        sparsity.append(
            {
                "layer_norm": layer.max(),
                "layer_sparse_filters": len(found),
                "layer_num_filters": len(layer),
                "layer_sparse_share": len(found) / len(layer),
            }
        )
    pd.DataFrame(sparsity, index=meta.index).to_hdf(path, key="meta_sparsity")
    with h5py.File(path, "a") as file:
        file["sparse_filter_ids"] = np.array(sparse, dtype=np.int64)


if __name__ == "__main__":
    main(sys.argv[1])
