"""Trains a tiny nnU-Net v2 on synthetic knees, on the CPU, and writes what its predictor reads.

    python train_nnunet.py --out FOLDER [--work FOLDER] [--epochs N] [--seed N]

It needs nnunetv2 (requirements/nnunet.txt). The network is far too small for real scans: it shows the way from training
to the model store and to a step of the pipeline.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PHANTOM = Path(__file__).parents[1] / "fixtures/make_phantom.py"
DATASET = "Dataset001_Phantom"
CONFIGURATION = "3d_fullres"
TRAINER = "nnUNetTrainerNoDA"  # a phantom's intensities are its tissues: contrast must not be augmented away
CASES = ((1.0, 3.0), (1.0, 8.0), (0.95, 5.0), (1.05, 5.0), (1.1, 3.0), (0.9, 6.0))  # scale, noise
NETWORK = {
    "n_stages": 3,
    "features_per_stage": [8, 16, 32],
    "kernel_sizes": [[3, 3, 3]] * 3,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "n_conv_per_stage": [1, 1, 1],
    "n_conv_per_stage_decoder": [1, 1],
}
SIZES = {"patch_size": [32, 48, 48], "batch_size": 2}
ITERATIONS = 30  # an epoch


def make_cases(raw: Path) -> None:
    """Phantoms with their label maps, as nnU-Net wants them."""
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    for number, (scale, noise) in enumerate(CASES):
        with tempfile.TemporaryDirectory() as made:
            options = ["--out", made, "--seed", str(100 + number), "--scale", str(scale), "--noise", str(noise)]
            subprocess.run([sys.executable, str(PHANTOM), *options, "--labels"], check=True)
            shutil.move(f"{made}/phantom.nii.gz", raw / "imagesTr" / f"knee_{number:03}_0000.nii.gz")
            shutil.move(f"{made}/labels.nii.gz", raw / "labelsTr" / f"knee_{number:03}.nii.gz")
            labels = json.loads(Path(made, "phantom.json").read_text(encoding="utf-8"))["labels"]
    told = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, **labels},
        "numTraining": len(CASES),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


def plan(preprocessed: Path) -> None:
    """nnU-Net's own plan, with a network of our size."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api  # noqa: PLC0415 - reads its folders from the environment

    api.extract_fingerprints([1], num_processes=1, check_dataset_integrity=True)
    api.plan_experiments([1])
    path = preprocessed / DATASET / "nnUNetPlans.json"
    plans = json.loads(path.read_text(encoding="utf-8"))
    configuration = plans["configurations"][CONFIGURATION]
    configuration |= SIZES
    configuration["architecture"]["arch_kwargs"] |= NETWORK
    path.write_text(json.dumps(plans, indent=1), encoding="utf-8")
    api.preprocess([1], configurations=[CONFIGURATION], num_processes=[1])


def train(preprocessed: Path, epochs: int) -> Path:
    """Train on all cases; gives the folder of the results."""
    import torch  # noqa: PLC0415
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoDA import (  # noqa: PLC0415
        nnUNetTrainerNoDA,
    )

    told = preprocessed / DATASET
    plans = json.loads((told / "nnUNetPlans.json").read_text(encoding="utf-8"))
    dataset = json.loads((told / "dataset.json").read_text(encoding="utf-8"))
    trainer: Any = nnUNetTrainerNoDA(plans, CONFIGURATION, "all", dataset, device=torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = epochs, ITERATIONS, 1
    trainer.save_every = epochs
    trainer.run_training()
    return Path(trainer.output_folder_base)


def export(results: Path, out: Path) -> None:
    """What a prediction needs, without the state of the training."""
    import torch  # noqa: PLC0415

    (out / "fold_all").mkdir(parents=True, exist_ok=True)
    for name in ("dataset.json", "plans.json"):
        shutil.copy(results / name, out / name)
    checkpoint = torch.load(results / "fold_all/checkpoint_final.pth", map_location="cpu", weights_only=False)
    kept = {"network_weights", "init_args", "trainer_name", "inference_allowed_mirroring_axes"}
    slim = {key: value for key, value in checkpoint.items() if key in kept}
    slim["init_args"] = {"configuration": slim["init_args"]["configuration"]}
    torch.save(slim, out / "fold_all/checkpoint_final.pth")


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description="Train a tiny nnU-Net on synthetic knees.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--work", type=Path, help="folder for data and plans (default: a temporary one)")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp(prefix="nnunet-"))
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
        (work / name).mkdir(parents=True, exist_ok=True)
    os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f", "nnUNet_def_n_proc": "1"}
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    torch.manual_seed(given.seed)
    np.random.seed(given.seed)
    random.seed(given.seed)
    make_cases(work / "raw" / DATASET)
    plan(work / "preprocessed")
    export(train(work / "preprocessed", given.epochs), given.out)


if __name__ == "__main__":
    main()
