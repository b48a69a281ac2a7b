"""The parts of a plan that all stacks of a host share."""

from __future__ import annotations

from collections.abc import Sequence

from farrier import paths
from farrier.host import Host
from farrier.load import Loaded
from farrier.models import Manifest, Model
from farrier.plan.model import EnvPlan, Front, ModelFile, ModelPlan, StackPlan


def front(host: Host, stacks: Sequence[StackPlan]) -> Front:
    """The front door: every name that it answers."""
    routed = {route.host for stack in stacks for route in stack.routes}
    names = sorted({host.public_name, *host.aliases, *routed})
    return Front(hostnames=tuple(names), http_port=host.http_port, https_port=host.https_port)


def envs(stacks: Sequence[Loaded]) -> tuple[EnvPlan, ...]:
    """Each env once, also when several stacks share it: an equal name and equal locks make an equal id."""
    found = {}
    for loaded in stacks:
        for name, files in loaded.envs.items():
            identity = f"{name}-{files.digest}"
            disk = loaded.stack.envs[name].disk
            prefix = f"{paths.ENVS}/{identity}"
            found[identity] = EnvPlan(name=name, id=identity, prefix=prefix, lock=files.lock, pip=files.pip, disk=disk)
    return tuple(found[identity] for identity in sorted(found))


def models(stacks: Sequence[Loaded], manifest: Manifest, root: str) -> tuple[ModelPlan, ...]:
    """Each model that a stack names, with its folder in the store at `root`."""
    wanted = {reference for loaded in stacks for reference in loaded.stack.models}
    chosen = [model for model in manifest.models if model.reference in wanted]
    return tuple(_model(model, root) for model in chosen)


def _model(model: Model, root: str) -> ModelPlan:
    files = tuple(
        ModelFile(path=file.path, sha256=file.sha256, size=file.size, sources=tuple(file.sources))
        for file in model.files
    )
    return ModelPlan(
        id=model.id, version=model.version, path=f"{root}/{model.id}/{model.version}", files=files, token=model.token
    )
