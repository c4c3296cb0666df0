"""MLflow's model registry: a run's model as a version, its members' beside it, and the aliases that the gate gives.

In: a candidate. Out: versions with lineage, the aliases `champion` and `challenger`, lines that say what was done. What
is there already stays, so that an interrupted registration is finished by another.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from platform.config.checks import ConfigError, require
from platform.config.tracking import TrackingConfig
from platform.evaluation.images import ImageResults, read_images, write_images
from platform.redaction import redacted, unsealed, without_secrets
from platform.text import first_line
from platform.tracking.answers import NoAnswer
from platform.tracking.candidates import Candidate
from platform.tracking.gate import CHALLENGER, CHAMPION, Contender, decide
from platform.tracking.mlflow_connection import connect, refuses
from platform.tracking.mlflow_models import KEY_TAG
from platform.tracking.models import NOT_IN_NAMES
from platform.tracking.versions import VALIDATION, VIEWS, description, lineage, views_text

IMAGES = "images.npz"  # in the files of a registered model
GATE, AGAINST, P = "gate", "gate.against", "gate.p"  # tags: the alias that it got, the champion of then, and p
ABOUT = (
    "The version with the alias champion was better, beyond noise, than the champion before it on the same validation "
    "images; each version's description says by how much."
)
VERSIONS = "mlflow.modelVersions"
MISSING = "RESOURCE_DOES_NOT_EXIST"


def register(tracking: TrackingConfig, name: str, found: Candidate) -> list[str]:
    """Register a candidate, and have the gate decide its alias.

    Args:
        tracking: where MLflow is.
        name: of the registered model.
        found: the candidate.

    Returns:
        lines that say what was done.

    Raises:
        ConfigError: MLflow refuses, or has no such model; NoAnswer: it does not answer.
    """
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    try:
        return _Registry(connect(tracking), tracking, name).register(found)
    except ConfigError:
        raise
    except Exception as error:  # MLflow raises what SQLAlchemy, requests and its own code raise
        is_away = isinstance(error, OSError | MlflowException | SQLAlchemyError) and not refuses(error)
        raise (NoAnswer if is_away else ConfigError)(
            f"{found.label} is not registered as {name}: MLflow at {redacted(tracking.uri)} does not take it "
            f"({first_line(error)})"
        ) from without_secrets(error)


class _Registry:
    """One registered model, and those of its members."""

    def __init__(self, client: MlflowClient, tracking: TrackingConfig, name: str) -> None:
        self._client, self._tracking, self._name = client, tracking, name

    def register(self, found: Candidate) -> list[str]:
        # Before anything is made: a registered model without a version helps nobody.
        models = {member: self._logged(found, key) for member, key in found.members.items()}
        whole = self._logged(found, found.model)
        known = self._version_of(self._name, whole)
        if known and self._is_decided(known):
            self._renew_images(found, whole, known)
            return [f"{found.label} is {self._named(known)} already, {_alias(known)}; nothing is registered anew"]
        self._upload_images(found, whole)
        members = {member: _address(self._member_version(found, member, model)) for member, model in models.items()}
        version = known or self._new_version(self._name, whole, lineage(found, members))
        return self._decided(found, version, members)

    def _logged(self, found: Candidate, key: str) -> LoggedModel:
        """The model of our key.

        Raises:
            ConfigError: this MLflow has none, or not all of its files.
        """
        models = self._client.search_logged_models([found.experiment], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        if not models:
            raise ConfigError(
                f"MLflow at {redacted(self._tracking.uri)} has no model of {found.label}; give the tracking.uri that "
                "it was run with"
            )
        state = models[0].status.value
        require(state == "READY", f"the model of {found.label} is {state} in MLflow; its own command uploads it again")
        return models[0]

    def _versions(self, name: str) -> Iterator[ModelVersion]:
        token: str | None = None
        while True:
            page = self._client.search_model_versions(f"name='{name}'", page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _version_of(self, name: str, model: LoggedModel) -> ModelVersion | None:
        found = [each for each in self._versions(name) if each.tags.get(KEY_TAG) == model.tags[KEY_TAG]]
        return found[0] if found else None

    def _new_version(self, name: str, model: LoggedModel, tags: dict[str, str]) -> ModelVersion:
        if self._aliases(name) is None:  # who may add versions may not be allowed to make models
            self._client.create_registered_model(name, description=ABOUT if name == self._name else None)
        version = self._client.create_model_version(
            name,
            source=model.artifact_location,  # `models:/ID` is looked up where MLflow's global address is
            run_id=model.source_run_id,
            tags={KEY_TAG: model.tags[KEY_TAG], "model": model.model_id, **tags},
            model_id=model.model_id,
        )
        self._note_version(model, version)
        return version

    def _note_version(self, model: LoggedModel, version: ModelVersion) -> None:
        """Link the model's page to its versions, as MLflow's server and its own `register_model` do by this tag."""
        noted = json.loads(self._client.get_logged_model(model.model_id).tags.get(VERSIONS, "[]"))
        own = {"name": version.name, "version": version.version}
        if not any((each["name"], str(each["version"])) == (own["name"], str(own["version"])) for each in noted):
            self._client.set_logged_model_tags(model.model_id, {VERSIONS: json.dumps([*noted, own])})

    def _member_version(self, found: Candidate, member: str, model: LoggedModel) -> ModelVersion:
        """That of a member, which has no alias: the gate compares the whole, as eight tests of one run would need eight
        times the evidence."""
        name = f"{self._name}-{member}".translate(NOT_IN_NAMES)
        if known := self._version_of(name, model):
            return known
        return self._new_version(name, model, {"member": member, "member of": self._name, **lineage(found, {})})

    def _is_decided(self, version: ModelVersion) -> bool:
        """Whether the gate has compared it, or it is the champion."""
        if self._champion() == str(version.version):
            return True
        return GATE in version.tags and (P in version.tags or version.tags[GATE] == CHAMPION)

    def _champion(self) -> str | None:
        """The version that has the alias; None: none has."""
        aliases = self._aliases(self._name) or {}
        return str(aliases[CHAMPION]) if CHAMPION in aliases else None

    def _aliases(self, name: str) -> dict[str, str] | None:
        """Alias -> version of a registered model; None: there is no such model."""
        try:
            return self._client.get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code == MISSING:
                return None
            raise

    def _decided(self, found: Candidate, version: ModelVersion, members: dict[str, str]) -> list[str]:
        """Decide the alias, and write down why; the tag `gate` comes last, and says that this is done."""
        champion = self._champion()
        label = f"version {version.version} ({found.label})"
        newcomer = Contender(label, found.images, found.validation, tried=found.tried)
        said = decide(newcomer, self._contender(champion), self._earlier(champion, version) if champion else [])
        number = str(version.version)
        self._client.update_model_version(self._name, number, description(found, said, members))
        tags = {AGAINST: champion, P: repr(said.p)} if champion and said.p is not None else {}
        self._client.set_registered_model_alias(self._name, said.alias, number)
        for key, value in {**lineage(found, members), **tags, GATE: said.alias}.items():
            self._client.set_model_version_tag(self._name, number, key, value)
        lines = [f"registered as {self._named(version)}, {said.alias} (models:/{self._name}@{said.alias})", said.said]
        if said.alias == CHALLENGER:
            lines.append(f"the champion stays version {champion}")
        return lines

    def _contender(self, champion: str | None) -> Contender | None:
        if champion is None:
            return None
        version = self._client.get_model_version(self._name, champion)
        label = f"version {champion} ({version.tags.get('experiment', 'of unknown origin')})"
        images, missing = self._download_images(version)
        return Contender(label, images, version.tags.get(VALIDATION, ""), missing)

    def _earlier(self, champion: str, newcomer: ModelVersion) -> list[float]:
        """p of the other versions that were compared with this champion."""
        others = [each for each in self._versions(self._name) if str(each.version) != str(newcomer.version)]
        return [float(each.tags[P]) for each in others if each.tags.get(AGAINST) == champion and P in each.tags]

    def _upload_images(self, found: Candidate, model: LoggedModel) -> None:
        """Put what was said of every image beside the model, so that later ones can be compared with it anywhere."""
        with tempfile.TemporaryDirectory(prefix="registry-") as scratch:
            file = Path(scratch) / IMAGES
            write_images(file, found.images, found.validation)
            self._client.log_model_artifact(model.model_id, str(file))

    def _renew_images(self, found: Candidate, model: LoggedModel, version: ModelVersion) -> None:
        """After an evaluation with other views."""
        if version.tags.get(VIEWS) != (views := views_text(found)):
            self._upload_images(found, model)
            self._client.set_model_version_tag(self._name, str(version.version), VIEWS, views)

    def _download_images(self, version: ModelVersion) -> tuple[ImageResults | None, str]:
        """What a version said of every image, or why that is not known."""
        place = self._client.get_model_version_download_uri(self._name, str(version.version))
        with tempfile.TemporaryDirectory(prefix="registry-") as scratch:
            try:
                uri = unsealed(self._tracking.uri)
                file = download_artifacts(f"{place.rstrip('/')}/{IMAGES}", dst_path=scratch, tracking_uri=uri)
                return read_images(Path(file)), f"its {IMAGES} is empty"
            except (MlflowException, OSError, ConfigError) as error:
                return None, f"its {IMAGES} cannot be read ({first_line(error).replace(scratch, '')})"

    def _named(self, version: ModelVersion) -> str:
        return f"{self._name} version {version.version}"


def _address(version: ModelVersion) -> str:
    return f"models:/{version.name}/{version.version} ({version.tags['model']})"


def _alias(version: ModelVersion) -> str:
    return f"registered as {version.tags[GATE]}" if GATE in version.tags else CHAMPION
