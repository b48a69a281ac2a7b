"""Labels each voxel with a trained nnU-Net, on the CPU where there is no GPU: results/labels.nii.gz.

It runs in an env of its own, with torch, which the other steps do without.
"""

# mypy: untyped-calls-exclude=SimpleITK
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from steps.contract import Call, StepFailed, progress, run
from steps.denoise import DENOISED
from steps.segment import LABELS, USED

MODEL = "knee-nnunet-phantom"
CHECKPOINT = "checkpoint_final.pth"


def predictor(model: Path) -> Any:
    """nnU-Net's predictor with the weights of the folder."""
    if not (model / "fold_all" / CHECKPOINT).is_file():
        raise StepFailed("CONFIG_ERROR", f"The model folder {model} has no fold_all/{CHECKPOINT}.")
    for name in ("raw", "preprocessed", "results"):
        os.environ.setdefault(f"nnUNet_{name}", str(model))  # or nnU-Net complains at each start
    import torch  # noqa: PLC0415 - the folders above are read at its import
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: PLC0415

    card = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=False,
        perform_everything_on_device=card.type == "cuda",
        device=card,
        allow_tqdm=False,
    )
    made.initialize_from_trained_model_folder(str(model), use_folds=("all",), checkpoint_name=CHECKPOINT)
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
    progress(0, "loading the network")
    made = predictor(call.model(MODEL))
    progress(20, "labelling tissues")
    labels = label(sitk.ReadImage(str(call.file(DENOISED, after="denoise"))), made)
    if not sitk.GetArrayViewFromImage(labels).any():
        raise StepFailed("SEGMENTATION_FAILED", "No tissue was found in the scan; is it a knee MRI?")
    sitk.WriteImage(labels, str(call.output / LABELS))
    (call.work / USED).write_text("nnunet_fullres", encoding="utf-8")
    progress(100, "labelled")
    return {"outputs": [LABELS]}


if __name__ == "__main__":
    run(segment)
