"""Stack files and a host in, one plan out: pure functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from farrier import paths
from farrier.host import Host
from farrier.kinds import KINDS
from farrier.kinds.asgi import Asgi
from farrier.kinds.base import PythonService, Resolved, Surroundings
from farrier.kinds.celery import bells
from farrier.load import Loaded, SourceFiles
from farrier.models import Manifest
from farrier.pipelines import Places, pipeline_data
from farrier.plan import host_parts
from farrier.plan.checks import check_host, check_stack
from farrier.plan.gpus import host_cards
from farrier.plan.model import (
    CommandPlan,
    Credential,
    GpuCard,
    GpuShare,
    HostPlan,
    Plan,
    RoutePlan,
    SchemaPlan,
    StackPlan,
    Tree,
    VerifyPlan,
)
from farrier.plan.placing import place_stacks
from farrier.plan.reduce import Reduced, queues, reduce
from farrier.plan.secrets import check_secrets, check_tokens
from farrier.problems import InvalidInput

_FRONT_PACKAGES = ("caddy",)
_ENV_PACKAGES = ("python3-venv",)
_VERIFY_TOKEN = Credential(name="verify-token", kind="password")
_LEDGER_PASSWORD = Credential(name="ledger-password", kind="password")
_SNAPSHOTS = "snapshots"  # of the database, taken before each migration
_STATE_FOLDERS = ("ledger", "uploads", "results", "work", "log")


@dataclass(frozen=True)
class Inputs:
    """Everything that a plan depends on besides the stack files. `runtime` are the files that units start with."""

    host: Host
    manifest: Manifest
    runtime: SourceFiles


@dataclass(frozen=True)
class Placed:
    """The host's cards, and what the units of one stack have of them."""

    cards: tuple[GpuCard, ...]
    shares: tuple[GpuShare, ...]


def make_plan(stacks: Sequence[Loaded], inputs: Inputs) -> Plan:
    """The plan of `stacks` on a host. Raises InvalidInput with every problem."""
    known = [model.reference for model in inputs.manifest.models]
    problems = [problem for loaded in stacks for problem in check_stack(loaded, known)]
    problems += check_host(stacks, inputs.host.public_name)
    problems += check_secrets(stacks, inputs.host)
    problems += check_tokens(stacks, inputs.manifest, inputs.host)
    cards = host_cards(inputs.host.gpus)
    reduced = [reduce(loaded, cards, inputs.host.name) for loaded in stacks]
    shares, unplaced = place_stacks([each.loaded for each in reduced], cards)
    problems += [*unplaced, *(problem for each in reduced for problem in each.problems)]
    if problems:
        raise InvalidInput(problems)
    resolved = [
        _StackResolver(each, inputs, Placed(cards, shares.get(each.loaded.name, ()))).plan() for each in reduced
    ]
    stacks = [each.loaded for each in reduced]
    kinds = {service.kind for loaded in stacks for service in loaded.stack.services.values()}
    return Plan(
        host=HostPlan(name=inputs.host.name, hostname=inputs.host.public_name),
        front=host_parts.front(inputs.host, resolved),
        packages=tuple(
            sorted({*_FRONT_PACKAGES, *_ENV_PACKAGES, *(p for kind in kinds for p in KINDS[kind].packages)})
        ),
        envs=host_parts.envs(stacks),
        models=host_parts.models(stacks, inputs.manifest, inputs.host.models_root),
        models_root=inputs.host.models_root,
        contact=inputs.host.contact,
        gpus=cards,
        memory=sum(stack.memory for stack in resolved),
        stacks=tuple(resolved),
    )


def _second_generation(resolved: Sequence[Resolved]) -> int:
    """Bytes that a release takes besides while it goes live: web services go over one after the other."""
    return max((each.memory for each in resolved if each.bridges), default=0)


class _StackResolver:
    """Resolves one stack that passed the checks."""

    def __init__(self, reduced: Reduced, inputs: Inputs, placed: Placed) -> None:
        loaded = reduced.loaded
        self.loaded, self.stack, self.inputs = loaded, loaded.stack, inputs
        self.name, self.reduced, self.placed = loaded.name, reduced, placed
        self.offers = [KINDS[service.kind].offer(self.name, key) for key, service in self.stack.services.items()]
        self.trees = {name: self._tree(name, files) for name, files in loaded.sources.items()}
        self.runtime = self._tree("runtime", inputs.runtime)
        self.config = self._config()
        self.given = frozenset(inputs.host.secrets.get(self.name, {}))
        self.around = self._surroundings()

    def plan(self) -> StackPlan:
        """The stack as the host will know it."""
        resolved = [
            KINDS[service.kind].resolve(key, service, self.around) for key, service in self.stack.services.items()
        ]
        return StackPlan(
            name=self.name,
            description=self.stack.description,
            user=self.name,
            home=paths.home(self.name),
            state=paths.state(self.name),
            state_folders=self._state_folders(),
            credentials_folder=paths.credentials(self.name),
            credentials=self._credentials(resolved),
            envs=tuple(sorted(f"{name}-{files.digest}" for name, files in self.loaded.envs.items())),
            models=tuple(self.stack.models),
            models_root=self.inputs.host.models_root,
            code=(*self.trees.values(), self.runtime),
            config=self.config,
            units=tuple(unit for each in resolved for unit in each.units),
            bridges=tuple(bridge for each in resolved for bridge in each.bridges),
            gates=tuple(gate for each in resolved for gate in each.gates),
            commands=tuple(self._commands()),
            routes=tuple(self._routes()),
            front_port=self.inputs.host.https_port,
            verify=tuple(self._verify()),
            fixtures=dict(sorted(self.loaded.fixtures.hashes.items())),
            schema=self._schema(),
            gpus=self.placed.shares,
            on_cpu=self.reduced.on_cpu,
            left_out=self.reduced.left_out,
            memory=sum(each.memory for each in resolved) + _second_generation(resolved) + self.stack.requires.memory,
            disk=self.stack.requires.disk,
        )

    def _tree(self, name: str, files: SourceFiles) -> Tree:
        return Tree(name=name, path=paths.code(self.name, name, files.digest), files=dict(sorted(files.hashes.items())))

    def _state_folders(self) -> tuple[str, ...]:
        snapshots = (_SNAPSHOTS,) if self.stack.database_schema else ()
        return (*_STATE_FOLDERS, *snapshots, *self._redis_folders())

    def _schema(self) -> SchemaPlan | None:
        asked, found = self.stack.database_schema, self.loaded.schema
        if asked is None or found is None:
            return None
        code, state = self.trees[asked.source].path, paths.state(self.name)
        python = f"{self.around.prefixes[asked.env]}/bin/python"
        return SchemaPlan(
            command=(python, "-m", asked.run, "--snapshot-dir", f"{state}/{_SNAPSHOTS}"),
            code=code,
            environment={
                "FARRIER_STATE": state,
                "PYTHONPATH": code,
                "PYTHONDONTWRITEBYTECODE": "1",
                **self._ledger_address(),
            },
            credentials={name: f"{paths.credentials(self.name)}/{name}" for name in self._ledger_secrets()},
            writes=found.writes,
            reads=found.reads,
            floor=found.floor,
        )

    def _redis_folders(self) -> tuple[str, ...]:
        return tuple(key for key, service in self.stack.services.items() if service.kind == "redis")

    def _credentials(self, resolved: Sequence[Resolved]) -> tuple[Credential, ...]:
        named = {credential.name: credential for each in resolved for credential in each.credentials}
        named |= {credential.name: credential for offer in self.offers for credential in offer.credentials}
        given = (Credential(name=name, kind="given") for name in sorted(self.given))
        ledger = (_LEDGER_PASSWORD,) if self._ledger_secrets() else ()
        return (*named.values(), _VERIFY_TOKEN, *ledger, *given)

    def _ledger_address(self) -> dict[str, str]:
        return {"FARRIER_LEDGER_URL": self.stack.ledger.url} if self.stack.ledger else {}

    def _ledger_secrets(self) -> tuple[str, ...]:
        return (_LEDGER_PASSWORD.name,) if self.stack.ledger and self.stack.ledger.has_password else ()

    def _commands(self) -> Iterator[CommandPlan]:
        for name, command in self.stack.commands.items():
            service = self.stack.services[command.service]
            env = service.env if isinstance(service, PythonService) else ""
            yield CommandPlan(
                name=name,
                launcher=paths.launcher(self.name, name),
                service=command.service,
                argv=(f"{self.around.prefixes[env]}/bin/python", "-m", command.run),
            )

    def _surroundings(self) -> Surroundings:
        secrets = [credential.name for offer in self.offers for credential in offer.credentials]
        return Surroundings(
            stack=self.name,
            state=paths.state(self.name),
            credentials=paths.credentials(self.name),
            runtime=self.runtime.path,
            prefixes=self._prefixes(),
            code=self._code(),
            anchors=self._anchors(),
            public_url=self._public_url(),
            environment=self._environment(),
            secrets=(*secrets, _VERIFY_TOKEN.name, *self._ledger_secrets()),
            given=self.given,
            gpus={share.unit: share for share in self.placed.shares},
            cards=self.placed.cards,
        )

    def _prefixes(self) -> dict[str, str]:
        return {name: f"{paths.ENVS}/{name}-{files.digest}" for name, files in self.loaded.envs.items()}

    def _code(self) -> dict[str, str]:
        return {name: tree.path for name, tree in self.trees.items()}

    def _anchors(self) -> dict[str, str]:
        return {key: f"{self.name}-{key}{KINDS[service.kind].anchor}" for key, service in self.stack.services.items()}

    def _environment(self) -> dict[str, str]:
        environment = dict(pair for offer in self.offers for pair in offer.environment.items())
        if names := queues(self.stack):
            environment["FARRIER_QUEUES"] = ",".join(names)
        if rung := bells(self.name, self.stack.services):
            environment["FARRIER_BELLS"] = rung
        if self.config:
            environment["FARRIER_PIPELINES"] = next(iter(self.config))
        return environment | self._ledger_address() | self.stack.environment

    def _public_url(self) -> str:
        """Where people find the stack; empty where nobody does."""
        route = next(iter(self._routes()), None)
        if route is None:
            return ""
        port = self.inputs.host.https_port
        host = f"[{route.host}]" if ":" in route.host else route.host
        return f"https://{host}{'' if port == 443 else f':{port}'}{route.path}".rstrip("/")

    def _config(self) -> dict[str, str]:
        """The pipelines file, named by its hash, so that the units that read it restart when it changes."""
        if not self.stack.pipelines:
            return {}
        places = Places(self._prefixes(), self._code(), self.inputs.host.models_root)
        pipelines = {name: pipeline_data(pipeline, places) for name, pipeline in self.stack.pipelines.items()}
        text = json.dumps(pipelines, indent=2, sort_keys=True) + "\n"
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return {f"{paths.home(self.name)}/config/pipelines-{digest}.json": text}

    def _routes(self) -> list[RoutePlan]:
        return [
            RoutePlan(
                host=route.host or self.inputs.host.public_name,
                path=route.path,
                strip=route.strip,
                service=key,
                socket=paths.live_socket(self.name, key),
            )
            for key, service in self.stack.services.items()
            if isinstance(service, Asgi)
            for route in service.routes
        ]

    def _verify(self) -> list[VerifyPlan]:
        steps = []
        for step in self.stack.verify:
            method, path = step.request
            file = step.file.rsplit("/", 1)[-1] if step.file else None
            steps.append(
                VerifyPlan(
                    method=method,
                    path=path,
                    file=file,
                    save=step.save,
                    status=step.status,
                    until=step.until,
                    within=step.within,
                )
            )
        return steps
