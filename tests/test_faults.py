"""The faults listed in tests/faults.py still fit the code; `make faults` applies them."""

import pytest
from conftest import ROOT
from faults import FAULTS


def test_every_fault_can_still_be_made():
    assert len(FAULTS) >= 24 and len({fault.name for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        text = (ROOT / "advdistill" / fault.file).read_text()
        assert (fault.name, text.count(fault.old)) == (fault.name, 1)
        assert fault.new != fault.old


def test_every_test_that_should_go_red_is_there():
    for file, _, name in (test.partition("::") for fault in FAULTS for test in fault.tests.split()):
        assert f"def {name.partition('[')[0]}(" in (ROOT / "tests" / file).read_text(), name


def test_a_fault_is_made_in_the_copy_and_one_that_no_longer_fits_is_a_sentence(tmp_path):
    fault = FAULTS[0]
    file = tmp_path / "advdistill" / fault.file
    file.parent.mkdir(parents=True)
    file.write_text(f"before {fault.old} after")
    fault.apply(tmp_path)
    assert file.read_text() == f"before {fault.new} after"
    with pytest.raises(ValueError, match=r"should hold '.+' once, and holds it 0 times. Bring tests/faults.py up"):
        fault.apply(tmp_path)
