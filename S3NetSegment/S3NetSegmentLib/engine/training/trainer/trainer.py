"""Trains any task: steps, time budget, saved states, validation, early stop. Knows no method.

Nothing random is drawn here and batches are pure functions of (seed, step, rank), so that weights, moments of the optimiser
and a few numbers are the whole state: a run that was stopped at any point and goes on ends with the same weights as one that
was not (on the same device and number of threads).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch

from ...common.errors import InputError
from ...common.progress import Step, Steps
from ..settings import CHANGEABLE, REMEDIES, TrainerSettings
from .curves import draw_curves, first_with
from .optimisation import Optimisation, TrainingTask
from .processes import Processes
from .run_folder import CURVES, RunFolder

_GO_ON, _SAVE, _END, _STOP = range(4)
_PLANS = (0.05, 0.25, 0.5, 0.75, 0.9)  # parts of the minutes after which the number of steps is planned
_SAME_PLAN = 0.1  # part of the steps that are left by which a new plan must differ to count
_AGREE_EVERY = 10  # steps between two agreements of several CUDA processes, each of which makes them wait

Batches = Callable[[int, int, int], dict]
Validation = Callable[[int], Steps[dict]]


class TrainingError(RuntimeError):
    """Training cannot go on: what happened, at which step, what is kept and what would help."""


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    :param reason: "finished", "time" (the minutes are over), "patience" (validation no longer improves) or "stopped".
    :param best_step, best_score: of the best validation; None without validation.
    """

    steps: int
    reason: str
    seconds: float
    best_step: int | None
    best_score: float | None
    notes: tuple[str, ...]


class Trainer:
    """One training run.

    :param task: see :class:`~.optimisation.TrainingTask`; on ``device``.
    :param batches: ``batches(step, rank, processes)`` gives the batch of a step.
    :param folder: where the run is kept; None: nowhere.
    :param identity: what else must be the same for the run to go on (method, its settings, the cases), plain values.
    :param validate: ``validate(step)`` returns measures by name, of which "score" (higher is better) chooses the best state.
    :param keep_best: called with (step, measures) when the state is the best so far, and at the end without validation.
    :param processes: see :mod:`.processes`.
    :param stop: asked after each step; the run ends with the reason "stopped" where any process says True. (A single process
        can as well close the generator.)
    """

    def __init__(
        self,
        task: TrainingTask,
        batches: Batches,
        settings: TrainerSettings,
        *,
        device: torch.device | str = "cpu",
        folder: RunFolder | None = None,
        identity: Mapping | None = None,
        validate: Validation | None = None,
        keep_best: Callable[[int, dict], None] | None = None,
        processes: Processes | None = None,
        stop: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.task, self.settings, self.device = task, settings, torch.device(device)
        self.notes: list[str] = []
        self.step, self.steps = 0, settings.steps
        self._batches, self._folder, self._identity = batches, folder, dict(identity or {})
        self._validate, self._keep_best = validate, keep_best
        self._processes, self._clock, self._stop = processes or Processes(), clock, stop
        self._optimisation = Optimisation(task, settings, self.device, self._processes, self.note)
        self._plan_from = (0, 0.0)  # step and seconds of the last plan
        self._seconds = 0.0
        self._best: tuple[int, float] | None = None
        self._stale = 0
        self._drawn: float | None = None
        self._is_due = False  # a validation of the present step

    def resume(self) -> bool:
        """Takes the state of the folder, if there is one; says whether there was. It goes on bit for bit as if it had not been
        stopped, unless one of :data:`~..settings.REMEDIES` is another now.

        :raises InputError: a damaged state, or one of a run with other settings.
        """
        if self._folder is None or not self._folder.has_state:
            return False
        state = self._folder.read_state()
        self._check_same(state)
        try:
            self._take(state)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            told = " ".join(str(error).split())[:200]
            raise InputError(
                f"the saved state of run {self._where} is damaged ({told}); begin anew in another folder"
            ) from None
        if self._processes.writes:
            self._folder.rewind_log(self.step)
        for name in REMEDIES:
            then, now = state["settings"][name], getattr(self.settings, name)
            if then != now:
                self.note(f"From step {self.step} on with {name} {now} instead of {then}.")
        return True

    @property
    def _where(self) -> str:
        return repr(str(self._folder.path)) if self._folder is not None else ""

    def _take(self, state: dict) -> None:
        own = self.task.state_dict()
        kept = state["task"]
        wrong = [n for n in self._kept_names(own) if n not in kept or kept[n].shape != own[n].shape]
        if wrong or kept.keys() - own.keys():
            raise InputError(
                f"the saved state of run {self._where} belongs to another network; begin anew in another folder"
            )
        self.task.load_state_dict({**own, **kept})
        self._optimisation.load_state(state["optimisation"])
        self.step, self._seconds = state["step"], state["seconds"]
        self._best, self._stale = state["best"] and tuple(state["best"]), state["stale"]
        self._is_due = state["validation_due"]
        self.notes[:] = state["notes"]
        same = all(state["settings"][name] == getattr(self.settings, name) for name in ("steps", "minutes"))
        if same:
            self.steps, self._plan_from = state["steps"], tuple(state["plan_from"])

    def run(self) -> Steps[TrainingResult]:
        """Trains to the end. Closed before that, it saves the state of the last whole step.

        :raises TrainingError: the loss is no finite number.
        :raises ResourceError: the memory is not enough for one sample, or a state cannot be written.
        """
        s, began, before = self.settings, self._clock(), self._seconds
        saved = began
        self.task.train()
        try:
            if self._is_due:
                yield from self._validated()
            finished, reason = self.step >= self.steps, "finished"
            if self._is_due:
                finished, reason = True, "stopped"
            while not finished:
                batch = self._batches(self.step, self._processes.rank, self._processes.count)
                losses = self._optimisation.step(batch, self.step, self.steps)
                self.step += 1
                self._seconds = before + self._clock() - began
                self._plan()
                last = self.step >= self.steps
                if self.step % s.log_every == 0 or last or not self._is_finite(losses):
                    self._record(losses)
                self._is_due = self._validate is not None and (self.step % s.validate_every == 0 or last)
                if self._is_due:
                    yield from self._validated()
                    self._seconds = before + self._clock() - began
                wish = _STOP if self._is_due else self._wish(last, saved)
                if wish >= _END:
                    finished = True
                    reason = "finished" if last else "patience" if self._out_of_patience() else "time"
                    reason = "stopped" if wish == _STOP and (self._is_due or not last) else reason
                if wish:
                    self._save()
                    saved = self._clock()
                yield Step(self._progress(), self._message(losses))
        except GeneratorExit:
            self._save()
            raise
        finally:
            self.task.eval()
            if self._folder is not None and self._processes.writes:
                self._folder.close()
        if self._best is None and self._keep_best is not None and self._processes.writes and reason != "stopped":
            self._keep_best(self.step, {})
        self._log({"event": "end", "step": self.step, "reason": reason})
        best_step, best_score = self._best or (None, None)
        return TrainingResult(self.step, reason, self._seconds, best_step, best_score, tuple(self.notes))

    def note(self, sentence: str) -> None:
        """Keeps a sentence for the user, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)
            self._log({"event": "note", "step": self.step, "text": sentence})

    def _is_finite(self, losses: dict[str, torch.Tensor]) -> bool:
        """Whether the loss is a number, as far as that is known without waiting for the device or other processes."""
        return self.device.type != "cpu" or self._processes.count > 1 or bool(torch.isfinite(losses["loss"]))

    def _record(self, losses: dict[str, torch.Tensor]) -> None:
        """Logs the losses; raises TrainingError, in all processes, if they are not finite."""
        values = self._processes.means({name: float(v) for name, v in losses.items()})
        if not math.isfinite(values["loss"]):
            named = [n for n, v in values.items() if n != "loss" and not n.startswith("_") and not math.isfinite(v)]
            broken = ", ".join(named) or "loss"
            self._log({"event": "failed", "step": self.step, "broken": broken})
            raise TrainingError(
                f"the loss is not a finite number at step {self.step} ({broken}; learning rate {self._optimisation.rate:.3g}); "
                f"{self._way_on()}. If that does not help, look at the images for wrong values"
            )
        facts = {
            "step": self.step,
            **({"steps": self.steps} if self._is_planned else {}),
            "seconds": round(self._seconds, 3),
        }
        self._log({**facts, "progress": round(self._progress(), 5), **values, "learning_rate": self._optimisation.rate})

    def _validated(self) -> Steps[None]:
        """Validates; where a stop is asked for meanwhile, the validation stays due."""
        self.task.eval()
        measures: dict | None = {}
        if self._processes.writes and self._validate is not None:
            for step in (steps := _caught(self._validate(self.step))):
                yield Step(self._progress(), f"Validation: {step.message}")
                if self._stop is not None and self._stop():
                    break
            measures = steps.value
        self.task.train()
        measures = self._processes.shared(measures)
        if measures is None:
            return
        score = float(measures["score"])
        self._log({"event": "validation", "step": self.step, **measures})
        if self._best is None or score > self._best[1]:
            self._best, self._stale = (self.step, score), 0
            if self._keep_best is not None and self._processes.writes:
                self._keep_best(self.step, measures)
        else:
            self._stale += 1
        self._is_due = False
        self._draw_curves()

    def _wish(self, last: bool, saved: float) -> int:
        s = self.settings
        late = s.minutes > 0 and self._seconds >= 60 * s.minutes
        wish = _GO_ON
        if last or late or self._out_of_patience():
            wish = _END
        elif self._stop is not None and self._stop():
            wish = _STOP
        elif self._folder is not None and self._clock() - saved >= 60 * s.checkpoint_minutes:
            wish = _SAVE
        if self.device.type != "cuda" or last or self.step % _AGREE_EVERY == 0:
            return self._processes.agreed(wish)
        return wish if self._processes.count == 1 else _GO_ON

    def _plan(self) -> None:
        """Plans as many steps as fit into the minutes by the speed since the last plan, so that the learning rate comes to
        its end in time. The plan is part of the state: what follows does not depend on the clock."""
        budget = 60 * self.settings.minutes
        step, seconds = self._plan_from
        waits = self._processes.count > 1 and self.device.type == "cuda" and self.step % _AGREE_EVERY
        if not budget or self.step < step + 3 or waits:
            return
        due = any(seconds < part * budget <= self._seconds for part in _PLANS)
        if not self._processes.agreed(int(due)):
            return
        speed = (self.step - step) / max(self._seconds - seconds, 1e-6)
        total = self.step + int(max(0.0, 0.98 * budget - self._seconds) * speed)
        before, first = self.steps, not self._is_planned
        total = max(self.step, min(self.settings.steps, total))
        if not first and abs(total - before) <= _SAME_PLAN * (before - self.step):
            total = before  # machines are never equally fast for long
        self.steps = self._processes.shared(total)
        self._plan_from = (self.step, self._seconds)
        if self.steps != before or first:
            self._log({"event": "plan", "step": self.step, "steps": self.steps})

    @property
    def _is_planned(self) -> bool:
        """Whether it is known how many steps there will be: with a time, once the speed has been measured."""
        return not self.settings.minutes or self._plan_from[0] > 0

    def _out_of_patience(self) -> bool:
        return 0 < self.settings.patience <= self._stale

    def _save(self) -> None:
        if self._folder is None or not self._processes.writes:
            return
        tensors = self.task.state_dict()
        kept = {name: tensors[name].detach().cpu() for name in self._kept_names(tensors)}
        broken = next((n for n, t in kept.items() if t.is_floating_point() and not torch.isfinite(t).all()), None)
        if broken is not None:
            raise TrainingError(f"the weights {broken!r} are not finite numbers at step {self.step}; {self._way_on()}")
        self._folder.write_state({
            "settings": asdict(self.settings), "identity": self._identity, "step": self.step, "steps": self.steps,
            "plan_from": list(self._plan_from), "seconds": self._seconds, "stale": self._stale, "validation_due": self._is_due,
            "best": None if self._best is None else list(self._best), "notes": list(self.notes), "task": kept,
            "optimisation": self._optimisation.state(),
        })  # fmt: skip
        self._draw_curves()

    def _way_on(self) -> str:
        """What is kept after a failure, and what to change."""
        change = f"one of learning_rate={self.settings.learning_rate / 4:.2g}, precision=fp32, clip=1"
        if self._folder is None or not self._folder.has_state:
            return f"no state was saved before. Begin anew with {change}"
        step = self._folder.read_facts()["step"]
        return f"the state of step {step} is kept. Go on from there (resume), or begin anew, with {change}"

    def _kept_names(self, tensors: Mapping) -> list[str]:
        unchanging = set(self.task.unchanging)
        return [n for n in tensors if n not in unchanging]

    def _check_same(self, state: dict) -> None:
        now = {**asdict(self.settings), **self._identity}
        then = {**state["settings"], **state["identity"]}
        other = sorted(k for k in now.keys() | then.keys() if k not in CHANGEABLE and now.get(k) != then.get(k))
        if other:
            shown = ", ".join(f"{k} was {_short(then.get(k))}, is {_short(now.get(k))}" for k in other[:4])
            raise InputError(
                f"run {self._where} was begun with other settings ({shown}); go on with the same ones, or begin anew "
                "in another folder"
            )

    def _progress(self) -> float:
        share = self.step / self.steps
        return min(1.0, max(share, self._seconds / (60 * self.settings.minutes)) if self.settings.minutes else share)

    def _message(self, losses: dict[str, torch.Tensor]) -> str:
        best = f", best score {self._best[1]:.3f} at step {self._best[0]}" if self._best else ""
        shown = f", loss {float(losses['loss']):.4f}" if self.device.type == "cpu" else ""
        planned = f" of {self.steps}" if self._is_planned else ""
        return f"Training step {self.step}{planned}{shown}{best}"

    def _log(self, entry: dict) -> None:
        if self._folder is not None and self._processes.writes:
            self._folder.log(entry)

    def _draw_curves(self) -> None:
        """Draws the learning curves, not more often than every half minute before the end."""
        now = self._clock()
        early = self._drawn is not None and now - self._drawn < 30 and self.step < self.steps
        if self._folder is None or not self._processes.writes or early:
            return
        self._drawn = now
        entries = list(self._folder.entries())
        losses = [(e["step"], e["loss"]) for e in entries if "loss" in e and "event" not in e]
        scores = [(e["step"], e["score"]) for e in entries if e.get("event") == "validation"]
        drawn = [(e["step"], e["supervised"]) for e in entries if "event" not in e and "supervised" in e]
        joined = first_with(entries, "unlabelled")
        if losses:
            curves = {"loss": losses, "loss of the labelled slices": drawn if joined else (), "score": scores}
            marks = {} if joined is None else {"unlabelled slices join": joined}
            picture = draw_curves({name: points for name, points in curves.items() if points}, marks)
            self._folder.write_picture(CURVES, picture)


class _caught:
    """Iterates over a generator and keeps what it returns as ``value``; None before its end."""

    def __init__(self, steps):
        self._steps, self.value = steps, None

    def __iter__(self):
        self.value = yield from self._steps


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
