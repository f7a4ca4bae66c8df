"""Names that Ray, Optuna and W&B do not promise to keep, and that we lean on.

Each test fails when a new version drops or changes one, and says what would break and what to do. A name that is used
and not tried here is found by the last test.
"""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import RDBStorage

PACKAGE = Path(__file__).parents[2] / "u2pl_ray"


def names_of(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_ray_hands_the_controller_to_one_method() -> None:
    """Breaks: LocalController.fit; a Train controller process per trial, 3 s each. Do: look at TorchTrainer.fit."""
    from ray.train.torch import TorchTrainer

    assert names_of(TorchTrainer._initialize_and_run_controller) == ["self", "controller_init_kwargs"]
    assert "_initialize_and_run_controller" in inspect.getsource(TorchTrainer.fit)


def test_tune_passes_credentials_on_by_one_set() -> None:
    """Breaks: AWS keys in Ray's logs and in the list of processes. Do: see what Tune's actors get as runtime_env."""
    from ray.tune.execution import class_cache

    from u2pl_ray.search.execution.run import _CREDENTIALS

    assert isinstance(class_cache.ENV_VARS_TO_PROPAGATE, set)
    source = inspect.getsource(class_cache)
    assert "in ENV_VARS_TO_PROPAGATE" in source
    assert set(re.findall(r'"(AWS_\w+)"', source)) == _CREDENTIALS


def test_rays_controller_can_be_run_and_ended_here() -> None:
    """Breaks: stopping a trial leaves its workers. Do: see how TrainController.abort ends its group now."""
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
    from ray.train.v2._internal.execution.controller import TrainController

    assert isinstance(DatasetsCallback, type)
    assert isinstance(PlacementGroupCleanerCallback, type)
    assert inspect.iscoroutinefunction(TrainController.run)
    for name in ("get_state", "get_worker_group", "get_result"):
        assert callable(getattr(TrainController, name))
    source = inspect.getsource(TrainController)
    assert "self._controller_callback_manager" in source
    assert "before_controller_abort" in source
    assert "worker_group_cls" in vars(TrainController)
    assert "callbacks" in names_of(TrainController.__init__)


def test_rays_worker_group_reserves_in_one_method() -> None:
    """Breaks: placement groups of stopped trials leak, the next trial waits for ever. Do: see `reservations`."""
    from ray.train.v2._internal.execution.worker_group import WorkerGroup

    assert callable(WorkerGroup._create_placement_group)
    assert callable(WorkerGroup.has_started)
    assert callable(WorkerGroup.abort)
    handle = inspect.signature(WorkerGroup._create_placement_group).return_annotation
    assert hasattr(handle, "placement_group")


def test_rays_errors_name_their_causes() -> None:
    """Breaks: `failures.classify` sees wrappers alone; every loss becomes an error. Do: update `failures._inner`."""
    from ray.train import ControllerError, WorkerGroupError
    from ray.train.v2._internal.exceptions import (
        UserExceptionWithTraceback,
        WorkerGroupStartupFailedError,
        WorkerGroupStartupTimeoutError,
        WorkerHealthCheckFailedError,
        WorkerHealthCheckTimeoutError,
    )
    from ray.train.v2.api.exceptions import PreemptionError

    inner = ValueError("x")
    assert WorkerGroupError("", {0: inner}).worker_failures == {0: inner}
    assert ControllerError(inner).controller_failure is inner
    assert WorkerHealthCheckFailedError("", inner).health_check_failure is inner
    assert UserExceptionWithTraceback(inner, "")._base_exc is inner
    for kind in (
        PreemptionError,
        WorkerGroupStartupFailedError,
        WorkerGroupStartupTimeoutError,
        WorkerHealthCheckTimeoutError,
    ):
        assert issubclass(kind, Exception)


def test_rays_list_of_checkpoints_can_be_read_and_written() -> None:
    """Breaks: a damaged list is not mended, such a trial starts anew. Do: see `train.run_files._snapshot`."""
    from ray.train.v2._internal.execution.checkpoint import checkpoint_manager as ray_train

    from u2pl_ray.train.run_files import _snapshot

    state = ray_train._CheckpointManagerState.model_validate_json(_snapshot(["epoch_00001", "epoch_00002"]))
    assert [result.checkpoint_dir_name for result in state.checkpoint_results] == ["epoch_00001", "epoch_00002"]
    assert state.latest_checkpoint_result is not None
    assert ray_train._TrainingResultState(checkpoint_dir_name="a", metrics={}).checkpoint_dir_name == "a"


def test_rays_address_is_read_as_it_does() -> None:
    """Breaks: `connection.check_address` refuses good addresses. Do: split host and port there."""
    from ray._private.services import canonicalize_bootstrap_address_or_die

    assert canonicalize_bootstrap_address_or_die("10.9.8.7:6379") == "10.9.8.7:6379"


def test_tune_counts_a_trials_losses_where_we_reset_them() -> None:
    """Breaks: losses add up over a whole trial, which then ends as lost. Do: see `execution.run.Events`."""
    from ray.tune.experiment import Trial

    assert "num_failures" in inspect.getsource(type(Trial("PPO", stub=True).run_metadata))


def test_optunas_trials_are_found_by_number_and_changed_by_id() -> None:
    """Breaks: everything in `study.study`. Do: use what BaseStorage offers then."""
    study = optuna.create_study()
    trial = study.ask({"x": IntDistribution(0, 3)})
    storage = study._storage
    identifier = storage.get_trial_id_from_study_id_trial_number(study._study_id, trial.number)
    frozen = storage.get_trial(identifier)
    assert frozen._trial_id == identifier
    storage.set_trial_user_attr(identifier, "driver", "a")
    assert storage.get_trial(identifier).user_attrs == {"driver": "a"}
    assert frozen.distributions["x"]._contains(2.0)
    assert not CategoricalDistribution(["a"])._contains(3.0)


def test_optuna_keeps_queued_settings_in_one_attribute() -> None:
    """Breaks: queued trials start with other settings. Do: update `samplers.noisy_gp.FIXED`."""
    from u2pl_ray.search.samplers.noisy_gp import FIXED

    study = optuna.create_study()
    study.enqueue_trial({"x": 2})
    assert study.trials[0].system_attrs[FIXED] == {"x": 2}


def test_optunas_journal_appends_through_one_method_under_a_lock(tmp_path: Path) -> None:
    """Breaks: an entry cut short by a kill makes the next unreadable. Do: see `study.journal.Journal`."""
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    from optuna.storages.journal._file import get_lock_file

    file = tmp_path / "journal"
    backend = JournalFileBackend(str(file), lock_obj=JournalFileOpenLock(str(file)))
    assert backend._file_path == str(file)
    with get_lock_file(backend._lock):
        pass
    assert names_of(backend.append_logs) == ["logs"]
    backend.append_logs([{"op_code": 0}])
    assert list(backend.read_logs(0)) == [{"op_code": 0}]


def test_optunas_database_shows_its_engine() -> None:
    """Breaks: drivers of one PostgreSQL study hand out trials twice. Do: see `study.database.exclusively`."""
    storage = RDBStorage("sqlite://")
    study = optuna.create_study(storage=storage)
    inner: Any = getattr(study._storage, "_backend", study._storage)
    assert inner.engine.dialect.name == "sqlite"


def test_wandbs_records_are_protocol_buffers() -> None:
    """Breaks: reading offline runs (`tracking.reader`). Do: `wandb leet inspect --json` reads them too."""
    from wandb.proto import wandb_internal_pb2 as generated

    wandb_internal_pb2: Any = generated
    record = wandb_internal_pb2.Record()
    record.history.step.num = 3
    again = wandb_internal_pb2.Record()
    again.ParseFromString(record.SerializeToString())
    assert again.history.step.num == 3


def test_wandbs_settings_have_the_switches_we_set() -> None:
    """Breaks: W&B refuses to start, or sends what we promised not to. Do: see `tracking.client`."""
    import wandb

    known = wandb.Settings.model_fields
    used = set(re.findall(r"\b(x_\w+)=", "".join(file.read_text() for file in (PACKAGE / "tracking").glob("*.py"))))
    used -= {"x_axis"}  # a workspace's, not a run's
    assert used >= {"x_disable_stats", "x_disable_meta", "x_disable_machine_info", "x_save_requirements"}
    assert used - set(known) == set()


def test_typers_errors_have_one_base() -> None:
    """Breaks: a wrong command line ends in a stack trace. Do: see `cli.__init__`."""
    import typer

    base = typer.BadParameter.__mro__[2]
    assert base.__name__ == "ClickException"
    assert callable(base.format_message)  # type: ignore[attr-defined]


TRIED = {
    "ray._private.services",
    "ray.train.v2._internal.callbacks.datasets",
    "ray.train.v2._internal.callbacks.placement_group_callback",
    "ray.train.v2._internal.execution.checkpoint",
    "ray.train.v2._internal.execution.controller",
    "ray.train.v2._internal.execution.worker_group",
    "optuna.storages.journal._file",
    "wandb.proto",
}
"""Private modules that the tests above try."""


@pytest.mark.parametrize("library", ["ray", "optuna", "wandb"])
def test_no_other_private_module_is_imported(library: str) -> None:
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == library:
                private = re.search(r"\._|\.proto", node.module) is not None
                found |= {node.module} if private else set()
    assert found <= TRIED
