import pytest

from advdistill import Schedule
from advdistill.train.schedule import rate


@pytest.mark.parametrize(("schedule", "done", "expected"), [
    (Schedule("constant"), 7.3, 1.0),
    (Schedule("multistep", (100, 150)), 99.99, 1.0),
    (Schedule("multistep", (100, 150)), 100.0, 0.1),
    (Schedule("multistep", (0.5, 0.75)), 150.0, 0.01),
    (Schedule("cosine"), 0.0, 1.0),
    (Schedule("cosine"), 100.0, 0.5),
    (Schedule("cosine"), 200.0, 0.0),
    (Schedule("cosine", warmup=10), 5.0, 0.5),
    (Schedule("cosine", hold=0.5), 99.0, 1.0),
    (Schedule("cosine", hold=0.5), 150.0, 0.5),
    (Schedule("cosine", warmup=10, hold=100), 5.0, 0.5),
    (Schedule("onecycle", warmup=0.5), 50.0, 0.5),
    (Schedule("onecycle", warmup=0.5), 100.0, 1.0),
    (Schedule("onecycle", warmup=0.5), 150.0, 0.5),
    (Schedule("cosine", hold=100, by="epoch"), 99.9, 1.0),  # the rate of the 100th epoch, counted from 1
    (Schedule("cosine", hold=100, by="epoch"), 149.0, 0.5),
    (Schedule("cosine", hold=100, by="epoch"), 149.99, 0.5),
    (Schedule("cosine", hold=100, by="epoch"), 199.5, 0.0),
    (Schedule("cosine", hold=100, by="epoch"), 200.0, 0.0),
    (Schedule("onecycle", by="epoch"), 49.3, 0.75),
    (Schedule("multistep", (100, 150), by="epoch"), 99.99, 1.0),
])  # fmt: skip
def test_rate(schedule, done, expected):
    assert rate(schedule, done, epochs=200) == pytest.approx(expected, abs=1e-4)


def test_the_first_step_of_a_warmup_moves():
    assert 0 < rate(Schedule("onecycle", warmup=0.2), 0.0, 40) < 0.01
