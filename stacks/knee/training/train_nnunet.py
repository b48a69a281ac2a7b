"""Trains a tiny nnU-Net v2 on synthetic knees, on one core, and writes it as a model of the model store.

    python train_nnunet.py --out FOLDER [--epochs N] [--seed N]

FOLDER/models.yml is what `stacks/models.yml` wants to know of the model; its files lie beside. The script runs in the
env of requirements.txt. The network is far too small for real scans: it shows the way from training to the model store
and to a step of the pipeline.
"""

from __future__ import annotations

import argparse
import hashlib
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
MODEL = "knee-nnunet-phantom"
ORIGIN = {
    "url": "stacks/knee/training/train_nnunet.py",
    "dataset": "none; synthetic knees of stacks/knee/fixtures/make_phantom.py",
    "method": "nnU-Net 2.8.1, 3d_fullres, trained by stacks/knee/training/train_nnunet.py",
    "licence": "CC0-1.0",
}
CHECKPOINT = "fold_all/checkpoint_final.pth"
DATASET = "Dataset001_Phantom"
CONFIGURATION = "3d_fullres"
NOISES = (1.0, 3.0, 6.0, 8.0)  # of the cases, which differ in nothing else
NETWORK = {
    "n_stages": 3,
    "features_per_stage": [8, 16, 32],
    "kernel_sizes": [[3, 3, 3]] * 3,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "n_conv_per_stage": [1, 1, 1],
    "n_conv_per_stage_decoder": [1, 1],
    "norm_op": "torch.nn.modules.batchnorm.BatchNorm3d",  # what a patch holds must not shift its intensities
}
SIZES = {"patch_size": [32, 48, 48], "batch_size": 2}
ITERATIONS = 30  # an epoch
RATE = 4e-3  # of Adam, which needs far fewer steps here than nnU-Net's own SGD


def make_cases(raw: Path) -> None:
    """Phantoms with their label maps, as nnU-Net wants them."""
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    for number, noise in enumerate(NOISES):
        with tempfile.TemporaryDirectory() as made:
            options = ["--out", made, "--seed", str(100 + number), "--noise", str(noise), "--labels"]
            subprocess.run([sys.executable, str(PHANTOM), *options], check=True)
            shutil.move(f"{made}/phantom.nii.gz", raw / "imagesTr" / f"knee_{number:03}_0000.nii.gz")
            shutil.move(f"{made}/labels.nii.gz", raw / "labelsTr" / f"knee_{number:03}.nii.gz")
            labels = json.loads(Path(made, "phantom.json").read_text(encoding="utf-8"))["labels"]
    told = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, **labels},
        "numTraining": len(NOISES),
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
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler  # noqa: PLC0415
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoDA import (  # noqa: PLC0415
        nnUNetTrainerNoDA,  # a phantom's intensities are its tissues: contrast must not be augmented away
    )

    told = preprocessed / DATASET
    plans = json.loads((told / "nnUNetPlans.json").read_text(encoding="utf-8")) | {"continue_training": False}
    dataset = json.loads((told / "dataset.json").read_text(encoding="utf-8"))
    # Batches are made in this process. Planning refuses the 0.
    os.environ |= {"nnUNet_n_proc_DA": "0"}
    trainer: Any = nnUNetTrainerNoDA(plans, CONFIGURATION, "all", dataset, device=torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = epochs, ITERATIONS, 1
    trainer.save_every, trainer.oversample_foreground_percent = epochs, 1.0
    trainer.initialize()
    trainer.optimizer = torch.optim.Adam(trainer.network.parameters(), RATE)
    trainer.lr_scheduler = PolyLRScheduler(trainer.optimizer, RATE, epochs)
    trainer.run_training()
    return Path(trainer.output_folder_base)


def export(results: Path, out: Path) -> None:
    """What a prediction needs, without the state of the training, and the model's entry in a manifest.

    The version is the beginning of the weights' hash: other weights are another version.
    """
    import torch  # noqa: PLC0415

    trained = torch.load(results / CHECKPOINT, map_location="cpu", weights_only=False)
    kept = {key: trained[key] for key in ("network_weights", "trainer_name")}
    new = out / "new"
    (new / CHECKPOINT).parent.mkdir(parents=True, exist_ok=True)
    torch.save(kept | {"init_args": {"configuration": CONFIGURATION}}, new / CHECKPOINT)
    for name in ("dataset.json", "plans.json"):
        shutil.copy(results / name, new / name)
    version = hashlib.sha256((new / CHECKPOINT).read_bytes()).hexdigest()[:12]
    folder = out / f"{MODEL}-{version}"
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    files = [described(folder, name) for name in ("dataset.json", "plans.json", CHECKPOINT)]
    model = {"id": MODEL, "version": version, "files": files, "origin": ORIGIN}
    (out / "models.yml").write_text(json.dumps({"models": [model]}, indent=2) + "\n", encoding="utf-8")  # JSON is YAML


def described(folder: Path, name: str) -> dict[str, Any]:
    """A file of the model's folder, as a manifest has it."""
    content = (folder / name).read_bytes()
    digest, source = hashlib.sha256(content).hexdigest(), f"file:{folder.name}/{name}"
    return {"path": name, "sha256": digest, "size": len(content), "sources": [source]}


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description="Train a tiny nnU-Net on synthetic knees.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and its manifest")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nnunet-") as work:
        folders = {name: Path(work, name) for name in ("raw", "preprocessed", "results")}
        for folder in folders.values():
            folder.mkdir()
        os.environ |= {f"nnUNet_{name}": str(folder) for name, folder in folders.items()}
        os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_compile": "f", "nnUNet_def_n_proc": "1"}
        import numpy as np  # noqa: PLC0415 - after the variables above, which nnU-Net reads at its import
        import torch  # noqa: PLC0415

        torch.set_num_threads(1)
        torch.manual_seed(given.seed)
        np.random.seed(given.seed)
        random.seed(given.seed)
        make_cases(folders["raw"] / DATASET)
        plan(folders["preprocessed"])
        export(train(folders["preprocessed"], given.epochs), given.out)


if __name__ == "__main__":
    main()
