"""What works long in the panel: in short turns of the event loop, with one way to end and to tell of it."""

import time
from types import SimpleNamespace

import pytest
import slicer

from S3NetSegmentLib.engine import InputError, Step
from S3NetSegmentLib.panel.run import Run, SteppingDriver, time_left_text, timer


class Job:
    """A driver with a clock of its own, steps that take known times, and a record of what it told."""

    def __init__(self, steps=100, seconds=0.01, inside=None, error_at=None):
        self.now, self.told, self.closed, self.turns = 0.0, [], False, []
        self.driver = SteppingDriver(clock=lambda: self.now)
        self.count, self.seconds, self.inside, self.error_at = steps, seconds, inside, error_at

    def work(self):
        try:
            for n in range(self.count):
                self.now += self.seconds
                if self.inside is not None:
                    self.inside(n)
                if n == self.error_at:
                    raise ValueError("broken")
                yield Step(n / self.count, f"part {n}")
            return "result"
        finally:
            self.closed = True

    def start(self):
        self.driver.start(
            self.work(),
            on_step=lambda step, left: self.told.append(("step", step.fraction, left)),
            on_done=lambda result: self.told.append(("done", result)),
            on_error=lambda error: self.told.append(("error", str(error))),
            on_cancel=lambda: self.told.append(("cancel",)),
        )

    def ends(self):
        return [entry for entry in self.told if entry[0] != "step"]

    def run(self):
        self.start()
        assert slicer.app.wait(lambda: not self.driver.running)
        return self


def test_a_turn_is_never_longer_than_its_budget_and_one_step():
    job = Job(steps=100, seconds=0.01).run()
    assert 0.03 <= job.driver.longest_step <= 0.041
    assert 25 <= len(job.told) <= 35  # some thirty turns for one second of work


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_result_that_took_long_to_come_is_used_in_a_turn_of_its_own(cancelled):
    job = Job(steps=1, seconds=0.025)
    job.start()
    job.driver._advance()
    assert job.driver.running and not job.ends()
    if cancelled:
        job.driver.cancel()
    else:
        job.driver._advance()
    assert job.ends() == [("cancel",) if cancelled else ("done", "result")] and not job.driver.running
    job.start()  # nothing is left of it
    job.driver.cancel()
    assert job.ends()[1:] == [("cancel",)]


def test_the_result_comes_once_and_last():
    job = Job(steps=30).run()
    assert job.told[-1] == ("done", "result") and len(job.ends()) == 1


def test_the_window_lives_between_the_turns():
    import qt

    heard = []
    timer = qt.QTimer()
    timer.connect("timeout()", lambda: heard.append(1))
    timer.start(0)
    Job(steps=200).run()
    timer.stop()
    assert len(heard) >= 10


def test_an_error_ends_the_job_and_is_handed_over():
    job = Job(error_at=7).run()
    assert job.ends() == [("error", "broken")] and job.closed


def test_cancel_drops_the_job_at_once_and_closes_it():
    job = Job(steps=1_000_000)
    job.start()
    assert slicer.app.wait(lambda: len(job.told) >= 2)
    job.driver.cancel()
    assert job.ends() == [("cancel",)] and job.closed and not job.driver.running
    slicer.app.settle(0.05)
    assert job.ends() == [("cancel",)]


def test_cancel_from_inside_a_step_takes_effect_when_the_step_ends():
    holder = SimpleNamespace()
    holder.job = Job(steps=100, inside=lambda n: holder.job.driver.cancel() if n == 3 else None)
    holder.job.run()
    assert holder.job.ends() == [("cancel",)] and holder.job.closed


def test_cancel_in_the_very_last_step_still_drops_the_result():
    holder = SimpleNamespace()
    holder.job = Job(steps=4, seconds=0, inside=lambda n: holder.job.driver.cancel() if n == 3 else None)
    holder.job.run()
    assert holder.job.ends() == [("cancel",)]


def test_a_step_that_spins_the_event_loop_is_not_entered_again():
    depth = []

    def spin(n):
        depth.append(n)
        slicer.app.processEvents()
        depth.pop()
        assert not depth

    assert Job(steps=20, inside=spin).run().ends() == [("done", "result")]


def test_a_second_job_is_refused_while_one_runs_and_welcome_afterwards():
    job = Job(steps=1_000_000)
    job.start()
    with pytest.raises(RuntimeError, match="running already"):
        job.start()
    job.driver.cancel()
    job.count = 3
    job.run()
    assert job.ends()[-1] == ("done", "result")


def test_the_time_left_is_told_when_it_can_be_known():
    job = Job(steps=100, seconds=0.1).run()
    steps = [entry for entry in job.told if entry[0] == "step"]
    assert steps[0][2] is None
    fraction, left = steps[50][1:]
    assert left == pytest.approx(10 * (1 - fraction), rel=0.1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (2, "a few seconds left"), (38, "about 40 s left"), (200, "about 3 min left")],
)
def test_the_time_left_is_said_in_round_numbers(seconds, text):
    assert time_left_text(seconds) == text


class Heard:
    """A listener that notes what it is told."""

    def __init__(self):
        self.told = []

    def state_changed(self):
        self.told.append("changed")

    def progressed(self, step, seconds_left):
        pass

    def refused(self, text):
        self.told.append(f"refused: {text}")

    informed, failed = refused, refused

    def torch_missed(self):
        self.told.append("torch")


def ended(steps, finish, **options):
    """What a listener hears of a run until it has ended."""
    heard = Heard()
    run = Run(heard, **options)
    run.start(steps, finish)
    assert slicer.app.wait(lambda: not run.running)
    return heard.told


def steps_to(result=None, error=None):
    yield Step(0.5, "half")
    if error is not None:
        raise error
    return result


def test_what_there_is_to_say_comes_after_the_result():
    assert ended(steps_to("answer"), lambda found: [f"{found} found"]) == [
        "changed",
        "changed",
        "refused: answer found",
    ]


def test_an_error_in_using_the_result_is_an_error_of_the_run():
    def finish(found):
        raise InputError("no room for it")

    ends = []
    told = ended(steps_to(), finish, ended=ends.append)
    assert told == ["changed", "changed", "refused: no room for it"] and ends == [True, False]


def test_a_quiet_run_tells_nothing_that_the_user_could_mend():
    assert ended(steps_to(error=InputError("nothing is drawn")), None, quiet=True) == ["changed", "changed"]
    assert ended(steps_to(error=ValueError("broken")), None, quiet=True)[-1] == "refused: broken"


def test_missing_torch_is_offered():
    assert ended(steps_to(error=ModuleNotFoundError("no torch", name="torch.nn")), None)[-1] == "torch"


def test_delays_of_timers_pass_at_once_in_their_order():
    heard, began = [], time.monotonic()
    timers = [
        timer(90_000, lambda: heard.append("late")),
        timer(40_000, lambda: heard.append("again"), repeats=True),
        timer(50_000, lambda: heard.append("once")),
    ]
    for each in timers:
        each.start()
    slicer.app.settle(85)
    assert heard == ["again", "once", "again"]
    assert slicer.app.wait(lambda: "late" in heard)
    assert heard == ["again", "once", "again", "late"]
    assert not slicer.app.wait(lambda: len(heard) > 4, 0.1)  # what only repeats is waited for
    slicer.app.settle(75)
    assert heard[4:] == ["again", "again"] and time.monotonic() - began < 90  # the delays alone are 165 s
    for each in timers:
        each.stop()
