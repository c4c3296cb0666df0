"""What of an address may be seen, what comes back where a connection is made, and what other processes are told."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import asdict

import pytest

from platform import redaction  # pyright: ignore[reportAttributeAccessIssue]
from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.data import DataConfig
from platform.config.ensemble import EnsembleConfig
from platform.config.identity import identity
from platform.config.jobs import SweepConfig
from platform.config.kubernetes import KubeConfig
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.config.training import CheckpointConfig
from platform.lanes.mailbox import Mailbox
from platform.redaction import (
    MASK,
    VARIABLE,
    holds_secret,
    redacted,
    sealed,
    sealed_overrides,
    shared_secrets,
    unsealed,
    without_secrets,
)
from platform.text import first_line

VIEW = "http://h:5000/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=0123456789ab"


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_originals", {})
    monkeypatch.setattr(redaction, "_folders", {})
    monkeypatch.setattr(redaction, "_shared", set())
    monkeypatch.setattr(redaction, "_known", set())
    monkeypatch.setenv(VARIABLE, "[{}, []]")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://me:hunter2@host:80/data", "https://me:***@host:80/data"),
        ("https://me:hunter2@host/data?sig=abc&se=2026", "https://me:***@host/data"),
        ("https://host/list.csv?X-Amz-Signature=abc", "https://***@host/list.csv"),
        ("https://host/list.csv?nobody_knows=abc", "https://***@host/list.csv"),
        ("https://host/list.csv#token", "https://***@host/list.csv"),
        ("https://ghp_token@host/data", "https://***@host/data"),
        ("https://sk_live:@host/data", "https://***@host/data"),
        ("http://me:a@b@host/x", "http://me:***@host/x"),
        ("http://me:a/b?c#d@host/x", "http://me:***@host/x"),
        ("postgresql+psycopg2://me:a/b@db/mlflow?sslmode=require", "postgresql+psycopg2://me:***@db/mlflow?sslmode=require"),
        ("postgresql:///mlflow?host=db&password=abc", "postgresql://***@/mlflow"),
        ("mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Dabc", "mssql+pyodbc://***@/"),
        ("ftp://me:hunter2@host/data", "ftp://me:***@host/data"),
        ("simplecache::https://me:hunter2@host/data", "simplecache::https://me:***@host/data"),
    ],
)  # fmt: skip
def test_what_is_shown_of_an_address_comes_back_whole(given: str, shown: str):
    assert sealed(given) == shown
    assert sealed(shown) == shown
    assert unsealed(shown) == given
    assert holds_secret(given)
    assert holds_secret(shown)


@pytest.mark.parametrize(
    "plain",
    [
        "http://127.0.0.1:5000",
        "http://host:8080/p@th",
        "https://host/list.csv?dl=1",
        "s3://bucket/key?versionId=3",
        "abfs://container@account.dfs.core.windows.net/data",
        "postgresql://me@db/mlflow?sslmode=require",
        "sqlite:////a:b@c/mlflow.db",
        "file:///a:b@c/d",
        "torchvision:CIFAR10@/data",
        "/a/b:c@d",
        "https://me:${oc.env:PASSWORD}@host",  # Hydra has yet to look it up
    ],
)
def test_an_address_without_a_secret_stays_as_it_is(plain: str):
    assert sealed(plain) == plain == unsealed(plain) == redacted(plain)
    assert not holds_secret(plain)


def test_a_file_in_a_sealed_folder_is_asked_for_with_the_folders_secrets():
    folder = sealed("https://me:hunter2@host/data/?sig=abc")
    assert unsealed(f"{folder.rstrip('/')}/train-000.tar") == "https://me:hunter2@host/data/train-000.tar?sig=abc"


def test_a_list_names_files_beside_it():
    listed = sealed("https://me:hunter2@host/data/list.csv?sig=abc")
    assert unsealed(f"{listed.rpartition('/')[0]}/a/x.jpg") == "https://me:hunter2@host/data/a/x.jpg?sig=abc"
    sealed("https://me:hunter2@host/data?sig=another")  # of the folder itself
    assert unsealed(f"{listed.rpartition('/')[0]}/a/x.jpg").endswith("?sig=another")
    with pytest.raises(ValueError, match="give it again"):
        unsealed("https://me:***@host/other/x.jpg")


def test_what_was_written_without_its_secret_says_so_and_two_secrets_of_one_address_are_refused():
    with pytest.raises(ConfigError, match=r"data\.shards: https://me:\*\*\*@host/data stands for .*; give it again"):
        DataConfig(shards="https://me:***@host/data")
    TrackingConfig(uri="http://me:first@host")
    with pytest.raises(ConfigError, match=r"tracking\.uri: http://me:\*\*\*@host is given with two") as refused:
        TrackingConfig(uri="http://me:second@host")
    assert "second" not in str(refused.value)


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("tracking.uri=http://me:a@host/x", "tracking.uri=http://me:***@host/x"),
        ("data.shards='https://host/x?token=a,b c'", "data.shards='https://***@host/x'"),
        (r"+data.shards=https://host/x?token\=abc", "+data.shards=https://***@host/x"),
        (
            "sweep.space={data.shards:[https://me:b1@h1/x,'https://h2/y?z=1']}",
            "sweep.space={data.shards:[https://me:***@h1/x,'https://***@h2/y']}",
        ),
        ("optim.lr=0.1", "optim.lr=0.1"),
    ],
)
def test_overrides_keep_their_quoting(word: str, shown: str):
    assert sealed_overrides([word]) == [shown]
    if "\\" in word:
        assert unsealed("https://***@host/x") == "https://host/x?token=abc"


def test_no_section_holds_a_secret():
    secret = "hunter2-hunter2"
    config = Config(
        data=DataConfig(shards=f"https://me:{secret}@a/d", source=f"https://b/list.csv?token={secret}"),
        checkpoint=CheckpointConfig(copy_to=f"ftp://me:{secret}@c/d"),
        tracking=TrackingConfig(uri=f"http://me:{secret}@d"),
        cluster=ClusterConfig(address=f"http://me:{secret}@e:8265"),
        ensemble=EnsembleConfig({"one": [f"data.shards=https://me:{secret}@f/d"]}),
        sweep=SweepConfig(space={"data.shards": [f"https://me:{secret}@g/d", {"values": [f"https://h?k={secret}"]}]}),
    )
    for told in (json.dumps(asdict(config)), repr(config), repr(pickle.dumps(config))):
        assert secret not in told
    assert unsealed(config.tracking.uri) == f"http://me:{secret}@d"
    assert redacted(f"could not open ({secret})") == f"could not open ({MASK})"
    with pytest.raises(ConfigError, match="PROXY with a password or token in its address, and a manifest is no place"):
        KubeConfig(env={"PROXY": f"http://me:{secret}@proxy"})


def test_what_an_experiment_is_does_not_depend_on_a_secret(monkeypatch: pytest.MonkeyPatch):
    def of(secret: str) -> dict:
        monkeypatch.setattr(redaction, "_originals", {})
        return identity(asdict(Config(data=DataConfig(shards=f"https://a/d?sig={secret}"))))

    assert of("first") == of("second")


def test_messages_of_other_libraries_lose_what_they_repeat():
    sealed("https://me:p%40ssword@host/data?sig=signature")
    error = ValueError("GET https://host/data/x.tar?sig=signature (401) for me:p@ssword\nand more")
    assert first_line(error) == "GET https://***@host/data/x.tar (401) for me:***"
    assert redacted("(http://u:other@x/y?token=zzz): failed") == "(http://u:***@x/y): failed"
    outer = OSError(28, "no space")
    assert without_secrets(outer) is outer
    outer.__cause__ = error
    clean = without_secrets(outer)
    assert isinstance(clean, OSError)
    assert clean.errno == 28
    assert clean.__cause__ is None


def test_a_short_password_leaves_other_words_alone():
    sealed("http://me:data@host/x")
    assert redacted("data/digits of data") == "data/digits of data"


def test_processes_that_are_started_know():
    sealed("https://me:hunter2@host/data?sig=abc")
    code = "from platform.redaction import unsealed; print(unsealed('https://me:***@host/data/x'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "https://me:hunter2@host/data/x?sig=abc\n"


NAMES = [
    "../../evil",
    "/tmp/evil",
    "",
    ".",
    "..",
    ".hidden",
    "a/b",
    "a\\b",
    "a\nb",
    "a\x1b[2Jb",
    "a\x00b",
    "a b",
    "x" * 151,
]


@pytest.mark.parametrize("name", NAMES)
def test_what_becomes_a_folder_is_a_plain_name(name: str):
    with pytest.raises(ConfigError, match=r"^name is "):
        Config(name=name)
    with pytest.raises(ConfigError, match=r"^ensemble\.members has a name that is "):
        EnsembleConfig({name: []})


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a\nb", ".."])
def test_an_experiment_called_after_its_data_stays_among_the_others(name: str):
    with pytest.raises(ConfigError, match=r"^data\.name is "):
        DataConfig(name=name)


def test_words_that_are_no_secrets_stay_in_messages():
    for given in ("postgresql://mlflow:mlflow@db/mlflow", "https://host/get?dataset=imagenet&token=abcdef123"):
        assert sealed(given) != given
    said = "data/imagenet/index.json of mlflow==3.1, mlflow ui"
    assert redacted(said) == said
    assert redacted("refused abcdef123") == f"refused {MASK}"
    for page in ("https://docs.ray.io/en/x.html#oom-section", "http://h:5000/#/experiments/3", VIEW):
        assert redacted(page) == page == sealed(page)


@pytest.mark.parametrize("password", ["pa'ssword1", 'pa"ss', "pa<ss>", "a'b'c"])
def test_a_password_with_quotes_is_in_no_message(password: str):
    assert (
        redacted(f"tracking.uri is http://me:{password}@h/x, where") == f"tracking.uri is http://me:{MASK}@h/x, where"
    )
    assert redacted(f"write 'tracking.uri=http://me:{password}@h/x'") == f"write 'tracking.uri=http://me:{MASK}@h/x'"
    both = f'["http://a/x","http://me:{password}@h"]'
    assert password not in redacted(both)


def test_a_worker_of_another_machine_learns_from_the_mailbox_what_addresses_stand_for():
    given = "https://me:hunter22@host/data?sig=abcdefgh"
    shown, mailbox = sealed(given), Mailbox()
    mailbox.trust(shared_secrets())
    there = (
        "import sys\n"
        "from platform.redaction import redacted, trust, unsealed\n"
        "try:\n    print(unsealed(sys.argv[1]))\nexcept ValueError as error:\n    print(error)\n"
        "trust(sys.stdin.read())\nprint(unsealed(sys.argv[1] + '/train-0.tar'))\nprint(redacted('no hunter22 here'))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", there, shown], input=mailbox.secrets(), env=environment, capture_output=True, text=True
    )
    before, address, message = done.stdout.splitlines()
    assert "which is not kept; give it again" in before
    assert address == "https://me:hunter22@host/data/train-0.tar?sig=abcdefgh"
    assert message == f"no {MASK} here"


@pytest.mark.timeout(120)  # hours, where the time grows with the square of the length
@pytest.mark.parametrize("text", ["a" * 2_000_000 + " x://host", "x://" + "." * 2_000_000 + "a"])
def test_a_long_text_without_a_blank_takes_no_longer_than_a_text(text: str):
    assert redacted(text) == text


def test_an_address_is_found_behind_whatever_stands_before_it():
    for before in ("", "1", ".", "see...", "a" * 100, "+" * 100):
        assert redacted(f"{before}https://me:hunter222@host/x") == f"{before}https://me:***@host/x"
