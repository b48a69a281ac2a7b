"""Labels each voxel with a trained nnU-Net v2, on the CPU where there is no GPU: results/labels.nii.gz.

It runs in an env of its own, with torch, which the other steps do without. It takes the place of the step segment.
"""

# mypy: untyped-calls-exclude=SimpleITK
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from steps.contract import Call, StepFailed, progress, run
from steps.denoise import DENOISED
from steps.segment import labelled

MODEL = "knee-nnunet-phantom"
CHECKPOINT = "fold_all/checkpoint_final.pth"


def predictor(model: Path) -> Any:
    """nnU-Net's predictor with the network and the weights of the folder.

    The network is built from its plans. nnU-Net's own way looks for the trainer's class in all its modules, which need
    packages for other networks, and unpickles what lies in the checkpoint; here it can hold nothing but weights.
    """
    for name in ("raw", "preprocessed", "results"):
        os.environ.setdefault(f"nnUNet_{name}", str(model))  # or nnU-Net complains at each start
    import torch  # noqa: PLC0415 - the folders above are read at its import
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: PLC0415
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans  # noqa: PLC0415
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: PLC0415

    plans = PlansManager(json.loads((model / "plans.json").read_text(encoding="utf-8")))
    dataset = json.loads((model / "dataset.json").read_text(encoding="utf-8"))
    trained = torch.load(model / CHECKPOINT, map_location="cpu", weights_only=True)
    settings = plans.get_configuration(trained["init_args"]["configuration"])
    network = get_network_from_plans(
        settings.network_arch_class_name,
        settings.network_arch_init_kwargs,
        settings.network_arch_init_kwargs_req_import,
        len(dataset["channel_names"]),
        plans.get_label_manager(dataset).num_segmentation_heads,
        deep_supervision=False,
    )
    network.load_state_dict(trained["network_weights"])
    card = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=card.type == "cuda", device=card, allow_tqdm=False
    )
    made.manual_initialization(
        network, plans, settings, [trained["network_weights"]], dataset, trained["trainer_name"], None
    )
    return made


def label(scan: sitk.Image, made: Any) -> sitk.Image:
    """The label of each voxel of the scan."""
    told = {
        "spacing": list(scan.GetSpacing())[::-1],
        "sitk_stuff": {"spacing": scan.GetSpacing(), "origin": scan.GetOrigin(), "direction": scan.GetDirection()},
    }
    voxels = sitk.GetArrayFromImage(scan).astype(np.float32)[np.newaxis]
    labels = sitk.GetImageFromArray(made.predict_single_npy_array(voxels, told).astype(np.uint8))
    labels.CopyInformation(scan)
    return labels


def segment(call: Call) -> dict[str, Any]:
    """The step."""
    scan = call.file(DENOISED, after="denoise")
    model = call.model(MODEL)
    if not (model / CHECKPOINT).is_file():
        raise StepFailed("CONFIG_ERROR", f"The model folder {model} has no {CHECKPOINT}.")
    progress(0, "loading the network")
    made = predictor(model)
    progress(20, "labelling tissues")
    labels = label(sitk.ReadImage(str(scan)), made)
    return labelled(call, labels, used="nnunet_fullres")


if __name__ == "__main__":
    run(segment)
