"""Another hypervisor's file under the stub headers: the glue of examples/acrn, on a text of ours of vlapic.c's shape, and on
ACRN's own where ACRN_SOURCE names it.
"""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from conformance.adapters.registry import AdapterError, resolve
from conformance.verdict.explore import Explored, explore
from properties.suite import SUITE

HERE = Path(__file__).parent.parent / "examples/acrn"
FILE = "hypervisor/arch/x86/guest/vlapic.c"
SCENARIOS = {s.name: s for s in SUITE.scenarios}

SHAPE = """\
static void vlapic_set_tmr(struct acrn_vlapic *vlapic, uint32_t vector, bool level) { }
static bool apicv_set_intr_ready(struct acrn_vlapic *vlapic, uint32_t vector)
{
\tstruct pi_desc *pid = get_pi_desc(vlapic2vcpu(vlapic));
\treturn !bitmap_test_and_set_lock(vector % 64, &pid->pir[vector / 64]) &&
\t       !bitmap_test_and_set_lock(POSTED_INTR_ON, &pid->control.value);
}
static void apicv_trigger_pi_anv(uint16_t pcpu, uint32_t anv) { send_single_ipi(pcpu, anv); }
static void apicv_advanced_accept_intr(struct acrn_vlapic *vlapic, uint32_t vector, bool level)
{
\tstruct acrn_vcpu *vcpu = vlapic2vcpu(vlapic);
\tvlapic_set_tmr(vlapic, vector, level);
\tif (!apicv_set_intr_ready(vlapic, vector))
\t\treturn;
\tbitmap_set_lock(ACRN_REQUEST_EVENT, &vcpu->arch.pending_req);
\tif (pcpuid_from_vcpu(vcpu) != get_pcpu_id())
\t\tapicv_trigger_pi_anv(pcpuid_from_vcpu(vcpu), vcpu->arch.pid.control.bits.nv);
}
static void vlapic_accept_intr(struct acrn_vlapic *vlapic, uint32_t vector, bool level)
{
\tASSERT(vector <= NR_MAX_VECTOR);
\tsignal_event(&vlapic2vcpu(vlapic)->events[VCPU_EVENT_VIRTUAL_INTERRUPT]);
\tvlapic->ops->accept_intr(vlapic, vector, level);
}
static void apicv_advanced_inject_intr(struct acrn_vlapic *vlapic, bool guest_irq_enabled, bool injected)
{
\tstruct acrn_vcpu *vcpu = vlapic2vcpu(vlapic);
\tif (bitmap_test(POSTED_INTR_ON, &vcpu->arch.pid.control.value))
\t\tapicv_trigger_pi_anv(pcpuid_from_vcpu(vcpu), vcpu->arch.pid.control.bits.nv);
}
void vlapic_inject_intr(struct acrn_vlapic *vlapic, bool guest_irq_enabled, bool injected)
{
\tvlapic->ops->inject_intr(vlapic, guest_irq_enabled, injected);
}
"""


@pytest.fixture
def acrn(monkeypatch: pytest.MonkeyPatch) -> Any:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)  # of the process that asks again
    return importlib.import_module("acrn")


def found(tree: Path, scenario: str, monkeypatch: pytest.MonkeyPatch) -> Explored:
    monkeypatch.setenv("ACRN_SOURCE", str(tree))
    explored = explore(resolve("acrn:adapter"), SCENARIOS[scenario], SUITE, profile="generic")
    assert explored.complete and not explored.fault, explored.fault
    return explored


@pytest.mark.parametrize(
    ("right", "wrong", "clause"),
    [
        pytest.param("", "", "", id="right"),
        pytest.param("bitmap_set_lock(ACRN_REQUEST_EVENT, &vcpu->arch.pending_req);", ";", "E2E-1", id="no request"),
    ],
)
def test_the_glue_fits_a_text_of_its_shape_and_a_mistake_is_found(
    acrn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str, clause: str
) -> None:
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).write_text(SHAPE.replace(right, wrong) if right else SHAPE)
    broken = found(tmp_path, "on-the-target", monkeypatch).counterexamples
    assert {c for c in broken if c.startswith("E2E")} >= {clause} - {""}
    assert clause or not any(c.startswith("E2E") for c in broken)
    sites = {fact.site for step in broken[clause].trace for fact in step.facts} if clause else {"vlapic.c:"}
    assert any(site.startswith("vlapic.c:") for site in sites)


def test_without_a_source_it_says_where_there_is_one(acrn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACRN_SOURCE", raising=False)
    with pytest.raises(AdapterError, match=r"ACRN_SOURCE names no source of ACRN \(github\.com/projectacrn"):
        resolve("acrn:adapter")


@pytest.mark.parametrize("scenario", ["one-sender", "one-device", "on-the-target", "two-vcpus", "tso-block"])
def test_acrns_own(acrn: Any, monkeypatch: pytest.MonkeyPatch, scenario: str) -> None:
    tree = os.environ.get("ACRN_SOURCE", "")
    if not tree:
        pytest.skip("ACRN_SOURCE names no source of ACRN: git clone https://github.com/projectacrn/acrn-hypervisor")
    assert not [c for c in found(Path(tree), scenario, monkeypatch).counterexamples if c.startswith("E2E")]
