"""A database server that goes away, and one whose tables many make at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from deepcadence.search import patience
from deepcadence.search.patience import PatientStorage
from deepcadence.search.storage import close, open_storage, quiet
from tests.search.test_killed import Outage


@pytest.fixture
def study(postgresql_url: str) -> optuna.Study:
    with quiet():
        return optuna.create_study(storage=open_storage(postgresql_url))


def test_an_operation_waits_for_the_server(
    study: optuna.Study, postgresql_outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with postgresql_outage():
            answer = pool.submit(study.set_user_attr, "key", "value")
            time.sleep(2.5)
            assert not answer.done()
        answer.result(timeout=60)
    assert study.user_attrs == {"key": "value"}
    said = [record.message for record in caplog.records if record.name == patience.__name__]
    assert len(said) == 1
    assert "the database does not answer" in said[0]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_server_that_stays_away_is_an_error(
    study: optuna.Study, postgresql_outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 0.5)
    trial = study.ask()
    with postgresql_outage():
        study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]  # one is left out
        with pytest.raises(StorageInternalError):
            study.set_user_attr("key", "value")
    study.set_user_attr("key", "value")
    study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]


def test_other_errors_are_not_waited_for(study: optuna.Study) -> None:
    began = time.monotonic()
    with pytest.raises(KeyError):
        study._storage.get_study_name_from_id(10_000)
    assert time.monotonic() - began < patience.PATIENCE / 10


def test_many_may_open_an_empty_database_at_once(postgresql_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: open_storage(postgresql_url), range(8)))
    with quiet():
        assert [optuna.get_all_study_names(storage) for storage in opened] == [[]] * 8
    for storage in opened:
        close(storage)


def test_an_operation_is_tried_again_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside its transaction, which is broken, it could only fail again."""
    monkeypatch.setattr(patience, "_PAUSE", 0.0)
    with quiet():
        study = optuna.create_study(storage=PatientStorage(f"sqlite:///{tmp_path / 'study.db'}"))
    storage = study._storage._backend  # type: ignore[attr-defined]
    trial = study.ask()
    build = storage._build_frozen_trial_from_trial_model
    failed: list[bool] = []

    def fails_once(model: object) -> object:
        if not failed:
            failed.append(True)
            storage.scoped_session().connection().invalidate()
            raise OperationalError("select", {}, Exception("server closed the connection"))
        return build(model)

    monkeypatch.setattr(
        PatientStorage, "_build_frozen_trial_from_trial_model", patience._patient(lambda _, m: fails_once(m))
    )
    assert storage.get_trial(trial._trial_id).number == 0
    assert failed
