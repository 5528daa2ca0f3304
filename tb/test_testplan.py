"""The test plan's links: each kind of fault is named, and the plan of this repository has none."""

import pytest
from scoville import testplan

PLAN = '[[point]]\nwhat = "a thing"\ntests = ["a/test_a.py::works"]\ncover = ["a.sizes"]\nproofs = ["a.py"]\n'
FILES = {"tb/plan/a.toml": PLAN, "tb/a/test_a.py": "async def works(dut):\n    pass\n",
         "tb/cover/a.py": 'SIZES = CoverPoint("a.sizes.of", bins=[])\n', "formal/a.py": "PROOFS = []\n"}


def write(root, changes):
    for name, text in (FILES | changes).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(("changes", "problem"), [
    ({"tb/a/test_a.py": "def other():\n    pass\n"}, "there is no test a/test_a.py::works"),
    ({"tb/plan/a.toml": PLAN.replace("a/test_a.py::works", "a/test_b.py")}, "there is no test a/test_b.py"),
    ({"tb/cover/a.py": 'SIZES = CoverPoint("a.other.of", bins=[])\n'}, "there is no cover point a.sizes"),
    ({"formal/a.py": "CLAIMS = []\n"}, "there is no proof a.py"),
    ({"tb/plan/b.toml": '[[point]]\nwhat = "hope"\ncover = ["a.sizes"]\n'}, "'hope': neither a test nor a proof"),
    ({"tb/a/test_more.py": ""}, "test tb/a/test_more.py is in no plan"),
    ({"tb/cover/b.py": 'CoverCross("b.both.of", items=[])\n'}, "cover point b.both is in no plan"),
    ({"tb/b/test_a.py": "def works():\n    pass\n"}, "test tb/b/test_a.py has the name of another"),
    ({"formal/b/c.py": "def proofs(quick):\n    return []\n"}, "proof formal/b/c.py is in no plan"),
])
def test_a_missing_link_is_named(tmp_path, changes, problem):
    wrong = testplan.check(write(tmp_path, changes))
    assert any(problem in line for line in wrong), wrong


def test_a_whole_plan_is_silent(tmp_path):
    assert testplan.check(write(tmp_path, {})) == []
    assert "`a/test_a.py` (works)" in testplan.markdown(tmp_path)


def test_a_misspelt_field_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown test"):
        testplan.read(write(tmp_path, {"tb/plan/a.toml": PLAN.replace("tests", "test")}))


def test_this_plan():
    assert testplan.check() == []
