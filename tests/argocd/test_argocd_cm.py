"""Argo CD's health check names what the API has. What it answers is e2e/test_health.py's to ask."""

import re
from pathlib import Path
from typing import Final

import yaml

from tertium.api.conditions import ConditionType, Reason
from tertium.api.v1alpha1 import GROUP, KIND

CHART: Final = Path(__file__).resolve().parents[2] / "charts" / "tertium"
CONFIG_MAP: Final = yaml.safe_load((CHART / "argocd" / "argocd-cm.yaml").read_text())
(KEY,) = CONFIG_MAP["data"]
SCRIPT: Final = CONFIG_MAP["data"][KEY]


def test_the_key_is_that_of_our_kind() -> None:
    assert f"resource.customizations.health.{GROUP}_{KIND}" == KEY


def test_it_asks_for_conditions_that_exist() -> None:
    asked = re.findall(r'condition\("(\w+)"\)', SCRIPT)
    assert len(asked) == 4
    assert set(asked) <= set(ConditionType)


def test_it_compares_reasons_that_exist() -> None:
    compared = re.findall(r'reason [~=]= "(\w+)"', SCRIPT)
    assert compared == [Reason.SCALING_DOWN]
